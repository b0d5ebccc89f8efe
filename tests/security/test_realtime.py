"""Who hears what of Realtime: changes of one's own rows, private topics for the service alone, and no user's voice."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.security.doors import Doors
from tests.security.permissions import PERMISSIONS
from tests.security.project import Project
from tests.stack.phoenix import Phoenix, connected

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOPICS = [*PERMISSIONS.private_topics, "translation_worker:w1"]


def token(project: Project, who: str) -> str | None:
    return project.keys.sign(project.claims(who)) if who in project.ids else None


@asynccontextmanager
async def joined(project: Project, who: str, topic: str, **config: Any) -> AsyncIterator[tuple[Phoenix, str]]:
    """A socket of *who*, and the status of the reply to its join."""
    key = project.keys.secret_key if who == "service" else project.keys.publishable_key
    async with connected(project.stack, key) as phoenix:
        await phoenix.join(topic, token(project, who), **config)
        yield phoenix, (await phoenix.until("phx_reply"))["payload"]["status"]


async def test_the_page_names_every_published_table(doors: Doors) -> None:
    published = doors.project.database.run(
        "select schemaname || '.' || tablename as name from pg_publication_tables where pubname = 'supabase_realtime'"
    )

    assert {row["name"] for row in published} == {f"public.{name}" for name in PERMISSIONS.published}


async def test_users_hear_of_their_own_jobs_and_the_service_of_all(doors: Doors) -> None:
    project = doors.project
    wanted = [{"event": "*", "schema": "public", "table": "translation_jobs"}]
    order = ["bob", "ada", "bob", "ada"]
    heard: dict[str, list[str]] = {}
    async with AsyncExitStack() as stack:
        open_ = {}
        for who in ("ada", "bob", "service"):
            phoenix, status = await stack.enter_async_context(
                joined(project, who, f"hears-{who}", postgres_changes=wanted)
            )
            assert status == "ok"
            assert (await phoenix.until("system"))["payload"]["status"] == "ok"
            open_[who] = phoenix
        for number, owner in enumerate(order):
            title = f"{owner} {number}"
            project.database.run(
                "update public.translation_jobs set title = %s where id = %s", title, project.done[owner]
            )
        for who, phoenix in open_.items():
            expected = [f"{o} {n}" for n, o in enumerate(order) if who in (o, "service")]
            changes = [(await phoenix.until("postgres_changes"))["payload"]["data"] for _ in expected]
            heard[who] = [change["record"]["title"] for change in changes]
            assert heard[who] == expected
            assert set(changes[0]["record"]) == set(PERMISSIONS.tables["public", "translation_jobs"].columns)


BEATS = "update public.translation_workers set version = version where id = 'w1'"
TITLES = "update public.translation_jobs set title = title where job_type = 'translation'"


@pytest.mark.parametrize(
    ("who", "table", "change"),
    [
        ("anon", "translation_jobs", TITLES),
        ("anon", "translation_workers", BEATS),
        ("ada", "translation_workers", BEATS),
        ("operator", "translation_workers", BEATS),
    ],
)
async def test_who_may_not_select_a_table_hears_nothing_of_its_rows(
    doors: Doors, who: str, table: str, change: str
) -> None:
    wanted = [{"event": "*", "schema": "public", "table": table}]
    async with joined(doors.project, who, "closed", postgres_changes=wanted) as (phoenix, status):
        assert (status, (await phoenix.until("system"))["payload"]["status"]) == ("ok", "ok")
        doors.project.database.run(change)
        told = (await phoenix.until("postgres_changes"))["payload"]["data"]

    assert (told["errors"], told["record"], told["columns"]) == (["Error 401: Unauthorized"], {}, [])
    assert told.get("old_record", {}) == {}
    # Nor does a filter find out what is in them.
    column = PERMISSIONS.tables["public", table].columns[0] if table == "translation_jobs" else "id"
    wanted[0]["filter"] = f"{column}=neq.{doors.project.done['ada']}"
    async with joined(doors.project, who, "closed", postgres_changes=wanted) as (phoenix, status):
        assert (status, (await phoenix.until("system"))["payload"]["status"]) == ("ok", "error")


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("who", ["anon", "ada", "operator", "service"])
async def test_only_the_service_joins_a_private_topic(doors: Doors, who: str, topic: str) -> None:
    async with joined(doors.project, who, topic, private=True) as (_, status):
        assert status == ("ok" if who == "service" else "error")


@pytest.mark.parametrize("who", ["anon", "ada", "operator"])
async def test_no_user_is_heard_on_the_workers_topic(doors: Doors, who: str) -> None:
    """Not from the public topic of the same name, over HTTP, by SQL, or through the API: only what the service says."""
    project, topic = doors.project, PERMISSIONS.private_topics[0]
    async with joined(project, "service", topic, private=True) as (worker, status):
        assert status == "ok"
        async with joined(project, who, topic, broadcast={"ack": True}) as (voice, joins):
            assert joins == "ok"
            said = {"type": "broadcast", "event": "ready", "payload": {"by": "socket"}}
            await voice.send(f"realtime:{topic}", "broadcast", said)
            assert (await voice.until("phx_reply"))["payload"]["status"] == "ok"
        url = f"{project.stack.urls.url}/realtime/v1/api/broadcast"
        messages: Any = [
            {"topic": topic, "event": "ready", "private": private, "payload": {}} for private in (True, False)
        ]
        headers = project.headers(who)
        async with doors.http.post(url, headers=headers, json={"messages": messages}) as answer:
            assert answer.status == 202
        one = f"{url}/{topic}/events/ready?private=true"
        async with doors.http.post(one, headers=headers, json={}) as answer:
            assert answer.status == 202
        with project.database.session(project.ids.get(who, who)) as session:
            session.run(f"select realtime.send('{{}}', 'ready', '{topic}', true)")
        project.database.run("select realtime.send('{\"by\": \"us\"}', 'ready', %s, true)", topic)

        first = (await worker.until("broadcast"))["payload"]
        assert first["payload"]["by"] == "us"


async def test_a_token_for_a_role_that_the_api_has_not_joins_as_nobody(doors: Doors) -> None:
    """The stack asks over the superuser's connections, which may become anybody: it did, for whom the token named."""
    project, topic = doors.project, PERMISSIONS.private_topics[0]
    for role in ("postgres", "supabase_admin", "authenticator", "none", "pg_read_all_data"):
        signed = project.keys.sign({**project.claims("ada"), "role": role})
        async with connected(project.stack, project.keys.publishable_key) as phoenix:
            await phoenix.join(topic, signed, private=True)
            assert (await phoenix.until("phx_reply"))["payload"]["status"] == "error", role
