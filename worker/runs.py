"""
The jobs this worker holds now. The claimer adds, the heartbeat renews, an answer stops.

Keyed by job; a job that was lost and claimed again by this same worker replaces its older run, which is told.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from worker.runner import JobRun


class Runs:
    def __init__(self, *, on_change: Callable[[], None], on_retrying: Callable[[], None]) -> None:
        """
        *on_change* is called after every addition and removal, *on_retrying* when a job will come back later:
        who asks the database then learns when.
        """
        self._by_job: dict[str, JobRun] = {}
        self._interrupted: list[dict[str, Any]] = []
        self._on_change = on_change
        self._on_retrying = on_retrying
        self._removed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._by_job)

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._by_job

    def add(self, run: JobRun) -> None:
        """Hold *run* from now on; `attend` must follow."""
        if older := self._by_job.get(run.job.id):
            older.stop("lost")
        self._by_job[run.job.id] = run
        self._on_change()

    async def attend(self, run: JobRun) -> None:
        """See *run* through to its end."""
        try:
            ended_as = await run.run()
            if ended_as == "shutdown":
                self._interrupted.append(run.lease)
            elif ended_as == "retrying":
                self._on_retrying()
        finally:
            if self._by_job.get(run.job.id) is run:
                del self._by_job[run.job.id]
            self._removed.set()
            self._on_change()

    async def fewer_than(self, limit: int) -> None:
        """Wait until fewer than *limit* jobs are held."""
        while len(self._by_job) >= limit:
            self._removed.clear()
            await self._removed.wait()

    def leases(self) -> list[dict[str, Any]]:
        return [run.lease for run in self._by_job.values()]

    def count(self, job_type: str) -> int:
        """How many jobs of *job_type* are held."""
        return sum(run.job.job_type == job_type for run in self._by_job.values())

    def first_renewal(self, busy_seconds: float) -> float | None:
        """When the first of the leases is to be renewed, on the monotonic clock; None without runs."""
        return min((run.renew_at(busy_seconds) for run in self._by_job.values()), default=None)

    def renew(self, leases: Iterable[dict[str, Any]], sent_at: float) -> None:
        """The database renewed *leases* in answer to a call sent at *sent_at*."""
        for run in self._held(leases):
            run.renew(sent_at)

    def stop(self, leases: Iterable[dict[str, Any]], reason: str) -> None:
        """Stop what runs under *leases*, as *reason*; not what was claimed again meanwhile."""
        for run in self._held(leases):
            run.stop(reason)

    def _held(self, leases: Iterable[dict[str, Any]]) -> Iterator[JobRun]:
        for lease in leases:
            run = self._by_job.get(lease["job_id"])
            if run is not None and run.job.token == lease["token"]:
                yield run

    def stop_all(self) -> None:
        """Interrupt every run for the shutdown."""
        for run in list(self._by_job.values()):
            run.stop("shutdown")

    def take_interrupted(self) -> list[dict[str, Any]]:
        """The leases of runs that a shutdown interrupted: still held, to be given back."""
        interrupted, self._interrupted = self._interrupted, []
        return interrupted
