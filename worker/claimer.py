"""
How many: a free slot and a ring of the bell make one claim; what it brings is started at once.

The order matters. First a free slot, then the bell: rings while every slot is taken stay one ring. A claim
whose answer got lost is asked again under the same claim id, so that its jobs are not left lying until
their leases run out.

The database tells with each claim where the next one may begin; we hand that back and do not read it.

With many slots a claim takes a third of them at most, and the next one follows at once while more waits.

A job type that may run only so many times at once is claimed no more often than it has room, in the same call as the
others; when it has none it is left out, and the end of one of its jobs is a reason to look again.
"""

import asyncio
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from loguru import logger
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from worker import backoff, cures, errors, models
from worker.runner import JobRun, Workshop
from worker.runs import Runs
from worker.wakeup import Bell

_RELEASE_SECONDS: Final = 5.0

# Of many slots a claim fills a third: while those jobs are recorded the next third runs and another is claimed. With
# all slots in step, the worker would wait for the database and the database for the worker.
_SHARES: Final = 3
_SHARE_LEAST: Final = 50  # below it, one claim less is worth more


class Claimer:
    def __init__(
        self,
        *,
        shop: Workshop,
        bell: Bell,
        runs: Runs,
        slots: int,
        job_types: Sequence[str],
        on_claimed: Callable[[Sequence[models.Job]], None] = lambda _: None,
    ) -> None:
        """*on_claimed* is told the jobs of each claim that brought some and that this worker keeps."""
        self._shop = shop
        self._bell = bell
        self._runs = runs
        self._slots = slots
        self._job_types = job_types
        self._on_claimed = on_claimed
        self._floor: Mapping[str, Any] | None = None
        self._full: dict[str, str] = {}
        """Types that a claim has filled, and what that claim was credited to."""
        self._stopping = asyncio.Event()

    def open_types(self) -> list[str]:
        """What it would claim now: no type whose provider refuses, and none of which as many run as may."""
        return [name for name in self._shop.pauses.open(self._job_types) if self._room(name) != 0]

    def stop(self) -> None:
        """Claim no more. `run` ends when the jobs that are running have ended."""
        self._stopping.set()
        self._bell.close()

    async def run(self) -> None:
        """Claim while there are free slots and reasons to look, until stopped."""
        async with asyncio.TaskGroup() as running:
            while not self._stopping.is_set():
                await self._runs.fewer_than(self._slots)
                found_by = await self._bell.wait()
                if found_by is not None:
                    await self._claim(running, found_by)

    async def _claim(self, running: asyncio.TaskGroup, found_by: str) -> None:
        for seconds in self._shop.pauses.left_seconds().values():
            self._bell.ring_in(seconds)
        job_types = self.open_types()
        if not job_types:
            return
        limit = min(self._slots - len(self._runs), max(_SHARE_LEAST, math.ceil(self._slots / _SHARES)))
        jobs, sent_at = await self._claim_until_answered(job_types, limit, found_by)
        if self._stopping.is_set():
            await self._give_back(jobs)
            return
        for job in jobs:
            self._floor = job.floor or self._floor
            self._start(running, job, sent_at)
        if jobs:
            self._on_claimed(jobs)
        self._full |= {name: found_by for name in {job.job_type for job in jobs} if self._room(name) == 0}
        if len(jobs) >= limit:
            self._bell.ring_at_once(found_by)

    def _room(self, job_type: str) -> int | None:
        """How many more jobs of *job_type* may run; None: any number."""
        most = self._shop.concurrency(job_type)
        return None if most is None else max(0, most - self._runs.count(job_type))

    def _terms(self, job_types: Sequence[str]) -> dict[str, dict[str, int]]:
        """What some types have of their own, as the database wants it."""
        terms: dict[str, dict[str, int]] = {}
        for name in job_types:
            own_lease_seconds = self._shop.own_lease_seconds(name)
            lease_ms = None if own_lease_seconds is None else round(own_lease_seconds * 1000)
            said = {"limit": self._room(name), "lease_ms": lease_ms}
            if own := {key: value for key, value in said.items() if value is not None}:
                terms[name] = own
        return terms

    async def _claim_until_answered(
        self, job_types: Sequence[str], limit: int, found_by: str
    ) -> tuple[list[models.Job], float]:
        """The jobs, and when the call was sent that brought them. Nothing when asked to stop meanwhile."""
        claim_id = str(uuid.uuid4())
        terms = self._terms(job_types)
        async for attempt in self._repeated():
            with attempt:
                sent_at = self._shop.clock.monotonic()
                try:
                    jobs = await self._shop.store.claim_translation_jobs(
                        claim_id=claim_id,
                        limit=limit,
                        lease_seconds=self._shop.lease_seconds,
                        job_types=job_types,
                        found_by=found_by,
                        floor=self._floor,
                        terms=terms,
                    )
                except errors.StoreTooSlow:
                    limit = max(1, limit // 2)
                    raise
                self._shop.counters.claims[found_by] += 1
                logger.debug("Claimed", jobs=len(jobs), limit=limit, found_by=found_by)
                if attempt.retry_state.attempt_number > 1:
                    self._bell.ring("poll")  # a repeated call only brings what its first one found
                return jobs, sent_at
        return [], 0.0

    def _repeated(self) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception_type(errors.StoreError),
            stop=lambda _: self._stopping.is_set(),
            wait=backoff.wait_for_store(0.1, 10.0),
            before_sleep=_report,
            sleep=self._pause,
            retry_error_callback=lambda _: None,  # ends the loop instead of raising
        )

    async def _pause(self, seconds: float) -> None:
        await self._shop.clock.wait(self._stopping, seconds)

    def _start(self, running: asyncio.TaskGroup, job: models.Job, sent_at: float) -> None:
        self._shop.counters.jobs_claimed[job.found_by] += 1
        self._shop.counters.pickups[job.found_by].note(job.found_ms / 1000)
        run = JobRun(job, lease_until=sent_at + job.lease_seconds, shop=self._shop)
        self._runs.add(run)
        running.create_task(self._attend(run))

    async def _attend(self, run: JobRun) -> None:
        await self._runs.attend(run)
        if found_by := self._full.pop(run.job.job_type, None):
            self._bell.ring_at_once(found_by)

    async def _give_back(self, jobs: Sequence[models.Job]) -> None:
        if not jobs:
            return
        leases = [{"job_id": job.id, "token": job.token} for job in jobs]
        try:
            await self._shop.store.release_translation_jobs(leases, repeat_seconds=_RELEASE_SECONDS)
        except errors.StoreError as error:
            logger.warning("Jobs not given back; their leases will run out", error=type(error).__name__)


def _report(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    if cures.needs_a_person(error):
        return  # the heartbeat meets the same and says what to do
    if state.attempt_number == 3:  # the first two are everyday: a restart, a stale connection
        logger.warning("Claiming waits for the database", error=repr(error))
