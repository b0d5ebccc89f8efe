"""The schedules, run by pg_cron itself: on Debian's Postgres 15, which has it."""

import os
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import CHORE, INSTALL, ROOT
from tests.support.database import Database, claiming
from tests.support.waiting import until
from worker.devstack import platform
from worker.devstack.postgres import Cluster

DEBIAN = Path("/usr/lib/postgresql/15/bin")
CRON = Path("/usr/share/postgresql/15/extension/pg_cron.control")
WITHOUT_DEBIAN = os.environ.get("WITHOUT_DEBIAN", "Debian's postgresql-15-cron is not installed")

# As hosted projects have it: jobs run in the server's own workers, each as the role that made it.
SETTINGS = """
shared_preload_libraries = 'pg_cron'
cron.database_name = 'postgres'
cron.use_background_workers = on
"""
EXTENSION = """
create extension pg_cron;
grant usage on schema cron to postgres;
grant all on all tables in schema cron to postgres;
grant all on all functions in schema cron to postgres;
"""
# Cron runs at full minutes: one may just have passed.
MINUTE_SECONDS = 90.0


@pytest.mark.skipif(not CRON.exists(), reason=WITHOUT_DEBIAN)
@pytest.mark.timeout(180)
async def test_cron_rescues_and_purges_where_no_worker_lives(tmp_path: Path) -> None:
    async with Cluster(tmp_path / "cron", bin_dir=DEBIAN) as cluster:
        with (cluster.data_dir / "pgdata/postgresql.conf").open("a") as settings:
            settings.write(SETTINGS)
        cluster.restart()
        await platform.install(cluster)
        with psycopg.connect(cluster.url(), autocommit=True) as admin:
            admin.execute(EXTENSION)
        for _ in range(2):
            await platform.apply_sql(cluster, "postgres", INSTALL)
        await platform.apply_sql(cluster, "postgres", CHORE)
        db = Database(cluster.url("postgres"), cluster.url())
        try:
            await runs_once(db)
        finally:
            db.close()


async def runs_once(db: Database) -> None:
    assert db.run("select jobname, schedule, username from cron.job order by jobname") == [
        {"jobname": "translation-purge", "schedule": "* 3 * * *", "username": "postgres"},
        {"jobname": "translation-rescue", "schedule": "* * * * *", "username": "postgres"},
    ]
    old, lost = (db.rpc("enqueue_translation_job", p_job_type="chore", p_content={})["id"] for _ in range(2))
    db.rpc("cancel_translation_job", p_job_id=old)
    db.run("update public.translation_jobs set completed_at = now() - interval '91 days' where id = %s", old)
    (held,) = db.rpc("claim_translation_jobs", **claiming(job_types=["chore"], claim_id=lost))
    db.run("update public.translation_job_claims set lease_until = now() - interval '1 second' where true")
    # Not to wait for the night: an owner may change a schedule.
    db.run(
        "select cron.schedule('translation-purge', '* * * * *', command) from cron.job where jobname like '%%-purge'"
    )

    # Work that comes again: each minute here, and each time the same job.
    db.run((ROOT / "sql/examples/recurring.sql").read_text())
    db.run("select cron.schedule('nightly-notice', '* * * * *', command) from cron.job where jobname like 'nightly-%%'")

    def left() -> list[dict[str, Any]]:
        return db.run("select id::text, status from public.translation_jobs where subject is null")

    def recurring() -> int:
        return int(db.value("select count(*) from public.translation_jobs where subject = 'notice:ferry'"))

    await until(
        lambda: left() == [{"id": lost, "status": "pending"}],
        "cron rescued one job and purged the other",
        seconds=MINUTE_SECONDS,
    )
    assert held["job_id"] == lost
    await until(lambda: recurring() == 1, "cron made the job of this night", seconds=MINUTE_SECONDS)
    ran = db.run("select distinct status from cron.job_run_details where end_time is not null")
    assert ran == [{"status": "succeeded"}]
