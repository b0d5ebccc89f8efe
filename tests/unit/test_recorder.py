"""Outcomes leave at once, together, and for certain."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from tests.unit import factories
from tests.unit.fake_clock import FakeClock
from tests.unit.scripted_store import ScriptedStore, answers, recorded
from worker import errors, models
from worker.models import Completed
from worker.recorder import BATCH_BYTES_MAX, ENTRIES_MAX, Recorder
from worker.store import Row

POISON = "poison"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
async def recorder(store: ScriptedStore, clock: FakeClock) -> AsyncIterator[Recorder]:
    recorder = Recorder(store, keep_seconds=300, clock=clock)
    task = asyncio.create_task(recorder.run())
    yield recorder
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def submit(recorder: Recorder, content: Any = "Texto") -> "asyncio.Future[models.Answer]":
    return recorder.hand_in(factories.job(), "es", Completed(factories.result(content)))


def refuse_poison(entries: Sequence[Mapping[str, Any]]) -> list[Row] | Exception:
    if any(entry.get("result", {}).get("content") == POISON for entry in entries):
        return errors.StoreRefused("22P05", "", "unsupported Unicode escape sequence")
    return recorded(entries)


async def test_a_lone_outcome_leaves_without_waiting(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    answer = submit(recorder)
    await clock.settle()

    assert answer.result() == models.Answer("recorded", "completed")
    assert [len(call) for call in store.recorded] == [1]


async def test_what_ends_while_a_call_is_under_way_shares_the_next(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    store.gate.clear()
    first = submit(recorder)
    await clock.settle()
    others = [submit(recorder) for _ in range(40)]
    await clock.settle()
    store.gate.set()
    await asyncio.gather(first, *others)

    assert [len(call) for call in store.recorded] == [1, 40]


async def test_a_call_keeps_its_bounds(recorder: Recorder, store: ScriptedStore) -> None:
    small = [submit(recorder) for _ in range(ENTRIES_MAX + 1)]
    await asyncio.gather(*small)
    large = [submit(recorder, "x" * (BATCH_BYTES_MAX // 2 + 1)) for _ in range(3)]
    await asyncio.gather(*large)

    assert [len(call) for call in store.recorded] == [ENTRIES_MAX, 1, 1, 1, 1]


async def test_an_outcome_is_recorded_even_if_nobody_waits_any_more(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    store.gate.clear()
    first, second = submit(recorder), submit(recorder)
    await clock.settle()
    first.cancel()
    second.cancel()
    third = submit(recorder)
    await clock.settle()
    third.cancel()
    store.gate.set()
    await recorder.settled()

    assert sum(len(call) for call in store.recorded) == 3


async def test_an_answer_that_does_not_come_is_asked_for_again(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    failures = iter([errors.StoreUnavailable("ReadError"), errors.StoreUnauthorized("PGRST301")])
    store.on_record = lambda entries: next(failures, None) or answers(entries, "already", "completed")
    answer = submit(recorder)
    await clock.advance(30)

    assert answer.result().answer == "already"
    assert len(store.recorded) == 3
    assert store.recorded[0] == store.recorded[2]


async def test_after_the_keeping_time_it_is_given_up(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    store.on_record = lambda _: errors.StoreUnavailable("ConnectError")
    answer = submit(recorder)
    await clock.advance(290)
    assert not answer.done()
    await clock.advance(30)

    assert answer.result().answer == "lost"


async def test_one_poisoned_result_fails_alone(recorder: Recorder, store: ScriptedStore) -> None:
    store.on_record = refuse_poison
    good = [submit(recorder) for _ in range(7)]
    bad = submit(recorder, POISON)
    more = [submit(recorder) for _ in range(8)]
    await asyncio.gather(bad, *good, *more)

    failed = [entry for call in store.recorded for entry in call if entry["outcome"] == "failed"]
    assert [entry["error"]["class"] for entry in failed] == ["internal"]
    assert POISON not in str(failed)
    assert bad.result().answer == "recorded"


@pytest.mark.parametrize("content", ["\ud800", float("nan"), object()])
async def test_what_json_cannot_carry_fails_before_it_is_sent(
    recorder: Recorder, store: ScriptedStore, content: Any
) -> None:
    await submit(recorder, content)

    assert [[entry["outcome"] for entry in call] for call in store.recorded] == [["failed"]]


async def test_a_batch_that_takes_too_long_is_halved_and_nothing_in_it_fails(
    recorder: Recorder, store: ScriptedStore
) -> None:
    store.on_record = lambda entries: errors.StoreTooSlow("57014") if len(entries) > 2 else recorded(entries)
    await asyncio.gather(*(submit(recorder) for _ in range(8)))

    assert {entry["outcome"] for call in store.recorded for entry in call} == {"completed"}


async def test_progress_leaves_once_a_second_for_all_jobs_together(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    for tenth in range(28):
        recorder.progress("a", lambda tenth=tenth: {"job_id": "a", "progress": tenth})  # type: ignore[misc]
        recorder.progress("b", lambda: {"job_id": "b"})
        await clock.advance(0.1)

    assert [len(call) for call in store.recorded] == [2, 2, 2]
    assert [call[0]["job_id"] for call in store.recorded] == ["a", "a", "a"]
    assert store.recorded[-1][0]["progress"] >= 19


async def test_the_progress_of_an_ended_job_is_no_news(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    recorder.progress("a", lambda: {"job_id": "a"})
    await clock.settle()
    recorder.progress("a", lambda: {"job_id": "a"})
    recorder.forget("a")
    await clock.advance(5)

    assert len(store.recorded) == 1


async def test_without_room_nobody_should_start(recorder: Recorder, store: ScriptedStore, clock: FakeClock) -> None:
    store.gate.clear()
    waiting = [submit(recorder) for _ in range(3 * ENTRIES_MAX)]
    await clock.settle()
    starting = asyncio.create_task(recorder.room())
    await clock.settle()
    assert not starting.done()
    store.gate.set()
    await asyncio.gather(starting, *waiting)
