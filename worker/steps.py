"""
How far a run of an owner's handler is: what it counts itself, or else the items it has handed in.

Pure arithmetic on top of `progress`, where each item weighs the same. The rule: what the handler says wins over what
can be seen from outside, and only a handler's own words are shown to people.
"""

from typing import Any, Final

from worker.progress import JobProgress

_WHOLE: Final = 10_000  # a run in its smallest steps: a hundredth of a percent
_ITEM: Final = 100  # what `progress` lets an item weigh of which it knows nothing


class Steps:
    def __init__(self, items: JobProgress, *, started_at: float) -> None:
        self._items = items
        self._counted = JobProgress({"": _WHOLE}, started_at=started_at)
        self._is_counted = False
        self._message: str | None = None

    def begin(self, item: str, now: float) -> None:
        """*item* is being worked on."""
        self._note(item, now, 0)

    def finish(self, item: str, now: float) -> None:
        """*item* was handed in."""
        self._note(item, now, 1)

    def _note(self, item: str, now: float, done: int) -> None:
        self._items.update(
            item,
            now=now,
            done_chars=done * _ITEM,
            total_chars=_ITEM,
            cached_chars=0,
            chunks_done=done,
            chunks_total=1,
        )

    def count(self, done: float, total: float, message: str | None, now: float) -> None:
        """The handler says that *done* of *total* is done. A total of 0 or less says nothing."""
        self._message = message
        if not total > 0:
            return
        self._is_counted = True
        share = min(max(done / total, 0.0), 1.0)
        self._counted.update(
            "",
            now=now,
            done_chars=int(share * _WHOLE),
            total_chars=_WHOLE,
            cached_chars=0,
            chunks_done=int(share * total),
            chunks_total=max(1, int(total)),
        )

    def entry(self, now: float) -> dict[str, Any]:
        """The wire's progress fields, without the job and its token."""
        entry = self._items.entry(now)
        if self._is_counted:
            counted = self._counted.entry(now)
            entry |= {"progress": counted["progress"], "eta_ms": counted["eta_ms"]}
        return entry | {"message": self._message}
