"""
Every call reads the few rows it works on, whatever waits beside them: 50 000 pending, 20 000 ended, 10 000 for later.

Postgres counts, table by table. Three times: in a session that planned its statements while the tables were empty and
that has no statistics, as a pooled one may for hours; in one that planned when everything had been worked off, and by
the statistics nothing waits or runs; and in one that planned with true ones.
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
# A list is put together from a page for each of eight states and three types.
PER_PLACE = 24
# What is running now, and settings: a call may read all of it.
SMALL = {
    "translation_job_claims",
    "translation_job_types",
    "translation_languages",
    "translation_workers",
    "translation_queues",
}

USERS = """
insert into auth.users (id) select md5('user ' || n)::uuid from generate_series(0, 4999) as n on conflict do nothing;
insert into public.translation_credits (user_id, balance) select id, 1000 from auth.users on conflict do nothing;
"""
# Jobs by number: 20 000 completed, 10 000 scheduled, 50 000 pending.
CROWD = """
set session_replication_role = replica;
insert into public.translation_jobs (id, user_id, job_type, status, turn, content, content_chars, target_languages,
  run_at, ready_at, deadline_at, completed_at, idempotency_key, credits_reserved, credits_consumed, revision)
select md5('job ' || n)::uuid, case when n % 10 > 0 then md5('user ' || n % 5000)::uuid end,
  case when n % 1000 = 0 then 'chore' else 'translation' end,
  status, case status when 'pending' then 2 + n / 5000 end, '"Hello"', 5, array['es', 'fr'],
  case status when 'scheduled' then now() + interval '1 day' + (n - 20000) * interval '1 minute' end,
  now(), now() + interval '30 days', case status when 'completed' then now() end, 'key ' || n,
  price, case status when 'completed' then price else 0 end, 1
from generate_series({first}, {last}) as n
cross join lateral (select
  case when n <= 20000 then 'completed' when n <= 30000 then 'scheduled' else 'pending' end as status,
  case when n % 10 > 0 then 2 else 0 end as price) as kind;
insert into public.translation_job_items (job_id, item, position, user_id, status, price, credits)
select j.id, i.item, i.n, j.user_id, case j.status when 'completed' then 'completed' else 'pending' end,
  j.credits_reserved / 2, j.credits_reserved / 2
from generate_series({first}, {last}) as number
join public.translation_jobs j on j.id = md5('job ' || number)::uuid
cross join lateral unnest(j.target_languages) with ordinality as i (item, n);
reset session_replication_role;
"""
HISTORY = CROWD.format(first=1, last=20_000)
LIVE = CROWD.format(first=20_001, last=80_000)
# One statement of a call, under the settings of the calls.
ALONE = """
create function public.alone(p_statement text) returns int language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$ begin execute p_statement; return 0; end $$;
grant execute on function public.alone(text) to service_role;
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
        self.db.run("select pg_stat_force_next_flush()")  # else what was prepared comes in beside what is measured
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


def claim_of_a_rare_type(crowd: Crowd) -> Named:
    return claim(crowd, BATCH, "chore")


def record(crowd: Crowd) -> Named:
    results = [entry for job in crowd.claimed() for entry in outcomes(job, "completed")]
    return "record_translation_results", {"p_worker_id": "w1", "p_results": results}


def record_to_be_tried_again(crowd: Crowd) -> Named:
    results = [entry for job in crowd.claimed() for entry in outcomes(job, "retry", retry_after_ms=3_600_000)]
    return "record_translation_results", {"p_worker_id": "w1", "p_results": results}


def heartbeat(crowd: Crowd) -> Named:
    jobs = crowd.claimed()
    report = {
        "job_types": ["translation"],
        "leases": leases(jobs),
        "lease_ms": 3_600_000,
        "progress": progress(jobs, 10),
    }
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
    request = {"p_job_type": "chore", "p_content": {}, "p_idempotency_key": str(uuid.uuid4())}
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
WORKER: list[Prepare] = [claim, claim_of_a_rare_type, record, record_to_be_tried_again, release]
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


