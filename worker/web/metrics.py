"""
The worker's numbers for Prometheus, read when they are asked for. The parts know nothing of it.

Bounded: every label has a fixed set of values, or as many as the operator configured (job types, providers), or the
limit of `counters.LANGUAGES_MAX`. Nothing that a user writes becomes a label.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.counters import Counters, Delays
from worker.translators.breaker import OPEN_SECONDS
from worker.translators.patience import ProviderCondition
from worker.web import queue_metrics


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is true at this moment."""

    ready: bool
    mode: str
    running: int
    slots: int
    silent_seconds: float
    """Since the database last accepted a call."""
    mode_seconds: Mapping[str, float] = field(default_factory=dict)
    """Time in each mode so far."""
    mode_age_seconds: float = 0.0
    """Time in this mode since it last changed."""
    reconnects: int = 0
    """Realtime sessions that ended in trouble."""
    roads: Collection[str] = ()
    """The roads that have proved themselves since the session began."""
    workers: int = 1
    """How many the database counts."""
    recorder_lag_seconds: float = 0.0
    """Age of the oldest outcome that the database has not answered."""
    providers: Sequence[ProviderCondition] = ()


class WorkerCollector(Collector):
    def __init__(self, counters: Counters, gauges: Callable[[], Gauges]) -> None:
        self._counters = counters
        self._gauges = gauges

    def describe(self) -> Iterable[Metric]:
        return []  # known only when collected; the registry then does not collect at registration

    def collect(self) -> Iterator[Metric]:
        now = self._gauges()
        yield from _gauges(now)
        yield from _hearing(now, self._counters)
        yield from _jobs(self._counters)
        yield from _providers(now.providers)
        yield from _inside(self._counters)


def registry(counters: Counters, gauges: Callable[[], Gauges]) -> CollectorRegistry:
    own = CollectorRegistry()
    own.register(WorkerCollector(counters, gauges))
    return own


def page(
    counters: Counters, gauges: Callable[[], Gauges], stats: Callable[[], Awaitable[Mapping[str, Any] | None]]
) -> Callable[[], Awaitable[bytes]]:
    """What `/metrics` answers. *stats*: as `QueueStats.latest`."""
    own = registry(counters, gauges)

    async def text() -> bytes:
        queue = CollectorRegistry()
        queue.register(_Told(await stats()))
        return generate_latest(own) + generate_latest(queue)

    return text


class _Told(Collector):
    """One answer of the database."""

    def __init__(self, stats: Mapping[str, Any] | None) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        return queue_metrics.families(self._stats)


def _gauges(now: Gauges) -> Iterator[Metric]:
    yield GaugeMetricFamily("worker_ready", "1 when the worker can really work.", value=float(now.ready))
    mode = GaugeMetricFamily("worker_mode", "1 for the mode the worker is in.", labels=["mode"])
    for name in ("starting", "realtime", "polling", "stopping"):
        mode.add_metric([name], float(name == now.mode))
    yield mode
    yield GaugeMetricFamily("worker_mode_age_seconds", "Since the mode last changed.", value=now.mode_age_seconds)
    open_ = GaugeMetricFamily("worker_road_open", "1 for a road that has proved itself.", labels=["road"])
    for road in ("changes", "broadcast"):
        open_.add_metric([road], float(road in now.roads))
    yield open_
    yield GaugeMetricFamily("worker_workers", "Workers that the database counts.", value=now.workers)
    yield GaugeMetricFamily("worker_jobs_running", "Jobs held now.", value=now.running)
    yield GaugeMetricFamily("worker_slots", "Jobs it may hold.", value=now.slots)
    yield GaugeMetricFamily(
        "worker_store_silent_seconds", "Since the database last accepted a call.", value=now.silent_seconds
    )
    yield GaugeMetricFamily(
        "worker_recorder_lag_seconds", "Age of the oldest result not yet recorded.", value=now.recorder_lag_seconds
    )


