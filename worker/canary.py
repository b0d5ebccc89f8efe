"""
Whether change capture lives. The database writes this worker's heartbeat row, and that change must come back
through Realtime: nothing else shows a server that captures nothing, or drops what it captured.

Knows no socket: it is told of beats and of rows. A row missed is a doubt; while in doubt it asks for more
heartbeats, so that the end of the trouble is noticed as soon as the trouble was.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from worker import clock as clocks
from worker.counters import Delays

# From the database's answer on. A server's honest delay is half a second; a row that comes later still heals.
_ROW_SECONDS: Final = 4.0
_AGAIN_SECONDS: Final = 5.0


class Canary:
    def __init__(
        self,
        *,
        could_hear: Callable[[float], bool],
        on_missed: Callable[[], None],
        ask: Callable[[], None],
        delays: Delays,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        """
        *could_hear*: whether the channel was ready at a time on the monotonic clock, and still is.
        *ask*: asks for a heartbeat soon.
        """
        self._could_hear = could_hear
        self._on_missed = on_missed
        self._ask = ask
        self._delays = delays
        self._clock = clock
        self._beat = asyncio.Event()
        self._sent_at = float("-inf")
        self._row = asyncio.Event()
        self.heard_at = float("-inf")
        """When a row was last heard, on the monotonic clock."""
        self.doubted_since: float | None = None
        """When the first row of those was missed that were missed in a row; None while all is well."""
        self.missed = 0
        """Rows missed since the last one that was heard."""

    def beat_accepted(self, sent_at: float) -> None:
        """The database took the heartbeat sent at *sent_at*: its row must be heard soon."""
        self._sent_at = sent_at
        self._beat.set()

    def row_heard(self) -> None:
        now = self._clock.monotonic()
        if self.heard_at < self._sent_at <= now:
            self._delays.note(now - self._sent_at)
        self.heard_at = now
        self.doubted_since = None
        self.missed = 0
        self._row.set()

    async def run(self) -> None:
        while True:
            await self._next_beat()
            sent_at = self._sent_at
            if not self._could_hear(sent_at) or await self._heard_since(sent_at) or not self._could_hear(sent_at):
                continue
            self.missed += 1
            if self.doubted_since is None:
                self.doubted_since = self._clock.monotonic()
            self._on_missed()

    async def _next_beat(self) -> None:
        while not await self._clock.wait(self._beat, _AGAIN_SECONDS if self.missed else None):
            if self.missed and self._could_hear(self._clock.monotonic()):
                self._ask()
        self._beat.clear()

    async def _heard_since(self, sent_at: float) -> bool:
        until = self._clock.monotonic() + _ROW_SECONDS
        while self.heard_at < sent_at:
            self._row.clear()
            if not await self._clock.wait(self._row, until - self._clock.monotonic()):
                return False
        return True
