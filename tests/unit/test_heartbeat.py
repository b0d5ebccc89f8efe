"""When it beats, and what follows from an answer."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from loguru import logger

from tests.unit import factories
from tests.unit.fake_clock import FakeClock
from tests.unit.scripted_store import ScriptedStore
from worker import errors
from worker.counters import Counters
from worker.heartbeat import Condition, Heartbeat, Rhythm
from worker.pauses import Pauses
from worker.recorder import Recorder
from worker.runner import JobRun, Workshop
from worker.runs import Runs
from worker.store import SCHEMA_VERSION
from worker.wakeup import Bell


class Parts:
    """A heartbeat with what it needs, on a clock of its own."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = ScriptedStore()
        self.bell = Bell(interval_seconds=0, clock=self.clock)
        self.runs = Runs(on_change=lambda: self.heartbeat.reconsider(), on_retrying=lambda: self.heartbeat.soon())
        self.heard: list[tuple[float, int]] = []
        self.chores: list[float] = []
        self.languages: tuple[tuple[str, str], ...] = (("*", "*"),)
        self.heartbeat = Heartbeat(
            store=self.store,
            runs=self.runs,
            bell=self.bell,
            rhythm=Rhythm(busy=10, idle=30, lease=30, exit=300),
            identity={"version": "0"},
            condition=lambda: Condition("realtime", 2.5, ["translation"], self.languages, False, {}),
            on_beat=lambda sent_at, workers: self.heard.append((sent_at, workers)),
            handlers=["translation", "thumbnail"],
            on_chores=lambda due_seconds: self.chores.append(due_seconds),
            clock=self.clock,
        )
        self.began_at = self.clock.monotonic()
        self.store.on_beat = self.answer
        self.next: dict[str, Any] | Exception = {}
        self.times: list[float] = []

    def answer(self, _: Any) -> Any:
        self.times.append(round(self.clock.monotonic() - self.began_at, 1))
        if isinstance(self.next, Exception):
            return self.next
        self.store.last_answer_at = self.clock.monotonic()
        answer, self.next = {"schema_version": 1, **self.next}, {}
        return answer

    def hold(self) -> JobRun:
        shop = Workshop(
            store=self.store,
            recorder=Recorder(self.store, clock=self.clock),
            handlers={},
            languages_max=1,
            lease_seconds=30,
            counters=Counters(),
            pauses=Pauses(clock=self.clock),
            clock=self.clock,
        )
        run = JobRun(factories.job(), lease_until=self.clock.monotonic() + 30, shop=shop)
        self.runs.add(run)
        return run


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    parts = Parts()
    parts.store.last_answer_at = parts.began_at
    task = asyncio.create_task(parts.heartbeat.run())
    yield parts
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_idle_it_beats_every_thirty_seconds(parts: Parts) -> None:
    await parts.clock.advance(95)

    assert parts.times == [30, 60, 90]


async def test_busy_it_renews_a_lease_every_ten_seconds(parts: Parts) -> None:
    await parts.clock.advance(25)
    run = parts.hold()
    await parts.clock.advance(26)

    assert parts.times == [30, 40, 50]
    assert parts.store.beats[-1]["leases"] == [run.lease]
    assert run.lease_until == parts.began_at + 80


async def test_a_job_that_has_just_begun_costs_no_beat(parts: Parts) -> None:
    await parts.clock.advance(15)
    parts.hold()
    await parts.clock.advance(9)

    assert parts.times == []


async def test_asked_for_often_it_keeps_its_distance(parts: Parts) -> None:
    await parts.clock.advance(5)
    for _ in range(18):
        parts.heartbeat.soon()
        await parts.clock.advance(0.1)

    assert parts.times == [5, 6]


async def test_waiting_work_rings(parts: Parts) -> None:
    parts.next = {"waiting": True}
    await parts.clock.advance(31)

    assert await parts.bell.wait() == "poll"


async def test_the_next_due_job_sets_the_timer_and_a_look_behind_it(parts: Parts) -> None:
    parts.next = {"next_due_ms": 4000}
    listening = asyncio.create_task(parts.bell.wait())
    await parts.clock.advance(33.9)
    assert not listening.done()
    await parts.clock.advance(0.2)

    assert listening.result() == "timer"
    await parts.clock.advance(1)
    assert parts.times == [30, 35]


async def test_another_workers_lease_that_ends_soon_is_looked_after(parts: Parts) -> None:
    parts.next = {"next_rescue_ms": 7000}
    await parts.clock.advance(38)

    assert len(parts.times) == 2
    assert 37 <= parts.times[1] <= 37.6


async def test_lost_and_cancelled_jobs_are_stopped_and_not_renewed(parts: Parts) -> None:
    lost, cancelled, kept = parts.hold(), parts.hold(), parts.hold()
    parts.next = {"lost": [lost.job.id], "cancelled": [cancelled.job.id]}
    before = lost.lease_until
    await parts.clock.advance(10)

    assert (lost.cancelled, cancelled.cancelled, kept.cancelled) == (True, True, False)
    assert (lost.lease_until, kept.lease_until) == (before, parts.began_at + 40)


