"""The one script: re-runnable, the same under every default, fresh from its parts, and it says what it does."""

import asyncio
import gzip
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.conftest import INSTALL, ROOT
from tests.support.database import TEST_CLOCK, Database, Row, claiming, outcomes
from worker.devstack import platform
from worker.devstack.postgres import Cluster
from worker.store import SCHEMA_VERSION

VERSIONS = sorted((ROOT / "tests/sql/versions").glob("*.sql.gz"))
# The scripts of releases, by their schema version; what was never released has another name.
RELEASED = {int(path.name[:4]): path for path in VERSIONS if re.fullmatch(r"\d{4}\.sql\.gz", path.name)}


def text(version: Path) -> str:
    return gzip.decompress(version.read_bytes()).decode()


def schema_version(script: str) -> int:
    found = re.search(r"schema_version\(\) returns int.*?\$\$ select (\d+) \$\$", script, re.DOTALL)
    assert found
    return int(found[1])


def is_raised(released: Mapping[int, str], script: str) -> bool:
    """Whether *script* is the last one released, or has a higher version than it."""
    last = max(released, default=0)
    return script == released.get(last) or schema_version(script) > last


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


def test_the_schema_version_is_raised_when_the_script_is_no_longer_the_released_one() -> None:
    script = INSTALL.replace(f"$$ select {schema_version(INSTALL)} $$", "$$ select 7 $$", 1)
    assert is_raised({}, script)
    assert is_raised({6: "older"}, script)
    assert is_raised({6: "older", 7: script}, script)
    assert not is_raised({6: "older", 7: script + "\n-- changed"}, script)

    assert {version: schema_version(text(path)) for version, path in RELEASED.items()} == {n: n for n in RELEASED}
    assert is_raised({version: text(path) for version, path in RELEASED.items()}, INSTALL), "sql/00_schema.sql"
    assert 1 <= SCHEMA_VERSION <= schema_version(INSTALL)


def test_a_release_keeps_its_script_and_no_other_under_its_version(tmp_path: Path) -> None:
    for folder in ("scripts", "sql", "tests/sql/versions"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "scripts/keep-sql", tmp_path / "scripts")

    def keep(script: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "sql/install.sql").write_text(script)
        return subprocess.run([str(tmp_path / "scripts/keep-sql")], capture_output=True, text=True, check=False)

    kept = f"tests/sql/versions/{schema_version(INSTALL):04}.sql.gz"
    assert keep(INSTALL).stdout == f"{kept}\n"
    assert text(tmp_path / kept) == INSTALL
    assert keep(INSTALL).returncode == 0
    assert "raise schema_version()" in keep(INSTALL + "-- more\n").stderr
    assert text(tmp_path / kept) == INSTALL


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
        call = claiming(claim_id=f"00000000-0000-0000-0000-{claim_id:012}")
        (job,) = older.rpc("claim_translation_jobs", **call)
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
