"""
What is heard through Realtime, connected to who acts on it. Nothing acts on an event directly: it rings.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from worker.counters import Counters
from worker.roads import Roads
from worker.runs import Runs
from worker.wakeup import Bell

_MS_MAX: Final = 366 * 86_400_000  # nobody may schedule further ahead


class Switchboard:
    """The `listener.Hearer` of a worker."""

    def __init__(
        self,
        *,
        bell: Bell,
        runs: Runs,
        roads: Roads,
        has_both_roads: Callable[[], bool],
        poll_seconds: float,
        beat_soon: Callable[[], None],
        counters: Counters,
    ) -> None:
        """*has_both_roads*: whether a new job should be told on both roads now."""
        self._bell = bell
        self._runs = runs
        self._roads = roads
        self._has_both_roads = has_both_roads
        self._poll_seconds = poll_seconds
        self._beat_soon = beat_soon
        self._counters = counters

    def on_ring(self, road: str, payload: Mapping[str, Any]) -> None:
        self._counters.rings[road] += 1
        job_id, jobs = _text(payload.get("job_id")), _whole(payload.get("jobs"))
        is_new = road == "changes" or payload.get("new") is True
        self._compare(road, job_id if is_new else None, jobs, payload.get("status"))
        due_in_seconds = _seconds(payload.get("due_in_ms"))
        if due_in_seconds > 0:
            self._bell.ring_in(due_in_seconds)
        elif payload.get("status") == "scheduled":
            if not self._has_both_roads():
                self._beat_soon()  # its answer says when; otherwise the broadcast does
        elif payload.get("status") != "blocked":
            # Of many jobs only one is named: that it is taken says nothing about the others.
            self._bell.ring(road, job_id=job_id if jobs == 1 else None, is_new=is_new)

    def _compare(self, road: str, new_job_id: str | None, jobs: int, status: Any) -> None:
        """Keep account of what each road tells, while both are open. Nobody broadcasts a job that is blocked."""
        if not self._has_both_roads() or status == "blocked":
            return
        if new_job_id is not None:
            self._roads.heard(road, new_job_id, jobs=jobs)
        elif road == "broadcast":
            self._roads.heard_unnamed(jobs)

    def on_cancelled(self, job_id: str) -> None:
        if job_id in self._runs:
            self._beat_soon()  # its answer says what is true, and stops the run

    def on_claimed(self, job_ids: list[str]) -> None:
        self._bell.settle(job_ids)

    def on_mode(self, mode: str, reason: str) -> None:
        # While Realtime is heard nobody polls: a heartbeat would tell of work that was missed.
        self._bell.poll_every(None if mode == "realtime" else self._poll_seconds)
        self._roads.forget()
        self._beat_soon()

    def on_doubt(self) -> None:
        self._beat_soon()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 1


def _seconds(ms: Any) -> float:
    """0 for what is no sensible number."""
    return ms / 1000 if isinstance(ms, int | float) and 0 < ms < _MS_MAX else 0.0
