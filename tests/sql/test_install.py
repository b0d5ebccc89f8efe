"""The one script: re-runnable, the same under every default, fresh from its parts, and it says what it does."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.conftest import INSTALL, ROOT
from worker.devstack import platform
from worker.devstack.postgres import Cluster


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


async def project(cluster: Cluster, name: str, times: int, *, legacy_grants: bool) -> str:
    await cluster.create_database(name)
    await platform.install(cluster, name, legacy_grants=legacy_grants)
    for _ in range(times):
        await platform.apply_sql(cluster, name, INSTALL)
    try:
        return await asyncio.to_thread(dump, cluster, name)
    finally:
        await cluster.drop_database(name)


async def test_applying_it_twice_and_under_old_and_new_grants_gives_the_same_schema(cluster: Cluster) -> None:
    once = await project(cluster, "install_once", 1, legacy_grants=False)

    assert await project(cluster, "install_twice", 2, legacy_grants=False) == once
    assert await project(cluster, "install_legacy", 2, legacy_grants=True) == once


def test_the_script_is_what_its_parts_say() -> None:
    done = subprocess.run([str(ROOT / "scripts/build-sql"), "--check"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "sql").glob("*.sql")), ids=lambda path: path.name)
def test_no_class_40_error_is_ever_raised(path: Path) -> None:
    """The REST server before 16 runs such a transaction again without end."""
    assert "'40" not in path.read_text()
