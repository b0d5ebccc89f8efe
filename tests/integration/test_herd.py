"""Several whole workers in one process hear the same: one looks, the others need not."""

import asyncio
import statistics
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from tests.integration.hearing import insert
from tests.integration.herds import at_rest, claims, doubts, herd
from tests.support.waiting import until
from worker import app
from worker.devstack.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

JOBS = 9


def statuses(stack: Stack) -> set[Any]:
    with psycopg.connect(stack.urls.database_url, autocommit=True) as db:
        return {row[0] for row in db.execute("select distinct status from translation_jobs")}


async def test_two_workers_make_two_claims_at_most_for_an_isolated_job(stack: Stack) -> None:
    async with herd(stack, 2) as workers:
        looks = await looks_for_each_job(stack, workers)

    assert 1 <= statistics.median(looks) <= 2, looks
    assert sum(worker.counters.jobs_claimed.total() for worker in workers) == JOBS
    assert all(worker.counters.unheard == {} for worker in workers)


async def test_a_worker_alone_makes_one_claim_for_an_isolated_job(stack: Stack) -> None:
    async with herd(stack, 1) as (worker,):
        before = doubts(worker)
        looks = await looks_for_each_job(stack, [worker])
        was_sure = doubts(worker) == before

    assert statistics.median(looks) == 1, looks
    assert worker.counters.jobs_claimed.total() == JOBS
    # Of a road that is doubtful nothing is counted.
    assert worker.counters.heard_first.total() == JOBS or not was_sure


async def looks_for_each_job(stack: Stack, workers: Sequence[app.App]) -> list[int]:
    """
    How many claims each of some isolated jobs made. Of one the word that it is taken may come late, because the machine
    stood still, and then it is looked for again; the test may not ask more than of most.
    """
    looks = []
    for _ in range(JOBS):
        before = claims(workers)
        await asyncio.to_thread(insert, stack)
        await until(lambda: statuses(stack) == {"completed"} and at_rest(workers), "it is done, and nobody looks")
        looks.append(claims(workers) - before)
    return looks
