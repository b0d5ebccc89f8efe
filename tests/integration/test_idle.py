"""An idle worker that hears makes one call at each heartbeat, and none that looks for work."""

import pytest

from tests.integration.herds import claims, doubts, herd
from tests.support.waiting import until
from worker import app
from worker.devstack.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

BEATS = 5
SPANS = 6


async def test_while_idle_and_healthy_nothing_looks_for_work(stack: Stack) -> None:
    async with herd(stack, 1, health_check_seconds=1.0, beat_seconds=1.0) as (worker,):
        # A machine that stands still for a second makes the connection doubtful: it is replaced, and there is a look.
        # Nothing else excuses one.
        before = doubts(worker)
        spans: list[tuple[int, int]] = []
        while (0, 0) not in spans and len(spans) < SPANS:
            spans.append(await looks_and_other_calls(worker))

        assert (0, 0) in spans
        assert spans == [(0, 0)] or doubts(worker) > before
        assert worker.listener.mode == "realtime"


async def looks_and_other_calls(worker: app.App) -> tuple[int, int]:
    """Of what is asked during five heartbeats."""
    calls = worker.counters.store_calls
    heartbeat = ("heartbeat_translation_worker", "ok")
    looks, all_calls, beats = claims([worker]), calls.total(), calls[heartbeat]
    await until(lambda: calls[heartbeat] >= beats + BEATS, "some heartbeats")
    return claims([worker]) - looks, calls.total() - all_calls - (calls[heartbeat] - beats)
