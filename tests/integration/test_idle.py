"""An idle worker that hears makes one call at each heartbeat, and none that looks for work."""

import pytest

from tests.integration.herds import claims, herd
from tests.support.waiting import until
from worker.devstack.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

BEATS = 5


async def test_while_idle_and_healthy_nothing_looks_for_work(stack: Stack) -> None:
    async with herd(stack, 1, health_check_seconds=1.0, beat_seconds=1.0) as (worker,):
        beats = worker.counters.store_calls
        await until(lambda: claims([worker]) >= 2, "the first look and the catch-up")
        before, calls = claims([worker]), beats.total()
        heartbeat = ("heartbeat_translation_worker", "ok")
        first = beats[heartbeat]
        await until(lambda: beats[heartbeat] >= first + BEATS, "some heartbeats")

        assert claims([worker]) == before
        assert beats.total() - calls == beats[heartbeat] - first
        assert worker.listener.mode == "realtime"
