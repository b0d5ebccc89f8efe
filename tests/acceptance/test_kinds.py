"""Other kinds of work on the same rails: SQL functions side by side, calls to endpoints, caches told afterwards."""

import asyncio
import base64
import hashlib
import hmac
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

import httpx
import pytest

from tests.acceptance.conftest import Workers
from tests.acceptance.test_corridor import LISTENING, ended, job
from tests.support import processes
from tests.support.database import Database, Row
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)

# Each waits until five of them have begun: one after the other, the first would never end.
STATISTICS = """
create sequence public.begun;
grant usage, select on sequence public.begun to service_role;
do $do$
begin
  for n in 0..9 loop
    execute format($f$
      create function public.statistics_%1$s(season int, broken boolean default false) returns jsonb
      language plpgsql set statement_timeout = '50s' as $b$
      begin
        perform nextval('public.begun');
        while (select last_value from public.begun) < 5 loop perform pg_sleep(0.01); end loop;
        if broken then
          raise exception using errcode = 'PT422', message = 'No matches were played.';
        end if;
        return jsonb_build_object('table', %1$s, 'season', season);
      end $b$;
      grant execute on function public.statistics_%1$s(int, boolean) to service_role;
      $f$, n);
    insert into public.translation_sql_functions (name) values ('statistics_' || n);
  end loop;
end $do$;
"""
GONE = """
truncate public.translation_sql_functions, public.translation_http_endpoints;
drop sequence if exists public.begun;
do $do$ begin for n in 0..9 loop execute format('drop function if exists public.statistics_%s', n); end loop; end $do$;
"""


class Outside:
    """The endpoint's process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def calls(self) -> list[Row]:
        """What it was asked so far."""
        calls: list[Row] = httpx.get(f"{self.url}/calls", timeout=20).json()
        return calls


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.endpoint"),
        cwd=processes.ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            url = (await process.stdout.readline()).decode().strip()
        yield Outside(url)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture
def listed(project: Database) -> Iterator[Callable[..., None]]:
    """Lists endpoints by name and address."""

    def add(**endpoints: str) -> None:
        for name, url in endpoints.items():
            project.run(
                """insert into public.translation_http_endpoints (name, url, allow_private) values (%s, %s, true)""",
                name,
                url,
            )

    project.run(GONE)
    yield add
    project.run(GONE)


async def test_ten_functions_run_side_by_side_and_then_the_caches_are_told(
    project: Database, workers: Workers, outside: Outside, listed: Callable[..., None]
) -> None:
    """One function fails and so does one cache: each is reported where it happened, and neither harms the rest."""
    project.run(STATISTICS)
    listed(site=f"{outside.url}/site", feed=f"{outside.url}/broken")
    names = [f"statistics_{n}" for n in range(10)]
    secrets = {"HTTP_TOKENS": "site=site-token,feed=feed-token", "HTTP_SECRETS": "site=a-long-secret"}
    async with workers.start(MAX_CONCURRENT_LANGUAGES="5", **secrets) as worker:
        await worker.says(LISTENING)
        row = project.rpc(
            "enqueue_translation_job",
            p_job_type="sql_functions",
            p_content={"args": {"season": 7}, "each": {"statistics_3": {"broken": True}}},
            p_items=names,
            p_options={"invalidate": {"endpoints": ["site", "feed"], "tags": ["league:7"]}},
            p_subject="league:7",
            p_correlation_id="sunday",
        )
        invalidation = str(project.value("select id from public.translation_jobs where job_type = 'http'"))
        statistics, caches = await ended(project, row["id"], invalidation, seconds=60)

    items = {item["item"]: item for item in statistics["items"]}
    assert (statistics["status"], statistics["failed_items"]) == ("completed", 1)
    assert items["statistics_3"]["error"] == {"class": "bad_request", "message": "No matches were played."}
    assert [items[name]["status"] for name in names if name != "statistics_3"] == ["completed"] * 9
    result = project.rpc("get_translation_result", p_job_id=row["id"], p_item="statistics_9")["content"]
    assert result["result"] == {"table": 9, "season": 7}
    assert result["duration_ms"] >= 0

    told = {item["item"]: item for item in caches["items"]}
    assert (caches["status"], caches["failed_items"]) == ("completed", 1)
    assert told["site"]["status"] == "completed"
    assert told["feed"]["error"] == {"class": "bad_request", "message": "feed answered 422: The cache is away."}
    calls = {call["path"]: call for call in outside.calls()}
    assert sorted(calls) == ["/broken", "/site"]
    assert len(outside.calls()) == 2
    check_call(calls["/site"], row["id"], invalidation)
    assert not any("site-token" in line or "a-long-secret" in line for line in worker.lines)
    project.check_money()


def check_call(call: Row, parent: str, job_id: str) -> None:
    headers = call["headers"]
    assert headers["authorization"] == "Bearer site-token"
    assert headers["idempotency-key"] == f"{job_id}:site"
    assert headers["x-correlation-id"] == "sunday"
    assert json.loads(call["body"]) == {"tags": ["league:7"], "job_id": parent}
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{call['body']}".encode()
    digest = base64.b64encode(hmac.digest(b"a-long-secret", signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"


async def test_a_call_that_is_repeated_after_a_kill_carries_the_same_key(
    project: Database, workers: Workers, outside: Outside, listed: Callable[..., None]
) -> None:
    listed(patience=f"{outside.url}/patience")
    row = project.rpc("enqueue_translation_job", p_job_type="http", p_content={"endpoint": "patience"}, p_items=["42"])

    async with workers.start(WORKER_ID="killed") as worker:
        await until(outside.calls, "the endpoint is called", seconds=60)
        worker.signal(signal.SIGKILL)
        await worker.ended()
    async with workers.start(WORKER_ID="last"):
        (finished,) = await ended(project, row["id"], seconds=60)

    first, second = outside.calls()
    assert (finished["status"], finished["worker_id"]) == ("completed", "last")
    assert first["headers"]["idempotency-key"] == second["headers"]["idempotency-key"] == f"{row['id']}:42"
    assert project.rpc("get_translation_result", p_job_id=row["id"], p_item="42")["content"]["status"] == 200
    assert job(project, row["id"])["failed_items"] == 0
