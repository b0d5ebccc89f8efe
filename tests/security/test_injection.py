"""Strings that would be SQL if anything pasted them together, in every text that anybody can hand in, at every door."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import psycopg
import pytest

from tests.security import project as project_
from tests.security.doors import INTERNAL_KEY, Doors
from tests.security.permissions import PERMISSIONS
from tests.support.database import Database, Refused, Row
from tests.web.site import Answer
from worker.devstack.postgres import Cluster

STRINGS: Final = [
    "'",
    "'; drop table public.translation_jobs cascade; --",
    "' or '1'='1",
    '"; delete from public.translation_credits; --',
    "$$; drop schema public cascade; $$",
    "\\'; truncate public.translation_credit_ledger; --",
    "'||(select balance from public.translation_credits limit 1)||'",
    "; select pg_catalog.pg_sleep(600); --",
    "%s %I %L %1$s %% $1 :name {0} {{7*7}}",
    "{es,fr}",
    '("a",,1)',
    "%_%",
    "public.translation_jobs",
    "ʼ＇；‮\u2028\\u0027",
    "a'/**/union/**/select/**/null--",
]

Call = Callable[..., Any]
TEXTS: Final = ("text", "text[]", "jsonb")
USER: Final = "00000000-0000-0000-0000-00000000ada0"

# What an argument is where another one is the string: so that the call gets as far as the string does.
GOOD: Final[dict[str, Any]] = {
    "p_content": "Good morning.",
    "p_target_languages": ["es"],
    "p_target_language": "es",
    "p_source_language": "en",
    "p_worker_id": "w1",
    "p_limit": 1,
    "p_lease_ms": 1_000,
    "p_job_types": ["translation"],
    "p_claim_id": "00000000-0000-0000-0000-00000000c1a1",
    "p_job_type": "translation",
    "p_content_kind": "text",
    "p_chars": 1,
    "p_item": "es",
    "p_options": {},
    "p_token": 1,
    "p_keys": ["c" * 64],
    "p_amount": 1,
    "p_idempotency_key": "key",
    "p_action": "cancel",
    "p_signature": "0" * 16,
    "p_name": "nightly",
    "p_probe": "translation_probe_0123456789abcdef",
    "p_queue": "orders",
    "p_term": "inn",
    "p_watcher": "w1",
    "p_ids": ["a"],
    "p_status": ["completed"],
    "p_operator": USER,
    "p_user_id": USER,
    "p_segments": [{"key": "c" * 64, "target": "Hola"}],
    "p_report": {"mode": "realtime", "version": "1", "slots": 1, "running": 0, "job_types": ["translation"],
                 "languages": [["en", "es"]], "progress": [], "stats": {"a": "b"}},
    "p_floor": {"translation": 1},
    "p_terms": {"translation": {"limit": 2, "lease_ms": 1000}},
    "p_limits": {"p_queue_depth": 20},
    "p_metadata": {"a": "b"},
    "p_kinds": ["cron"],
}  # fmt: skip
NEW: Final = {"p_job_type": "translation", "p_content": "Good morning.", "p_items": ["es"], "p_title": "t"}


@dataclass
class Ground:
    database: Database
    job: str
    users: tuple[str, str]

    def good(self, function: str, argument: str) -> Any:
        match argument:
            case "p_job_id":
                return self.job
            case "p_job_ids" | "p_user_ids":
                return [self.job]
            case "p_jobs":
                named = {"p_name": "a", "p_after_names": []} if function == "enqueue_translation_chain" else {}
                return [{**NEW, **named, "p_idempotency_key": "k", "p_subject": "s", "p_metadata": {"a": "b"}}]
            case "p_leases":
                return [{"job_id": self.job, "token": 1, "reason": "r"}]
            case "p_results":
                result = {"content": "c", "provider": "p"}
                return [{"job_id": self.job, "token": 1, "item": "es", "outcome": "completed", "result": result}]
        return GOOD.get(argument)


@pytest.fixture(scope="module")
def ground(cluster: Cluster, template: str) -> Iterator[Ground]:
    """A database of its own; everything is free and nothing is limited, so that each call is made."""
    asyncio.run(cluster.create_database("injected", template))
    database = Database(cluster.url("postgres", "injected"), cluster.url(database="injected"))
    with contextlib.closing(database):
        database.run(
            """update public.translation_job_types
               set price = 0, creates_per_minute = 100000, max_waiting_per_user = 100000"""
        )
        database.run("insert into public.translation_triggers (name, kind, content, items) values "
                     "('nightly', 'cron', '\"The lamp is lit.\"', array['es'])")  # fmt: skip
        ada, bob = database.user(credits=100), database.user(credits=100)
        job, *_ = project_.work(database, ada)
        project_.work(database, bob)
        yield Ground(database, job, (ada, bob))
    asyncio.run(cluster.drop_database("injected"))


CATALOG: Final = """
select md5(string_agg(told, ',' order by told)) from (
  select 'c' || c.oid || c.relname || coalesce(c.relacl::text, '') || c.relrowsecurity from pg_class c
    where c.relnamespace in ('public'::regnamespace, 'translation_private'::regnamespace, 'auth'::regnamespace)
  union all select 'p' || oid || proname || md5(prosrc) || coalesce(proacl::text, '') from pg_proc
    where pronamespace >= 16384 or pronamespace = 'public'::regnamespace
  union all select 'a' || attrelid || attname || atttypid from pg_attribute
    where attrelid >= 16384 and attnum > 0 and not attisdropped
  union all select 'l' || polrelid || polname || coalesce(polqual::text, '') from pg_policy
  union all select 't' || tgrelid || tgname || tgenabled::text from pg_trigger where not tgisinternal
  union all select 'n' || nspname || coalesce(nspacl::text, '') from pg_namespace where nspname !~ '^pg_(toast_)?temp'
) as x (told)
"""


def everything_of(database: Database, user: str) -> dict[str, list[Row]]:
    """What is in every table of one user, and what the whole database is made of."""
    mine = "user_id = %(user)s"
    by_job = "exists (select from public.translation_jobs j where j.user_id = %(user)s and j.id = t.{})"
    kept: dict[str, list[Row]] = {"catalog": database.run(CATALOG)}
    for table in PERMISSIONS.exposed:
        if table.rows != "own" or table.name == "translation_jobs_overview":
            continue
        column = next(c for c in ("user_id", "job_id", "child_id") if c in table.columns)
        where = (mine if column == "user_id" else by_job.format(column)).replace("%(user)s", f"'{user}'")
        kept[table.name] = database.run(
            f"select to_jsonb(t) as row from public.{table.name} as t where {where} order by 1"
        )
        assert kept[table.name]
    return kept


def arguments(database: Database) -> list[tuple[str, str, str, list[str]]]:
    """Function, argument that takes text, its type, and the arguments that must be given."""
    rows = database.run(
        """select p.proname as name, p.proargnames[1:p.pronargs] as names,
             p.pronargs - p.pronargdefaults as required, array(
               select format_type(a, null) from unnest(p.proargtypes) with ordinality as u (a, n) order by n
             ) as types
           from pg_proc p where p.pronamespace = 'public'::regnamespace and p.proname like '%%translation%%'
           order by 1"""
    )
    return [
        (row["name"], name, kind, row["names"][: row["required"]])
        for row in rows
        for name, kind in zip(row["names"] or [], row["types"], strict=True)
        if kind in TEXTS
    ]


def poisoned(value: Any, string: str) -> Iterator[Any]:
    """*value* with *string* in place of each of its texts in turn, and of each of its names."""
    match value:
        case str():
            yield string
        case list():
            for place, inside in enumerate(value):
                yield from ([*value[:place], new, *value[place + 1 :]] for new in poisoned(inside, string))
            yield [*value, string]
        case dict():
            for name, inside in value.items():
                yield from ({**value, name: new} for new in poisoned(inside, string))
            yield {**value, string: string}
        case _:
            yield string


def outcome(call: Call, function: str, who: str | None, said: dict[str, Any]) -> Exception | None:
    try:
        call(function, who, **said)
    except (Refused, psycopg.Error) as error:
        return error
    return None


def is_clean(error: Exception) -> bool:
    """A refusal in words of ours, or of a value that is none of its kind; never one of the parser."""
    if isinstance(error, Refused):
        return error.code.startswith("PT4")
    return isinstance(error, psycopg.DataError | psycopg.IntegrityError)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("who", ["user", "service"])
def test_no_procedure_takes_a_text_for_sql(ground: Ground, who: str) -> None:
    database, (ada, bob) = ground.database, ground.users
    before = everything_of(database, bob)
    role = "authenticated" if who == "user" else "service_role"
    seen = set()
    with database.caller() as call:
        for function, argument, kind, required in arguments(database):
            if role not in PERMISSIONS.callers(function):
                continue
            seen.add(function)
            others = {name: ground.good(function, name) for name in required if name != argument}
            good = ground.good(function, argument)
            good = good if good is not None else {"text": "a", "text[]": ["a"], "jsonb": {"a": "b"}}[kind]
            for string in STRINGS:
                for value in poisoned(good, string):
                    error = outcome(call, function, ada if who == "user" else None, others | {argument: value})
                    assert error is None or is_clean(error), (function, argument, value, error)

    assert len(seen) > (6 if who == "user" else 25)
    assert everything_of(database, bob) == before
    database.check_money()


@pytest.mark.parametrize("string", STRINGS, ids=[f"string {number}" for number in range(len(STRINGS))])
def test_what_looks_like_sql_is_kept_as_it_is(ground: Ground, string: str) -> None:
    database, (ada, _) = ground.database, ground.users
    said = {"p_subject": string, "p_title": string, "p_metadata": {string: string}, "p_content": f"Say {string}"}
    row = database.rpc("create_translation_job", ada, p_target_languages=["es"], **said)
    found = database.rpc("list_translation_jobs", ada, p_subject=string)
    searched = database.rpc("list_translation_jobs", ada, p_search=string, p_limit=100)
    term = {"p_source_language": "en", "p_target_language": "es", "p_term": string, "p_translation": string}
    number = database.rpc("set_translation_term", ada, **term)

    assert (row["subject"], row["title"], row["metadata"]) == (string, string, {string: string})
    assert database.rpc("get_translation_source", ada, p_job_id=row["id"]) == f"Say {string}"
    assert row["id"] in [job["id"] for job in found]
    assert {job["subject"] for job in found} == {string}
    assert row["id"] in [job["id"] for job in searched]
    assert database.value("select term from public.translation_glossary where id = %s", number) == string


# The doors before it


def is_understood(answer: Answer) -> bool:
    """Whether the gateway made a statement that Postgres could read, or none at all."""
    return answer.status < 500 and b'"42601"' not in answer.body


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("who", ["ada", "service"])
async def test_the_gateway_takes_no_part_of_a_request_for_sql(doors: Doors, who: str) -> None:
    project = doors.project
    before = everything_of(project.database, project.ids["bob"])
    headers = project.headers(who)
    for string in STRINGS:
        part = quote(string, safe="")
        for path in (
            part,
            f"rpc/{part}",
            f"translation_jobs?select={part}",
            f"translation_jobs?select=id,a:{part}->>b",
            f"translation_jobs?order={part}.desc",
            f"translation_jobs?{part}=eq.1",
            f"translation_jobs?title=eq.{part}",
            f"translation_jobs?title=ilike.{part}",
            f"translation_jobs?title=in.({part})",
            f"translation_jobs?title={part}.1",
            f"translation_jobs?or=({part})",
            f"translation_jobs?id=eq.{part}",
            f"translation_jobs?limit={part}",
            f"rpc/count_translation_jobs?p_subject={part}",
            f"rpc/count_translation_jobs?{part}=1",
        ):
            answer = await doors.rest("GET", path, headers)
            assert is_understood(answer), (path, answer.body)
            assert answer.status != 200 or project.ids["bob"].encode() not in answer.body or who == "service"
        for path, body in (
            (f"translation_glossary?columns={part}", {"term": "x"}),
            (f"translation_glossary?on_conflict={part}", {"term": "x"}),
            ("translation_glossary", {string: string}),
            ("rpc/count_translation_jobs", {string: string}),
            ("rpc/count_translation_jobs", {"p_subject": string}),
        ):
            answer = await doors.rest("POST", path, {**headers, "Prefer": "resolution=merge-duplicates"}, json=body)
            assert is_understood(answer), (path, body, answer.body)

    assert everything_of(project.database, project.ids["bob"]) == before


@pytest.mark.asyncio(loop_scope="session")
async def test_the_api_takes_no_part_of_a_request_for_sql(doors: Doors) -> None:
    project = doors.project
    tokens = {who: project.keys.sign(project.claims(who)) for who in ("ada", "operator")}
    before = [everything_of(project.database, project.ids[who]) for who in ("ada", "bob")]
    texts = ["subject", "search", "status", "job_type", "since", "before_seq", "until", "class", "user_id", "range"]
    for string in STRINGS:
        part = quote(string, safe="")
        for who, path in (
            *(("ada", f"/api/jobs?{name}={part}") for name in texts),
            *(
                ("ada", f"/api/jobs/{place}")
                for place in (part, f"{part}/source", f"{project.done['ada']}/items/{part}")
            ),
            *(("operator", f"/api/ops/{at}?{name}={part}") for at in ("jobs", "series") for name in texts),
        ):
            answer = await doors.ask("GET", path, tokens[who])
            assert answer.status < 500, (path, answer.body)
        for who, path, body in (
            ("ada", "/api/jobs", {"content": "x", "target_languages": [string]}),
            ("ada", "/api/jobs", {"content": "x", "target_languages": ["es"], "source_language": string}),
            ("ada", "/api/jobs", {"content": "x", "target_languages": ["es"], "after": [string]}),
            ("ada", f"/api/jobs/{part}/retry", {}),
            ("operator", "/api/ops/actions", {"action": string, "job_ids": [string]}),
            ("operator", f"/api/ops/failures/{part}/retry", {}),
            ("operator", f"/api/ops/triggers/{part}/run", {}),
            (INTERNAL_KEY, "/api/internal/jobs", {"trigger": string}),
            (INTERNAL_KEY, "/api/internal/jobs", {"kind": "admin", "job_type": string, "content": string}),
        ):
            answer = await doors.ask("POST", path, tokens.get(who, who), json=body)
            assert 400 <= answer.status < 500, (path, body, answer.status, answer.body)

    assert [everything_of(project.database, project.ids[who]) for who in ("ada", "bob")] == before
