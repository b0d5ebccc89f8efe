"""
What a claim costs, whatever waits beside it: shared blocks touched by a claim of ten, and a user's list at a million.

Blocks rather than milliseconds, which stand beside them, because they do not depend on the machine's mood. Each shape
is a database of its own making on the embedded Postgres; a claim is run and rolled back, so that every shape is
measured as it stands.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from scripts.benches.telling import Figures, verdict
from worker.devstack import platform
from worker.devstack.postgres import Cluster

TIMES_MAX = 1.2
"""Of the blocks with 1 000 waiting and nothing else."""
TIMES_UNDER_A_SNAPSHOT_MAX = 1.5

SQL = (Path(__file__).parents[2] / "sql/install.sql").read_text()

USERS = "insert into auth.users (id) select md5('user ' || n)::uuid from generate_series(0, 9999) as n"

# session_replication_role leaves out triggers and foreign keys: a million rows in seconds.
CLAIM = """
select c from public.claim_translation_jobs(
  'bench', %s, 30000, array['translation'], gen_random_uuid(), 'poll', %s::jsonb) as c
"""

ROWS = """
set session_replication_role = replica;
insert into public.translation_jobs (
  user_id, job_type, status, priority, turn, content, content_chars, target_languages, run_at, ready_at, deadline_at,
  completed_at, revision, subject, created_at)
select md5('user ' || n % {users})::uuid, '{job_type}', '{status}', 5, case when '{status}' = 'pending' then n end,
  '"Hello"', 5, array['es'], {run_at}, now(), now() + interval '1 day',
  case when '{status}' = 'completed' then now() end, 1,
  'card:' || n % 1000, now() - ({count} - n) * interval '1 second'
from generate_series(1, {count}) as n;
reset session_replication_role;
"""
# What each job has left behind: its items, and the attempt of one that has ended.
ITEMS = """
set session_replication_role = replica;
insert into public.translation_job_items (job_id, item, position, status)
select id, 'es', 1, case status when 'completed' then 'completed' else 'pending' end from public.translation_jobs;
insert into public.translation_job_attempts (
  job_id, token, delivery, worker_id, claim_id, found_by, found_ms, started_at, ended_at, outcome)
