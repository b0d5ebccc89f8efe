"""
What is heard through Realtime, connected to who acts on it. Nothing acts on an event directly: it rings.
"""

from collections.abc import Callable, Mapping
from typing import Any

from worker.counters import Counters
from worker.runs import Runs
from worker.wakeup import Bell


class Switchboard:
    """The `listener.Hearer` of a worker."""

    def __init__(
        self,
        *,
        bell: Bell,
        runs: Runs,
        poll_seconds: float,
        beat_soon: Callable[[], None],
        counters: Counters,
    ) -> None:
        self._bell = bell
        self._runs = runs
        self._poll_seconds = poll_seconds
        self._beat_soon = beat_soon
        self._counters = counters

    def on_ring(self, road: str, payload: Mapping[str, Any]) -> None:
        self._counters.rings[road] += 1
        due_in_ms = payload.get("due_in_ms")
        if isinstance(due_in_ms, int | float) and due_in_ms > 0:
            self._bell.ring_in(due_in_ms / 1000)
            return
        job_id = payload.get("job_id")
        self._bell.ring(road, job_id=job_id if isinstance(job_id, str) else None)

    def on_cancelled(self, job_id: str) -> None:
        if job_id in self._runs:
            self._beat_soon()  # its answer says what is true, and stops the run

    def on_mode(self, mode: str, reason: str) -> None:
        # While Realtime is heard nobody polls: a heartbeat would tell of work that was missed.
        self._bell.poll_every(None if mode == "realtime" else self._poll_seconds)
        self._beat_soon()
