"""The one script: re-runnable, the same under every default, fresh from its parts, and it says what it does."""

import asyncio
import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import INSTALL, ROOT
from tests.support.database import TEST_CLOCK, Database, Row, outcomes
from worker.devstack import platform
from worker.devstack.postgres import Cluster

VERSIONS = sorted((ROOT / "tests/sql/versions").glob("*.sql.gz"))


def text(version: Path) -> str:
    return gzip.decompress(version.read_bytes()).decode()


def dump(cluster: Cluster, database: str) -> str:
    """The schema as pg_dump sees it, grants included."""
    done = subprocess.run(
        [
            str(cluster.bin_dir / "pg_dump"),
            "--schema-only",
            "--no-owner",
            "--dbname",
            cluster.url(database=database),
            "--schema",
            "public",
            "--schema",
            "translation_private",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    noise = ("--", "\\restrict", "\\unrestrict", "ALTER DEFAULT PRIVILEGES")
    return "\n".join(line for line in done.stdout.splitlines() if line and not line.startswith(noise))


async def project(cluster: Cluster, name: str, *scripts: str, legacy_grants: bool = False) -> str:
    """The schema of a project in which *scripts* were run."""
    await cluster.create_database(name)
    await platform.install(cluster, name, legacy_grants=legacy_grants)
    for script in scripts:
        await platform.apply_sql(cluster, name, script)
    try:
        return await asyncio.to_thread(dump, cluster, name)
    finally:
        await cluster.drop_database(name)


async def test_applying_it_twice_and_under_old_and_new_grants_gives_the_same_schema(cluster: Cluster) -> None:
    once = await project(cluster, "install_once", INSTALL)

    assert await project(cluster, "install_twice", INSTALL, INSTALL) == once
    assert await project(cluster, "install_legacy", INSTALL, INSTALL, legacy_grants=True) == once


@pytest.mark.parametrize("legacy_grants", [False, True], ids=["new grants", "old grants"])
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
async def test_applying_it_over_an_older_version_gives_the_same_schema(
    cluster: Cluster, version: Path, legacy_grants: bool
) -> None:
    fresh = await project(cluster, "install_fresh", INSTALL)

    assert await project(cluster, "install_over", text(version), INSTALL, legacy_grants=legacy_grants) == fresh


@pytest.fixture
def older(cluster: Cluster) -> Iterator[Database]:
    """A project with the oldest version of the script."""

    async def make() -> None:
        await cluster.create_database("older")
        await platform.install(cluster, "older")
        for script in (text(VERSIONS[0]), TEST_CLOCK):
            await platform.apply_sql(cluster, "older", script)

    asyncio.run(make())
    database = Database(cluster.url("postgres", "older"), cluster.url(database="older"))
    yield database
    database.close()
    asyncio.run(cluster.drop_database("older"))


def test_jobs_and_money_of_an_older_version_live_on(older: Database) -> None:
    older.price(10)
    user = older.user(credits=100)

    def claim(claim_id: int) -> Row:
        arguments: Row = {"p_worker_id": "w1", "p_limit": 1, "p_lease_ms": 30_000, "p_job_types": ["translation"]}
        (job,) = older.rpc("claim_translation_jobs", **arguments, p_claim_id=f"00000000-0000-0000-0000-{claim_id:012}")
        return dict(job)

    for _ in range(3):
        older.rpc("create_translation_job", user, p_content="Hello", p_target_languages=["es", "fr"])
    done, held = claim(1), claim(2)
    older.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(done, "completed"))

    older.run(INSTALL)
    older.run(TEST_CLOCK)

    older.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(held, "completed", ["es"]))
    older.forward("31 seconds")
    assert older.rpc("rescue_translation_jobs") == 1
    for call in (3, 4):
        older.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(claim(call), "failed"))
    statuses = older.run("select status, count(*)::int as jobs from public.translation_jobs group by 1 order by 1")
    assert statuses == [{"status": "completed", "jobs": 2}, {"status": "failed", "jobs": 1}]
    assert older.rpc("get_translation_credits", user) == {"balance": 70, "reserved": 0}
    older.check_money()


def test_the_script_is_what_its_parts_say() -> None:
    done = subprocess.run([str(ROOT / "scripts/build-sql"), "--check"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "sql").glob("*.sql")), ids=lambda path: path.name)
def test_no_class_40_error_is_ever_raised(path: Path) -> None:
    """The REST server before 16 runs such a transaction again without end."""
    assert "'40" not in path.read_text()
