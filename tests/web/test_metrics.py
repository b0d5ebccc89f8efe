"""The numbers as Prometheus reads them: bounded, complete, and asked of the database sparingly."""

import asyncio
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from tests.unit import factories
from tests.unit.fake_clock import FakeClock
from tests.unit.scripted_store import ScriptedStore
from worker import errors, models
from worker.counters import LANGUAGES_MAX, Counters
from worker.recorder import Recorder
from worker.rpc import Rpc
from worker.stuck import LoopWatch
from worker.translators.patience import ProviderCondition
from worker.web import metrics, queue_metrics
from worker.web.queue_metrics import KEEP_SECONDS, QueueStats

STATS: Mapping[str, Any] = {
    "live": {"pending": 3, "processing": 1},
    "waiting_by_type": {"translation": 3},
    "oldest_waiting_ms": 1500,
    "ended_in_an_hour": {"completed": 7, "failed": 2},
    "created": 11,
    "credits_in_an_hour": {"reserved": 30, "consumed": 20, "refunded": 10},
    "stuck": 1,
    "claims": 1,
    "workers": {"realtime": 2},
}


class Database(Rpc):
    """Answers as told, and counts."""

    def __init__(self, *answers: Any) -> None:
        super().__init__()
        self.answers = list(answers)
        self.calls = 0

    async def _send(self, function: str, params: dict[str, Any]) -> Any:
        assert (function, params) == ("translation_queue_stats", {})
        self.calls += 1
        await asyncio.sleep(0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def shown(stats: Mapping[str, Any] | None) -> str:
    class Told(Collector):
        def collect(self) -> Any:
            return queue_metrics.families(stats)

    registry = CollectorRegistry()
    registry.register(Told())
    return generate_latest(registry).decode()


def exposed(counters: Counters, **gauges: Any) -> str:
    now = metrics.Gauges(True, "realtime", 0, 3, 0.0, **gauges)
    return generate_latest(metrics.registry(counters, lambda: now)).decode()


async def test_many_scrapes_ask_the_database_once_until_the_answer_is_old() -> None:
    clock, database = FakeClock(), Database(STATS, {**STATS, "stuck": 5})
    stats = QueueStats(database, clock)
    first = await asyncio.gather(*(stats.latest() for _ in range(20)))
    await clock.advance(KEEP_SECONDS - 0.1)
    assert await stats.latest() == STATS
    assert (database.calls, first) == (1, [STATS] * 20)
    await clock.advance(0.2)

    assert (await stats.latest() or {})["stuck"] == 5
    assert database.calls == 2


async def test_a_database_that_does_not_answer_leaves_its_numbers_out_and_is_not_pressed() -> None:
    clock, database = FakeClock(), Database(errors.StoreUnavailable("503"), STATS)
    stats = QueueStats(database, clock)

    assert await stats.latest() is None
    assert await stats.latest() is None
    assert database.calls == 1
    await clock.advance(KEEP_SECONDS)
    assert await stats.latest() == STATS


def test_what_the_database_did_not_say_has_no_sample() -> None:
    text = shown(None)

    assert "worker_queue_stats_up 0.0" in text
    assert "worker_queue_jobs{" not in text
    assert "jobs_created" not in shown({"live": {}})


def test_every_number_of_the_queue_is_told_and_back_to_normal_is_a_zero() -> None:
    text = shown(STATS)

    for line in (
        'worker_queue_jobs{status="pending"} 3.0',
        'worker_queue_jobs{status="retrying"} 0.0',
        'worker_queue_waiting{job_type="translation"} 3.0',
        "worker_queue_oldest_waiting_seconds 1.5",
        'worker_queue_ended_in_an_hour{status="failed"} 2.0',
        'worker_queue_ended_in_an_hour{status="cancelled"} 0.0',
        "worker_queue_jobs_created_total 11.0",
        'worker_queue_credits_in_an_hour{kind="reserved"} 30.0',
        'worker_queue_credits_in_an_hour{kind="consumed"} 20.0',
        'worker_queue_credits_in_an_hour{kind="refunded"} 10.0',
        "worker_queue_stuck 1.0",
        "worker_queue_claims 1.0",
        'worker_queue_workers{mode="realtime"} 2.0',
    ):
        assert line in text.splitlines()


def test_job_types_beyond_a_limit_share_one_line() -> None:
    text = shown({"waiting_by_type": {f"type-{number:04}": 1 for number in range(2000)}})

    assert text.count("worker_queue_waiting{") == 51
    assert 'worker_queue_waiting{job_type="other"} 1950.0' in text


def test_languages_beyond_a_limit_share_one_histogram() -> None:
    counters = Counters()
    for number in range(500):
        counters.note_language(f"x-{number}", 1.0)

    assert len(counters.language_runs) == LANGUAGES_MAX + 1
    assert sum(sum(delays.counts) for delays in counters.language_runs.values()) == 500
    assert exposed(counters).count("worker_language_seconds_count{") == LANGUAGES_MAX + 1


def test_a_busy_worker_shows_a_bounded_page() -> None:
    counters = Counters()
    for road in ("changes", "broadcast", "catch_up", "timer", "poll"):
        counters.pickups[road].note(0.1)
        counters.delays[road].note(0.1)
    for number in range(1000):
        counters.note_language(f"x-{number}", 1.0)
    assert len(exposed(counters, providers=[condition("deepl")]).splitlines()) < 1200


def condition(provider: str, **more: Any) -> ProviderCondition:
    fields: dict[str, Any] = {
        "breaker": "closed",
        "reason": None,
        "open_seconds": 0.0,
        "pause_seconds": 0.0,
        "running": 1,
        "limit": 16,
        "calls": 9,
        "failures": {"rate_limited": 4},
        "chars": 1200,
        "units": 1234,
        **more,
    }
    return ProviderCondition(provider=provider, **fields)


def test_each_provider_has_its_calls_throttles_units_and_breaker() -> None:
    text = exposed(Counters(), providers=[condition("deepl"), condition("openai", reason="quota_exhausted")])

    for line in (
        'worker_provider_calls_total{provider="deepl"} 9.0',
        'worker_provider_failures_total{class="rate_limited",provider="deepl"} 4.0',
        'worker_provider_characters_total{provider="deepl"} 1200.0',
        'worker_provider_units_total{provider="deepl"} 1234.0',
        'worker_provider_running{provider="deepl"} 1.0',
        'worker_provider_open{provider="deepl",reason="quota_exhausted"} 0.0',
        'worker_provider_open{provider="openai",reason="quota_exhausted"} 1.0',
    ):
        assert line in text.splitlines()


async def test_the_recorders_lag_is_the_age_of_what_the_database_has_not_answered() -> None:
    store, clock = ScriptedStore(), FakeClock()
    recorder = Recorder(store, clock=clock)
    running = asyncio.create_task(recorder.run())
    store.gate.clear()
    assert recorder.lag_seconds == 0
    answer = recorder.hand_in(factories.job("es"), "es", models.Completed(factories.result("Hola")))
    await clock.advance(7)
    during = recorder.lag_seconds
    store.gate.set()
    await answer
    await recorder.settled()

    assert during == 7
    assert recorder.lag_seconds == 0
    assert "worker_recorder_lag_seconds 7.0" in exposed(Counters(), recorder_lag_seconds=during)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_loop_that_comes_round_late_is_measured() -> None:
    late: list[float] = []
    told = asyncio.Event()

    def note(seconds: float) -> None:
        late.append(seconds)
        told.set()

    watch = asyncio.create_task(LoopWatch(look_seconds=0.01, blocked_seconds=60, on_turn=note).run())
    await told.wait()

    assert late[0] >= 0
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
