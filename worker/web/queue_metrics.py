"""
The queue in numbers for Prometheus, from `translation_queue_stats`: the same from every worker, whichever is asked.

The database is asked only when somebody scrapes, and at most once in KEEP_SECONDS however many do: an idle worker
that nobody watches makes no call for it. Without an answer its numbers are left out, never invented.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

from loguru import logger
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from worker import clock as clocks
from worker import errors
from worker.counters import OTHER
from worker.rpc import Rpc

KEEP_SECONDS: Final = 15.0
_ASK_SECONDS: Final = 3.0  # less than any scraper waits

_LIVE: Final = ("pending", "scheduled", "blocked", "processing", "retrying")
_ENDED: Final = ("completed", "failed", "cancelled")
_MODES: Final = ("starting", "realtime", "polling", "stopping")
_CREDITS: Final = ("reserved", "consumed", "refunded")
_TYPES_MAX: Final = 50

_STATS_UP: Final = "worker_queue_stats_up"


class QueueStats:
    """The last answer of `translation_queue_stats`, asked for again when it is old."""

    def __init__(self, rpc: Rpc, clock: clocks.Clock = clocks.SYSTEM) -> None:
        """*rpc* calls as `service_role`."""
        self._rpc = rpc
        self._clock = clock
        self._asked_at = float("-inf")
        self._answer: Mapping[str, Any] | None = None
        self._asking = asyncio.Lock()

    async def latest(self) -> Mapping[str, Any] | None:
        """At most KEEP_SECONDS old; None when the database did not answer. Raises nothing."""
        async with self._asking:
            if self._clock.monotonic() >= self._asked_at + KEEP_SECONDS:
                self._answer = await self._ask()
                self._asked_at = self._clock.monotonic()  # a failure is kept as long: who scrapes is no retry loop
        return self._answer

    async def _ask(self) -> Mapping[str, Any] | None:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                answer = await self._rpc.call("translation_queue_stats", {})
        except (errors.StoreError, TimeoutError) as error:
            logger.debug("No queue statistics", error=type(error).__name__)
            return None
        return answer if isinstance(answer, dict) else None


def families(stats: Mapping[str, Any] | None) -> Iterator[Metric]:
    """What *stats* says; of what it does not say there is no sample."""
    yield GaugeMetricFamily(_STATS_UP, "1 when the database told the queue's numbers.", value=float(stats is not None))
    if stats is None:
        return
    yield from _labelled(stats, "live", "worker_queue_jobs", "Unfinished jobs, at most 10001.", "status", _LIVE)
    yield from _waiting(stats)
    yield from _labelled(
        stats, "ended_in_an_hour", "worker_queue_ended_in_an_hour", "Jobs ended in an hour.", "status", _ENDED
    )
    yield from _labelled(
        stats, "credits_in_an_hour", "worker_queue_credits_in_an_hour", "Of jobs ended.", "kind", _CREDITS
    )
    yield from _labelled(stats, "workers", "worker_queue_workers", "Workers that are heard of.", "mode", _MODES)
    yield from _single(stats, "stuck", "worker_queue_stuck", "Jobs held too long, or without progress.")
    yield from _single(stats, "claims", "worker_queue_claims", "Jobs held by workers.")
    if stats.get("created") is not None:
        yield CounterMetricFamily("worker_queue_jobs_created", "Jobs ever created.", value=float(stats["created"]))
    if "oldest_waiting_ms" in stats:
        yield GaugeMetricFamily(
            "worker_queue_oldest_waiting_seconds",
            "How long the oldest claimable job waits; 0 when none does.",
            value=(stats["oldest_waiting_ms"] or 0) / 1000,
        )


def _labelled(
    stats: Mapping[str, Any], key: str, name: str, help_text: str, label: str, values: tuple[str, ...]
) -> Iterator[Metric]:
    """All of *values*, those the database did not name as 0: an alarm needs the number that is back to normal."""
    counts = stats.get(key)
    if not isinstance(counts, Mapping):
        return
    family = GaugeMetricFamily(name, help_text, labels=[label])
    for value in values:
        family.add_metric([value], float(counts.get(value) or 0))
    yield family


def _waiting(stats: Mapping[str, Any]) -> Iterator[Metric]:
    counts = stats.get("waiting_by_type")
    if not isinstance(counts, Mapping):
        return
    family = GaugeMetricFamily("worker_queue_waiting", "Claimable jobs, at most 10001.", labels=["job_type"])
    ordered = sorted(counts.items())
    for job_type, jobs in ordered[:_TYPES_MAX]:
        family.add_metric([job_type], float(jobs))
    if rest := ordered[_TYPES_MAX:]:
        family.add_metric([OTHER], float(sum(jobs for _, jobs in rest)))
    yield family


def _single(stats: Mapping[str, Any], key: str, name: str, help_text: str) -> Iterator[Metric]:
    if stats.get(key) is not None:
        yield GaugeMetricFamily(name, help_text, value=float(stats[key]))
