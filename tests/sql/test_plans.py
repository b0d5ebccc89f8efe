"""
Every call reads the few rows it works on, whatever waits beside them: 50 000 pending, 20 000 ended, 10 000 for later.

Postgres counts, table by table. Twice: in a session that planned its statements while the tables were empty and that
has no statistics, as a pooled one may for hours, and in one that planned with them.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Row, outcomes
from worker.devstack.postgres import Cluster

Call = Callable[..., Any]

BATCH = 10
# Rows of one table that are read for one job: each statement of a call, and each foreign key, looks at it again.
PER_JOB = 16
# What is running now, and settings: a call may read all of it.
SMALL = {"translation_job_claims", "translation_job_types", "translation_languages", "translation_workers"}

CROWD = """
set session_replication_role = replica;
insert into auth.users (id) select md5('user ' || n)::uuid from generate_series(0, 4999) as n;
insert into public.translation_credits (user_id, balance) select id, 1000 from auth.users;
insert into public.translation_jobs (id, user_id, job_type, status, turn, content, content_chars, target_languages,
  run_at, ready_at, deadline_at, completed_at, idempotency_key, credits_reserved, credits_consumed, revision)
select md5('job ' || n)::uuid, case when n % 10 > 0 then md5('user ' || n % 5000)::uuid end,
  case when n % 1000 = 0 then 'http' else 'translation' end,
  status, case status when 'pending' then 2 + n / 5000 end, '"Hello"', 5, array['es', 'fr'],
  case status when 'scheduled' then now() + interval '1 day' + (n - 20000) * interval '1 minute' end,
  now(), now() + interval '30 days', case status when 'completed' then now() end, 'key ' || n,
  price, case status when 'completed' then price else 0 end, 1
from generate_series(1, 80000) as n
cross join lateral (select
  case when n <= 20000 then 'completed' when n <= 30000 then 'scheduled' else 'pending' end as status,
  case when n % 10 > 0 then 2 else 0 end as price) as kind;
insert into public.translation_job_items (job_id, item, position, user_id, status, price, credits)
select j.id, i.item, i.n, j.user_id, case j.status when 'completed' then 'completed' else 'pending' end,
  j.credits_reserved / 2, j.credits_reserved / 2
from public.translation_jobs j cross join lateral unnest(j.target_languages) with ordinality as i (item, n);
"""
# The counters of a session reach the view when it is told so, at the end of that call.
FLUSH = """
create function public.flush_counts() returns int language plpgsql
as $$ begin perform pg_stat_force_next_flush(); return 0; end $$;
grant execute on function public.flush_counts() to service_role;
"""
COUNTS = """
select t.relname as table, t.seq_scan as scans, t.n_tup_upd as updated, t.n_tup_hot_upd as hot,
  t.seq_tup_read + coalesce(sum(i.idx_tup_read), 0)::bigint as rows,
  coalesce(sum(i.idx_tup_read) filter (where i.indexrelname = 'translation_jobs_claim'), 0)::bigint as queue