def _hearing(now: Gauges, counters: Counters) -> Iterator[Metric]:
    yield _counter("worker_mode_seconds", "Time in each mode.", "mode", now.mode_seconds)
    yield _counter("worker_mode_changes", "Changes of mode.", "mode", counters.mode_changes)
    yield CounterMetricFamily("worker_realtime_reconnects", "Sessions that ended in trouble.", value=now.reconnects)
    yield _counter("worker_realtime_sessions_ended", "Sessions ended.", "reason", counters.sessions)
    yield _counter("worker_rings", "Times that something rang the bell.", "road", counters.rings)
    yield _counter("worker_heard_first", "New jobs by the road that told first.", "road", counters.heard_first)
    yield _counter("worker_unheard", "New jobs by the road that never told.", "road", counters.unheard)
    yield CounterMetricFamily("worker_undecoded", "Unreadable frames.", value=counters.undecoded)
    yield _histogram("worker_realtime_delay_seconds", "From asking for a proof to hearing it.", "road", counters.delays)


def _jobs(counters: Counters) -> Iterator[Metric]:
    yield _counter("worker_claims", "Claim calls answered.", "found_by", counters.claims)
    yield _counter("worker_jobs_claimed", "Jobs claimed.", "found_by", counters.jobs_claimed)
    yield _histogram("worker_pickup_seconds", "From claimable to claimed.", "found_by", counters.pickups)
    yield _pairs("worker_jobs_ended", "Job runs ended.", ("job_type", "outcome"), counters.jobs_ended)
    yield _counter("worker_items", "Tries of items by how they ended.", "outcome", counters.items)
    yield _counter("worker_item_errors", "Tries of items that did not succeed.", "class", counters.item_errors)
    yield _histogram("worker_language_seconds", "One try of one language.", "language", counters.language_runs)
    yield _counter("worker_memory_segments", "Segments asked of the memory.", "answer", counters.memory)


def _providers(providers: Sequence[ProviderCondition]) -> Iterator[Metric]:
    def by_provider(value: Callable[[ProviderCondition], float]) -> dict[str, float]:
        return {one.provider: value(one) for one in providers}

    failures = {(one.provider, name): count for one in providers for name, count in one.failures.items()}
    open_ = GaugeMetricFamily(
        "worker_provider_open", "1 for the reason why a provider is not asked.", labels=["provider", "reason"]
    )
    for one in providers:
        for reason in OPEN_SECONDS:
            open_.add_metric([one.provider, reason], float(one.reason == reason))
    yield _counter("worker_provider_calls", "Calls made.", "provider", by_provider(lambda one: one.calls))
    yield _pairs(
        "worker_provider_failures", "Calls that failed; rate_limited is a throttle.", ("provider", "class"), failures
    )
    yield _counter("worker_provider_characters", "Characters sent.", "provider", by_provider(lambda one: one.chars))
    yield _counter(
        "worker_provider_units", "What the provider says it counted.", "provider", by_provider(lambda one: one.units)
    )
    yield open_
    running = GaugeMetricFamily("worker_provider_running", "Calls that run now.", labels=["provider"])
    for name, count in by_provider(lambda one: one.running).items():
        running.add_metric([name], count)
    yield running


def _inside(counters: Counters) -> Iterator[Metric]:
    yield _pairs("worker_store_calls", "Calls made.", ("function", "answer"), counters.store_calls)
    yield _counter("worker_store_seconds", "Time waited for the database.", "function", counters.store_seconds)
    lag = HistogramMetricFamily("worker_loop_lag_seconds", "How much too late the event loop came round.", labels=[])
    lag.add_metric([], _buckets(counters.loop_lag), counters.loop_lag.total)
    yield lag


def _counter(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _pairs(name: str, help_text: str, labels: tuple[str, str], values: Mapping[tuple[str, str], float]) -> Metric:
    family = CounterMetricFamily(name, help_text, labels=labels)
    for pair, count in values.items():
        family.add_metric(pair, count)
    return family


def _histogram(name: str, help_text: str, label: str, values: Mapping[str, Delays]) -> Metric:
    family = HistogramMetricFamily(name, help_text, labels=[label])
    for value, delays in values.items():
        family.add_metric([value], _buckets(delays), delays.total)
    return family


def _buckets(delays: Delays) -> list[tuple[str, float]]:
    bounds = [*map(str, delays.bounds), "+Inf"]
    return list(zip(bounds, accumulate(delays.counts), strict=True))