@pytest.fixture(
    scope="module", params=["planned without statistics", "planned when all was done", "planned with statistics"]
)
def crowd(cluster: Cluster, template: str, request: pytest.FixtureRequest) -> Iterator[Crowd]:
    """The full project, and a session that has made every call before: when, the parameter says."""
    asyncio.run(cluster.create_database("crowd", template))
    with ExitStack() as stack:
        stack.callback(lambda: asyncio.run(cluster.drop_database("crowd")))
        db = Database(cluster.url("postgres", "crowd"), cluster.url(database="crowd"))
        stack.callback(db.close)
        admin = stack.enter_context(psycopg.connect(db.admin_url, autocommit=True))
        admin.execute("alter database crowd owner to postgres")
        db.run(FLUSH)
        db.run(ALONE)
        statistics_come_when_told(db)
        # The rollups read what has ended, which is what they are for; tests/sql/test_ops.py bounds them.
        db.run("update translation_private.rolled_up set until = 'infinity', depth = 'infinity'")
        call = stack.enter_context(db.caller())
        if request.param == "planned without statistics":
            make_every_call(Crowd(db, call))
            admin.execute(USERS + HISTORY + LIVE)
        elif request.param == "planned when all was done":
            admin.execute(USERS + HISTORY)
            make_every_call(Crowd(db, call))  # once to leave its traces
            db.run("vacuum analyze")
            make_every_call(Crowd(db, call))
            admin.execute(LIVE)
        else:
            admin.execute(USERS + HISTORY + LIVE)
            db.run("vacuum analyze")
            prepare_user(Crowd(db, call))
        admin.execute("select pg_stat_force_next_flush()")
        yield Crowd(db, call)


def statistics_come_when_told(db: Database) -> None:
    tables = [row["relname"] for row in db.run("select relname from pg_stat_user_tables where schemaname = 'public'")]
    for table in tables:
        db.run(f"alter table public.{table} set (autovacuum_enabled = off)")


def prepare_user(crowd: Crowd) -> None:
    crowd.db.run("update public.translation_job_types set price = 1, creates_per_minute = 100000")
    crowd.db.run("insert into auth.users (id) values (%s) on conflict do nothing", crowd.user)
    crowd.call("grant_translation_credits", None, p_user_id=crowd.user, p_amount=10_000)


def make_every_call(crowd: Crowd) -> None:
    """More often than the five times after which Postgres keeps a plan; what they made is gone again afterwards."""
    prepare_user(crowd)
    waiting = "select count(*)::int from public.translation_jobs where status = 'pending'"
    for _ in range(7):
        for who, prepare in CASES:
            for _ in range(BATCH - crowd.db.value(waiting)):
                crowd.created()
            function, arguments = prepare(crowd)
            crowd.call(function, crowd.user if who == "user" else None, **arguments)
    crowd.db.run(
        "delete from public.translation_jobs where idempotency_key is null or idempotency_key not like 'key %'"
    )
    crowd.db.run("update translation_private.test_clock set ahead = '0'")


