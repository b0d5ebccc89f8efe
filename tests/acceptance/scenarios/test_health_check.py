"""Scenario 7C of docs/testing.md on the fake clock: the health check of an idle worker, at the default settings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.unit.fake_clock import FakeClock
from tests.unit.scripted_store import ScriptedStore
from worker.canary import Canary
from worker.counters import Delays
from worker.heartbeat import Condition, Heartbeat, Rhythm
from worker.runs import Runs
from worker.settings import Settings
from worker.wakeup import Bell

DEFAULT = {name: field.default for name, field in Settings.model_fields.items()}


class Idle:
    """A worker that hears and has nothing to do; what it does is noted with the second it did it in."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.began_at = self.clock.monotonic()
        self.beats: list[float] = []
        self.rings: list[tuple[float, str | None]] = []
        self.doubts: list[float] = []
        self.waiting = False
        """Whether the database has work that no event told of."""
        self.row_comes_back = True
        store = ScriptedStore()
        store.on_beat = self._answer
        store.last_answer_at = self.began_at
        self.bell = Bell(interval_seconds=0, clock=self.clock)
        runs = Runs(on_change=lambda: None, on_retrying=lambda: None)
        self.heartbeat = Heartbeat(
            store=store,
            runs=runs,
            bell=self.bell,
            rhythm=Rhythm(DEFAULT["beat_seconds"], DEFAULT["health_check_seconds"], DEFAULT["lease_seconds"]),
            identity={},
            condition=lambda: Condition("realtime", 0, ["translation"], (), False, {}),
            on_beat=self._beaten,
            clock=self.clock,
        )
        self.canary = Canary(
            could_hear=lambda at: True,
            on_missed=lambda: self.doubts.append(self.now()),
            ask=self.heartbeat.soon,
            delays=Delays(),
            clock=self.clock,
        )

    def now(self) -> float:
        return round(self.clock.monotonic() - self.began_at, 1)

    def _answer(self, _: Any) -> dict[str, Any]:
        self.beats.append(self.now())
        return {"schema_version": 1, "waiting": self.waiting}

    def _beaten(self, sent_at: float, _: int) -> None:
        self.canary.beat_accepted(sent_at)
        if self.row_comes_back:
            self.canary.row_heard()

    async def look_for_work(self) -> None:
        """As the claimer does."""
        while True:
            road = await self.bell.wait()
            self.rings.append((self.now(), road))


@asynccontextmanager
async def idle_worker() -> AsyncIterator[Idle]:
    idle = Idle()
    parts = (idle.heartbeat.run(), idle.canary.run(), idle.look_for_work())
    tasks = [asyncio.create_task(part) for part in parts]
    yield idle
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_scenario_7c_a_job_that_no_event_told_of_waits_for_thirty_seconds_at_most() -> None:
    async with idle_worker() as idle:
        await idle.clock.advance(95)
        assert (idle.beats, idle.rings, idle.doubts) == ([30, 60, 90], [], [])
        idle.waiting = True
        await idle.clock.advance(24)
        assert idle.rings == []
        await idle.clock.advance(2)

        assert idle.rings == [(120, "poll")]


async def test_scenario_7c_a_health_check_that_is_not_heard_of_is_a_doubt_four_seconds_later() -> None:
    async with idle_worker() as idle:
        idle.row_comes_back = False
        await idle.clock.advance(33)
        assert (idle.beats, idle.doubts) == ([30], [])
        await idle.clock.advance(7)
        assert (idle.beats, idle.doubts) == ([30, 39], [34])
        idle.row_comes_back = True
        await idle.clock.advance(70)

        assert (idle.beats[2:], idle.doubts) == ([48, 78, 108], [34, 43])
        assert idle.canary.doubted_since is None
