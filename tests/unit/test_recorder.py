"""Outcomes leave at once, together, and for certain."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest
from loguru import logger

from tests.unit import factories
from tests.unit.fake_clock import FakeClock
from tests.unit.scripted_store import ScriptedStore, answers, recorded
from worker import errors, models, rpc
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


def submit_bytes(recorder: Recorder, size: int) -> "asyncio.Future[models.Answer]":
    """A result of so many bytes on the wire."""
    job = factories.job()

    def entry(content: str) -> Completed:
        return Completed(factories.result(content))

    bare = len(rpc.Written(models.outcome_entry(job, "es", entry(""))).text)
    return recorder.hand_in(job, "es", entry("x" * (size - bare)))


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


async def test_the_pauses_between_tries_grow_from_a_tenth_to_five_seconds(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock, longest_pauses: None
) -> None:
    times: list[float] = []

    def refuse(_: Any) -> Exception:
        times.append(clock.monotonic())
        return errors.StoreUnavailable("ReadError")

    store.on_record = refuse
    answer = submit(recorder)
    await clock.advance(25)
    pauses = [round(later - earlier, 3) for earlier, later in pairwise(times)]
    answer.cancel()

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


async def test_progress_that_nobody_took_is_dropped_and_results_go_on(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    store.on_record = lambda _: errors.StoreUnavailable("ConnectError")
    recorder.progress("a", lambda: {"job_id": "a"})
    await clock.advance(320)
    store.on_record = recorded

    assert await submit(recorder) == models.Answer("recorded", "completed")


async def test_a_lone_result_that_takes_too_long_is_offered_again(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    left = iter([errors.StoreTooSlow("57014")])
    store.on_record = lambda entries: next(left, None) or recorded(entries)
    answer = submit(recorder)
    await clock.advance(5)

    assert answer.result().answer == "recorded"
    assert [entry["outcome"] for call in store.recorded for entry in call] == ["completed", "completed"]


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


async def test_results_do_not_put_progress_off(recorder: Recorder, store: ScriptedStore, clock: FakeClock) -> None:
    submit(recorder)
    await clock.settle()
    recorder.progress("a", lambda: {"job_id": "a"})
    await clock.settle()

    assert store.recorded[1:] == [[{"job_id": "a"}]]


async def test_a_result_takes_progress_that_is_due_along(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    store.gate.clear()
    first = submit(recorder)
    await clock.settle()
    second = submit(recorder)
    recorder.progress("a", lambda: {"job_id": "a"})
    store.gate.set()
    await asyncio.gather(first, second)

    assert [len(call) for call in store.recorded] == [1, 2]
    assert second.result() == models.Answer("recorded", "completed")


@pytest.mark.parametrize(("size", "calls"), [(BATCH_BYTES_MAX // 2 - 1, [2]), (BATCH_BYTES_MAX // 2, [1, 1])])
async def test_a_large_result_leaves_progress_behind(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock, size: int, calls: list[int]
) -> None:
    recorder.progress("a", lambda: {"job_id": "a"})
    await submit_bytes(recorder, size)
    await clock.settle()

    assert [len(call) for call in store.recorded] == calls


@pytest.mark.parametrize(("more", "calls"), [(0, [2]), (1, [1, 1])], ids=["two megabytes", "a byte more"])
async def test_a_call_has_two_megabytes_at_most(
    recorder: Recorder, store: ScriptedStore, more: int, calls: list[int]
) -> None:
    await asyncio.gather(submit_bytes(recorder, BATCH_BYTES_MAX - 500), submit_bytes(recorder, 500 + more))

    assert [len(call) for call in store.recorded] == calls


async def test_a_result_that_is_larger_than_a_call_leaves_alone(recorder: Recorder, store: ScriptedStore) -> None:
    await asyncio.gather(submit_bytes(recorder, BATCH_BYTES_MAX + 1), submit(recorder))

    assert [len(call) for call in store.recorded] == [1, 1]


async def test_a_result_within_the_second_takes_no_more_progress_along(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    recorder.progress("a", lambda: {"job_id": "a"})
    await clock.settle()
    recorder.progress("a", lambda: {"job_id": "a"})
    await submit(recorder)

    assert [len(call) for call in store.recorded] == [1, 1]


async def test_with_nothing_submitted_all_is_settled(recorder: Recorder) -> None:
    await asyncio.wait_for(recorder.settled(), timeout=5)


async def test_there_is_room_for_two_calls(store: ScriptedStore, clock: FakeClock) -> None:
    recorder = Recorder(store, clock=clock)  # which does not run, so nothing leaves
    for _ in range(2 * ENTRIES_MAX - 1):
        submit(recorder)
    await asyncio.wait_for(recorder.room(), timeout=5)
    submit(recorder)
    starting = asyncio.create_task(recorder.room())
    await clock.settle()

    assert not starting.done()
    starting.cancel()


async def test_what_ends_in_the_same_turn_of_the_loop_shares_the_call(store: ScriptedStore) -> None:
    recorder = Recorder(store)
    running = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)

    async def ends_too() -> "asyncio.Future[models.Answer]":
        return submit(recorder)

    first = submit(recorder)
    second = await asyncio.create_task(ends_too())
    await asyncio.gather(first, second)
    running.cancel()

    assert [len(call) for call in store.recorded] == [2]


async def test_results_and_progress_of_one_call_are_no_more_than_it_holds(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    for n in range(300):
        recorder.progress(f"job {n}", lambda: {"job_id": "a"})
    await asyncio.gather(*(submit(recorder) for _ in range(300)))
    await clock.advance(1)

    assert [len(call) for call in store.recorded] == [500, 100]


async def test_progress_that_finds_no_room_leaves_with_the_next_call(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    recorder.progress("a", lambda: {"job_id": "a"})
    await asyncio.gather(*(submit(recorder) for _ in range(ENTRIES_MAX)))
    await clock.settle()

    assert [len(call) for call in store.recorded] == [ENTRIES_MAX, 1]


@pytest.mark.parametrize(("failures", "lines"), [(2, []), (3, ["ReadError 3"])], ids=["everyday", "trouble"])
async def test_a_database_that_does_not_answer_is_told_at_the_third_try(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock, failures: int, lines: list[str]
) -> None:
    said: list[str] = []
    sink = logger.add(lambda line: said.append("{error} {entries}".format(**line.record["extra"])), level="WARNING")
    left = iter([errors.StoreUnavailable("ReadError")] * failures)
    store.on_record = lambda entries: next(left, None) or recorded(entries)
    outcomes = [submit(recorder) for _ in range(3)]
    await clock.advance(60)
    await asyncio.gather(*outcomes)
    logger.remove(sink)

    assert said == lines


async def test_the_oldest_outcome_without_an_answer_is_the_lag(
    recorder: Recorder, store: ScriptedStore, clock: FakeClock
) -> None:
    store.gate.clear()
    first = submit(recorder)
    await clock.advance(2)
    second = submit(recorder)
    await clock.advance(1)
    assert recorder.lag_seconds == 3
    store.gate.set()
    await asyncio.gather(first, second)
    await clock.settle()
    recorder.progress("a", lambda: {"job_id": "a"})

    assert recorder.lag_seconds == 0


async def test_what_is_refused_is_told_by_job_item_and_trace_and_never_quoted(
    recorder: Recorder, store: ScriptedStore
) -> None:
    lines: list[tuple[str, dict[str, Any]]] = []
    sink = logger.add(lambda line: lines.append((line.record["message"], line.record["extra"])), level="ERROR")
    store.on_record = lambda _: errors.StoreRefused("22P05", "", POISON)
    job = factories.job(correlation_id="trace-7")
    answer = await recorder.hand_in(job, "es", Completed(factories.result(POISON)))
    logger.remove(sink)

    assert answer == models.Answer("lost", None)
    about = {"job_id": job.id, "item": "es", "correlation_id": "trace-7", "code": "22P05"}
    assert lines == [("Result refused; the item fails", about), ("Failure refused; the lease will run out", about)]


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
