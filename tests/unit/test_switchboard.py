"""What is heard, and who acts on it."""

from typing import Any

import pytest

from tests.unit.fake_clock import FakeClock
from worker.counters import Counters
from worker.roads import Roads
from worker.runs import Runs
from worker.switchboard import Switchboard
from worker.wakeup import Bell


class Parts:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.counters = Counters()
        self.bell = Bell(interval_seconds=0, clock=self.clock)
        self.roads = Roads(self.counters, clock=self.clock)
        self.both_roads = True
        self.beats = 0
        self.switchboard = Switchboard(
            bell=self.bell,
            runs=Runs(on_change=lambda: None, on_retrying=lambda: None),
            roads=self.roads,
            has_both_roads=lambda: self.both_roads,
            poll_seconds=5,
            beat_soon=self.beat,
            counters=self.counters,
        )

    def beat(self) -> None:
        self.beats += 1

    async def looks(self, seconds: float = 0.0) -> str | None:
        """What the claimer would be told by then; None for nothing."""
        await self.clock.advance(seconds)
        due_at = self.bell._due_at()
        return await self.bell.wait() if due_at is not None and due_at <= self.clock.monotonic() else None


@pytest.fixture
def parts() -> Parts:
    return Parts()


async def test_a_job_that_is_pending_is_looked_for_at_once(parts: Parts) -> None:
    parts.switchboard.on_ring("changes", {"job_id": "a", "status": "pending"})

    assert await parts.looks() == "changes"


async def test_a_job_that_waits_for_others_is_not_looked_for(parts: Parts) -> None:
    parts.switchboard.on_ring("changes", {"job_id": "a", "status": "blocked"})

    assert await parts.looks() is None


@pytest.mark.parametrize(("both_roads", "beats"), [(True, 0), (False, 1)])
async def test_the_time_of_a_scheduled_job_comes_by_broadcast_or_is_asked_for(
    parts: Parts, both_roads: bool, beats: int
) -> None:
    parts.both_roads = both_roads
    parts.switchboard.on_ring("changes", {"job_id": "a", "status": "scheduled"})

    assert await parts.looks() is None
    assert parts.beats == beats


async def test_a_job_that_is_due_later_sets_a_timer(parts: Parts) -> None:
    parts.switchboard.on_ring("broadcast", {"job_id": "a", "due_in_ms": 3000})

    assert await parts.looks(2.9) is None
    assert await parts.looks(0.2) == "timer"


@pytest.mark.parametrize("due_in_ms", ["soon", float("nan"), float("inf"), -5, 10**400, None, []])
async def test_a_time_that_is_none_means_now(parts: Parts, due_in_ms: Any) -> None:
    parts.switchboard.on_ring("broadcast", {"job_id": "a", "due_in_ms": due_in_ms})

    assert await parts.looks() == "broadcast"


async def test_a_broadcast_of_many_jobs_is_not_settled_by_the_one_it_names(parts: Parts) -> None:
    parts.switchboard.on_ring("broadcast", {"job_id": "a", "jobs": 5, "new": True})
    parts.switchboard.on_claimed(["a"])

    assert await parts.looks() == "broadcast"


async def test_a_job_that_another_took_is_not_looked_for(parts: Parts) -> None:
    parts.switchboard.on_ring("broadcast", {"job_id": "a", "jobs": 1, "new": True})
    parts.switchboard.on_claimed(["a"])
    parts.switchboard.on_ring("changes", {"job_id": "a", "status": "pending"})

    assert await parts.looks(10) is None


async def test_a_job_that_came_back_is_looked_for_though_it_was_known_to_be_taken(parts: Parts) -> None:
    parts.switchboard.on_claimed(["a"])
    parts.switchboard.on_ring("broadcast", {"job_id": "a", "jobs": 1, "due_in_ms": 0})

    assert await parts.looks() == "broadcast"


async def test_jobs_that_one_broadcast_may_have_meant_are_not_missed(parts: Parts) -> None:
    parts.switchboard.on_ring("broadcast", {"job_id": "a", "jobs": 3})
    for job_id in "abcd":
        parts.switchboard.on_ring("changes", {"job_id": job_id, "status": "pending"})
    await parts.clock.advance(11)
    parts.roads.settle()

    assert parts.counters.unheard == {"broadcast": 1}


async def test_with_one_road_nothing_is_compared(parts: Parts) -> None:
    parts.both_roads = False
    parts.switchboard.on_ring("changes", {"job_id": "a", "status": "pending"})
    await parts.clock.advance(60)
    parts.roads.settle()

    assert parts.counters.heard_first == {}
    assert parts.counters.unheard == {}


async def test_polling_begins_at_once_and_ends_with_realtime(parts: Parts) -> None:
    await parts.clock.advance(60)
    parts.switchboard.on_mode("polling", "socket closed 1006")
    assert await parts.looks() == "poll"
    assert await parts.looks(5) == "poll"
    parts.switchboard.on_mode("realtime", "subscribed")

    assert await parts.looks(600) is None
    assert parts.beats == 2


async def test_a_change_that_does_not_say_which_job_is_looked_for_and_counted_for_no_road(parts: Parts) -> None:
    """The server hides a row that is too large, or that it has no key for."""
    parts.switchboard.on_ring("changes", {"job_id": None, "status": ""})

    assert await parts.looks() == "changes"
    assert parts.counters.heard_first == {}


async def test_that_another_worker_s_job_is_cancelled_is_none_of_ours(parts: Parts) -> None:
    parts.switchboard.on_cancelled("a")

    assert parts.beats == 0