async def test_languages_are_told_when_they_change(parts: Parts) -> None:
    parts.next = errors.StoreUnavailable("ReadTimeout")
    await parts.clock.advance(30)
    parts.next = {}
    await parts.clock.advance(70)
    parts.languages = (("en", "es"),)
    await parts.clock.advance(60)

    told = [beat.get("languages") for beat in parts.store.beats]
    assert told[:3] == [[["*", "*"]], [["*", "*"]], None]
    assert told[-2:] == [[["en", "es"]], None]


async def test_a_lost_answer_is_asked_for_again_soon(parts: Parts) -> None:
    parts.next = errors.StoreUnavailable("ReadTimeout")
    await parts.clock.advance(30)
    parts.next = {}
    await parts.clock.advance(2)

    assert len(parts.times) >= 2
    assert parts.heartbeat.trouble is None


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (errors.StoreUnauthorized("PGRST301"), "SUPABASE_SECRET_KEY"),
        (errors.StoreUnavailable("540"), "restore it"),
        (errors.SqlMissing("PGRST202"), "worker sql"),
    ],
)
async def test_what_a_person_must_cure_is_loud_and_slow_and_heals(
    parts: Parts, error: errors.StoreError, cure: str
) -> None:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(line), level="INFO", format="{level} {message}")
    parts.next = error
    await parts.clock.advance(165)
    assert cure in (parts.heartbeat.trouble or "")
    assert all(30 <= later - earlier <= 60 for earlier, later in pairwise(parts.times))
    parts.next = {}
    await parts.clock.advance(121)
    logger.remove(sink)

    assert parts.heartbeat.trouble is None
    assert lines == ["ERROR Heartbeat not accepted\n", "INFO Heartbeat accepted again\n"]


async def test_five_minutes_without_an_answer_end_the_process() -> None:
    parts = Parts()
    parts.store.last_answer_at = parts.began_at
    parts.next = errors.StoreUnavailable("ConnectError")
    running = asyncio.create_task(parts.heartbeat.run())
    await parts.clock.advance(299)
    assert not running.done()
    await parts.clock.advance(10)

    with pytest.raises(errors.StoreSilent):
        await running


async def test_the_first_beat_must_be_accepted() -> None:
    parts = Parts()
    parts.next = errors.SqlMissing("PGRST202")

    with pytest.raises(errors.ConfigurationError, match="worker sql"):
        await parts.heartbeat.first(patience_seconds=15)


async def test_the_first_beat_waits_for_a_project_that_is_starting() -> None:
    parts = Parts()
    parts.next = errors.StoreUnavailable("ConnectError")
    first = asyncio.create_task(parts.heartbeat.first(patience_seconds=15))
    await parts.clock.advance(10)
    assert not first.done()
    parts.next = {}
    await parts.clock.advance(4)

    await first
    assert len(parts.heard) == 1


async def test_what_is_due_for_the_whole_project_is_passed_on(parts: Parts) -> None:
    await parts.clock.advance(30)
    parts.next = {"chores_ms": 1500}
    await parts.clock.advance(30)

    assert parts.chores == [1.5], "an older database says nothing of it"


async def test_sql_that_is_one_release_newer_is_fine_and_two_are_told_once(parts: Parts) -> None:
    lines: list[tuple[str, str]] = []
    sink = logger.add(
        lambda line: lines.append((line.record["level"].name, line.record["extra"]["cure"])), level="ERROR"
    )
    try:
        for version in (SCHEMA_VERSION + 1, SCHEMA_VERSION + 2, SCHEMA_VERSION + 2, SCHEMA_VERSION):
            parts.next = {"schema_version": version}
            await parts.clock.advance(30)
    finally:
        logger.remove(sink)

    assert parts.times == [30.0, 60.0, 90.0, 120.0]
    assert [(level, "Start a newer worker" in cure) for level, cure in lines] == [("ERROR", True)]


async def test_its_handlers_are_asked_about_until_an_answer_came_and_what_is_unknown_is_said_once(
    parts: Parts,
) -> None:
    lines: list[dict[str, Any]] = []
    sink = logger.add(lambda message: lines.append(message.record["extra"]), level="WARNING")
    parts.next = errors.StoreUnavailable("503")
    await parts.clock.advance(31)
    parts.next = {"unknown_types": ["thumbnail"]}
    await parts.clock.advance(90)
    logger.remove(sink)

    asked = ["translation", "thumbnail"]
    told = [beat.get("handlers") for beat in parts.store.beats]
    accepted = told.index(None)
    assert accepted >= 2
    assert told == [asked] * accepted + [None] * (len(told) - accepted)
    assert all(beat["stats"]["handlers"] == asked for beat in parts.store.beats)
    (line,) = [line for line in lines if "job_type" in line]
    assert line["job_type"] == "thumbnail"
    assert "values ('thumbnail')" in line["cure"]
