"""Scenarios 3, 7B and 7C of docs/testing.md: what the network and Realtime may do to a worker."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.conftest import Workers
from tests.acceptance.scenarios.conftest import LISTENING, Follow
from tests.support.processes import Process
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

DEAF = "Realtime not heard"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(ground: object, crew: Workers) -> AsyncIterator[Process]:
    """With short periods: of each lease, cut or doubt this sees the end."""
    async with crew.start() as running:
        await running.says(LISTENING, seconds=60)
        yield running


def turns(worker: Process) -> list[str]:
    """Each change of its mode, as it said it."""
    return [found[0] for line in worker.lines if (found := re.search(f"{LISTENING}|{DEAF}", line))]


async def turned(worker: Process, to: str) -> None:
    await until(lambda: turns(worker)[-1] == to, f"the worker says {to!r}", seconds=60)


async def test_scenario_3_a_network_cut_for_thirty_seconds_costs_no_job(worker: Process, follow: Follow) -> None:
    walk = follow("3")
    await walk.commands()
    await turned(worker, DEAF)
    await walk.rest()

    await turned(worker, LISTENING)


async def test_scenario_7b_a_dropped_realtime_is_polled_for_and_comes_back(worker: Process, follow: Follow) -> None:
    walk = follow("7B")
    await walk.commands()
    await turned(worker, DEAF)
    await walk.rest()

    await turned(worker, LISTENING)


async def test_scenario_7c_a_health_check_finds_what_no_event_told_of(worker: Process, follow: Follow) -> None:
    await follow("7C").rest()
