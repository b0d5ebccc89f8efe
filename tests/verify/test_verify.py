"""Every fault that is planted is found, its cure is named, and the cure cures."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.conftest import INSTALL
from tests.verify.conftest import Sql
from worker.devstack.stack import Stack
from worker.store import SCHEMA_VERSION
from worker.verify import Finding, verify

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(60)]

EVENT_SECONDS = 1.5
PROBE_LEFT = """
select (select count(*) from public.translation_jobs) + (select count(*) from public.translation_workers)
     + (select count(*) from public.translation_job_types where name like 'translation_probe%')
     + (select count(*) from public.translation_credit_ledger)
"""


@pytest.fixture(autouse=True)
def behaved(stack: Stack) -> Iterator[None]:
    yield
    stack.faults.clear()


async def found(stack: Stack, *, url: str = "", key: str = "", **more: Any) -> dict[str, Finding]:
    findings = verify(url or stack.urls.url, key or stack.urls.secret_key, event_seconds=EVENT_SECONDS, **more)
    return {finding.name: finding async for finding in findings}


def wrong(findings: dict[str, Finding]) -> set[str]:
    return {name for name, finding in findings.items() if finding.ok is False}


async def test_a_healthy_project_passes_and_keeps_no_trace(stack: Stack) -> None:
    findings = await found(stack)

    assert wrong(findings) == set()
    assert {name for name, finding in findings.items() if finding.ok is None} == {"workers", "queues"}
    assert all(not finding.cure for finding in findings.values())
    assert await count(stack, PROBE_LEFT) == 0


async def count(stack: Stack, query: str) -> int:
    async with await psycopg.AsyncConnection.connect(stack.urls.admin_database_url) as connection:
        row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True)
class Planted:
    name: str
    """The finding that must tell."""
    fault: str
    says: str
    cure: str
    """A part of it. `worker sql` is cured by running the script, a statement by running it."""
    others: set[str] = field(default_factory=set)
    """What else cannot be well then."""
    undo: str = ""
    """Where a switch of the dashboard is the cure."""


SQL_AGAIN = "worker sql"
CLAIM = "public.claim_translation_jobs(text,integer,integer,text[],uuid,text,jsonb,jsonb)"
GRANT_CREDITS = "public.grant_translation_credits(uuid,integer,text,text)"
PRICE = """create or replace function public.price_translation_item(
             p_job_type text, p_content_kind text, p_chars int, p_item text, p_options jsonb) returns int
           language {} stable set search_path = '' as $f$ {} $f$"""
SHIPPED_PRICE = PRICE.format("sql", "select price from public.translation_job_types where name = p_job_type")
VERSION = "create or replace function translation_private.schema_version() returns int language sql immutable"

PLANTED = [
    Planted(
        "sql", f"{VERSION} set search_path = '' as 'select 0'", "version 0", SQL_AGAIN, {"functions", "probe: work"}
    ),
    Planted(
        "functions",
        """create or replace function translation_private.without_region(p_tag text) returns text
           language sql immutable set search_path = '' as 'select p_tag'""",
        "without_region(text) is not the shipped one",
        SQL_AGAIN,
    ),
    Planted(
        "functions",
        "alter function public.release_translation_jobs(text, jsonb) reset search_path",
        "release_translation_jobs(text,jsonb) is not the shipped one",
        SQL_AGAIN,
    ),
    Planted(
        "functions",
        "alter function translation_private.clock() security definer",
        "clock() is not the shipped one",
        "alter function translation_private.clock() security invoker",
        undo="alter function translation_private.clock() security invoker",
    ),
    Planted(
        "functions",
        "drop function public.count_translation_jobs(text)",
        "count_translation_jobs(text) is missing",
        SQL_AGAIN,
    ),
    Planted(
        "functions",
        "create function public.cancel_translation_job(text) returns int language sql as 'select 1'",
        "public.cancel_translation_job(text) is there beside",
        "drop function public.cancel_translation_job(text);",
    ),
    Planted(
        "function grants",
        f"revoke execute on function {CLAIM} from service_role",
        "service_role may not call public.claim_translation_jobs",
        f"grant execute on function {CLAIM} to service_role;",
        {"probe: work"},
    ),
    Planted(
        "function grants",
        "revoke execute on function public.get_translation_job(uuid) from authenticated",
        "authenticated may not call public.get_translation_job(uuid)",
        "grant execute on function public.get_translation_job(uuid) to authenticated;",
    ),
    Planted(
        "function grants",
        "grant execute on function public.cancel_translation_job(uuid) to anon",
        "anon may call public.cancel_translation_job(uuid)",
        "revoke execute on function public.cancel_translation_job(uuid) from public, anon;",
    ),
    Planted(
        "function grants",
        f"grant execute on function {GRANT_CREDITS} to authenticated",
        "authenticated may call public.grant_translation_credits",
        f"revoke execute on function {GRANT_CREDITS} from public, authenticated;",
    ),
    Planted(
        "tables",
        "drop view public.translation_jobs_overview",
        "translation_jobs_overview is missing",
        SQL_AGAIN,
    ),
    Planted(
        "row security",
        "alter table public.translation_memory disable row level security",
        "off on translation_memory",
        "alter table public.translation_memory enable row level security;",
    ),
    Planted(
        "row security",
        "alter view public.translation_jobs_overview reset (security_invoker)",
        "off on translation_jobs_overview",
        SQL_AGAIN,
    ),
    Planted(
        "policies",
        "create policy everybody on public.translation_jobs for select to authenticated using (true)",
        "translation_jobs has the policy everybody (permissive select authenticated using true)",
        'drop policy "everybody" on public.translation_jobs;',
    ),
    Planted(
        "policies",
        "alter policy translation_glossary_own on public.translation_glossary using (true)",
        "translation_glossary_own of translation_glossary is not the shipped one",
        SQL_AGAIN,
    ),
    Planted(
        "policies",
        "drop policy translation_jobs_own on public.translation_jobs",
        "translation_jobs lacks the policy translation_jobs_own",
        SQL_AGAIN,
    ),
    Planted(
        "table grants",
        "grant select on table public.translation_jobs to anon",
        "anon may select on translation_jobs",
        "revoke select on table public.translation_jobs from public, anon;",
    ),
    Planted(
        "table grants",
        "grant update on table public.translation_credits to authenticated",
        "authenticated may update on translation_credits",
        "revoke update on table public.translation_credits from public, authenticated;",
    ),
    Planted(
        "table grants",
        "grant select (token) on table public.translation_job_attempts to authenticated",
        "authenticated may select translation_job_attempts.token",
        'revoke select ("token") on table public.translation_job_attempts from public, authenticated;',
    ),
    Planted(
        "table grants",
        "revoke select (outcome) on table public.translation_job_attempts from authenticated",
        "authenticated may not select translation_job_attempts.outcome",
        'grant select ("outcome") on table public.translation_job_attempts to authenticated;',
    ),
    Planted(
        "table grants",
        "revoke select on table public.translation_jobs from authenticated",
        "authenticated may not select on translation_jobs",
        "grant select on table public.translation_jobs to authenticated;",
    ),
    Planted(
        "triggers",
        "alter table public.translation_jobs disable trigger translation_jobs_announce",
        "translation_jobs_announce of translation_jobs is missing or disabled",
        "alter table public.translation_jobs enable trigger translation_jobs_announce;",
        {"road: broadcast"},
    ),
    Planted(
        "triggers",
        "drop trigger translation_credit_ledger_append_only on public.translation_credit_ledger",
        "translation_credit_ledger_append_only of translation_credit_ledger is missing",
        SQL_AGAIN,
    ),
    Planted(
        "publication",
        "alter publication supabase_realtime drop table public.translation_jobs",
        "translation_jobs is not published",
        "alter publication supabase_realtime add table public.translation_jobs;",
        {"change capture"},
    ),
    Planted(
        "publication",
        "alter publication supabase_realtime drop table public.translation_workers",
        "translation_workers is not published",
        "alter publication supabase_realtime add table public.translation_workers;",
        {"change capture"},
    ),
    Planted(
        "publication",
        "alter publication supabase_realtime add table public.translation_job_claims",
        "translation_job_claims is published",
        "alter publication supabase_realtime drop table public.translation_job_claims;",
    ),
    Planted(
        "publication",
        "alter publication supabase_realtime set (publish = 'update, delete')",
        "inserts are not published",
        "alter publication supabase_realtime set (publish = 'insert, update, delete, truncate');",
        {"road: changes", "heartbeat row"},
    ),
    Planted(
        "realtime.send",
        "alter function realtime.send(jsonb, text, text, boolean) rename to sent",
        "cannot broadcast",
        "restart the project",
        {"road: broadcast"},
        undo="alter function realtime.sent(jsonb, text, text, boolean) rename to send",
    ),
    Planted(
        "private topic",
        "revoke select on realtime.messages from service_role",
        "Unauthorized",
        "create policy translation_workers_listen on realtime.messages",
        undo="grant select on realtime.messages to service_role",
    ),
    Planted(
        "price", PRICE.format("sql", "select null::int"), "says None", "price_translation_item", undo=SHIPPED_PRICE
    ),
    Planted("price", PRICE.format("sql", "select 1 / 0"), "fails", "price_translation_item", undo=SHIPPED_PRICE),
    Planted(
        "price",
        """insert into public.translation_credits (user_id, balance)
           values ('00000000-0000-0000-0000-000000000001', 5)""",
        "users hold credits",
        "update public.translation_job_types set price = 1 where name = 'translation';",
        undo="""delete from public.translation_credits where balance = 5;
                update public.translation_job_types set price = 0 where name = 'translation'""",
    ),
    Planted(
        "price",
        "update public.translation_job_types set enabled = false where name = 'translation'",
        "switched off",
        "update public.translation_job_types set enabled = true where name = 'translation';",
    ),
    Planted(
        "workers",
        """insert into public.translation_workers (id, mode, last_seen_at)
           values ('w''1', 'realtime', now() - interval '2 minutes')""",
        "w'1 has been silent for 12",
        "delete from public.translation_workers where id in ('w''1');",
    ),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: f"{planted.name}: {planted.says}")
async def test_a_fault_in_the_database_is_found_and_its_cure_cures(
    stack: Stack, editor: Sql, admin: Sql, planted: Planted
) -> None:
    admin(planted.fault)
    try:
        findings = await found(stack)
        told = findings[planted.name]

        assert wrong(findings) == {planted.name} | planted.others
        assert planted.says in told.said
        if not planted.cure.startswith("alter function translation_private.clock"):
            assert planted.cure in told.cure
    finally:
        if planted.undo:
            admin(planted.undo)
        elif planted.cure == SQL_AGAIN:
            editor(INSTALL)
        else:
            editor(planted.cure)
    assert wrong(await found(stack)) == set()


@pytest.mark.parametrize(
    ("fault", "name", "says", "cure"),
    [
        (
            {"join_error": "RealtimeDisabledForTenant: off"},
            "realtime",
            "RealtimeDisabledForTenant",
            "Switch Realtime on",
        ),
        ({"join_error": "InvalidJWTToken: bad"}, "realtime", "InvalidJWTToken", "SUPABASE_SECRET_KEY"),
        ({"upgrade_status": 403}, "realtime", "HTTP 403", "Realtime is switched off"),
        ({"refuse": "realtime"}, "realtime", "", "websockets"),
        ({"drop_system_ok": True}, "change capture", "no system ok", "supabase_realtime add table"),
        ({"mute_broadcasts": True}, "road: broadcast", "not heard within 1.5 s", "realtime.send"),
        ({"mute_table": "translation_jobs"}, "road: changes", "not heard within 1.5 s", "Restart the project"),
        ({"mute_table": "translation_workers"}, "heartbeat row", "did not come back", "Restart the project"),
    ],
    ids=str,
)
async def test_a_fault_of_realtime_is_found_and_the_rest_is_tried_all_the_same(
    stack: Stack, fault: dict[str, Any], name: str, says: str, cure: str
) -> None:
    stack.faults.order(**fault)

    findings = await found(stack)

    assert wrong(findings) == {name}
    assert says in findings[name].said
    assert cure in findings[name].cure
    assert findings["probe: work"].ok is True
    assert findings["probe: remove"].ok is True


def token(stack: Stack, role: str, **claims: Any) -> str:
    expires = datetime.now(UTC) + timedelta(hours=1)
    return stack.keys.sign({"role": role, "exp": round(expires.timestamp()), **claims}, algorithm="HS256")


async def test_a_service_role_key_of_the_old_kind_will_do(stack: Stack) -> None:
    assert wrong(await found(stack, key=token(stack, "service_role"))) == set()


async def test_a_key_that_may_do_nothing_is_called_by_its_kind(stack: Stack) -> None:
    kinds = {
        stack.urls.publishable_key: "publishable",
        token(stack, "anon"): "speaks for anon",
        token(stack, "service_role", exp=1_600_000_000): "expired",
        "secret": "no key of a Supabase project",
    }
    for key, says in kinds.items():
        findings = await found(stack, key=key)

        assert {"key", "role"} & wrong(findings) == {"key", "role"}
        assert says in findings["key"].said
        assert "secret key (sb_secret_…): dashboard" in findings["key"].cure
        assert findings["everything else"].ok is None


async def test_a_secret_key_of_another_project_is_told_from_a_wrong_address(stack: Stack) -> None:
    findings = await found(stack, key="sb_secret_of_another_project")

    assert wrong(findings) == {"role"}
    assert "refuses the key" in findings["role"].said
    assert "SUPABASE_SECRET_KEY" in findings["role"].cure


async def test_an_address_where_nobody_answers(stack: Stack) -> None:
    findings = await found(stack, url="http://127.0.0.1:9")

    assert wrong(findings) == {"address"}
    assert "SUPABASE_URL does not answer" in findings["address"].cure


async def test_an_address_where_somebody_else_answers(stack: Stack) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<h1>Welcome</h1>", content_type="text/html")

    site = web.Application()
    site.router.add_route("*", "/{path:.*}", page)
    async with TestServer(site) as server:
        findings = await found(stack, url=str(server.make_url("")).rstrip("/"))

    assert wrong(findings) == {"address"}
    assert "something else answers" in findings["address"].said
    assert "SUPABASE_URL" in findings["address"].cure


async def test_a_project_that_refuses_everything_for_now(stack: Stack) -> None:
    stack.faults.order(rest_status=503)

    findings = await found(stack)

    assert wrong(findings) == {"address"}
    assert "503" in findings["address"].said


async def test_a_project_without_the_script_or_without_the_right_to_look(stack: Stack, editor: Sql) -> None:
    look = "public.translation_self_check()"
    editor(f"alter function {look} rename to hidden")
    try:
        missing = await found(stack)
    finally:
        editor("alter function public.hidden() rename to translation_self_check")
    editor(f"revoke execute on function {look} from service_role")
    try:
        forbidden = await found(stack)
    finally:
        editor(f"grant execute on function {look} to service_role")

    assert wrong(missing) == {"sql"}
    assert "worker sql" in missing["sql"].cure
    assert wrong(forbidden) == {"role"}
    assert "grant execute on function public.translation_self_check() to service_role;" in forbidden["role"].cure


@pytest.mark.parametrize(("seconds", "way"), [(60, "60 s ahead of"), (-3600, "3600 s behind")])
async def test_a_clock_that_is_wrong_is_found(stack: Stack, seconds: int, way: str) -> None:
    findings = await found(stack, now=lambda: datetime.now(UTC) + timedelta(seconds=seconds))

    assert wrong(findings) == {"clock"}
    assert way in findings["clock"].said
    assert "NTP" in findings["clock"].cure


async def test_what_a_killed_probe_left_goes_with_the_next_one(stack: Stack, editor: Sql) -> None:
    editor("select public.start_translation_probe('translation_probe_00000000000000aa')")
    editor("update public.translation_jobs set created_at = now() - interval '11 minutes' where true")

    assert wrong(await found(stack)) == set()
    assert await count(stack, PROBE_LEFT) == 0


async def test_what_an_owner_may_replace_is_no_drift(stack: Stack, editor: Sql) -> None:
    editor(PRICE.format("sql", "select 3"))
    try:
        findings = await found(stack)
    finally:
        editor(SHIPPED_PRICE)

    assert wrong(findings) == set()
    assert findings["price"].said.startswith("3 ")


async def test_a_newer_script_is_not_compared_and_may_be_newer_by_one(stack: Stack, editor: Sql) -> None:
    told = {}
    for ahead in (1, 2):
        editor(f"{VERSION} set search_path = '' as 'select {SCHEMA_VERSION + ahead}'")
        try:
            told[ahead] = await found(stack)
        finally:
            editor(INSTALL)

    assert (wrong(told[1]), wrong(told[2])) == (set(), {"sql"})
    assert told[1]["functions"].ok is told[2]["functions"].ok is None
    assert "newer" in told[1]["sql"].said
    assert "Start a newer worker" in told[2]["sql"].cure


async def test_a_self_check_that_was_changed_is_not_believed(stack: Stack, editor: Sql) -> None:
    editor("alter function public.translation_self_check() rename to shipped_self_check")
    editor(
        """create function public.translation_self_check() returns jsonb language sql stable set search_path = ''
           as $$ select public.shipped_self_check() - 'job_types' - 'workers' $$;
           grant execute on function public.translation_self_check() to service_role"""
    )
    try:
        findings = await found(stack)
    finally:
        editor("drop function public.translation_self_check()")
        editor("alter function public.shipped_self_check() rename to translation_self_check")
        editor(INSTALL)

    assert "functions" in wrong(findings)
    assert "translation_self_check() is not the shipped one" in findings["functions"].said
    assert findings["policies"].ok is None
    assert findings["price"].ok is None
