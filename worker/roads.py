"""
Which road told first of a new job, and which never told: the early sign of a road that loses messages.

Only counts. A statement that makes many jobs broadcasts one message with one id and their number; the other
jobs of it may be heard on the road `changes` alone without anything being lost.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from worker import clock as clocks
from worker.counters import Counters

_PATIENCE_SECONDS: Final = 10.0
_JOBS_MAX: Final = 10_000
_UNNAMED_MAX: Final = 1000


@dataclass(slots=True)
class _News:
    heard_at: float
    roads: set[str] = field(default_factory=set)


class Roads:
    def __init__(self, counters: Counters, *, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._counters = counters
        self._clock = clock
        self._news: dict[str, _News] = {}
        self._unnamed: deque[tuple[float, int]] = deque(maxlen=_UNNAMED_MAX)

    def heard(self, road: str, job_id: str, *, jobs: int = 1) -> None:
        """*road* told of the new job *job_id*, one of *jobs* made together."""
        now = self._clock.monotonic()
        self.settle()
        if jobs > 1:
            self.heard_unnamed(jobs - 1)
        if job_id not in self._news:
            self._counters.heard_first[road] += 1
            self._news[job_id] = _News(now)
            if len(self._news) > _JOBS_MAX:
                del self._news[next(iter(self._news))]
        self._news[job_id].roads.add(road)

    def heard_unnamed(self, jobs: int) -> None:
        """A broadcast told of *jobs* jobs that may be new or not."""
        self._unnamed.append((self._clock.monotonic(), jobs))

    def forget(self) -> None:
        """There was a gap, or a road is closed: what was not heard since proves nothing."""
        self._news.clear()
        self._unnamed.clear()

    def settle(self) -> None:
        """Count what nobody waits for any more."""
        before = self._clock.monotonic() - _PATIENCE_SECONDS
        while self._news:
            job_id, news = next(iter(self._news.items()))
            if news.heard_at > before:
                break
            del self._news[job_id]
            if "changes" not in news.roads:
                self._counters.unheard["changes"] += 1
            elif "broadcast" not in news.roads and not self._was_unnamed():
                self._counters.unheard["broadcast"] += 1
        while self._unnamed and self._unnamed[0][0] <= before - _PATIENCE_SECONDS:
            self._unnamed.popleft()

    def _was_unnamed(self) -> bool:
        """Whether a broadcast of many jobs can have meant one without naming it."""
        if not self._unnamed:
            return False
        heard_at, jobs = self._unnamed[0]
        if jobs > 1:
            self._unnamed[0] = (heard_at, jobs - 1)
        else:
            self._unnamed.popleft()
        return True
