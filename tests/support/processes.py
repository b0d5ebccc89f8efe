"""The worker and the stack as what they are in use: processes of their own, started, read and ended by id."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]

# By this variable `scripts/coverage` counts in processes too, once they have come to an end of their own.
COUNTED = "COVERAGE_PROCESS_CONFIG"

# What a process of ours is given of the environment of the tests.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", COUNTED)


class Process:
    """A running `worker …` command and what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._printed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._printed:
                self.lines.append(line.decode(errors="replace").rstrip())
                self._printed.notify_all()
        async with self._printed:
            self._printed.notify_all()

    async def says(self, pattern: str, *, seconds: float = 45.0) -> str:
        """Wait for a line that matches, and return it."""

        def found() -> str | None:
            return next((line for line in self.lines if re.search(pattern, line)), None)

        try:
            async with asyncio.timeout(seconds), self._printed:
                await self._printed.wait_for(lambda: found() or self._reader.done())
        except TimeoutError:
            pass
        line = found()
        assert line is not None, f"No line {pattern!r} in:\n" + "\n".join(self.lines)
        return line

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ended(self, *, seconds: float = 20.0) -> int:
        """Wait for the end; the exit status."""
        async with asyncio.timeout(seconds):
            status = await self.process.wait()
            await self._reader
        return status

    async def close(self) -> None:
        """End it if it still runs."""
        if COUNTED in os.environ and self.process.returncode is None:
            self.process.terminate()
            with suppress(TimeoutError):
                await self.ended()
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._reader


@asynccontextmanager
async def running(*arguments: str, environment: Mapping[str, str] = {}) -> AsyncIterator[Process]:
    """`worker *arguments*` as a process; killed at the end if it has not ended by then."""
    clean = {name: os.environ[name] for name in KEPT if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", *arguments),
        env={**clean, "PYTHONUNBUFFERED": "1", "LOG_JSON": "false", "NO_COLOR": "1", "COLUMNS": "200", **environment},
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=4 * 1024 * 1024,
    )
    running = Process(process)
    try:
        yield running
    finally:
        await running.close()
