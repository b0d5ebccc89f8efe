"""How many it asks for, what it says when it asks again, and whom it tells."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from loguru import logger

from tests.support.waiting import until
from tests.unit import factories
from tests.unit.fake_clock import FakeClock
from tests.unit.scripted_store import ScriptedStore
from worker import errors, models
from worker.claimer import Claimer
from worker.counters import Counters
from worker.handlers.base import ItemContext
from worker.pauses import Pauses
from worker.recorder import Recorder
from worker.runner import Workshop
from worker.runs import Runs
from worker.wakeup import Bell


def job(**changes: Any) -> models.Job:
    """With a lease that is not over by any clock: the event loop's own is not ours to set."""
    return factories.job(lease_ms=10**15, **changes)


class Parts:
    """A claimer with what it needs; its jobs run until the test lets them end."""

    def __init__(self, slots: int = 2) -> None:
        self.clock = FakeClock()
        self.store = ScriptedStore()
        self.bell = Bell(interval_seconds=0, clock=self.clock)
        self.runs = Runs(on_change=lambda: None, on_retrying=lambda: None)
        self.release = asyncio.Event()
        self.told: list[list[str]] = []
        self.calls: list[dict[str, Any]] = []
        self.answers: list[list[models.Job] | Exception] = []
        self.store.on_claim = self.answer
        self.recorder = Recorder(self.store)
        self.claimer = Claimer(
            shop=Workshop(
                store=self.store,
                recorder=self.recorder,
                handlers={"translation": self.handle},
                languages_max=1,
                lease_seconds=30,
                counters=Counters(),
                pauses=Pauses(),
                clock=self.clock,
            ),
            bell=self.bell,
            runs=self.runs,
            slots=slots,
            job_types=["translation"],
            on_claimed=lambda jobs: self.told.append([kept.id for kept in jobs]),
        )

    def answer(self, **call: Any) -> list[models.Job] | Exception:
        self.calls.append(call)
        return self.answers.pop(0) if self.answers else []

    async def handle(self, ctx: ItemContext) -> models.ItemResult:
        await self.release.wait()
        return factories.result()

    async def look(self) -> None:
        """Ring, and wait until everything that follows is done."""
        self.bell.ring("broadcast")
        await self.clock.settle()


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    async with working(Parts()) as parts:
        yield parts


@asynccontextmanager
async def working(parts: Parts) -> AsyncIterator[Parts]:
    tasks = [asyncio.create_task(parts.claimer.run()), asyncio.create_task(parts.recorder.run())]
    yield parts
    parts.release.set()
    parts.claimer.stop()
    await asyncio.wait_for(tasks[0], timeout=10)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_it_hands_the_floor_of_one_claim_to_the_next(parts: Parts) -> None:
    parts.answers = [[job(floor={"safe": {"translation 5": 7}})], [], []]
    for _ in range(3):
        await parts.look()

    assert [call["floor"] for call in parts.calls] == [None, *[{"safe": {"translation 5": 7}}] * 2]


async def test_an_answer_without_a_floor_changes_none(parts: Parts) -> None:
    """A repeated call brings its jobs alone."""
    parts.answers = [[job(floor={"safe": {}}), job()], []]
    parts.release.set()
    await parts.look()
    await until(lambda: not len(parts.runs), "both jobs end")
    parts.answers = [[job()], []]
    for _ in range(2):
        await parts.look()

    assert [call["floor"] for call in parts.calls][1:] == [{"safe": {}}] * (len(parts.calls) - 1)


async def test_it_asks_for_as_many_as_it_has_free_slots(parts: Parts) -> None:
    parts.answers = [[job()], []]
    for _ in range(2):
        await parts.look()

    assert [call["limit"] for call in parts.calls] == [2, 1]


async def test_a_full_claim_is_followed_by_another_as_soon_as_a_slot_is_free(parts: Parts) -> None:
    parts.answers = [[job(), job()]]
    await parts.look()
    assert len(parts.calls) == 1
    parts.release.set()
    await until(lambda: len(parts.calls) >= 2, "it looks again")

    assert parts.calls[1]["claim_id"] != parts.calls[0]["claim_id"]


async def test_a_claim_that_was_not_answered_is_asked_again_under_its_name(parts: Parts) -> None:
    parts.answers = [errors.StoreUnavailable("503"), [job()]]
    await parts.look()
    await parts.clock.advance(20)

    first, second, third = parts.calls
    assert first["claim_id"] == second["claim_id"] != third["claim_id"]
    assert len(parts.told) == 1
    assert third["found_by"] == "poll", "the repeated call brought only what the first one had found"


