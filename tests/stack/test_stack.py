"""The stack as a whole: its start and end, its files, and what it knows nothing of."""

import asyncio
import re
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from realtime import AsyncRealtimeClient

from tests.support.waiting import until
from worker.devstack.orders import Orders
from worker.devstack.postgres import Cluster
from worker.devstack.stack import Stack, serve

DEVSTACK = Path(__file__).parents[2] / "worker" / "devstack"
SERVE = """
import asyncio, sys, pathlib
from worker.devstack.stack import serve

home = pathlib.Path(sys.argv[1])
asyncio.run(serve(home / "data", env_file=home / "env", sql=["create table if not exists public.t (id int)"]))
"""
NAMES = [
    "SUPABASE_URL",
    "SUPABASE_PUBLISHABLE_KEY",
    "SUPABASE_SECRET_KEY",
    "DATABASE_URL",
    "ADMIN_DATABASE_URL",
    "JWT_SECRET",
]

pytestmark = pytest.mark.filterwarnings("ignore:ConnectionClosed:DeprecationWarning")


def test_it_knows_nothing_of_what_it_is_used_for() -> None:
    for path in DEVSTACK.rglob("*"):
        if path.suffix in (".py", ".sql"):
            assert not re.search("translation", path.read_text(), re.IGNORECASE), path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_says_how_to_reach_it_and_stops_cleanly(tmp_path: Path, number: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, str(tmp_path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    printed = [(await process.stdout.readline()).decode().strip() for _ in range(7)]
    environment = dict(line.split("=", 1) for line in printed[:6])
    async with httpx.AsyncClient() as http:
        health = await http.get(f"{environment['SUPABASE_URL']}/health")
    written = (tmp_path / "env").read_text().split()
    mode = stat.S_IMODE((tmp_path / "env").stat().st_mode)
    process.send_signal(number)
    _, errors = await process.communicate()

    assert (list(environment), printed[6]) == (NAMES, "Stack ready")
    assert (health.status_code, written, mode) == (200, printed[:6], 0o600)
    assert (process.returncode, b"Traceback" in errors) == (0, False)
    assert not (tmp_path / "data" / "postgres" / "pgdata" / "postmaster.pid").exists()


async def test_a_part_that_breaks_ends_the_command_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(_: Orders) -> None:
        await until((tmp_path / "env").exists, "the stack is ready")
        raise RuntimeError("worn out")

    monkeypatch.setattr(Orders, "run", breaks)

    with pytest.raises(RuntimeError, match="worn out"):
        await asyncio.wait_for(serve(tmp_path / "data", env_file=tmp_path / "env"), 60)


async def test_keys_and_data_outlive_a_restart(tmp_path: Path) -> None:
    async with Stack(tmp_path, sql=["create table public.kept as select 7 as n"]) as first:
        keys = first.urls
    async with Stack(tmp_path) as second:
        async with await psycopg.AsyncConnection.connect(second.urls.database_url) as connection:
            kept = await (await connection.execute("select n from public.kept")).fetchone()

        assert (second.urls.secret_key, second.urls.jwt_secret, kept) == (keys.secret_key, keys.jwt_secret, (7,))
        assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600


async def test_a_script_that_fails_stops_the_start_and_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(psycopg.errors.SyntaxError):
        async with Stack(tmp_path, sql=["create tabel t ()"]):
            pass

    assert not (tmp_path / "postgres" / "pgdata" / "postmaster.pid").exists()


async def test_a_script_is_one_transaction(tmp_path: Path, cluster: Cluster) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with Stack(
            tmp_path, database="halves", cluster=cluster, sql=["create table public.half (); select 1 / 0"]
        ):
            pass
    with psycopg.connect(cluster.url(database="halves")) as connection:
        assert connection.execute("select to_regclass('public.half')").fetchone() == (None,)


async def test_several_stacks_share_one_postgres(tmp_path: Path, cluster: Cluster) -> None:
    async with (
        Stack(tmp_path / "a", database="side_a", cluster=cluster) as a,
        Stack(tmp_path / "b", database="side_b", cluster=cluster) as b,
    ):
        assert a.urls.url != b.urls.url
        assert a.urls.database_url != b.urls.database_url


async def test_everything_works_again_after_postgres_crashed(tmp_path: Path) -> None:
    """The channel stays joined; a repeated `system` ok is the sign that there was a gap."""
    sql = """
      create table public.notes (id int primary key); grant all on public.notes to service_role;
      alter publication supabase_realtime add table public.notes
    """
    async with Stack(tmp_path, sql=[sql], changes_idle_ms=10) as stack, httpx.AsyncClient() as http:
        systems: asyncio.Queue[object] = asyncio.Queue()
        heard: asyncio.Queue[object] = asyncio.Queue()
        client = AsyncRealtimeClient(f"{stack.urls.url}/realtime/v1", stack.urls.secret_key, auto_reconnect=False)
        config: Any = {"broadcast": {}, "presence": {"key": "", "enabled": False}, "private": True}
        channel: Any = client.channel("t", {"config": config})
        channel.on_system(systems.put_nowait).on_broadcast("e", lambda _: heard.put_nowait("broadcast"))
        channel.on_postgres_changes(
            "INSERT", schema="public", table="notes", callback=lambda _: heard.put_nowait("change")
        )
        await channel.subscribe()
        async with asyncio.timeout(20):
            await systems.get()
            await asyncio.to_thread(stack.postgres.restart, crash=True)
            await systems.get()
            assert await _insert(http, stack) == 201
            assert await heard.get() == "change"
            await _broadcast_until_heard(stack, heard)
        await client.close()


async def _insert(http: httpx.AsyncClient, stack: Stack) -> int:
    """Connections that died with the server are found out one by one, each by a 503."""
    headers = {"apikey": stack.urls.secret_key}
    while True:
        status = (await http.post(f"{stack.urls.url}/rest/v1/notes", json={"id": 1}, headers=headers)).status_code
        if status != 503:
            return status


async def _broadcast_until_heard(stack: Stack, heard: asyncio.Queue[object]) -> None:
    """The listening connection comes back by itself, at a moment nobody is told of."""
    async with await psycopg.AsyncConnection.connect(stack.urls.database_url, autocommit=True) as connection:
        while heard.empty():
            await connection.execute("select realtime.send('{}', 'e', 't')")
            await asyncio.sleep(0.05)


async def test_a_postgrest_that_does_not_start_stops_the_start_with_its_last_words(
    tmp_path: Path, cluster: Cluster
) -> None:
    program = tmp_path / "postgrest"
    program.write_text("#!/bin/sh\necho starting\necho 'it is of no use' >&2\nexit 1\n")
    program.chmod(0o700)

    with pytest.raises(RuntimeError, match="PostgREST does not start: it is of no use"):
        async with Stack(tmp_path, database="no_postgrest", cluster=cluster, postgrest=program):
            pass
