"""
What a claim costs, whatever waits beside it: shared blocks touched by a claim of ten, and a user's list at a million.

Blocks and not milliseconds, because they do not depend on the machine's mood. Each shape is a database of its own
making on the embedded Postgres; a claim is run and rolled back, so that every shape is measured as it stands.
"""

import asyncio
import statistics
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from scripts.benches.telling import Figures
from worker.devstack import platform
from worker.devstack.postgres import Cluster

SQL = (Path(__file__).parents[2] / "sql/install.sql").read_text()

USERS = "insert into auth.users (id) select md5('user ' || n)::uuid from generate_series(0, 9999) as n"

# session_replication_role leaves out triggers and foreign keys: a million rows in seconds.
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
ITEMS = """
insert into public.translation_job_items (job_id, item, position)
select id, 'es', 1 from public.translation_jobs where status = 'pending'
on conflict do nothing
"""


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
        self.run("vacuum analyze public.translation_jobs, public.translation_job_items")

    def claim_blocks(self, types: str = "translation") -> float:
        """Shared blocks of a claim of ten, median of nine, each rolled back."""
        blocks = []
        claim = "select * from public.claim_translation_jobs('bench', 10, 30000, %s, %s)"
        for _ in range(10):
            with self._connection.transaction(force_rollback=True):
                plan: Any = self.run(
                    f"explain (analyze, buffers, format json) {claim}", types.split(","), str(uuid.uuid4())
                )[0][0]
            top = plan[0]["Plan"]
            assert top["Actual Rows"] == 10
            blocks.append(float(top["Shared Hit Blocks"] + top["Shared Read Blocks"]))
        return statistics.median(blocks[1:])  # the first one plans its statements

    @contextmanager
    def held_snapshot(self) -> Iterator[None]:
        """Somebody's forgotten transaction: nothing that dies from now on can be cleaned up."""
        with psycopg.connect(self.url) as other:
            other.execute("set transaction isolation level repeatable read")
            other.execute("select 1 from public.translation_jobs limit 1")
            yield

    def claim_and_settle(self, count: int) -> None:
        """Claim *count* jobs for good, in hundreds, and complete them."""
        for _ in range(count // 100):
            rows = self.run(
                """select record_translation_results('bench', jsonb_agg(jsonb_build_object(
                     'job_id', c -> 'job_id', 'token', c -> 'token', 'item', 'es', 'outcome', 'completed')))
                   from public.claim_translation_jobs(
                     'bench', 100, 30000, array['translation'], gen_random_uuid()) as c"""
            )
            assert len(rows[0][0]) == 100


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
    base = project.claim_blocks()
    figures = {"1 000 waiting": base}
    print(f"{'1 000 waiting':<42} {base:6.0f} blocks  1.00 ×")
    for name, parts in SHAPES.items():
        project.empty()
        for count, status, more in parts:
            project.add(count, status, **more)
        project.settle()
        figures[name] = project.claim_blocks()
        print(f"{name:<42} {figures[name]:6.0f} blocks  {figures[name] / base:.2f} ×")
    project.empty()
    project.add(50_000)
    project.settle()
    with project.held_snapshot():
        before = project.claim_blocks()
        project.claim_and_settle(40_000)
        name = "after 40 000 claims under one snapshot"
        figures[name] = project.claim_blocks()
        print(f"{name:<42} {figures[name]:6.0f} blocks  {figures[name] / before:.2f} × (before: {before:.0f})")
    return figures


LISTS = {
    "newest": "",
    "by status": "p_status => array['completed']",
    "by type": "p_job_type => 'translation'",
    "by a rare type": "p_job_type => 'http'",
    "since an hour": "p_since => now() - interval '1 hour'",
    "since a minute": "p_since => now() - interval '1 minute'",
    "by subject": "p_subject => 'card:42'",
    "a page in the middle": "p_before_seq => (select max(seq) - 500000 from public.translation_jobs)",
}


def measure_lists(project: Project) -> Figures:
    """Milliseconds of a page of fifty for a user with a million finished jobs, as that user under row security."""
    project.empty()
    project.add(60, "completed", users=1, job_type="http")
    project.add(1_000_000, "completed", users=1)
    project.settle()
    figures = {}
    with psycopg.connect(project.url) as user:
        user.execute(
            """select set_config('request.jwt.claims', json_build_object(
                 'role', 'authenticated', 'sub', md5('user 0')::uuid)::text, true)"""
        )
        user.execute("set local role authenticated")
        for name, arguments in LISTS.items():
            times = []
            for _ in range(10):
                started = time.perf_counter()
                rows = user.execute(f"select id from public.list_translation_jobs({arguments})").fetchall()
                times.append((time.perf_counter() - started) * 1000)
                assert len(rows) == 50
            figures[name] = statistics.median(times)
            print(f"list {name:<37} {figures[name]:6.1f} ms (worst {max(times):.1f})")
    return figures


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
