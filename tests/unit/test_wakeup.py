"""The bell: many rings are one, never too often, credited to the best road."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.fake_clock import FakeClock
from worker.wakeup import Bell


class Listener:
    """Waits at the bell for ever and notes each answer with its time."""

    def __init__(self, bell: Bell, clock: FakeClock) -> None:
        self.heard: list[tuple[float, str | None]] = []
        self._bell, self._clock = bell, clock
        self._began_at = clock.monotonic()
        self.task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        while (found_by := await self._bell.wait()) is not None:
            self.heard.append((round(self._clock.monotonic() - self._began_at, 3), found_by))
        self.heard.append((round(self._clock.monotonic() - self._began_at, 3), None))

    @property
    def roads(self) -> list[str | None]:
        return [road for _, road in self.heard]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Spread:
    """How long an answer may be put off."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def spread() -> Spread:
    return Spread()


@pytest.fixture
def bell(clock: FakeClock, spread: Spread) -> Bell:
    return Bell(interval_seconds=0.1, spread_seconds=spread, clock=clock, draw=lambda _, most: most)


@pytest.fixture
async def listener(bell: Bell, clock: FakeClock) -> AsyncIterator[Listener]:
    listener = Listener(bell, clock)
    yield listener
    listener.task.cancel()
    await asyncio.gather(listener.task, return_exceptions=True)


async def test_a_burst_of_rings_is_answered_at_once_and_once(bell: Bell, clock: FakeClock, listener: Listener) -> None:
    for _ in range(10_000):
        bell.ring("changes")
    await clock.advance(10)

    assert listener.heard == [(0, "changes")]


async def test_rings_after_an_answer_wait_for_the_minimum_interval(
    bell: Bell, clock: FakeClock, listener: Listener
) -> None:
    bell.ring("changes")
    await clock.advance(0.03)
    bell.ring("changes")
    bell.ring("changes")
    await clock.advance(10)

    assert listener.heard == [(0, "changes"), (0.1, "changes")]


async def test_a_full_batch_looks_again_without_the_interval(bell: Bell, clock: FakeClock, listener: Listener) -> None:
    bell.ring("changes")
    await clock.settle()
    bell.ring_at_once("changes")
    await clock.settle()

    assert listener.heard == [(0, "changes"), (0, "changes")]


async def test_without_a_ring_nothing_happens_while_realtime_is_heard(
    bell: Bell, clock: FakeClock, listener: Listener
) -> None:
    bell.poll_every(None)
    await clock.advance(3600)

    assert listener.heard == []


async def test_polling_begins_and_ends_with_the_mode(bell: Bell, clock: FakeClock, listener: Listener) -> None:
    bell.poll_every(5)
    await clock.advance(12)
    bell.poll_every(None)
    await clock.advance(60)

    assert listener.heard == [(5, "poll"), (10, "poll")]


async def test_the_best_road_gets_the_credit_and_an_event_beats_everything(
    bell: Bell, clock: FakeClock, listener: Listener
) -> None:
    bell.ring("poll")
    bell.ring("catch_up")
    bell.ring("broadcast")
    bell.ring("changes")
    await clock.advance(1)

    assert listener.roads == ["broadcast"]


async def test_timers_ring_at_their_time_and_equal_ones_once(bell: Bell, clock: FakeClock, listener: Listener) -> None:
    bell.ring_in(3)
    bell.ring_in(2.010)
    bell.ring_in(2.013)
    await clock.advance(10)

    assert listener.roads == ["timer", "timer"]
    assert listener.heard[0][0] == pytest.approx(2, abs=0.051)
    assert listener.heard[1][0] == pytest.approx(3, abs=0.026)
    assert listener.heard[1][0] >= 3


async def test_too_many_timers_forget_the_latest(bell: Bell, clock: FakeClock, listener: Listener) -> None:
    for number in range(3000):
        bell.ring_in(1000 - number * 0.1)
    await clock.advance(700.2)

    assert len(listener.heard) == 2


async def test_the_change_event_of_a_broadcast_job_is_old_news(
    bell: Bell, clock: FakeClock, listener: Listener
) -> None:
    bell.ring("broadcast", job_id="a")
    await clock.advance(0.3)
    bell.settle(["a"])
    bell.ring("changes", job_id="a")
    await clock.advance(1)
    bell.ring("changes", job_id="b")
    await clock.advance(0.3)

    assert listener.roads == ["broadcast", "changes"]


