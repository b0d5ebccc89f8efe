"""A clock that only moves when the test says so."""

import asyncio
import heapq
import itertools

_TURNS = 20


class FakeClock:
    def __init__(self) -> None:
        self._now = 1000.0
        self._order = itertools.count()
        self._alarms: list[tuple[float, int, asyncio.Event]] = []

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await self._alarm(seconds).wait()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        if seconds is None:
            await event.wait()
            return True
        alarm = asyncio.ensure_future(self._alarm(seconds).wait())
        rung = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({alarm, rung}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
            rung.cancel()
        return event.is_set()

    async def advance(self, seconds: float) -> None:
        """Move on by *seconds*; everything that falls due on the way happens at its own time."""
        until = self._now + seconds
        await self.settle()
        while self._alarms and self._alarms[0][0] <= until:
            self._now, _, event = heapq.heappop(self._alarms)
            event.set()
            await self.settle()
        self._now = until
        await self.settle()

    async def settle(self) -> None:
        """Let every task run until it waits again."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _alarm(self, seconds: float) -> asyncio.Event:
        event = asyncio.Event()
        heapq.heappush(self._alarms, (self._now + max(seconds, 0.0), next(self._order), event))
        return event
