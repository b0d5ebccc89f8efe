"""
How many calls at once, how many a minute, how many characters a minute: for one provider and key.

All jobs and languages of this process share it. A throttle pauses all of them and halves what may run at
once; every good answer gives a little of it back (additive increase, multiplicative decrease). Waiting for a
free place has no limit of its own, its holder has one; waiting for the provider's pace is refused when it
would be longer than the caller's patience, so that no job sits in its slot for it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from worker import clock as clocks

PAUSE_SECONDS_MAX: Final = 120.0

# A pause of the allowance may be made up for by this much at once.
_BURST_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    concurrency: int = 16
    requests_per_minute: float | None = None
    """None: no limit of ours."""
    characters_per_minute: float | None = None
    wait_seconds: float = 30.0
    """How long one translation may wait in its slot for a provider that asks to slow down."""


class MustWait(Exception):  # an answer for the caller next door, not an error of ours
    """The wait would be longer than the caller's patience."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Limiter:
    def __init__(self, limits: Limits, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._clock = clock
        self._limit_max = limits.concurrency
        self._limit = float(limits.concurrency)
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._requests = _Bucket(limits.requests_per_minute, clock)
        self._characters = _Bucket(limits.characters_per_minute, clock)
        self._paused_until = self._throttled_at = -1.0

    @property
    def running(self) -> int:
        return self._running

    @property
    def limit(self) -> int:
        """How many calls may run at once now."""
        return int(self._limit)

    @property
    def pause_seconds(self) -> float:
        """How long nothing is sent yet."""
        return max(0.0, self._paused_until - self._clock.monotonic())

    @asynccontextmanager
    async def place(self, chars: int, patience_seconds: float) -> AsyncIterator[float]:
        """
        A place for one call of *chars* characters; yields when the call began.

        Raises:
            MustWait: the provider's pace would take longer than *patience_seconds*.
        """
        await self._keep_pace(chars, patience_seconds)
        await self._take_place(patience_seconds)
        try:
            yield self._clock.monotonic()
        finally:
            self._running -= 1
            self._wake()

    def throttled(self, seconds: float, began_at: float) -> None:
        """A call that began at *began_at* was answered with: slow down, for *seconds*."""
        now = self._clock.monotonic()
        self._paused_until = max(self._paused_until, now + min(seconds, PAUSE_SECONDS_MAX))
        if began_at > self._throttled_at:  # the others of the same burst say nothing new
            self._limit = max(1.0, self._limit / 2)
            self._throttled_at = now

    def succeeded(self) -> None:
        self._limit = min(float(self._limit_max), self._limit + 1 / self._limit)
        self._wake()

    async def _keep_pace(self, chars: int, patience_seconds: float) -> None:
        wait = max(self.pause_seconds, self._requests.wait_seconds(1), self._characters.wait_seconds(chars))
        if wait > patience_seconds:
            raise MustWait(wait)
        self._requests.take(1)  # before the wait: whoever comes next waits behind
        self._characters.take(chars)
        if wait:
            await self._clock.sleep(wait)

    async def _take_place(self, patience_seconds: float) -> None:
        await self._free_place()
        while pause := self.pause_seconds:  # ordered while we waited
            self._running -= 1
            self._wake()
            if pause > patience_seconds:
                raise MustWait(pause)
            await self._clock.sleep(pause)
            await self._free_place()

    async def _free_place(self) -> None:
        """In the order of asking. Counts the caller as running."""
        if self._running < self.limit and not self._waiting:
            self._running += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was ours already
                self._running -= 1
            self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self._running < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._running += 1
                turn.set_result(None)


class _Bucket:
    """An allowance that fills by the minute. May go into debt for one call that is larger than all of it."""

    def __init__(self, per_minute: float | None, clock: clocks.Clock) -> None:
        self._per_second = per_minute / 60 if per_minute else 0.0
        self._capacity = self._level = max(1.0, self._per_second * _BURST_SECONDS)
        self._clock = clock
        self._filled_at = clock.monotonic()

    def wait_seconds(self, amount: float) -> float:
        if not self._per_second:
            return 0.0
        self._fill()
        return max(0.0, (min(amount, self._capacity) - self._level) / self._per_second)

    def take(self, amount: float) -> None:
        if self._per_second:
            self._fill()
            self._level -= amount

    def _fill(self) -> None:
        now = self._clock.monotonic()
        self._level = min(self._capacity, self._level + (now - self._filled_at) * self._per_second)
        self._filled_at = now
