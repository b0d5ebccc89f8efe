"""When it beats, and what follows from an answer."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
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

    def hold(self, **changes: Any) -> JobRun:
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
        run = JobRun(factories.job(**changes), lease_until=self.clock.monotonic() + 30, shop=shop)
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


def test_unless_told_otherwise_it_keeps_this_rhythm() -> None:
    assert Rhythm() == Rhythm(busy=10, idle=30, lease=30, exit=300)


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


async def test_asked_for_once_it_beats_once(parts: Parts) -> None:
    parts.heartbeat.soon()
    await parts.clock.advance(65)

    assert parts.times == [1, 31, 61]


@pytest.mark.parametrize(("draw", "looks_at"), [(min, 50), (max, 50.5)])
async def test_another_workers_lease_is_looked_after_when_it_ends(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, draw: Callable[[float, float], float], looks_at: float
) -> None:
    monkeypatch.setattr(random, "uniform", draw)
    parts.next = {"next_rescue_ms": 20_000}
    await parts.clock.advance(51)

    assert [sent_at - parts.began_at for sent_at, _ in parts.heard] == [30, looks_at]


async def test_a_job_that_is_due_is_rung_for_when_it_is(parts: Parts) -> None:
    parts.next = {"next_due_ms": 26_000}
    listening = asyncio.create_task(parts.bell.wait())
    await parts.clock.advance(30 + 25.99)
    assert not listening.done()
    await parts.clock.advance(0.01)
    assert listening.done()
    await parts.clock.advance(1)

    assert [sent_at - parts.began_at for sent_at, _ in parts.heard] == [30, 57]


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


async def test_a_late_answer_about_a_lease_does_not_stop_a_job_that_was_claimed_again(parts: Parts) -> None:
    older = parts.hold()
    held: list[JobRun] = []

    def answer(_: Any) -> Any:
        held.append(parts.hold(job_id=older.job.id, token=older.job.token + 1))
        return {"schema_version": 1, "lost": [older.job.id], "cancelled": [older.job.id]}

    parts.store.on_beat = answer
    await parts.clock.advance(10)

    assert (older.cancelled, [run.cancelled for run in held]) == (True, [False])


async def test_a_beat_says_how_the_worker_is(parts: Parts) -> None:
    run = parts.hold()
    await parts.clock.advance(10)

    assert parts.store.beats == [
        {
            **{"version": "0", "mode": "realtime", "mode_ms": 2500, "job_types": ["translation"], "running": 1},
            **{"lease_ms": 30_000, "leases": [run.lease], "probe": False, "languages": [["*", "*"]]},
            **{"stats": {"handlers": ["translation", "thumbnail"]}, "handlers": ["translation", "thumbnail"]},
        }
    ]


async def test_the_answer_tells_how_many_workers_there_are(parts: Parts) -> None:
    parts.next = {"workers": 3}
    await parts.clock.advance(60)

    assert parts.heard == [(parts.began_at + 30, 3), (parts.began_at + 60, 1)], "an older database does not count"


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"next_due_ms": 4000, "next_rescue_ms": 9000}, (5, 5)),
        ({"next_due_ms": 9000, "next_rescue_ms": 4000}, (4, 4.5)),
        ({"next_rescue_ms": 0}, (1, 1)),
    ],
)
async def test_the_first_of_its_reasons_decides_when_it_looks_again(
    parts: Parts, answer: dict[str, Any], seconds: tuple[float, float]
) -> None:
    parts.next = answer
    await parts.clock.advance(40)

    assert seconds[0] <= parts.times[1] - 30 <= seconds[1] + 0.1


async def test_a_reason_to_look_again_is_good_for_one_look(parts: Parts) -> None:
    parts.next = {"next_due_ms": 4000}
    await parts.clock.advance(66)

    assert parts.times == [30, 35, 65]


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
        (errors.StoreRefused("PT422", "heartbeat_malformed", "A heartbeat needs a name."), "refused the heartbeat"),
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


async def test_the_first_beat_gives_up_on_an_address_that_does_not_answer() -> None:
    parts = Parts()
    parts.next = errors.StoreUnavailable("ConnectError")

    with pytest.raises(errors.ConfigurationError, match="does not answer"):
        await parts.heartbeat.first(patience_seconds=0)


async def test_an_answer_that_says_nothing_is_an_answer(parts: Parts) -> None:
    parts.next = {"schema_version": None}
    await parts.clock.advance(61)

    assert parts.times == [30, 60]


async def test_a_lease_that_comes_or_goes_is_thought_about_once(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []
    wait = parts.clock.wait

    async def count(event: asyncio.Event, seconds: float | None) -> bool:
        waits.append(seconds)
        return await wait(event, seconds)

    monkeypatch.setattr(parts.clock, "wait", count)
    parts.heartbeat.reconsider()
    await parts.clock.advance(20)

    assert 1 <= len(waits) <= 2, "it does not spin until the beat is due"


async def test_a_trouble_that_passes_is_told_at_the_third_failure_and_once_whatever_it_is(
    parts: Parts, longest_pauses: None
) -> None:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="ERROR", format="{message}")
    failures = [errors.StoreUnavailable(word) for word in ("503", "ReadTimeout", "504", "ConnectError", "502", "503")]
    seen: list[int] = []
    for failure in failures:
        parts.next = failure
        count = len(parts.times)
        while len(parts.times) == count:
            await parts.clock.advance(0.5 if parts.times else 30)
        seen.append(len(lines))
    logger.remove(sink)

    assert seen == [0, 0, 1, 1, 1, 1]


async def test_each_cure_is_told_once(parts: Parts) -> None:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(line.record["extra"]["cure"]), level="ERROR")
    for failure in (errors.StoreUnauthorized("PGRST301"), errors.SqlMissing("PGRST202")):
        parts.next = failure
        await parts.clock.advance(130)
    logger.remove(sink)

    assert len(lines) == 2
    assert "SUPABASE_SECRET_KEY" in lines[0]
    assert "worker sql" in lines[1]


async def test_the_pauses_after_failures_grow_from_half_a_second_to_half_a_beat(
    parts: Parts, longest_pauses: None
) -> None:
    parts.next = errors.StoreUnavailable("503")
    await parts.clock.advance(30 + 22.5)

    assert parts.times == [30, 30.5, 31.5, 33.5, 37.5, 42.5, 47.5, 52.5]


async def test_after_an_accepted_beat_a_failure_is_the_first_again(parts: Parts, longest_pauses: None) -> None:
    parts.next = errors.StoreUnavailable("503")
    await parts.clock.advance(33)
    parts.next = {}
    await parts.clock.advance(1)
    parts.next = errors.StoreUnavailable("503")
    await parts.clock.advance(31)

    assert parts.times[-3:] == [63.5, 64, 65]


async def test_the_first_beat_is_asked_for_with_growing_pauses(longest_pauses: None) -> None:
    parts = Parts()
    parts.next = errors.StoreUnavailable("ConnectError")
    first = asyncio.create_task(parts.heartbeat.first(patience_seconds=15))
    await parts.clock.advance(10)
    parts.next = {}
    await parts.clock.advance(3)
    await first

    assert parts.times == [0, 0.5, 1.5, 3.5, 6.5, 9.5, 12.5]


async def test_the_last_beat_is_said_once_and_never_in_the_way(parts: Parts) -> None:
    await parts.heartbeat.last()
    parts.next = errors.StoreUnavailable("ConnectError")
    await parts.heartbeat.last()

    assert len(parts.store.beats) == 2
    assert "leases" not in parts.store.beats[0]


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


async def test_sql_that_is_too_new_at_the_first_beat_is_told_at_once_and_once(parts: Parts) -> None:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="ERROR")
    for _ in range(2):
        parts.next = {"schema_version": SCHEMA_VERSION + 2}
        await parts.clock.advance(30)
        assert len(lines) == 1
    logger.remove(sink)


async def test_sql_that_is_one_release_newer_is_not_worth_a_word(parts: Parts) -> None:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="ERROR")
    parts.next = {"schema_version": SCHEMA_VERSION + 1}
    await parts.clock.advance(30)
    logger.remove(sink)

    assert lines == []


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
