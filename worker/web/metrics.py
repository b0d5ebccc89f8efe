"""
The worker's numbers for Prometheus, read when they are asked for. The parts know nothing of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.counters import Counters


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is true at this moment."""

    ready: bool
    mode: str
    running: int
    slots: int
    silent_seconds: float
    """Since the database last accepted a call."""


class WorkerCollector(Collector):
    def __init__(self, counters: Counters, gauges: Callable[[], Gauges]) -> None:
        self._counters = counters
        self._gauges = gauges

    def describe(self) -> Iterable[Metric]:
        return []  # known only when collected; the registry then does not collect at registration

    def collect(self) -> Iterator[Metric]:
        yield from _gauges(self._gauges())
        counters = self._counters
        yield _counter("worker_rings", "Times that something rang the bell.", "road", counters.rings)
        yield _counter("worker_claims", "Claim calls answered.", "found_by", counters.claims)
        yield _counter("worker_jobs_claimed", "Jobs claimed.", "found_by", counters.jobs_claimed)
        found_seconds = {road: ms / 1000 for road, ms in counters.found_ms.items()}
        yield _counter(
            "worker_jobs_found_seconds", "Time from claimable to claimed, summed.", "found_by", found_seconds
        )
        yield _counter("worker_jobs_ended", "Job runs ended.", "outcome", counters.jobs_ended)
        yield _counter("worker_items", "Items ended.", "outcome", counters.items)
        yield _counter("worker_realtime_sessions_ended", "Sessions ended.", "reason", counters.sessions)
        yield _counter("worker_mode_changes", "Changes of mode.", "mode", counters.mode_changes)
        yield _calls(counters.store_calls)
        yield _counter("worker_store_seconds", "Time waited for the database.", "function", counters.store_seconds)


def registry(counters: Counters, gauges: Callable[[], Gauges]) -> CollectorRegistry:
    own = CollectorRegistry()
    own.register(WorkerCollector(counters, gauges))
    return own


def _gauges(now: Gauges) -> Iterator[Metric]:
    yield GaugeMetricFamily("worker_ready", "1 when the worker can really work.", value=float(now.ready))
    mode = GaugeMetricFamily("worker_mode", "1 for the mode the worker is in.", labels=["mode"])
    for name in ("starting", "realtime", "polling", "stopping"):
        mode.add_metric([name], float(name == now.mode))
    yield mode
    yield GaugeMetricFamily("worker_jobs_running", "Jobs held now.", value=now.running)
    yield GaugeMetricFamily("worker_slots", "Jobs it may hold.", value=now.slots)
    yield GaugeMetricFamily(
        "worker_store_silent_seconds", "Since the database last accepted a call.", value=now.silent_seconds
    )


def _counter(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _calls(values: Mapping[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily("worker_store_calls", "Calls made.", labels=["function", "answer"])
    for (function, answer), count in values.items():
        family.add_metric([function, answer], count)
    return family
