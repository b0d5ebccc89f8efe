"""
A peer of `scripts/bench peers`: another queue's worker as a process of its own, driven by lines of JSON.

Owns where its packages come from (an environment of their own, pinned in `drivers`) and the talk with it. The peers
keep their tables in databases of their own on the stack's Postgres, each connecting as a role of its own, by which
the server counts what it is asked.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

DRIVERS = Path(__file__).parent / "drivers"
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "supabase-realtime-worker/peers"
"""Where their packages stay from run to run."""
NODE_MAJOR_MIN = 22
NODE = "22.23.3"
"""The package of npm that is a Node, for a machine whose own is older."""
GRAPHILE = "0.18.0"
_ORDER_SECONDS = 600.0
_LOGGED = ("LOG:  statement: ", "LOG:  execute ")
_LINE_BYTES_MAX = 2**20


@dataclass(frozen=True)
class Peer:
    """*name* in *mode*, and what is left to do, asked of its own tables."""

    name: str
    mode: str
    left: str

    @property
    def database(self) -> str:
        return f"bench_{self.name.replace('-', '_')}_{self.mode}"

    @property
    def label(self) -> str:
        return f"{self.name}, {self.mode}"


LEFT = {
    "procrastinate": "select count(*) from procrastinate_jobs where status in ('todo', 'doing')",
    "pgqueuer": "select count(*) from pgqueuer where status in ('queued', 'picked')",
    "graphile-worker": "select count(*) from graphile_worker._private_jobs where attempts < max_attempts",
}
PYTHON_PEERS = ("procrastinate", "pgqueuer")


class Installed:
    """The packages of the peers in *home*; `missing` says which are not there, and why."""

    def __init__(self, home: Path, node: str) -> None:
        self._home = home
        self._node = node
        self.missing: dict[str, str] = {}

    def install(self) -> None:
        """Fetch what is not there yet: a quarter of an hour later it would measure the same."""
        pinned = DRIVERS / "requirements.txt"
        made_from = self._home / "python/requirements.txt"
        if not made_from.exists() or made_from.read_text() != pinned.read_text():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(self._home / "python")], check=True)
            pip = [str(self._python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--requirement", str(pinned)], check=True)
            made_from.write_text(pinned.read_text())
        if reason := self._without_node() or self._without_graphile():
            self.missing["graphile-worker"] = reason

    def _without_node(self) -> str | None:
        major = node_major(self._node)
        if major >= NODE_MAJOR_MIN:
            return None
        if (missing := self._brought("node", NODE)) is None:
            self._node = str(self._packages("node", NODE) / "node/bin/node")
            return None
        return f"needs Node {NODE_MAJOR_MIN}, and here is {major or 'none'} (--node names another); {missing}"

    def _without_graphile(self) -> str | None:
        return self._brought("graphile-worker", GRAPHILE)

    def _brought(self, package: str, version: str) -> str | None:
        """Why *package* is not here now; None when it is."""
        modules = self._packages(package, version)
        if (modules / package).exists():
            return None
        if (npm := shutil.which("npm")) is None:
            return "there is no npm"
        modules.parent.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--silent", "--prefix", str(modules.parent), f"{package}@{version}"]
        return "npm did not bring it" if subprocess.run(command, check=False).returncode else None

    @property
    def _python(self) -> Path:
        return self._home / "python/bin/python"

    def _packages(self, package: str, version: str) -> Path:
        return self._home / f"{package}-{version}/node_modules"

    def command(self, peer: Peer, url: str) -> list[str]:
        if peer.name in PYTHON_PEERS:
            return [str(self._python), str(DRIVERS / "python.py"), peer.name, peer.mode, url]
        modules = self._packages("graphile-worker", GRAPHILE)
        return [self._node, str(DRIVERS / "graphile.mjs"), str(modules), peer.mode, url]


def node_major(node: str) -> int:
    """The major version of *node*; 0 without one."""
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    return int(told.removeprefix("v").partition(".")[0])


class Driver:
    """A running driver. One order at a time; hits come in between."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._hits: dict[int, asyncio.Future[int]] = {}

    async def read(self) -> None:
        """Take in what it says, until it ends."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "hit" in said:
                self._hit(said["hit"]).set_result(said["at"])
            else:
                await self._answers.put(said)
        raise RuntimeError("A peer ended before its time; what it said stands above.")

    def _hit(self, number: int) -> "asyncio.Future[int]":
        return self._hits.setdefault(number, asyncio.get_running_loop().create_future())

    async def hit(self, number: int) -> int:
        """When the handler of job *number* began, in ns."""
        async with asyncio.timeout(_ORDER_SECONDS):
            return await self._hit(number)

    async def opened(self) -> None:
        await self._answer()

    async def order(self, what: str, **details: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **details}).encode() + b"\n")
        await self._process.stdin.drain()
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        async with asyncio.timeout(_ORDER_SECONDS):
            return await self._answers.get()


@asynccontextmanager
async def running(command: Sequence[str]) -> AsyncIterator[Driver]:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=_LINE_BYTES_MAX
    )
    driver = Driver(process)
    async with asyncio.TaskGroup() as beside:
        reading = beside.create_task(driver.read())
        try:
            await driver.opened()
            yield driver
        finally:
            reading.cancel()
            with suppress(ProcessLookupError):
                process.kill()  # nothing is measured any more, and nothing of it is kept
            await process.wait()


class Server:
    """The stack's Postgres as its superuser: a database and a role for each peer, and what each role has asked."""

    def __init__(self, admin_url: str, log: Path) -> None:
        self._url = admin_url
        self._log = log
        self._password = urlsplit(admin_url).password or ""

    def url(self, peer: Peer) -> str:
        return self._named(peer.database, f"{peer.database}:{self._password}")

    def _named(self, database: str, who: str | None = None) -> str:
        parts = urlsplit(self._url)
        who = who or parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc.rpartition('@')[2]}", path=f"/{database}"))

    def run(self, *statements: str, database: str | None = None) -> None:
        with psycopg.connect(self._named(database) if database else self._url, autocommit=True) as admin:
            for statement in statements:
                admin.execute(statement)

    def prepare(self, roles: Sequence[str] = ()) -> None:
        """Have statements of *roles*, and of every peer from now on, written to the log once `listen` is called."""
        self.run("alter system set log_line_prefix = '%u '", "select pg_reload_conf()")
        for role in roles:
            self.run(
                f"alter role {role} set log_min_messages = 'log'",
                f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{role}'",
            )

    def make(self, peer: Peer) -> None:
        """An empty database, and a role that owns it."""
        self.drop(peer)
        self.run(
            f"create role {peer.database} login password '{self._password}'",
            f"alter role {peer.database} set log_min_messages = 'log'",
            f"create database {peer.database} owner {peer.database}",
        )

    def drop(self, peer: Peer) -> None:
        self.run(f"drop database if exists {peer.database} with (force)", f"drop role if exists {peer.database}")

    def left(self, peer: Peer) -> int:
        with psycopg.connect(self._named(peer.database), autocommit=True) as admin:
            row = admin.execute(peer.left).fetchone()
        assert row is not None
        return int(row[0])

    def listen(self) -> int:
        """Have statements logged from now on; returns where in the log that is."""
        self.run("alter system set log_statement = 'all'", "select pg_reload_conf()")
        return self._log.stat().st_size

    def heard(self, since: int) -> "Counter[tuple[str, str]]":
        """Statements since `listen` by role, and by role the transactions that were begun by name."""
        self.run("alter system reset log_statement", "select pg_reload_conf()")
        with self._log.open(errors="replace") as log:
            log.seek(since)
            return count_statements(log.read())

    def sessions(self) -> dict[str, int]:
        with psycopg.connect(self._url, autocommit=True) as admin:
            rows = admin.execute("select usename, count(*) from pg_stat_activity where usename <> '' group by 1")
            return {str(name): int(count) for name, count in rows}


def count_statements(log: str) -> "Counter[tuple[str, str]]":
    """What the lines of *log* (prefix: the role) say: (role, `statements`) and (role, `begins`)."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in log.splitlines():
        role, _, said = line.partition(" ")
        if said.startswith(_LOGGED):
            counts[role, "statements"] += 1
            counts[role, "begins"] += said.rpartition(": ")[2].lower().startswith("begin")
    return counts
