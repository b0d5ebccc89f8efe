"""
The bell: the one thing that makes the claimer look for work.

Anything may ring it, as often as it likes: an event, a catch-up, a timer, the poll. Any number of rings
before the claimer listens is one ring. It never says how much work there is, nor whose: only "look".
"""

import asyncio
import math
from collections.abc import Mapping
from typing import Final

from worker import clock as clocks

# Whom to credit when several rang: an event beats a catch-up, a catch-up beats a timer, a timer the poll.
_RANK: Final[Mapping[str, int]] = {"changes": 0, "broadcast": 0, "catch_up": 1, "timer": 2, "poll": 3}
# Timers are rounded up to ticks: the same due time heard twice, milliseconds apart, is one look.
_TICK_SECONDS: Final = 0.025
_TICKS_MAX: Final = 1000
_ANNOUNCED_MAX: Final = 10_000


class Bell:
    def __init__(self, *, interval_seconds: float, clock: clocks.Clock = clocks.SYSTEM) -> None:
        """*interval_seconds*: the least time between two answers to events, whatever rings."""
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._rung_by: str | None = None
        self._changed = asyncio.Event()
        self._closed = False
        self._earliest = 0.0
        self._answered_at = clock.monotonic()
        self._poll_seconds: float | None = None
        self._ticks: set[int] = set()
        self._announced: dict[str, None] = {}

    def ring(self, found_by: str, *, job_id: str | None = None) -> None:
        """Ask for a look. *job_id* is not believed; it only tells two roads of the same news apart."""
        if job_id is not None and self._is_old_news(found_by, job_id):
            return
        if self._rung_by is None or _RANK[found_by] < _RANK[self._rung_by]:
            self._rung_by = found_by
        self._changed.set()

    def ring_at_once(self, found_by: str) -> None:
        """Ask for another look without the minimum interval: the last one came back full."""
        self._earliest = self._clock.monotonic()
        self.ring(found_by)

    def ring_in(self, seconds: float) -> None:
        """Ring by timer in *seconds*. Of too many the latest are forgotten: a heartbeat sets them again."""
        self._ticks.add(math.ceil((self._clock.monotonic() + max(seconds, 0.0)) / _TICK_SECONDS))
        if len(self._ticks) > _TICKS_MAX:
            self._ticks.remove(max(self._ticks))
        self._changed.set()

    def poll_every(self, seconds: float | None) -> None:
        """Ring when nothing else did for *seconds*; None: never, because Realtime is heard."""
        self._poll_seconds = seconds
        self._changed.set()

    def close(self) -> None:
        """Let every present and future `wait` return None."""
        self._closed = True
        self._changed.set()

    async def wait(self) -> str | None:
        """Wait until a look is due. Returns what to credit it to, or None once the bell is closed."""
        while not self._closed:
            due_at = self._due_at()
            now = self._clock.monotonic()
            if due_at is not None and due_at <= now:
                return self._answer(now)
            self._changed.clear()
            await self._clock.wait(self._changed, None if due_at is None else due_at - now)
        return None

    def _is_old_news(self, found_by: str, job_id: str) -> bool:
        """
        The broadcast of an insert mostly outruns the change event of the same row by up to 500 ms, and that
        look is done or due. The other way round is not safe: a job is broadcast again when it comes back.
        """
        if found_by == "changes":
            return job_id in self._announced
        self._announced[job_id] = None
        if len(self._announced) > _ANNOUNCED_MAX:
            del self._announced[next(iter(self._announced))]
        return False

    def _due_at(self) -> float | None:
        due = []
        if self._rung_by is not None:
            due.append(self._earliest)
        if self._ticks:
            due.append(max(min(self._ticks) * _TICK_SECONDS, self._earliest))
        if self._poll_seconds is not None:
            due.append(self._answered_at + self._poll_seconds)
        return min(due, default=None)

    def _answer(self, now: float) -> str:
        over = {tick for tick in self._ticks if tick * _TICK_SECONDS <= now}
        self._ticks -= over
        found_by = self._rung_by or ("timer" if over else "poll")
        self._rung_by = None
        self._answered_at = now
        self._earliest = now + self._interval_seconds
        return found_by
