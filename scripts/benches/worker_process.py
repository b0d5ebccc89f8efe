"""A running worker process, looked at from outside: its metrics, memory, descriptors and processor time."""

import os
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from scripts import local
from scripts.benches import memory, waiting

_METRICS_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_LINE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")


class WorkerProcess:
    def __init__(self, pid: int, port: int, http: aiohttp.ClientSession) -> None:
        self.pid = pid
        self.url = f"http://127.0.0.1:{port}"
        self._http = http

    async def metrics(self, name: str) -> dict[str, float]:
        """The values of metric *name* by its labels as they stand there, `mode="realtime"`."""
        async with self._http.get(f"{self.url}/metrics") as answer:
            text = await answer.text()
        found = (match for line in text.splitlines() if (match := _LINE.match(line)) and match["name"] == name)
        return {match["labels"] or "": float(match["value"]) for match in found}

    async def listens(self) -> bool:
        """Whether it hears Realtime; False also while it does not answer yet."""
        try:
            return (await self.metrics("worker_mode")).get('mode="realtime"') == 1
        except aiohttp.ClientConnectionError:
            return False

    def megabytes(self) -> float:
        """Resident memory."""
        return memory.resident_megabytes(self.pid)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)


def cpu_seconds(pid: int, *, of_children: bool = True) -> float:
    """Processor time of *pid*, and of all its children, those that have ended included."""
    parents: dict[int, list[int]] = {}
    times: dict[int, tuple[int, int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()  # behind the name, which may hold anything
            one, utime, stime, cutime, cstime = int(path.parent.name), *map(int, fields[11:15])
            parents.setdefault(int(fields[1]), []).append(one)
            times[one] = (utime + stime, cutime + cstime)

    def ticks(one: int) -> int:
        return sum(times[one]) + sum(map(ticks, parents.get(one, [])))

    return (ticks(pid) if of_children else times[pid][0]) / os.sysconf("SC_CLK_TCK")


def children(pid: int, name: str) -> list[int]:
    """Processes that *pid* has started whose program is called *name*."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            begin, _, rest = path.read_text().rpartition(")")
            if begin.partition("(")[2] == name and int(rest.split()[1]) == pid:
                found.append(int(path.parent.name))
    return found


@asynccontextmanager
async def running(home: Path, environment: Mapping[str, str], *, name: str = "run") -> AsyncIterator[WorkerProcess]:
    """A worker with its metrics open, from the moment on that it hears Realtime."""
    port = _free_port()
    settings = {**environment, "PORT": str(port), "HOST": "127.0.0.1"}
    timeout = aiohttp.ClientTimeout(total=_METRICS_SECONDS)
    async with (
        # Its lines are not waited for: a bench may want it silent.
        local.running("run", home=home, until="", environment=settings, name=name) as pid,
        aiohttp.ClientSession(timeout=timeout) as http,
    ):
        worker = WorkerProcess(pid, port, http)
        await waiting.until(worker.listens, seconds=local.START_SECONDS, every_seconds=_LOOK_SECONDS)
        yield worker


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