from pg_stat_user_tables t left join pg_stat_user_indexes i using (relid)
where t.schemaname = 'public' group by t.relid, t.relname, t.seq_scan, t.n_tup_upd, t.n_tup_hot_upd, t.seq_tup_read
"""


class Crowd:
    """A project full of jobs, and one session in it."""

    def __init__(self, db: Database, call: Call) -> None:
        self.db = db
        self.call = call
        self.user = str(db.value("select md5('user 7')::uuid"))

    def count(self, function: str, as_: str | None, **params: Any) -> dict[str, Row]:
        """What a call does to each table it touches."""
        before = self._counts()
        self.call(function, as_, **params)
        after = self._counts()
        moved = {table: {name: after[table][name] - before[table][name] for name in after[table]} for table in after}
        return {table: numbers for table, numbers in moved.items() if any(numbers.values())}

    def _counts(self) -> dict[str, Row]:
        self.call("flush_counts", None)
        return {row.pop("table"): row for row in self.db.run(COUNTS)}

    # Arguments of the calls

    def claimed(self, count: int = BATCH) -> list[Row]:
        function, arguments = claim(self, count)
        jobs: list[Row] = self.call(function, None, **arguments)
        assert len(jobs) == count
        return jobs

    def created(self, **more: Any) -> str:
        request = {"p_content": "Hello", "p_target_languages": ["es", "fr"]} | more
        return str(self.call("create_translation_job", self.user, **request)["id"])


Named = tuple[str, dict[str, Any]]


def claim(crowd: Crowd, count: int = BATCH, job_type: str = "translation") -> Named:
    name = {"p_worker_id": "w1", "p_claim_id": str(uuid.uuid4()), "p_lease_ms": 3_600_000}
    return "claim_translation_jobs", name | {"p_limit": count, "p_job_types": [job_type]}


def claim_after_another(crowd: Crowd) -> Named:
    """The one before clears the head of the queue of what others have left there."""
    crowd.claimed()
    return claim(crowd)


def claim_of_a_rare_type(crowd: Crowd) -> Named:
    return claim(crowd, BATCH, "http")


def record(crowd: Crowd) -> Named:
    results = [entry for job in crowd.claimed() for entry in outcomes(job, "completed")]
    return "record_translation_results", {"p_worker_id": "w1", "p_results": results}


def record_to_be_tried_again(crowd: Crowd) -> Named:
    results = [entry for job in crowd.claimed() for entry in outcomes(job, "retry", retry_after_ms=3_600_000)]
    return "record_translation_results", {"p_worker_id": "w1", "p_results": results}


def heartbeat(crowd: Crowd) -> Named:
    jobs = crowd.claimed()
    report = {"job_types": ["translation"], "leases": leases(jobs), "progress": progress(jobs, 10)}
    return "heartbeat_translation_worker", {"p_worker_id": "w1", "p_report": report}


def heartbeat_that_promotes(crowd: Crowd) -> Named:
    for _ in range(BATCH):
        crowd.created(p_run_at=crowd.db.value("select translation_private.clock() + interval '1 minute'"))
    crowd.db.forward("61 seconds")
    return "heartbeat_translation_worker", {"p_worker_id": "w1", "p_report": {"job_types": ["translation"]}}


def rescue(crowd: Crowd) -> Named:
    lost = [job["job_id"] for job in crowd.claimed()]
    crowd.db.run("update public.translation_job_claims set lease_until = '-infinity' where job_id = any (%s)", lost)
    return "rescue_translation_jobs", {"p_limit": BATCH}


def release(crowd: Crowd) -> Named:
    return "release_translation_jobs", {"p_worker_id": "w1", "p_leases": leases(crowd.claimed())}


def create(crowd: Crowd) -> Named:
    request = {"p_content": "Hello", "p_target_languages": ["es"], "p_idempotency_key": str(uuid.uuid4())}
    return "create_translation_job", request


def create_again(crowd: Crowd) -> Named:
    function, request = create(crowd)
    crowd.call(function, crowd.user, **request)
    return function, request


def create_again_for_nobody(crowd: Crowd) -> Named:
    request = {"p_job_type": "http", "p_content": {}, "p_idempotency_key": str(uuid.uuid4())}
    crowd.call("enqueue_translation_job", None, **request)
    return "enqueue_translation_job", request


def cancel(crowd: Crowd) -> Named:
    return "cancel_translation_job", {"p_job_id": crowd.created()}


def retry(crowd: Crowd) -> Named:
    job = crowd.created()
    crowd.call("cancel_translation_job", crowd.user, p_job_id=job)
    return "retry_translation_job", {"p_job_id": job}


def page(crowd: Crowd) -> Named:
    return "list_translation_jobs", {"p_limit": BATCH}


def page_of_one_state(crowd: Crowd) -> Named:
    return "list_translation_jobs", {"p_limit": BATCH, "p_status": ["completed"]}


def page_of_one_type(crowd: Crowd) -> Named:
    return "list_translation_jobs", {"p_limit": BATCH, "p_job_type": "translation"}


def credit(crowd: Crowd) -> Named:
    return "get_translation_credits", {}


Prepare = Callable[[Crowd], Named]
WORKER: list[Prepare] = [claim_after_another, claim_of_a_rare_type, record, record_to_be_tried_again, release]
BEAT: list[Prepare] = [heartbeat, heartbeat_that_promotes, rescue]
USER: list[Prepare] = [create, create_again, cancel, retry, page, page_of_one_state, page_of_one_type, credit]
OWNER: list[Prepare] = [create_again_for_nobody, page]
CASES = (
    [("worker", case) for case in WORKER + BEAT]
    + [("user", case) for case in USER]
    + [("owner", case) for case in OWNER]
)


def leases(jobs: list[Row]) -> list[Row]:
    return [{"job_id": job["job_id"], "token": job["token"]} for job in jobs]


def progress(jobs: list[Row], percent: int) -> list[Row]:
    items = [{"item": "es", "chunks_done": percent, "chunks_total": 100}]
    return [lease | {"progress": percent, "message": f"{percent} %", "items": items} for lease in leases(jobs)]


@pytest.fixture(scope="module")
def full(cluster: Cluster, template: str) -> Iterator[tuple[Database, Call]]:
    """The full project, with a session that has made every call before anything was in it."""
    asyncio.run(cluster.create_database("crowd", template))
    with psycopg.connect(cluster.url(), autocommit=True) as admin:
        admin.execute("alter database crowd owner to postgres")
    with ExitStack() as stack:
        db = Database(cluster.url("postgres", "crowd"), cluster.url(database="crowd"))
        stack.callback(lambda: asyncio.run(cluster.drop_database("crowd")))
        stack.callback(db.close)
        db.run(FLUSH)
        call = stack.enter_context(db.caller())
        plan_on_nothing(Crowd(db, call))
        with psycopg.connect(db.admin_url, autocommit=True) as admin:
            admin.execute(CROWD)
        yield db, call


def plan_on_nothing(crowd: Crowd) -> None:
    """Every call, more often than the five times after which Postgres keeps a plan."""
    tables = [
        row["relname"] for row in crowd.db.run("select relname from pg_stat_user_tables where schemaname = 'public'")
    ]
    for table in tables:  # the statistics come when the test says so
        crowd.db.run(f"alter table public.{table} set (autovacuum_enabled = off)")
    crowd.db.run("update public.translation_job_types set price = 1, creates_per_minute = 100000")
    crowd.db.run("insert into auth.users (id) values (%s)", crowd.user)
    crowd.call("grant_translation_credits", None, p_user_id=crowd.user, p_amount=10_000)
    waiting = "select count(*)::int from public.translation_jobs where status = 'pending'"
    for _ in range(7):
        for who, prepare in CASES:
            for _ in range(BATCH - crowd.db.value(waiting)):
                crowd.created()
            function, arguments = prepare(crowd)
            crowd.call(function, crowd.user if who == "user" else None, **arguments)
    crowd.db.run("delete from public.translation_jobs where true")
    crowd.db.run("delete from auth.users where true")
    crowd.db.run("delete from public.translation_credits where true")
    crowd.db.run("update translation_private.test_clock set ahead = '0'")


@pytest.fixture(scope="module", params=["planned when empty", "planned with statistics"])
def crowd(full: tuple[Database, Call], request: pytest.FixtureRequest) -> Iterator[Crowd]:
    db, call = full
    if request.param == "planned when empty":
        yield Crowd(db, call)
        return
    db.run("analyze public.translation_jobs, public.translation_job_items, public.translation_job_attempts")
    with db.caller() as fresh:
        yield Crowd(db, fresh)


@pytest.mark.parametrize(("who", "prepare"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_call_reads_only_what_it_works_on(crowd: Crowd, who: str, prepare: Prepare) -> None:
    function, arguments = prepare(crowd)

    counts = crowd.count(function, crowd.user if who == "user" else None, **arguments)

    assert counts
    for table, did in counts.items():
        assert table in SMALL or did["scans"] == 0, f"{table} is read whole"
        assert table in SMALL or did["rows"] <= PER_JOB * BATCH, f"{did['rows']} rows of {table}"


def test_a_claim_looks_at_the_head_of_the_queue_only(crowd: Crowd) -> None:
    function, arguments = claim_after_another(crowd)

    counts = crowd.count(function, None, **arguments)

    assert BATCH <= counts["translation_jobs"]["queue"] <= 4 * BATCH


def test_a_renewal_of_leases_writes_no_job_and_no_item(crowd: Crowd) -> None:
    report = {"job_types": ["translation"], "leases": leases(crowd.claimed())}

    counts = crowd.count("heartbeat_translation_worker", None, p_worker_id="w1", p_report=report)

    assert {table for table, did in counts.items() if did["updated"]} == {
        "translation_workers",
        "translation_job_claims",
    }


def test_progress_stays_on_its_page(crowd: Crowd) -> None:
    jobs = crowd.claimed(100)
    updated = hot = 0
    for percent in range(1, 21):
        results = progress(jobs, percent)
        did = crowd.count("record_translation_results", None, p_worker_id="w1", p_results=results)["translation_jobs"]
        updated, hot = updated + did["updated"], hot + did["hot"]

    assert updated == 20 * len(jobs)
    assert hot / updated >= 0.7