async def test_a_claim_that_takes_too_long_is_asked_again_for_half() -> None:
    async with working(Parts(slots=9)) as parts:
        parts.answers = [errors.StoreTooSlow("57014") for _ in range(5)]
        await parts.look()
        await parts.clock.advance(20)

    assert [call["limit"] for call in parts.calls[:6]] == [9, 4, 2, 1, 1, 1]


async def test_a_type_whose_provider_refuses_is_looked_for_when_its_pause_is_over(parts: Parts) -> None:
    pauses = Pauses(clock=parts.clock)
    parts.claimer._shop = dataclasses.replace(parts.claimer._shop, pauses=pauses)
    pauses.note("translation", "rate_limited", 20)
    await parts.look()
    await parts.clock.advance(19)
    assert parts.calls == []
    await parts.clock.advance(2)

    assert [call["found_by"] for call in parts.calls] == ["timer"]


@pytest.mark.parametrize("is_taken_back", [True, False])
async def test_jobs_that_come_while_it_stops_are_given_back(
    monkeypatch: pytest.MonkeyPatch, is_taken_back: bool
) -> None:
    parts = Parts()
    late = job()
    released: list[Any] = []

    async def release(leases: Any, *, repeat_seconds: float) -> None:
        released.append((list(leases), repeat_seconds))
        if not is_taken_back:
            raise errors.StoreUnavailable("503")

    def stop_meanwhile(**_: Any) -> list[models.Job]:
        parts.claimer.stop()
        return [late]

    monkeypatch.setattr(parts.store, "release_translation_jobs", release)
    parts.store.on_claim = stop_meanwhile
    parts.bell.ring("broadcast")
    await asyncio.wait_for(parts.claimer.run(), timeout=10)

    assert released == [([{"job_id": late.id, "token": late.token}], 5)]
    assert (parts.told, len(parts.runs)) == ([], 0)


async def test_it_tells_what_it_keeps_and_only_then(parts: Parts) -> None:
    jobs = [job(), job()]
    parts.answers = [[], jobs]
    for _ in range(2):
        await parts.look()

    assert parts.told == [[kept.id for kept in jobs]]


async def test_each_job_is_counted_by_what_found_it_with_the_time_it_waited(parts: Parts) -> None:
    parts.answers = [[job(found_by="timer", found_ms=40), job(found_by="timer", found_ms=20)]]
    await parts.look()

    counters = parts.claimer._shop.counters
    assert (counters.claims, counters.jobs_claimed) == ({"broadcast": 1}, {"timer": 2})
    assert sum(counters.pickups["timer"].counts) == 2
    assert counters.pickups["timer"].total == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("failures", "lines"), [(2, []), (3, ["StoreUnavailable('503')"])], ids=["everyday", "trouble"]
)
async def test_a_database_that_does_not_answer_is_told_at_the_third_try(
    parts: Parts, failures: int, lines: list[str]
) -> None:
    said: list[str] = []
    sink = logger.add(lambda line: said.append(line.record["extra"]["error"]), level="WARNING")
    parts.answers = [errors.StoreUnavailable("503") for _ in range(failures)]
    await parts.look()
    await parts.clock.advance(60)
    logger.remove(sink)

    assert len(parts.calls) > failures
    assert said == lines


async def test_the_pauses_between_tries_grow_from_a_tenth_to_ten_seconds(parts: Parts, longest_pauses: None) -> None:
    times: list[float] = []

    def refuse(**_: Any) -> Exception:
        times.append(parts.clock.monotonic())
        return errors.StoreUnavailable("503")

    parts.store.on_claim = refuse
    await parts.look()
    await parts.clock.advance(33)

    pauses = [round(later - earlier, 3) for earlier, later in pairwise(times)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


async def test_what_only_a_person_can_cure_is_asked_for_slowly_and_said_elsewhere(parts: Parts) -> None:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING")
    parts.answers = [errors.StoreUnauthorized("401") for _ in range(20)]
    await parts.look()
    await parts.clock.advance(29)
    assert len(parts.calls) == 1
    await parts.clock.advance(5 * 60)
    logger.remove(sink)

    assert 6 <= len(parts.calls) <= 12
    assert lines == []
