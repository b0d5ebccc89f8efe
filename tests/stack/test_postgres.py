"""The embedded server: starts anywhere, leaves nothing behind."""

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from worker.devstack import platform
from worker.devstack.postgres import Cluster

HOLD = """
import asyncio, sys, pathlib
from worker.devstack.postgres import Cluster

async def hold():
    async with Cluster(pathlib.Path(sys.argv[1])) as cluster:
        print(cluster.url(), flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


def held(data_dir: Path) -> subprocess.Popen[str]:
    """Another process with a running cluster in *data_dir*."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(data_dir)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout:
        holder.stdout.readline()
    return holder


@pytest.mark.parametrize("major", [16, 18])
async def test_each_packaged_major_takes_the_platform_and_keeps_its_data(tmp_path: Path, major: int) -> None:
    async with Cluster(tmp_path, major=major) as cluster:
        await platform.install(cluster)
        await platform.apply_sql(cluster, "postgres", "create table public.kept as select 7 as n")
    async with Cluster(tmp_path, major=major) as cluster:
        await platform.install(cluster)
        with psycopg.connect(cluster.url("postgres")) as connection:
            version = connection.info.server_version // 10000
            kept = connection.execute("select n, current_setting('wal_level') from public.kept").fetchone()

    assert (version, kept) == (major, (7, "logical"))


def test_an_unknown_major_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Postgres 9 is not packaged; choose one of \[16, 18\]"):
        Cluster(tmp_path, major=9)


async def test_one_directory_runs_once(tmp_path: Path) -> None:
    async with Cluster(tmp_path):
        with pytest.raises(RuntimeError, match="Another stack is running"):
            async with Cluster(tmp_path):
                pass


def test_a_killed_run_leaves_no_server_that_the_next_could_stumble_over(tmp_path: Path) -> None:
    holder = held(tmp_path)
    holder.kill()
    holder.wait()
    with Cluster(tmp_path) as cluster, psycopg.connect(cluster.url()) as connection:
        servers = [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path / "pgdata") in (p.info["cmdline"] or [])]
        answered = connection.execute("select 1").fetchone()

    assert (answered, len(servers)) == ((1,), 1)


async def test_a_restart_keeps_the_address(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        url = cluster.url()
        await asyncio.to_thread(cluster.restart, crash=True)
        async with await psycopg.AsyncConnection.connect(url) as connection:
            assert (await (await connection.execute("select 1")).fetchone()) == (1,)


async def test_a_copy_belongs_to_whom_its_template_belongs(cluster: Cluster) -> None:
    await cluster.create_database("original")
    await platform.install(cluster, "original")
    await cluster.create_database("a copy", "original")
    await platform.apply_sql(
        cluster,
        "a copy",
        "create table public.t (id int primary key); alter publication supabase_realtime add table public.t",
    )

    assert await cluster.has_database("a copy")
    await cluster.drop_database("a copy")
    assert not await cluster.has_database("a copy")
    await cluster.drop_database("original")


@pytest.mark.parametrize(
    "forbidden",
    [
        "create table auth.mine ()",
        "create function realtime.mine() returns int language sql as 'select 1'",
        "alter system set fsync = on",
        "create role boss superuser",
        "alter table auth.users add column mine int",
    ],
)
async def test_role_postgres_may_not_do_what_the_platform_forbids(cluster: Cluster, forbidden: str) -> None:
    await platform.install(cluster)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await platform.apply_sql(cluster, "postgres", forbidden)


async def test_role_postgres_may_use_what_the_platform_offers(cluster: Cluster) -> None:
    await cluster.create_database("offered")
    await platform.install(cluster, "offered")
    await platform.apply_sql(
        cluster,
        "offered",
        """
        create table public.profiles (id uuid primary key references auth.users (id) on delete cascade);
        create function public.welcome() returns trigger language plpgsql security definer set search_path = '' as
          $$ begin insert into public.profiles values (new.id); return new; end $$;
        create trigger welcome after insert on auth.users for each row execute function public.welcome();
        create policy anyone on realtime.messages for select to authenticated using (true);
        insert into auth.users (email) values ('a@example.org');
        """,
    )
    with psycopg.connect(cluster.url("postgres", "offered")) as connection:
        assert connection.execute("select count(*) from public.profiles").fetchone() == (1,)
    await cluster.drop_database("offered")


@pytest.mark.parametrize("legacy_grants", [False, True])
async def test_new_tables_are_open_to_the_api_only_under_the_old_defaults(
    cluster: Cluster, legacy_grants: bool
) -> None:
    name = f"grants_{legacy_grants}".lower()
    await cluster.create_database(name)
    await platform.install(cluster, name, legacy_grants=legacy_grants)
    await platform.apply_sql(cluster, name, "create table public.t (id int)")
    with psycopg.connect(cluster.url("postgres", name)) as connection:
        row = connection.execute(
            "select has_table_privilege('anon', 'public.t', 'select'), has_schema_privilege('anon', 'public', 'usage')"
        ).fetchone()
    await cluster.drop_database(name)

    assert row == (legacy_grants, True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_the_server_dies_with_a_killed_parent(tmp_path: Path) -> None:
    holder = held(tmp_path)
    server = psutil.Process(int((tmp_path / "pgdata" / "postmaster.pid").read_text().split("\n", 1)[0]))
    holder.kill()
    holder.wait()

    server.wait(10)
    assert not server.is_running()


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_server_that_cannot_be_made_says_why_and_lets_the_directory_go(tmp_path: Path) -> None:
    program(tmp_path / "initdb", "echo 'no space left' >&2; exit 1")
    cluster = Cluster(tmp_path / "data", bin_dir=tmp_path)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="initdb failed: no space left"):
            cluster.__enter__()


def test_a_server_that_ends_at_once_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    program(tmp_path / "initdb", "exit 0")
    program(tmp_path / "postgres", "echo 'FATAL: out of patience'; exit 1")
    cluster = Cluster(tmp_path / "data", bin_dir=tmp_path)

    with pytest.raises(RuntimeError, match="Postgres did not start: FATAL: out of patience"):
        cluster.__enter__()


def test_what_does_not_run_can_be_stopped(tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.stop()
        cluster.stop()
