"""Scenarios 1, 4 to 7A of docs/testing.md, one after the other on one worker."""

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from tests.acceptance.conftest import Workers
from tests.acceptance.scenarios.conftest import LISTENING, Follow
from tests.support.database import Database
from tests.support.processes import Process
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

# Heartbeats so rare that none happens by the way: what is found here was heard of.
RARE = {"LEASE_SECONDS": "300", "BEAT_SECONDS": "60", "HEALTH_CHECK_SECONDS": "300"}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def worker(ground: Database, crew: Workers) -> AsyncIterator[Process]:
    async with crew.start(**RARE) as running:
        await running.says(LISTENING, seconds=60)
        # Its last heartbeat for now is the one that tells of this.
        told = "select count(*) from public.translation_workers where mode = 'realtime'"
        await until(lambda: ground.value(told) == 1, "the worker's mode is told", seconds=60)
        yield running


async def test_scenario_1_the_basic_flow(follow: Follow) -> None:
    await follow("1").rest()


async def test_scenario_4a_what_fails_twice_is_tried_three_times(follow: Follow) -> None:
    await follow("4A").rest()


async def test_scenario_4b_a_retry_by_hand_makes_one_new_job_of_what_failed(follow: Follow) -> None:
    await follow("4B").rest()


async def test_scenario_5a_exactly_three_of_five_are_paid(follow: Follow) -> None:
    await follow("5A").rest()


async def test_scenario_5b_a_cancel_refunds_what_had_not_ended(worker: Process, follow: Follow) -> None:
    await follow("5B").rest()

    await worker.says("Job run ended.*cancelled", seconds=60)


async def test_scenario_6_of_five_jobs_at_once_three_run(follow: Follow) -> None:
    await follow("6").rest()


async def test_scenario_7a_sixty_inserts_are_all_heard_of(
    ground: Database, follow: Follow, record_property: Callable[[str, object], None]
) -> None:
    (figures,) = await follow("7A").rest()
    delays = ground.run(
        """select a.found_ms from public.translation_job_attempts a join public.translation_jobs j on j.id = a.job_id
           where j.title = 'Scenario 7A' order by j.seq"""
    )

    # How soon is no test's business: a busy machine must not fail a build. `scripts/bench latency` measures it.
    record_property("pickup_ms", [round(row["found_ms"]) for row in delays])
    print("Pickup, ms:", *(round(row["found_ms"]) for row in delays), figures)  # noqa: T201
    assert figures["jobs"] == "60"