async def test_the_broadcast_of_an_insert_that_was_heard_already_is_old_news(
    bell: Bell, clock: FakeClock, listener: Listener
) -> None:
    bell.ring("changes", job_id="a", is_new=True)
    await clock.advance(0.2)
    bell.ring("broadcast", job_id="a", is_new=True)
    await clock.advance(0.2)

    assert listener.roads == ["changes"]


async def test_a_job_that_is_broadcast_again_rings_again(bell: Bell, clock: FakeClock, listener: Listener) -> None:
    for _ in range(2):
        bell.ring("broadcast", job_id="a")
        await clock.advance(0.2)
        bell.settle(["a"])
        await clock.advance(1)

    assert listener.roads == ["broadcast", "broadcast"]


async def test_a_named_job_that_nobody_is_known_to_have_taken_is_looked_for_once_more(
    bell: Bell, clock: FakeClock, listener: Listener
) -> None:
    """A message can outrun the row it speaks of."""
    bell.ring("broadcast", job_id="a")
    await clock.advance(10)

    assert listener.heard == [(0, "broadcast"), (0.5, "broadcast")]


async def test_alone_a_ring_is_answered_at_once_and_among_others_after_a_share_of_the_spread(
    bell: Bell, spread: Spread, clock: FakeClock, listener: Listener
) -> None:
    bell.ring("changes")
    await clock.advance(1)
    spread.seconds = 0.4
    bell.ring("changes")
    await clock.advance(0.2)
    bell.ring("changes")
    await clock.advance(1)

    assert listener.heard == [(0, "changes"), (1.4, "changes")]


async def test_a_ring_for_a_job_that_another_worker_took_meanwhile_is_dropped(
    bell: Bell, spread: Spread, clock: FakeClock, listener: Listener
) -> None:
    spread.seconds = 0.4
    bell.ring("broadcast", job_id="a")
    await clock.advance(0.2)
    bell.settle(["a"])
    bell.ring("changes", job_id="a")
    await clock.advance(10)

    assert listener.heard == []


async def test_what_is_known_to_be_taken_silences_no_other_ring(
    bell: Bell, spread: Spread, clock: FakeClock, listener: Listener
) -> None:
    spread.seconds = 0.4
    bell.ring("broadcast", job_id="a")
    bell.ring("broadcast", job_id="b")
    bell.ring("catch_up")
    bell.settle(["a", "b"])
    await clock.advance(1)

    assert listener.roads == ["catch_up"]


async def test_more_named_jobs_than_anybody_counts_are_one_ring(
    bell: Bell, spread: Spread, clock: FakeClock, listener: Listener
) -> None:
    spread.seconds = 0.4
    for number in range(5000):
        bell.ring("changes", job_id=str(number))
    bell.settle(str(number) for number in range(5000))
    await clock.advance(0.4)

    assert listener.heard == [(0.4, "changes")]


async def test_equal_timers_stay_one_look_when_looks_are_spread(
    bell: Bell, spread: Spread, clock: FakeClock, listener: Listener
) -> None:
    spread.seconds = 0.2
    bell.ring_in(2.010)
    bell.ring_in(2.013)
    await clock.advance(10)

    assert listener.roads == ["timer"]
    assert listener.heard[0][0] == pytest.approx(2.2, abs=0.051)


async def test_it_rests_once_a_ring_is_looked_after_and_no_look_is_to_come(
    bell: Bell, clock: FakeClock, listener: Listener
) -> None:
    await clock.advance(0)
    rests = [bell.rests]
    bell.ring("catch_up")
    rests.append(bell.rests)
    await clock.advance(0)
    rests.append(bell.rests)
    bell.ring_in(1.0)
    rests.append(bell.rests)
    await clock.advance(2.0)
    rests.append(bell.rests)

    assert rests == [True, False, True, False, True]


async def test_it_does_not_rest_while_its_claimer_is_away(bell: Bell) -> None:
    bell.ring("catch_up")
    await bell.wait()

    assert not bell.rests


async def test_closing_lets_everybody_go(bell: Bell, clock: FakeClock, listener: Listener) -> None:
    bell.close()
    await clock.settle()

    assert listener.roads == [None]
    assert await bell.wait() is None
