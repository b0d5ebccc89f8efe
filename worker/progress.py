"""
How far a job is, how fast it goes, and how long it will still take: counts and times in, numbers out.

Pure arithmetic. Progress counts source characters, so that a long paragraph weighs more than a heading. The pace
is that of the last calls and leaves out what came from the memory: it costs no time and would promise too much.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_CHUNKS_REMEMBERED: Final = 20  # long enough to be smooth, short enough to follow a provider that slows down
_CHUNKS_MIN: Final = 3
_SECONDS_MIN: Final = 10.0  # a slow provider may take that long for its first call
_PROMISE_SECONDS: Final = 5.0  # an estimate that changes each second is not believed
_OVERRUN: Final = 1.5


class Pace:
    """How fast work is done, from the moments at which some was finished."""

    def __init__(self, started_at: float) -> None:
        # (when, characters, chunks), both counted from the start
        self._marks: deque[tuple[float, int, int]] = deque([(started_at, 0, 0)], _CHUNKS_REMEMBERED + 1)
        self._started_at = started_at

    def note(self, now: float, chars: int, chunks: int) -> None:
        """By *now*, *chars* characters in *chunks* chunks have been worked on since the start."""
        if chars > self._marks[-1][1]:
            self._marks.append((now, chars, chunks))

    def chars_per_second(self, now: float) -> float | None:
        """None while too little has been seen to promise anything."""
        _, chars, chunks = self._marks[-1]
        if not chars or (chunks < _CHUNKS_MIN and now - self._started_at < _SECONDS_MIN):
            return None
        return (chars - self._marks[0][1]) / self._elapsed(now)

    def chunks_per_minute(self, now: float) -> float | None:
        if self.chars_per_second(now) is None:
            return None
        return 60 * (self._marks[-1][2] - self._marks[0][2]) / self._elapsed(now)

    def _elapsed(self, now: float) -> float:
        """Of the remembered marks; once the next one is overdue, the silence counts as well."""
        first, last = self._marks[0][0], self._marks[-1][0]
        usual_gap = (last - first) / (len(self._marks) - 1)
        return max(last - first + max(0.0, now - last - usual_gap), 0.001)


@dataclass(slots=True)
class ItemProgress:
    total_chars: int
    pace: Pace
    done_chars: int = 0
    cached_chars: int = 0
    chunks_done: int = 0
    chunks_total: int = 0

    @property
    def left_chars(self) -> int:
        return self.total_chars - self.done_chars

    @property
    def has_begun(self) -> bool:
        return bool(self.chunks_total or self.done_chars)

    def entry(self, name: str, now: float) -> dict[str, Any]:
        eta = self.eta_seconds(now)
        return {
            "item": name,
            "chunks_done": self.chunks_done,
            "chunks_total": self.chunks_total,
            "progress": self.done_chars * 100 // self.total_chars,
            "eta_ms": None if eta is None else round(eta * 1000),
        }

    def eta_seconds(self, now: float) -> float | None:
        """Seconds until this item is done; None while nobody can tell, also before it has begun."""
        if not self.left_chars:
            return 0.0
        speed = self.pace.chars_per_second(now)
        return self.left_chars / speed if speed else None


class JobProgress:
    """The open items of one run. Never goes back, and says 100 only when every item is done."""

    def __init__(self, chars_by_item: Mapping[str, int], *, started_at: float) -> None:
        # An item without a known size still weighs something, or a job of such items would stay at 0; and as much as
        # one that tells its progress in percent, or those that have begun would outweigh the others.
        self._items = {name: ItemProgress(chars or 100, Pace(started_at)) for name, chars in chars_by_item.items()}
        self._pace = Pace(started_at)
        self._percent = 0
        self._worked_chars = self._worked_chunks = 0
        self._first_promise_until: float | None = None
        self._promise: tuple[float, float] | None = None  # when it was made, and for when

    def update(
        self,
        item: str,
        *,
        now: float,
        done_chars: int,
        total_chars: int,
        cached_chars: int,
        chunks_done: int,
        chunks_total: int,
    ) -> None:
        progress = self._items[item]
        if not progress.chunks_total and chunks_total:
            progress.pace = Pace(now)  # until now it waited for its turn
        worked = progress.done_chars - progress.cached_chars
        progress.total_chars = max(total_chars, 1)
        progress.done_chars = max(0, min(done_chars, progress.total_chars))
        progress.cached_chars = max(0, min(cached_chars, progress.done_chars))
        self._worked_chunks += max(0, chunks_done - progress.chunks_done)
        progress.chunks_done, progress.chunks_total = chunks_done, chunks_total
        now_worked = progress.done_chars - progress.cached_chars
        self._worked_chars += max(0, now_worked - worked)
        progress.pace.note(now, now_worked, chunks_done)
        self._pace.note(now, self._worked_chars, self._worked_chunks)

    def finish(self, item: str) -> None:
        """*item* has ended, well or not: nothing of it remains to be waited for."""
        progress = self._items[item]
        progress.done_chars = progress.total_chars

    @property
    def percent(self) -> int:
        total = sum(item.total_chars for item in self._items.values())
        done = sum(item.done_chars for item in self._items.values())
        self._percent = max(self._percent, done * 100 // total if total else 0)
        return self._percent

    def eta_seconds(self, now: float) -> float | None:
        """
        Seconds until the last open item is done; None while nobody can tell.

        All characters left at the pace of all items together, or the slowest item at its own: near the end fewer
        run side by side than the common pace has seen.
        """
        speed = self._pace.chars_per_second(now)
        if not speed:
            return None
        left = sum(item.left_chars for item in self._items.values())
        alone = [eta for item in self._items.values() if (eta := item.eta_seconds(now)) is not None]
        return max(left / speed, *alone) if alone else left / speed

    def promised_seconds(self, now: float) -> float | None:
        """`eta_seconds`, kept for a while once it was said."""
        if self._promise and now < self._promise[0] + _PROMISE_SECONDS:
            return max(0.0, self._promise[1] - now)
        eta = self.eta_seconds(now)
        if eta is not None:
            self._promise = (now, now + eta)
            self._first_promise_until = self._first_promise_until or now + _OVERRUN * eta
        return eta

    def entry(self, now: float) -> dict[str, Any]:
        """The wire's progress fields, without the job and its token."""
        eta = self.promised_seconds(now)
        return {
            "progress": self.percent,
            "eta_ms": None if eta is None else round(eta * 1000),
            "message": self._message(now),
            "items": [item.entry(name, now) for name, item in self._items.items() if item.has_begun],
        }

    def _message(self, now: float) -> str | None:
        """One sentence for people: where it is, and how fast."""
        if self._first_promise_until is not None and now > self._first_promise_until:
            return "Taking longer than usual."
        speed, chunks_per_minute = self._pace.chars_per_second(now), self._pace.chunks_per_minute(now)
        if speed is None or chunks_per_minute is None:
            return None
        done = sum(item.chunks_done for item in self._items.values())
        total = sum(item.chunks_total for item in self._items.values())
        return f"{done} of {total} parts; {speed * 60:,.0f} characters and {chunks_per_minute:,.0f} parts a minute."
