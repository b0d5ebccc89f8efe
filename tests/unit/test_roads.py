"""Which road told first, and which never did."""

import pytest

from tests.unit.fake_clock import FakeClock
from worker.counters import Counters
from worker.roads import Roads


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def roads(counters: Counters, clock: FakeClock) -> Roads:
    return Roads(counters, clock=clock)


async def test_the_first_road_counts_once_and_neither_is_missed(
    roads: Roads, counters: Counters, clock: FakeClock
) -> None:
    for road in ("broadcast", "changes", "changes"):
        roads.heard(road, "a")
    for road in ("changes", "broadcast"):
        roads.heard(road, "b")
    await clock.advance(60)
    roads.settle()

    assert counters.heard_first == {"broadcast": 1, "changes": 1}
    assert counters.unheard == {}


@pytest.mark.parametrize(("road", "other"), [("changes", "broadcast"), ("broadcast", "changes")])
async def test_a_road_that_never_told_is_missed_after_a_while(
    roads: Roads, counters: Counters, clock: FakeClock, road: str, other: str
) -> None:
    roads.heard(road, "a")
    await clock.advance(9)
    roads.settle()
    assert counters.unheard == {}
    await clock.advance(2)
    roads.settle()

    assert counters.unheard == {other: 1}


async def test_one_broadcast_may_speak_for_many_jobs(roads: Roads, counters: Counters, clock: FakeClock) -> None:
    roads.heard("broadcast", "a", jobs=3)
    for job_id in ("a", "b", "c", "d"):
        roads.heard("changes", job_id)
    await clock.advance(11)
    roads.settle()

    assert counters.unheard == {"broadcast": 1}


async def test_after_a_gap_nothing_is_held_against_a_road(roads: Roads, counters: Counters, clock: FakeClock) -> None:
    roads.heard("changes", "a")
    roads.forget()
    await clock.advance(60)
    roads.settle()

    assert counters.unheard == {}


async def test_it_remembers_no_more_than_it_must(roads: Roads, counters: Counters, clock: FakeClock) -> None:
    for number in range(30_000):
        roads.heard("changes", str(number))
    await clock.advance(11)
    roads.settle()

    assert counters.unheard == {"broadcast": 10_000}
