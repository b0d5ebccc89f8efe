"""
The workers of a chaos run, and the service manager that starts each again when it has ended.

Owns the processes: who ended as ordered, who did not, and how. A worker gets a new name with each start, as it would
on a platform.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from scripts import local
from scripts.benches import waiting

_RESTART_SECONDS = 1.0
_YOUNG_SECONDS = 20.0  # a process of Python's may not have its signal handlers yet
_STOP_SECONDS = 60.0  # far beyond the grace: a machine may be busy
CLOCK = Path(__file__).parent / "clock"  # a wall clock that can be moved, for a PYTHONPATH
_READY = "Job processor started"
_LOOK_SECONDS = 0.05


def environment() -> dict[str, str]:
    """What a process of the run inherits: nothing that could change how a worker is set up."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV") if name in os.environ}


class Member:
    """One place in the crew, and the process that fills it now."""

    def __init__(self, nr: int, home: Path, environment: Mapping[str, str]) -> None:
        self.nr = nr
        self._home = home
        self._environment = environment
        self._clock = home / f"clock-{nr}"
        self._clock.write_text("0")
        self._process: asyncio.subprocess.Process | None = None
        self._ordered: set[int] = set()
        self._closing = False
        self.starts = 0
        self.wrong_ends: list[str] = []
        """Ends nobody ordered, and ordered ones that were not clean."""

    @property
    def log(self) -> Path:
        return self._home / f"worker-{self.nr}.log"

    def signal(self, number: signal.Signals) -> None:
        """Send *number* to the process of this moment, if there is one."""
        if self._process is None or self._process.returncode is not None:
            return
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._ordered.add(self._process.pid)
        self._process.send_signal(number)

    def shift_clock(self, seconds: float) -> None:
        """Let the worker's wall clock be *seconds* ahead of ours."""
        draft = self._clock.with_suffix(".new")
        draft.write_text(str(seconds))
        draft.replace(self._clock)

    async def freeze(self, seconds: float) -> None:
        """Stop the process for so long, as a machine that is suspended does; whoever has its place then goes on."""
        process = self._process
        self.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGCONT)

    async def run(self) -> None:
        """Keep the place filled until `close`."""
        with local.open_log(self.log) as output:
            while not self._closing:
                self.starts += 1
                started = time.monotonic()
                process = self._process = await self._start(output.fileno())
                status = await process.wait()
                self._judge(process.pid, status, time.monotonic() - started)
                if not self._closing:
                    await asyncio.sleep(_RESTART_SECONDS)

    async def close(self) -> None:
        """End the process in order and leave the place empty. `run` returns then."""
        self._closing = True
        process = self._process
        self.signal(signal.SIGTERM)
        try:
            await waiting.until(lambda: process is None or process.returncode is not None, seconds=_STOP_SECONDS)
        except TimeoutError:
            self.wrong_ends.append(f"worker {self.nr} did not end within {_STOP_SECONDS:g} s of SIGTERM")
            self.signal(signal.SIGKILL)

    def destroy(self) -> None:
        self._closing = True
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _start(self, output: int) -> asyncio.subprocess.Process:
        name = f"w{self.nr}.{self.starts}"
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker", "run"),
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self._home,
            start_new_session=True,
            env={
                **environment(),
                **self._environment,
                **{"WORKER_ID": name, "PYTHONUNBUFFERED": "1"},
                **{"PYTHONPATH": os.pathsep.join((str(CLOCK), str(local.ROOT)))},
                **{"CLOCK_SHIFT_FILE": str(self._clock)},
            },
        )

    def _judge(self, pid: int, status: int, seconds: float) -> None:
        if pid not in self._ordered:
            self.wrong_ends.append(f"worker {self.nr} ended by itself, status {status}")
        elif status not in (0, -signal.SIGKILL) and (status != -signal.SIGTERM or seconds > _YOUNG_SECONDS):
            self.wrong_ends.append(f"worker {self.nr} ended with status {status} after SIGTERM")


class Crew:
    def __init__(self, home: Path, environment: Mapping[str, str], count: int) -> None:
        self.members = [Member(nr, home, environment) for nr in range(1, count + 1)]

    @property
    def starts(self) -> int:
        return sum(member.starts for member in self.members)

    @property
    def wrong_ends(self) -> list[str]:
        return [end for member in self.members for end in member.wrong_ends]

    async def close(self) -> None:
        """End all in order."""
        await asyncio.gather(*(member.close() for member in self.members))

    async def ready(self) -> None:
        """Wait until each has started once. Raises TimeoutError."""
        deadline = time.monotonic() + local.START_SECONDS
        for member in self.members:
            while _READY not in (member.log.read_text() if member.log.exists() else ""):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"worker {member.nr} did not start: see {member.log}")
                await asyncio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def working(home: Path, environment: Mapping[str, str], count: int) -> AsyncIterator[Crew]:
    """*count* workers at work, from the moment on that each has started."""
    crew = Crew(home, environment, count)
    async with asyncio.TaskGroup() as tasks:
        for member in crew.members:
            tasks.create_task(member.run())
        try:
            await crew.ready()
            yield crew
        finally:
            for member in crew.members:
                member.destroy()
