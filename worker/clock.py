"""
Real time. The only module that knows it, so that a test can hand in a clock it moves itself.

Wall-clock time never decides anything here: the database owns it, and durations travel as milliseconds.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds since an arbitrary point. The same scale as the event loop's own time."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Wait until *event* is set, at most *seconds* (None: for ever). Says whether it was set."""
        ...


class SystemClock:
    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return event.is_set()
        return True


SYSTEM: Clock = SystemClock()