select id, 0, 1, 'bench', gen_random_uuid(), 'changes', 5, now(), now(), 'completed'
from public.translation_jobs where status = 'completed';
reset session_replication_role;
"""


class Cost(NamedTuple):
    """Shared blocks touched, and milliseconds."""

    blocks: float
    ms: float


class Project:
    """One database with the script in it, emptied for each shape."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self.url = url

    def run(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        self._connection.close()

    def empty(self) -> None:
        self.run("truncate public.translation_jobs cascade")
        self.run("select setval('translation_private.served_turn', 1)")

    def add(
        self,
        count: int,
        status: str = "pending",
        *,
        users: int = 100,
        job_type: str = "translation",
        run_at: str = "null",
    ) -> None:
        values = {"count": count, "status": status, "users": users, "job_type": job_type, "run_at": run_at}
        self.run(ROWS.format(**values))

    def settle(self) -> None:
        self.run(ITEMS)
        self.run(
            "vacuum analyze public.translation_jobs, public.translation_job_items, public.translation_job_attempts"
        )

    def claim_cost(self, floor: Any = None) -> Cost:
        """What a claim of ten costs that is told *floor*, median of nine, each rolled back."""
        blocks, times = [], []
        told = None if floor is None else json.dumps(floor)
        for _ in range(10):
            with self._connection.transaction(force_rollback=True):
                plan: Any = self.run(f"explain (analyze, buffers, format json) {CLAIM}", 10, told)[0][0]
            top = plan[0]["Plan"]
            assert top["Actual Rows"] == 10
            blocks.append(float(top["Shared Hit Blocks"] + top["Shared Read Blocks"]))
            times.append(float(plan[0]["Execution Time"]))
        return Cost(statistics.median(blocks[1:]), statistics.median(times[1:]))  # the first one plans its statements

    @contextmanager
    def held_snapshot(self) -> Iterator[None]:
        """Somebody's forgotten transaction: nothing that dies from now on can be cleaned up."""
        with psycopg.connect(self.url) as other:
            other.execute("set transaction isolation level repeatable read")
            other.execute("select 1 from public.translation_jobs limit 1")
            yield

    def claim_and_settle(self, count: int) -> Any:
        """Claim *count* jobs for good, in hundreds, and complete them. Returns the floor that a worker has then."""
        floor = None
        for _ in range(count // 100):
            jobs = [row[0] for row in self.run(CLAIM, 100, None if floor is None else json.dumps(floor))]
            assert len(jobs) == 100
            floor = jobs[0].get("floor", floor)
            entries = [
                {"job_id": job["job_id"], "token": job["token"], "item": "es", "outcome": "completed"} for job in jobs
            ]
            self.run("select public.record_translation_results('bench', %s::jsonb)", json.dumps(entries))
        return floor


SHAPES: dict[str, list[tuple[Any, ...]]] = {
    "100 000 waiting": [(100_000, "pending", {})],
    "1 000 000 waiting": [(1_000_000, "pending", {})],
    "1 000, beside 1 000 000 finished": [(1_000_000, "completed", {}), (1_000, "pending", {})],
    "1 000, beside 100 000 for tomorrow": [
        (100_000, "scheduled", {"run_at": "now() + interval '1 day'"}),
        (1_000, "pending", {}),
    ],
    "100 000 of 10 000 users": [(100_000, "pending", {"users": 10_000})],
    "1 000 of a rare type, beside 1 000 000": [(1_000_000, "pending", {"job_type": "http"}), (1_000, "pending", {})],
}


def measure_claims(project: Project) -> Figures:
    project.empty()
    project.add(1_000)
    project.settle()
    base = project.claim_cost()
    figures = tell("1 000 waiting", base, base)
    for name, parts in SHAPES.items():
        project.empty()
        for count, status, more in parts:
            project.add(count, status, **more)
        project.settle()
        figures |= tell(name, project.claim_cost(), base, TIMES_MAX)
    project.empty()
    project.add(50_000)
    project.settle()
    with project.held_snapshot():
        before = project.claim_cost()
        floor = project.claim_and_settle(40_000)
        cost = project.claim_cost(floor | {"until": "infinity"})
        figures |= tell("after 40 000 claims under one snapshot", cost, before, TIMES_UNDER_A_SNAPSHOT_MAX)
        # Once a second a worker looks from the beginning again: what that claim costs has no bar.
        figures |= tell("the same, the one claim of each second", project.claim_cost(), before)
    return figures


def tell(name: str, cost: Cost, base: Cost, times_max: float = float("inf")) -> Figures:
    """*times_max*: how many times the blocks of *base* it may touch."""
    times = cost.blocks / base.blocks
    print(
        f"{name:<42} {cost.blocks:6.0f} blocks  {times:.2f} ×  {cost.ms:5.1f} ms{verdict(times <= times_max)}",
        flush=True,
    )
    return {name: cost.blocks, f"{name}, ms": cost.ms}


LISTS = {
    "newest": "",
    "by status": "p_status => array['completed']",
    "by type": "p_job_type => 'translation'",
    "by a rare type": "p_job_type => 'http'",
    "by status and type": "p_status => array['completed'], p_job_type => 'http'",
    "since an hour": "p_since => '{last}'::timestamptz - interval '1 hour'",
    "since a minute": "p_since => '{last}'::timestamptz - interval '1 minute'",
    "by subject": "p_subject => 'card:42'",
    "a page in the middle": "p_before_seq => {middle}",
}


OWNER_LISTS = {
    "newest": "",
    "by a rare status": "p_status => array['failed']",
    "by a rare type": "p_job_type => 'http'",
    "by status and type": "p_status => array['completed'], p_job_type => 'http'",
}


def measure_lists(project: Project) -> Figures:
    """Milliseconds of a page of fifty beside a user's million finished jobs: for him, and for the owner."""
    project.empty()
    project.add(60, "completed", users=1, job_type="http")
    project.add(60, "failed", users=1)
    project.add(1_000_000, "completed", users=1)
    project.settle()
    middle, last = project.run("select max(seq) - 500000, max(created_at) from public.translation_jobs")[0]
    figures = {}
    for role, lists in (("authenticated", LISTS), ("service_role", OWNER_LISTS)):
        with psycopg.connect(project.url) as caller:
            caller.execute(
                """select set_config('request.jwt.claims', json_build_object(
                     'role', %s::text, 'sub', md5('user 0')::uuid)::text, true)""",
                [role],
            )
            caller.execute(f"set local role {role}")
            for arguments in lists:
                name = f"list of {'a user' if role == 'authenticated' else 'the owner'}, {arguments}"
                figures[name] = time_list(caller, name, lists[arguments].format(middle=middle, last=last))
    return figures


def time_list(caller: psycopg.Connection[Any], name: str, arguments: str) -> float:
    times = []
    for _ in range(10):
        started = time.perf_counter()
        rows = caller.execute(f"select id from public.list_translation_jobs({arguments})").fetchall()
        times.append((time.perf_counter() - started) * 1000)
        assert len(rows) == 50
    print(f"{name:<42} {statistics.median(times):6.1f} ms (worst {max(times):.1f})")
    return statistics.median(times)


async def prepare(cluster: Cluster) -> None:
    await platform.install(cluster, "postgres")
    await platform.apply_sql(cluster, "postgres", SQL)


async def run(home: Path, _args: Sequence[str]) -> Figures:
    """Measure everything in *home*."""
    with Cluster(home) as cluster:
        await prepare(cluster)
        return await asyncio.to_thread(measure, cluster.url())


def measure(url: str) -> Figures:
    project = Project(url)
    project.run(USERS)
    try:
        return measure_claims(project) | measure_lists(project)
    finally:
        project.close()
