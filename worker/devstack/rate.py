"""
The average by which the real server silently limits change messages.

It looks every five seconds, at up to a minute of the past, and starts with a short memory: a burst counts for more in a
quiet hour than in a busy one. The rule: only time passing makes the average fall.
"""

import time
from collections import deque
from collections.abc import Callable

_TICK_SECONDS = 5.0
_TICKS = 12


class Rate:
    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ticks: deque[int] = deque(maxlen=_TICKS)
        self._count = 0
        self._tick_ends_at = monotonic() + _TICK_SECONDS

    def count(self, messages: int) -> None:
        """So many were sent just now."""
        self._turn()
        self._count += messages

    def per_second(self) -> float:
        """The average over the finished ticks, 12 at most; 0 before the first has ended."""
        self._turn()
        return sum(self._ticks) / (len(self._ticks) * _TICK_SECONDS) if self._ticks else 0.0

    def _turn(self) -> None:
        while self._monotonic() >= self._tick_ends_at:
            self._ticks.append(self._count)
            self._count = 0
            self._tick_ends_at += _TICK_SECONDS
