"""The jobs that a worker holds: whose lease is renewed, who is told to stop, who waits for a place."""

import asyncio
from typing import Any

from tests.unit import factories
from worker import models
from worker.runs import Runs


class Run:
    """A run that ends as the test says, and notes what it is told."""

    def __init__(self, job: models.Job) -> None:
        self.job = job
        self.told: list[Any] = []
        self.ends: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def lease(self) -> dict[str, Any]:
        return {"job_id": self.job.id, "token": self.job.token}

    async def run(self) -> str:
        return await self.ends

    def stop(self, reason: str) -> None:
        self.told.append(reason)

    def renew(self, sent_at: float) -> None:
        self.told.append(sent_at)


def held(*added: Run) -> Runs:
    runs = Runs(on_change=lambda: None, on_retrying=lambda: None)
    for run in added:
        runs.add(run)  # type: ignore[arg-type]
    return runs


async def test_a_job_that_is_claimed_again_takes_the_place_of_its_older_run() -> None:
    job_id = "00000000-0000-0000-0000-00000000beef"
    older, newer = Run(factories.job(job_id=job_id)), Run(factories.job(job_id=job_id))
    runs = held(older, newer)
    older.ends.set_result("lost")
    await runs.attend(older)  # type: ignore[arg-type]

    assert (older.told, newer.told) == (["lost"], [])
    assert runs.leases() == [newer.lease]


async def test_only_the_lease_that_was_renewed_is_counted_on() -> None:
    run = Run(factories.job())
    runs = held(run)
    runs.renew([{**run.lease, "token": -1}, {"job_id": "gone", "token": 1}], 7.0)
    untouched = list(run.told)
    runs.renew([run.lease], 8.0)

    assert (untouched, run.told) == ([], [8.0])


async def test_who_is_not_held_any_more_cannot_be_stopped() -> None:
    run = Run(factories.job())
    held(run).stop([{**run.lease, "job_id": "gone"}, run.lease], "cancelled")

    assert run.told == ["cancelled"]


async def test_who_is_told_that_an_older_lease_is_lost_works_on_under_the_newer_one() -> None:
    run = Run(factories.job())
    held(run).stop([{**run.lease, "token": run.job.token - 1}], "lost")

    assert run.told == []