@pytest.mark.parametrize(("who", "prepare"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_call_reads_only_what_it_works_on(crowd: Crowd, who: str, prepare: Prepare) -> None:
    as_ = crowd.user if who == "user" else None
    # The first two clear what was left dead on their way before, and show the session how high each index is by now:
    # where there are no statistics it may decide by that, and one call in its life may walk along another index.
    for _ in range(2):
        function, arguments = prepare(crowd)
        crowd.call(function, as_, **arguments)
    function, arguments = prepare(crowd)

    counts = crowd.count(function, as_, **arguments)

    assert counts
    most = (PER_PLACE if function == "list_translation_jobs" else PER_JOB) * BATCH
    for table, did in counts.items():
        assert table in SMALL or did["scans"] == 0, f"{table} is read whole"
        assert table in SMALL or did["rows"] <= most, f"{did['rows']} rows of {table}"


# The statements of the path that a job takes, each a function of its own.
NOW = "translation_private.clock()"
ALONE_CASES = {
    "pick": "translation_private.pick(array['translation'], 10, null)",
    "pick above a floor": """translation_private.pick(array['translation'], 10, '{"translation 5": 8}')""",
    "promote": f"translation_private.promote(array['translation'], 10, {NOW} + interval '30 days')",
    "hand out": f"translation_private.claimed('w1', $CLAIM, {NOW}, null)",
    "lock": "translation_private.lock_jobs($JOBS)",
    "settle": f"translation_private.settle_jobs($JOBS, {NOW})",
}


@pytest.mark.parametrize("name", ALONE_CASES)
def test_a_statement_reads_four_rows_at_most_for_each_it_works_on(crowd: Crowd, name: str) -> None:
    function, arguments = claim(crowd)
    jobs = crowd.call(function, None, **arguments)
    ids = ", ".join(f"'{job['job_id']}'" for job in jobs)
    statement = (
        ALONE_CASES[name].replace("$CLAIM", f"'{arguments['p_claim_id']}'").replace("$JOBS", f"array[{ids}]::uuid[]")
    )
    # What the cases before left dead is not this statement's; a vacuum lets a little of it lie in the indexes.
    crowd.db.run("vacuum (index_cleanup on) public.translation_jobs")

    counts = crowd.count("alone", None, p_statement=f"select count(*) from {statement}")

    assert max(did["rows"] for did in counts.values()) >= BATCH
    for table, did in counts.items():
        assert table in SMALL or did["rows"] <= 4 * BATCH, f"{did['rows']} rows of {table}"


def test_a_claim_looks_at_the_head_of_the_queue_only(crowd: Crowd) -> None:
    crowd.claimed()  # clears the head of the queue of what was left dead there before
    function, arguments = claim(crowd)

    counts = crowd.count(function, None, **arguments)

    assert BATCH <= counts["translation_jobs"]["queue"] <= 4 * BATCH


def test_a_renewal_of_leases_writes_no_job_and_no_item(crowd: Crowd) -> None:
    report = {"job_types": ["translation"], "leases": leases(crowd.claimed()), "lease_ms": 3_600_000}
    crowd.call("heartbeat_translation_worker", None, p_worker_id="w1", p_report=report)  # the first adds the worker

    counts = crowd.count("heartbeat_translation_worker", None, p_worker_id="w1", p_report=report)

    assert {table for table, did in counts.items() if did["updated"]} == {
        "translation_workers",
        "translation_job_claims",
    }


def test_a_heartbeat_is_no_dearer_because_its_worker_holds_more(crowd: Crowd) -> None:
    """Only the statement that renews may go through the claims, once for each lease."""

    def beat() -> dict[str, Row]:
        function, arguments = heartbeat(crowd)
        return crowd.count(function, None, **arguments)

    beat()
    few = beat()
    crowd.claimed(BATCH * 4)
    many = beat()

    assert many["translation_job_items"] == few["translation_job_items"]
    more = BATCH * (BATCH * 5)  # the leases, and how many claims there are more
    assert many["translation_job_claims"]["rows"] <= few["translation_job_claims"]["rows"] + 2 * more


def test_progress_stays_on_its_page(crowd: Crowd) -> None:
    jobs = crowd.claimed(100)
    updated = hot = 0
    for percent in range(1, 21):
        results = progress(jobs, percent)
        did = crowd.count("record_translation_results", None, p_worker_id="w1", p_results=results)["translation_jobs"]
        updated, hot = updated + did["updated"], hot + did["hot"]

    assert updated == 20 * len(jobs)
    assert hot / updated >= 0.7
