"""Several whole workers in one process hear the same: one looks, the others need not."""

import asyncio
from typing import Any

import psycopg
import pytest

from tests.integration.hearing import insert
from tests.integration.herds import claims, herd
from tests.support.waiting import until
from worker.devstack.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

JOBS = 6


def statuses(stack: Stack) -> set[Any]:
    with psycopg.connect(stack.urls.database_url, autocommit=True) as db:
        return {row[0] for row in db.execute("select distinct status from translation_jobs")}


async def test_two_workers_make_two_claims_at_most_for_an_isolated_job(stack: Stack) -> None:
    async with herd(stack, 2) as workers:
        before = claims(workers)
        for _ in range(JOBS):
            await asyncio.to_thread(insert, stack)
            await until(lambda: statuses(stack) == {"completed"}, "it is done")
        await asyncio.sleep(1.0)  # for looks that would follow

    assert JOBS <= claims(workers) - before <= 2 * JOBS
    assert sum(worker.counters.jobs_claimed.total() for worker in workers) == JOBS
    assert all(worker.counters.unheard == {} for worker in workers)


async def test_a_worker_alone_makes_one_claim_for_an_isolated_job(stack: Stack) -> None:
    async with herd(stack, 1) as workers:
        before = claims(workers)
        for _ in range(JOBS):
            await asyncio.to_thread(insert, stack)
            await until(lambda: statuses(stack) == {"completed"}, "it is done")
        await asyncio.sleep(1.0)  # for looks that would follow

    assert claims(workers) - before == JOBS
    assert workers[0].counters.heard_first.total() == JOBS
