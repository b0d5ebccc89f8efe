"""
The bell: the one thing that makes the claimer look for work.

Anything may ring it, as often as it likes: an event, a catch-up, a timer, the poll. Any number of rings
before the claimer listens is one ring. It never says how much work there is, nor whose: only "look".

A ring may name a job. The name is not believed: it only tells two roads of the same news apart, and lets a
ring go when the job it was for is known to be taken. What was named and is not known to be taken after a look
is looked after once more: a message can outrun the row it speaks of.
"""

import asyncio
import math
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from worker import backoff
from worker import clock as clocks

# Whom to credit when several rang: an event beats a catch-up, a catch-up beats a timer, a timer the poll.
_RANK: Final[Mapping[str, int]] = {"changes": 0, "broadcast": 0, "catch_up": 1, "timer": 2, "poll": 3}
# Timers are rounded up to ticks: the same due time heard twice, milliseconds apart, is one look.
_TICK_SECONDS: Final = 0.025
_TICKS_MAX: Final = 1000
_KNOWN_MAX: Final = 10_000
_NAMED_MAX: Final = 1000
_AGAIN_SECONDS: Final = 0.5
# Polls come a little early at random, so that a fleet does not look in step.
_POLL_SHARE_LEAST: Final = 0.8
_TIMER_SECONDS_MAX: Final = 7 * 86400.0


class Bell:
    def __init__(
        self,
        *,
        interval_seconds: float,
        spread_seconds: Callable[[], float] = lambda: 0.0,
        clock: clocks.Clock = clocks.SYSTEM,
        draw: backoff.Draw = random.uniform,
    ) -> None:
        """
        *interval_seconds*: the least time between two answers to events, whatever rings.
        *spread_seconds*: how long an answer may be put off, at random, because others hear the same ring.
        """
        self._interval_seconds = interval_seconds
        self._spread_seconds = spread_seconds
        self._clock = clock
        self._draw = draw
        self._share = draw(0.0, 1.0)
        self._changed = asyncio.Event()
        self._closed = False
        self._rung_by: str | None = None
        self._named: dict[str, str] = {}
        self._ring_due_at = 0.0
        self._earliest = 0.0
        self._answered_at = clock.monotonic()
        self._unsettled: dict[str, str] = {}
        self._poll_seconds: float | None = None
        self._poll_due_at = 0.0
        self._ticks: set[int] = set()
        self._known: dict[str, None] = {}
        self._is_waited_for = False

    @property
    def rests(self) -> bool:
        """Whether every ring has been looked after, and no look is due later either."""
        return self._is_waited_for and self._due_at() is None

    def ring(self, found_by: str, *, job_id: str | None = None, is_new: bool = False) -> None:
        """Ask for a look. *is_new*: *job_id* was just inserted, and did not come back."""
        if job_id is not None and self._is_old_news(found_by, job_id, is_new):
            return
        if self._rung_by is None and not self._named:
            self._ring_due_at = self._clock.monotonic() + self._draw(0.0, self._spread_seconds())
        if job_id is None or len(self._named) >= _NAMED_MAX:
            self._rung_by = _better(found_by, self._rung_by)
        else:
            self._named.setdefault(job_id, found_by)
        self._changed.set()

    def ring_at_once(self, found_by: str) -> None:
        """Ask for another look without delay or minimum interval: the last one came back full."""
        self._rung_by = _better(found_by, self._rung_by)
        self._ring_due_at = self._earliest = self._clock.monotonic()
        self._changed.set()

    def ring_in(self, seconds: float) -> None:
        """Ring by timer in *seconds*. Of too many the latest are forgotten: a heartbeat sets them again."""
        seconds = min(max(seconds, 0.0), _TIMER_SECONDS_MAX)
        self._ticks.add(math.ceil((self._clock.monotonic() + seconds) / _TICK_SECONDS))
        if len(self._ticks) > _TICKS_MAX:
            self._ticks.remove(max(self._ticks))
        self._changed.set()

    def settle(self, job_ids: Iterable[str]) -> None:
        """These jobs are taken, by us or by somebody else: nobody need look for them."""
        for job_id in job_ids:
            self._know(job_id)
            self._named.pop(job_id, None)
            self._unsettled.pop(job_id, None)
        self._changed.set()

    def poll_every(self, seconds: float | None) -> None:
        """Ring when nothing else did for about *seconds*; None: never, because Realtime is heard."""
        self._poll_seconds = seconds
        self._poll_due_at = self._next_poll()
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
            self._is_waited_for = True
            try:
                await self._clock.wait(self._changed, None if due_at is None else due_at - now)
            finally:
                self._is_waited_for = False
        return None

    def _is_old_news(self, found_by: str, job_id: str, is_new: bool) -> bool:
        """
        Both roads tell of an insert, up to some 500 ms apart, and the look for the first is done or due. A
        broadcast that is not of an insert is never old: the job came back.
        """
        was_known = job_id in self._known
        self._know(job_id)
        return was_known and (is_new or found_by == "changes")

    def _know(self, job_id: str) -> None:
        self._known[job_id] = None
        if len(self._known) > _KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def _due_at(self) -> float | None:
        due = []
        if self._rung_by is not None or self._named:
            due.append(max(self._earliest, self._ring_due_at))
        if self._unsettled:
            due.append(self._answered_at + _AGAIN_SECONDS)
        if self._ticks:
            # The same share of the spread for every timer: equal times stay equal.
            put_off_seconds = self._spread_seconds() * self._share
            due.append(max(min(self._ticks) * _TICK_SECONDS + put_off_seconds, self._earliest))
        if self._poll_seconds is not None:
            due.append(self._poll_due_at)
        return min(due, default=None)

    def _answer(self, now: float) -> str:
        over = {tick for tick in self._ticks if tick * _TICK_SECONDS <= now}
        self._ticks -= over
        rung_by = [self._rung_by or "poll", *self._named.values()]
        if over:
            rung_by.append("timer")
        if self._unsettled and self._answered_at + _AGAIN_SECONDS <= now:
            rung_by += self._unsettled.values()
        # Every earlier ring is answered by this look, whatever it was that made it due.
        self._rung_by, self._named, self._unsettled = None, {}, self._named
        self._answered_at = now
        self._earliest = now + self._interval_seconds
        self._poll_due_at = self._next_poll()
        return min(rung_by, key=_RANK.__getitem__)

    def _next_poll(self) -> float:
        return self._answered_at + (self._poll_seconds or 0.0) * self._draw(_POLL_SHARE_LEAST, 1.0)


def _better(found_by: str, other: str | None) -> str:
    return found_by if other is None or _RANK[found_by] < _RANK[other] else other
