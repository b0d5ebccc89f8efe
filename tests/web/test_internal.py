"""A trigger's request becomes one job, or goes the old way once; never both, whatever is lost on the way."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.conftest import ROOT
from tests.support.database import Database
from tests.support.proxy import Proxy, running_proxy
from tests.support.served import served
from tests.web.site import Answer
from worker.devstack.stack import Stack
from worker.flags import KINDS, PRIORITIES, Flags
from worker.rpc_direct import DirectRpc
from worker.web import openapi, routing
from worker.web.fallback import Fallback
from worker.web.intake import Intake
from worker.web.internal import Internal
from worker.web.internal_documents import Processed
from worker.web.server import prepared
from worker.web.site import application

KEY = "an internal key for the tests"
TOKEN = "the fallback's own token"
ON = Flags()
DONE = Processed(processed=3, completed=2, failed=1, retrying=0, given_back=0, remaining=4, seconds=0.5)


@dataclass
class OldWay:
    """The endpoint that did the work before there was a queue, and what it was sent."""

    url: str = ""
    status: int = 200
    calls: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.calls.append((request.path, request.headers.copy(), await request.read()))
        return web.Response(status=self.status, headers={"Location": "http://127.0.0.1:1/"})


@pytest.fixture
async def old_way() -> AsyncIterator[OldWay]:
    old = OldWay()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", old.handle)
    async with served(app) as url:
        old.url = f"{url}/old"
        yield old


@dataclass
class Inside:
    url: str
    drains: list[tuple[int, float]]

    async def ask(self, path: str, document: Any = None, *, key: str | None = KEY, **headers: str) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        if document is not None:
            sent.setdefault("Content-Type", "application/json")
        body = None if document is None else json.dumps(document).encode()
        timeout = aiohttp.ClientTimeout(total=60)
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.post(self.url + path, data=body, headers=sent) as answer,
        ):
            return Answer(answer.status, dict(answer.headers), await answer.read())


@asynccontextmanager
async def inside(upstream: str, secret: str, flags: Flags = ON, old_way: OldWay | None = None) -> AsyncIterator[Inside]:
    """The internal API over the project at *upstream*."""
    rpc = DirectRpc(upstream, secret, request_seconds=5)
    fallback = Fallback(old_way.url, token=TOKEN, seconds=10) if old_way else None
    drains: list[tuple[int, float]] = []

    async def drain(max_jobs: int, max_seconds: float) -> Processed:
        drains.append((max_jobs, max_seconds))
        return DONE

    internal = Internal(KEY, Intake(rpc, flags, fallback), drain)
    app = application()
    app.add_routes(routing.definitions(internal.routes(), internal.identify))
    try:
        async with served(prepared(app)) as url:
            yield Inside(url, drains)
    finally:
        await rpc.close()
        if fallback is not None:
            await fallback.close()


@pytest.fixture
def nightly(web_project: Database) -> str:
    web_project.run("delete from public.translation_triggers")
    web_project.run(
        """insert into public.translation_triggers (name, kind, content, items, source_language)
           values ('nightly', 'cron', '"The lamp is lit."', array['es'], 'en')"""
    )
    return "nightly"


def job(**more: Any) -> dict[str, Any]:
    return {"kind": "admin", "job_type": "translation", "content": "The lamp is lit.", "items": ["es"], **more}


def jobs(project: Database) -> list[dict[str, Any]]:
    return project.run("select * from public.translation_jobs order by seq")


@pytest.fixture
async def on(web_stack: Stack, web_project: Database) -> AsyncIterator[Inside]:
    async with inside(web_stack.urls.url, web_stack.urls.secret_key) as api:
        yield api


async def test_a_job_gets_the_priority_of_its_kind_and_keeps_the_correlation_id(
    on: Inside, web_project: Database
) -> None:
    for kind in KINDS:
        answer = await on.ask("/api/internal/jobs", job(kind=kind), X_Correlation_Id="order-7")
        row = jobs(web_project)[-1]
        of_sql = web_project.value("select translation_private.trigger_priority(%s)", kind)

        assert answer.status == 202
        assert answer.json == {"job_id": str(row["id"]), "status": "pending", "message": "The job waits for a worker."}
        assert (row["correlation_id"], row["metadata"]) == ("order-7", {"trigger_kind": kind})
        assert row["priority"] == PRIORITIES[kind] == of_sql


async def test_a_job_may_name_its_priority_and_its_user(on: Inside, web_project: Database) -> None:
    user = web_project.user(credits=100)
    await on.ask("/api/internal/jobs", job(priority=2, user_id=user))
    (row,) = jobs(web_project)

    assert (row["priority"], str(row["user_id"]), row["credits_reserved"]) == (2, user, 10)


async def test_a_trigger_says_what_its_job_is(on: Inside, web_project: Database, nightly: str) -> None:
    answer = await on.ask("/api/internal/jobs", {"trigger": nightly}, Idempotency_Key="2026-11-22")
    again = await on.ask("/api/internal/jobs", {"trigger": nightly, "idempotency_key": "2026-11-22"})
    (row,) = jobs(web_project)

    assert (answer.status, again.status) == (202, 202)
    assert answer.json["job_id"] == again.json["job_id"] == str(row["id"])
    assert (row["priority"], row["metadata"]["trigger"]) == (3, nightly)


async def test_a_database_webhook_names_its_trigger_in_the_address(
    on: Inside, web_project: Database, nightly: str
) -> None:
    event = {
        "type": "INSERT",
        "table": "cards",
        "schema": "public",
        "record": {"id": 42, "title": "Oil lamp"},
        "old_record": None,
    }
    address = f"/api/internal/jobs?trigger={nightly}&content=/record/title&key=/record/id"
    answers = [await on.ask(address, event) for _ in range(2)]
    missing = await on.ask(address.replace("title", "nothing"), event)
    (row,) = jobs(web_project)

    assert [answer.status for answer in answers] == [202, 202]
    assert (row["content"], row["idempotency_key"]) == ("Oil lamp", f"{nightly}:42")
    assert (missing.status, missing.code) == (422, "value_invalid")


async def test_an_address_may_point_into_a_list(on: Inside, web_project: Database, nightly: str) -> None:
    address = f"/api/internal/jobs?trigger={nightly}&content=/records/1/title"
    records = {"records": [{"title": "Oil lamp"}, {"title": "Door"}]}
    taken = await on.ask(address, records)
    beyond = await on.ask(address.replace("/1/", "/2/"), records)
    (row,) = jobs(web_project)

    assert (taken.status, row["content"]) == (202, "Door")
    assert (beyond.status, beyond.code) == (422, "value_invalid")


async def test_an_idempotency_key_is_said_once_and_can_be_printed(on: Inside, web_project: Database) -> None:
    spaced = await on.ask("/api/internal/jobs", job(), Idempotency_Key="two words")
    differing = await on.ask("/api/internal/jobs", job(idempotency_key="one"), Idempotency_Key="another")
    same = await on.ask("/api/internal/jobs", job(idempotency_key="one"), Idempotency_Key="one")

    assert [(no.status, no.code) for no in (spaced, differing)] == [(422, "value_invalid")] * 2
    assert (same.status, [row["idempotency_key"] for row in jobs(web_project)]) == (202, ["one"])


async def test_what_cannot_be_a_job_is_refused_and_nobody_is_called(
    web_stack: Stack, web_project: Database, old_way: OldWay, nightly: str
) -> None:
    expected: list[tuple[Any, int, str]] = [
        (job(content=""), 400, "content_empty"),
        (job(job_type="nothing"), 422, "job_type_unknown"),
        ({"job_type": "translation", "content": "x"}, 422, "body_invalid"),
        ({"kind": "cron"}, 422, "body_invalid"),
        ({"trigger": nightly, "items": ["es"]}, 422, "body_invalid"),
        (job(trigger=nightly), 422, "body_invalid"),
        (job(kind="webhook"), 422, "body_invalid"),
        (job(unheard_of=1), 422, "body_invalid"),
        ({"trigger": "nobody"}, 404, "trigger_not_found"),
        (job(user_id="00000000-0000-0000-0000-00000000dead"), 402, "credits_short"),
        ([], 422, "body_invalid"),
    ]
    async with inside(web_stack.urls.url, web_stack.urls.secret_key, old_way=old_way) as api:
        answers = [await api.ask("/api/internal/jobs", document) for document, _, _ in expected]

    assert [(answer.status, answer.code) for answer in answers] == [(status, code) for _, status, code in expected]
    assert (jobs(web_project), old_way.calls) == ([], [])


@pytest.mark.parametrize("path", ["/api/internal/jobs", "/api/internal/process"])
async def test_without_the_key_nothing_is_done(on: Inside, web_project: Database, path: str) -> None:
    expected = {None: (401, "unauthorized"), "": (401, "unauthorized"), "wrong": (401, "unauthorized")}
    expected["eyJ.eyJ.abc"] = (403, "forbidden")
    answers = {key: await on.ask(path, job(), key=key) for key in expected}

    assert {key: (answer.status, answer.code) for key, answer in answers.items()} == expected
    assert (jobs(web_project), on.drains) == ([], [])


async def test_a_drain_has_limits_and_reports(on: Inside) -> None:
    chosen = await on.ask("/api/internal/process", {"max_jobs": 5, "max_seconds": 2.5})
    default = await on.ask("/api/internal/process")
    wrong = await on.ask("/api/internal/process", {"max_jobs": 0})

    assert (chosen.status, chosen.json) == (200, DONE.model_dump())
    assert (default.status, wrong.status, wrong.code) == (200, 422, "body_invalid")
    assert on.drains == [(5, 2.5), (100, 50.0)]


# The switches


def truth_table() -> list[tuple[str, str, str]]:
    """The rows of the README: JOBS_ENABLED, the switch of the kind, and what becomes of a request."""
    section = (ROOT / "README.md").read_text().split("### Triggers")[1].split("\n#")[0]
    return re.findall(r"^\| `(off|per-trigger|on)` \| `?(true|false|any)`? \| (a job|the fallback) \|$", section, re.M)


@pytest.mark.parametrize(("jobs_enabled", "of_kind", "outcome"), truth_table())
async def test_the_switches_do_what_the_readme_says(
    web_stack: Stack, web_project: Database, old_way: OldWay, jobs_enabled: Any, of_kind: str, outcome: str
) -> None:
    seen = []
    for kind in KINDS:
        # The other kinds say the opposite, so that a switch that is mixed up is found.
        said = {name: (of_kind == "true") == (name == kind) for name in KINDS}
        flags = Flags(jobs_enabled, **said)
        async with inside(web_stack.urls.url, web_stack.urls.secret_key, flags, old_way) as api:
            answer = await api.ask("/api/internal/jobs", job(kind=kind))
        seen.append((answer.status, answer.json["status"], len(jobs(web_project)), len(old_way.calls)))

    made = [(202, "pending", n, 0) for n in (1, 2, 3)]
    went = [(200, "fallback", 0, n) for n in (1, 2, 3)]
    assert seen == (made if outcome == "a job" else went)


def test_the_readme_has_every_row_of_the_truth_table() -> None:
    assert sorted(truth_table()) == [
        ("off", "any", "the fallback"),
        ("on", "any", "a job"),
        ("per-trigger", "false", "the fallback"),
        ("per-trigger", "true", "a job"),
    ]


async def test_a_named_trigger_has_its_own_kind(
    web_stack: Stack, web_project: Database, old_way: OldWay, nightly: str
) -> None:
    found = []
    for flags in (Flags("per-trigger", cron=True), Flags("per-trigger", admin=True, match=True)):
        async with inside(web_stack.urls.url, web_stack.urls.secret_key, flags, old_way) as api:
            found.append((await api.ask("/api/internal/jobs", {"trigger": nightly})).json["status"])

    assert found == ["pending", "fallback"]


async def test_the_fallback_is_given_the_same_request_and_its_own_token(
    web_stack: Stack, web_project: Database, old_way: OldWay
) -> None:
    asked = job(fallback_url=old_way.url.replace("/old", "/cards"))
    async with inside(web_stack.urls.url, web_stack.urls.secret_key, Flags("off"), old_way) as api:
        answer = await api.ask("/api/internal/jobs", asked, X_Correlation_Id="order-7", Idempotency_Key="once")
    ((path, headers, body),) = old_way.calls

    message = "No job was made: the fallback did the work."
    assert answer.json == {"status": "fallback", "fallback_status": 200, "message": message}
    assert (path, json.loads(body)) == ("/cards", asked)
    told = {name: headers[name] for name in ("X-Correlation-Id", "Idempotency-Key", "X-Trigger-Kind", "Authorization")}
    assert told == {
        "X-Correlation-Id": "order-7",
        "Idempotency-Key": "once",
        "X-Trigger-Kind": "admin",
        "Authorization": f"Bearer {TOKEN}",
    }
    assert KEY not in str(headers)


async def test_the_token_of_the_fallback_goes_nowhere_else(
    web_stack: Stack, web_project: Database, old_way: OldWay
) -> None:
    foreign = ["https://evil.example/old", "http://127.0.0.1:1/", "//evil.example/", "file:///etc/passwd", "x"]
    foreign.append(old_way.url.replace("http://", "http://somebody@"))
    async with inside(web_stack.urls.url, web_stack.urls.secret_key, Flags("off"), old_way) as api:
        answers = [await api.ask("/api/internal/jobs", job(fallback_url=url)) for url in foreign]

    assert {(answer.status, answer.code) for answer in answers} == {(422, "fallback_url_foreign")}
    assert old_way.calls == []


async def test_a_fallback_that_fails_is_said_and_not_repeated(
    web_stack: Stack, web_project: Database, old_way: OldWay
) -> None:
    async with inside(web_stack.urls.url, web_stack.urls.secret_key, Flags("off"), old_way) as api:
        for n, status in enumerate((500, 404, 302), start=1):
            old_way.status = status
            answer = await api.ask("/api/internal/jobs", job())

            assert (answer.status, answer.code, len(old_way.calls)) == (502, "fallback_failed", n)


async def test_without_a_fallback_a_switch_that_is_off_refuses(web_stack: Stack, web_project: Database) -> None:
    async with inside(web_stack.urls.url, web_stack.urls.secret_key, Flags("off")) as api:
        answer = await api.ask("/api/internal/jobs", job())

    assert (answer.status, answer.code) == (503, "jobs_off")


async def test_a_switch_that_is_turned_off_does_not_do_a_job_again(
    web_stack: Stack, web_project: Database, old_way: OldWay
) -> None:
    """Whoever did not hear the answer asks again under the same key, after somebody turned the switch."""
    answers = []
    for flags in (Flags("on"), Flags("off")):
        async with inside(web_stack.urls.url, web_stack.urls.secret_key, flags, old_way) as api:
            answers.append(await api.ask("/api/internal/jobs", job(), Idempotency_Key="once"))

    assert answers[0].json == answers[1].json
    assert (len(jobs(web_project)), old_way.calls) == (1, [])


async def test_a_users_job_is_known_again_by_its_key_after_the_switch_was_turned(
    web_stack: Stack, web_project: Database, old_way: OldWay
) -> None:
    asked = job(user_id=web_project.user(credits=100))
    answers = []
    for flags in (Flags("on"), Flags("off")):
        async with inside(web_stack.urls.url, web_stack.urls.secret_key, flags, old_way) as api:
            answers.append(await api.ask("/api/internal/jobs", asked, Idempotency_Key="once"))

    assert answers[0].json == answers[1].json
    assert (len(jobs(web_project)), old_way.calls) == (1, [])


async def test_without_a_fallback_a_database_that_is_away_is_said() -> None:
    async with inside("http://127.0.0.1:1", "sb_secret_any") as api:
        answer = await api.ask("/api/internal/jobs", job())

    assert (answer.status, answer.code) == (503, "database_unavailable")


async def test_an_address_that_is_no_project_has_taken_nothing(old_way: OldWay) -> None:
    """It answers, but not with a job: the old way is the only one."""

    async def greet(_: web.Request) -> web.Response:
        return web.json_response(["hello"])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", greet)
    async with served(app) as elsewhere, inside(elsewhere, "sb_secret_any", old_way=old_way) as api:
        answer = await api.ask("/api/internal/jobs", job())

    assert (answer.json["status"], len(old_way.calls)) == ("fallback", 1)


# The database's answer, lost or never given


@pytest.fixture
async def proxy(web_stack: Stack) -> AsyncIterator[Proxy]:
    async with running_proxy(web_stack.urls.url) as running:
        yield running


@pytest.mark.parametrize("lost", [1, 3])
@pytest.mark.parametrize("named", [True, False], ids=["trigger", "job"])
async def test_an_answer_lost_after_the_commit_is_found_out_and_the_fallback_not_called(
    web_stack: Stack, web_project: Database, proxy: Proxy, old_way: OldWay, nightly: str, named: bool, lost: int
) -> None:
    procedure = "run_translation_trigger" if named else "enqueue_translation_job"
    proxy.lose[procedure] = lost
    async with inside(proxy.url, web_stack.urls.secret_key, old_way=old_way) as api:
        answer = await api.ask("/api/internal/jobs", {"trigger": nightly} if named else job())
    (row,) = jobs(web_project)

    assert (answer.status, answer.json["job_id"]) == (202, str(row["id"]))
    assert (proxy.lost[procedure], proxy.seen[procedure], old_way.calls) == (lost, lost + 1, [])


async def test_a_project_that_is_not_there_has_taken_nothing(web_stack: Stack, old_way: OldWay) -> None:
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{nobody_listens.getsockname()[1]}"
        async with inside(nowhere, web_stack.urls.secret_key, old_way=old_way) as api:
            answer = await api.ask("/api/internal/jobs", job())

    assert (answer.json["status"], len(old_way.calls)) == ("fallback", 1)
    assert old_way.calls[0][1]["X-Fallback-Reason"] == "unavailable"


async def test_a_wrong_key_has_taken_nothing(web_stack: Stack, web_project: Database, old_way: OldWay) -> None:
    async with inside(web_stack.urls.url, "sb_secret_wrong", old_way=old_way) as api:
        answer = await api.ask("/api/internal/jobs", job())

    assert (answer.json["status"], len(old_way.calls), jobs(web_project)) == ("fallback", 1, [])


async def test_when_nobody_knows_nobody_is_called(
    web_stack: Stack, web_project: Database, proxy: Proxy, old_way: OldWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every answer is lost: the job may be there, so doing the work a second time is for the caller to decide."""
    monkeypatch.setattr("worker.web.intake._UNSURE_SECONDS", 0.5)
    proxy.lose["enqueue_translation_job"] = 1_000_000
    async with inside(proxy.url, web_stack.urls.secret_key, old_way=old_way) as api:
        answer = await api.ask("/api/internal/jobs", job(), Idempotency_Key="once")
        proxy.lose.clear()
        again = await api.ask("/api/internal/jobs", job(), Idempotency_Key="once")

    assert (answer.status, answer.code, answer.headers["Retry-After"]) == (503, "outcome_unknown", "5")
    assert (again.status, len(jobs(web_project)), old_way.calls) == (202, 1, [])


async def test_too_many_at_once_are_sent_away(
    web_stack: Stack, web_project: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.intake._UNDER_WAY_MAX", 2)
    async with inside(web_stack.urls.url, web_stack.urls.secret_key) as api:
        web_project.run("select 1")
        with web_project.session() as session:
            session.run("lock table public.translation_jobs in access exclusive mode")
            waiting = [asyncio.create_task(api.ask("/api/internal/jobs", job())) for _ in range(8)]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused = [task.result() for task in done]
        await asyncio.wait(waiting)

    assert {(answer.status, answer.code) for answer in refused} == {(503, "busy")}
    assert sum(task.result().status == 202 for task in waiting) >= 2


def test_the_description_says_which_key_opens_it() -> None:
    internal = Internal(KEY, Intake(None, Flags(), None), None)  # type: ignore[arg-type]
    described = openapi.document(internal.routes(), version="1")
    operation = described["paths"]["/api/internal/jobs"]["post"]

    assert operation["security"] == [{"internal": []}]
    assert {"200", "202", "401", "409", "502"} <= set(operation["responses"])
    assert described["components"]["securitySchemes"]["internal"]["scheme"] == "bearer"
