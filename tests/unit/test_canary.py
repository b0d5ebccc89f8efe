"""A heartbeat row that comes back, one that does not, and what is asked for in doubt."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.fake_clock import FakeClock
from worker.canary import Canary
from worker.counters import Delays


class Cage:
    """A canary with what it is told and what it asks."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.delays = Delays()
        self.ready_since: float | None = self.clock.monotonic()
        self.missed: list[float] = []
        self.asked: list[float] = []
        self.began_at = self.clock.monotonic()
        self.canary = Canary(
            could_hear=lambda at: self.ready_since is not None and self.ready_since <= at,
            on_missed=lambda: self.missed.append(self.now()),
            ask=lambda: self.asked.append(self.now()),
            delays=self.delays,
            clock=self.clock,
        )

    def now(self) -> float:
        return round(self.clock.monotonic() - self.began_at, 3)

    def beat(self) -> None:
        self.canary.beat_accepted(self.clock.monotonic())


@pytest.fixture
async def cage() -> AsyncIterator[Cage]:
    cage = Cage()
    task = asyncio.create_task(cage.canary.run())
    yield cage
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_rows_that_come_back_are_no_doubt_and_their_delay_is_kept(cage: Cage) -> None:
    for seconds in (0.3, 3.9):
        cage.beat()
        await cage.clock.advance(seconds)
        cage.canary.row_heard()
        await cage.clock.advance(30)

    assert (cage.missed, cage.asked) == ([], [])
    assert cage.delays.total == pytest.approx(4.2)
    assert cage.delays.last == pytest.approx(3.9)
    assert sum(cage.delays.counts) == 2


async def test_a_row_that_is_missed_is_told_within_five_seconds_and_asked_for_until_it_comes(cage: Cage) -> None:
    cage.beat()
    await cage.clock.advance(5)
    assert cage.missed == [4]
    await cage.clock.advance(10)
    assert cage.asked == [9, 14]
    cage.canary.row_heard()
    await cage.clock.advance(60)

    assert cage.asked == [9, 14]
    assert cage.canary.missed == 0
    assert cage.canary.doubted_since is None


async def test_rows_missed_in_a_row_are_counted_from_the_first(cage: Cage) -> None:
    for _ in range(3):
        cage.beat()
        await cage.clock.advance(10)

    assert cage.missed == [4, 14, 24]
    assert cage.canary.missed == 3
    assert cage.canary.doubted_since == cage.began_at + 4


async def test_a_beat_that_no_session_could_hear_proves_nothing(cage: Cage) -> None:
    cage.ready_since = None
    cage.beat()
    await cage.clock.advance(10)
    cage.beat()
    await cage.clock.advance(1)
    cage.ready_since = cage.clock.monotonic()
    await cage.clock.advance(10)

    assert cage.missed == []


async def test_a_session_that_ended_meanwhile_is_not_blamed_for_the_row(cage: Cage) -> None:
    cage.beat()
    await cage.clock.advance(1)
    cage.ready_since = None
    await cage.clock.advance(10)

    assert cage.missed == []


async def test_in_doubt_without_a_session_nothing_is_asked(cage: Cage) -> None:
    cage.beat()
    await cage.clock.advance(5)
    cage.ready_since = None
    await cage.clock.advance(60)

    assert cage.asked == []
