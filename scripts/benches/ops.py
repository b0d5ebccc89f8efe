"""
What the operator view asks of the database, beside a million finished jobs: each procedure alone, as `service_role`.

A week of work, every twentieth job with a failed item and a message of its own, ten thousand jobs waiting. The rollups
are brought up to date first, as heartbeats would have; what one step of that costs is told as well.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from scripts.benches import project
from scripts.benches.telling import Figures, latency, percentile, verdict

ROUNDS = 30
JOBS = 1_000_000
_MOST_MS = 50.0

_FILL = """
set session_replication_role = replica;
insert into auth.users (id) select md5('user ' || n)::uuid from generate_series(0, 999) as n on conflict do nothing;
insert into public.translation_jobs (id, user_id, job_type, status, turn, content, content_chars, target_languages,
  subject, ready_at, created_at, started_at, deadline_at, completed_at, failed_items, error, revision)
select md5('job ' || n)::uuid, md5('user ' || n % 1000)::uuid, case when n % 10 = 0 then 'http' else 'translation' end,
  case when n > {ended} then 'pending' when n % 40 = 0 then 'failed' else 'completed' end,
  case when n > {ended} then n end, '"Hello"', 1200, array['es', 'fr'], 'card:' || n % 5000,
  made, made, made + interval '0.3 s', now() + interval '1 day',
  case when n <= {ended} then made + (interval '1 s' * (1 + n % 37)) end,
  case when n <= {ended} and n % 20 = 0 then 1 else 0 end,
  case when n <= {ended} and n % 20 = 0 then jsonb_build_object('class', 'overloaded', 'message', 'Overloaded.') end, 1
from generate_series(1, {ended} + 10000) as n
cross join lateral (
  select now() - interval '7 days' * (1 - least(n, {ended}) / {ended}::float) - interval '1 minute' as made) as m;
insert into public.translation_job_items (job_id, item, position, user_id, status, error, completed_at)
select j.id, i.item, i.n, j.user_id,
  case when j.completed_at is null then 'pending'
       when i.n = 1 and j.failed_items > 0 then 'failed' else 'completed' end,
  case when i.n = 1 and j.failed_items > 0 then jsonb_build_object('class', 'overloaded', 'message',
    format('The provider "deepl-%s" answered %s for request %s at https://api.example/v2/%s; tried again in %s ms.',
           j.seq % 7, 500 + j.seq % 4, j.id, j.seq, j.seq % 1000)) end, j.completed_at
from public.translation_jobs j cross join lateral unnest(j.target_languages) with ordinality as i (item, n);
set session_replication_role = default;
"""

_CALLS = {
    "stats": "translation_queue_stats()",
    "alerts": "translation_alerts()",
    "workers": "list_translation_workers()",
    "failures": "list_translation_failures()",
    "endings": "list_translation_endings(10)",
    "series of an hour": "translation_series('hour')",
    "series of a day": "translation_series('day')",
    "series of a week": "translation_series('week')",
    "jobs": "list_translation_jobs_of_all()",
    "jobs that failed": "list_translation_jobs_of_all(p_status => array['failed'])",
    "jobs of a user": "list_translation_jobs_of_all(p_user_id => md5('user 7')::uuid)",
    "jobs of a class": "list_translation_jobs_of_all(p_class => 'overloaded')",
    "jobs of a subject": "list_translation_jobs_of_all(p_subject => 'card:42')",
    "jobs of a subject of a user": (
        "list_translation_jobs_of_all(p_subject => 'card:7', p_user_id => md5('user 7')::uuid)"
    ),
    "actions": "list_translation_operator_actions()",
}


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`ops [--jobs 1000000]`."""
    parser = argparse.ArgumentParser(prog="scripts/bench ops")
    parser.add_argument("--jobs", type=int, default=JOBS)
    jobs = parser.parse_args(args).jobs
    figures: Figures = {}
    async with (
        project.stack(home) as stack,
        await psycopg.AsyncConnection.connect(stack.env["ADMIN_DATABASE_URL"], autocommit=True) as admin,
    ):
        await admin.execute(_FILL.format(ended=jobs).encode())
        await admin.execute(b"vacuum analyze")
        owner = stack.owner
        await owner.execute("set role service_role")
        claims = json.dumps({"role": "service_role"})
        await owner.execute("select set_config('request.jwt.claims', %s, false)", [claims])
        figures["ops_roll_up_ms"] = await _rolled_up(owner, jobs)
        for name, call in _CALLS.items():
            took = [
                await _timed(owner, f"select count(answer::text) from public.{call} as answer") for _ in range(ROUNDS)
            ]
            figure = percentile(took, 0.5)
            figures[f"ops_{name.replace(' ', '_')}_ms"] = figure
            print(f"{name}: {latency(took)}{verdict(figure <= _MOST_MS)}")
    return figures


async def _rolled_up(owner: project.Owner, jobs: int) -> float:
    took = []
    counted = 0
    while counted < jobs:
        started = time.perf_counter()
        cursor = await owner.execute("select translation_private.roll_up(translation_private.clock())")
        took.append((time.perf_counter() - started) * 1000)
        row = await cursor.fetchone()
        assert row is not None
        if not row[0]:
            break
        counted += row[0]
    print(f"rollups of {counted} jobs, a beat's worth a step: {latency(took)}")
    return percentile(took, 0.5)


async def _timed(owner: project.Owner, statement: str) -> float:
    started = time.perf_counter()
    await owner.execute(statement.encode())
    return (time.perf_counter() - started) * 1000
