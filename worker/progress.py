"""
How far a job is, and how long it will still take: counts and times in, numbers out. Pure arithmetic.

Progress counts source characters, so that a long paragraph weighs more than a heading. The rate leaves out
what came from the memory: it costs no time and would promise too much.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class ItemProgress:
    total_chars: int
    done_chars: int = 0
    cached_chars: int = 0
    chunks_done: int = 0
    chunks_total: int = 0


class JobProgress:
    """The open items of one run. Never goes back, and says 100 only when every item is done."""

    def __init__(self, chars_by_item: Mapping[str, int], *, started_at: float) -> None:
        # An item without a known size still weighs something, or a job of such items would stay at 0.
        self._items = {name: ItemProgress(max(chars, 1)) for name, chars in chars_by_item.items()}
        self._started_at = started_at
        self._percent = 0

    def update(
        self,
        item: str,
        *,
        done_chars: int,
        total_chars: int,
        cached_chars: int,
        chunks_done: int,
        chunks_total: int,
    ) -> None:
        total = max(total_chars, 1)
        self._items[item] = ItemProgress(
            total, min(done_chars, total), min(cached_chars, done_chars), chunks_done, chunks_total
        )

    def finish(self, item: str) -> None:
        """*item* has ended, well or not: nothing of it remains to be waited for."""
        progress = self._items[item]
        # What a failed item left undone was never worked on, and must not look like speed.
        progress.cached_chars += progress.total_chars - progress.done_chars
        progress.done_chars = progress.total_chars

    @property
    def percent(self) -> int:
        total = sum(item.total_chars for item in self._items.values())
        done = sum(item.done_chars for item in self._items.values())
        self._percent = max(self._percent, done * 100 // total if total else 0)
        return self._percent

    def eta_seconds(self, now: float) -> float | None:
        """Seconds until the last open item is done at the rate so far; None while there is no rate yet."""
        elapsed = now - self._started_at
        worked = sum(item.done_chars - item.cached_chars for item in self._items.values())
        remaining = sum(item.total_chars - item.done_chars for item in self._items.values())
        if worked <= 0 or elapsed <= 0:
            return None
        return remaining * elapsed / worked

    def entry(self, now: float) -> dict[str, Any]:
        """The wire's progress fields, without the job and its token."""
        eta = self.eta_seconds(now)
        return {
            "progress": self.percent,
            "eta_ms": None if eta is None else round(eta * 1000),
            "items": [
                {"item": name, "chunks_done": item.chunks_done, "chunks_total": item.chunks_total}
                for name, item in self._items.items()
                if item.chunks_total
            ],
        }
