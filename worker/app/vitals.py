"""
How a worker that listens fares: for the database (heartbeat), the platform (health, readiness) and Prometheus (gauges).

Reads the parts and changes none. Every number stands in one place here, so that the three never disagree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker import clock as clocks
from worker.app.crew import Crew
from worker.counters import Counters
from worker.heartbeat import Condition
from worker.listener import Listener
from worker.settings import Settings
from worker.translators.patience import ProviderCondition

if TYPE_CHECKING:
    from worker.web import health, metrics


@dataclass(frozen=True, slots=True)
class Speaks:
    """What the translators say about themselves, asked whenever it is told."""

    languages: Callable[[], tuple[tuple[str, str], ...]]
    is_simulated: Callable[[], bool] = lambda: False
    providers: Callable[[], Sequence[ProviderCondition]] = tuple

    def reasons(self) -> dict[str, str]:
        """Why providers are left alone."""
        return {one.provider: one.reason for one in self.providers() if one.reason}

    def conditions(self) -> list[dict[str, Any]]:
        return [{"provider": one.provider, "breaker": one.breaker, "reason": one.reason} for one in self.providers()]


class Vitals:
    def __init__(
        self, settings: Settings, *, crew: Crew, listener: Listener, counters: Counters, speaks: Speaks
    ) -> None:
        self._settings = settings
        self._crew = crew
        self._listener = listener
        self._counters = counters
        self._speaks = speaks
        self._clock = clocks.SYSTEM
        self.stopping = False
        self.workers = 1
        """How many there are, this one included; set by whoever hears of it."""

    @property
    def mode(self) -> str:
        return "stopping" if self.stopping else self._listener.mode

    def condition(self) -> Condition:
        crew = self._crew
        return Condition(
            mode=self.mode,
            mode_seconds=self._mode_age_seconds(),
            job_types=crew.claimer.open_types(),
            languages=self._speaks.languages() if "translation" in crew.job_types else (),
            probe=self._listener.take_probe(),
            stats={
                **self._hearing(),
                "rings": dict(self._counters.rings),
                "claimed": dict(self._counters.jobs_claimed),
                "items": dict(self._counters.items),
                "paused_seconds": {name: round(left) for name, left in crew.pauses.left_seconds().items()},
                "providers": self._speaks.reasons(),
            },
        )

    def readiness(self) -> "health.Readiness":
        from worker.web import health

        silent_seconds = self._silent_seconds()
        reason = self._crew.heartbeat.trouble
        if self.stopping:
            reason = "The worker is stopping."
        elif silent_seconds > self._settings.unready_seconds:
            reason = f"The database has accepted nothing for {silent_seconds:.0f} seconds."
        return health.Readiness(ready=reason is None, mode=self.mode, reason=reason)

    def health(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "mode_for_seconds": round(self._mode_age_seconds()),
            "running": len(self._crew.runs),
            "slots": self._settings.max_concurrent_jobs,
            "simulated": self._speaks.is_simulated(),
            "providers": self._speaks.conditions(),
            **self._hearing(),
        }

    def gauges(self) -> "metrics.Gauges":
        from worker.web import metrics

        return metrics.Gauges(
            ready=self.readiness().ready,
            mode=self.mode,
            running=len(self._crew.runs),
            slots=self._settings.max_concurrent_jobs,
            silent_seconds=self._silent_seconds(),
            mode_seconds=self._listener.mode_seconds(),
            mode_age_seconds=self._mode_age_seconds(),
            reconnects=self._listener.reconnects,
            recorder_lag_seconds=self._crew.recorder.lag_seconds,
            providers=self._speaks.providers(),
            roads=self._listener.roads,
            workers=self.workers,
        )

    def _hearing(self) -> dict[str, Any]:
        """How well Realtime is heard, for the database and for `/health`."""
        delays = {road: delay.last for road, delay in self._counters.delays.items()}
        return {
            "roads": self._listener.roads,
            "reconnects": self._listener.reconnects,
            "mode_seconds": {mode: round(seconds) for mode, seconds in self._listener.mode_seconds().items()},
            "delay_ms": {road: round(last * 1000, 1) for road, last in delays.items() if last is not None},
            "heard_first": dict(self._counters.heard_first),
            "unheard": dict(self._counters.unheard),
        }

    def _mode_age_seconds(self) -> float:
        return self._clock.monotonic() - self._listener.mode_since

    def _silent_seconds(self) -> float:
        return self._clock.monotonic() - self._crew.store.answered_at
