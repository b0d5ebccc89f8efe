"""
One job through all the procedures of a worker, without a trace, while Realtime is listened to.

The job is of a type that bears the probe's own name, so that no worker takes it, and the heartbeat says `stopping`,
so that nobody counts it as a worker.
"""

import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from worker import errors, models
from worker.rpc import Rpc
from worker.store import JobStore
from worker.verify.finding import INSTALL, Finding, failed, passed

T = TypeVar("T")

_LEASE_SECONDS: Final = 30.0
_HELD_CURE: Final = "select * from public.translation_job_claims;  -- somebody else may have taken it; try again"


def new_name() -> str:
    """What the probe's job type and worker are called."""
    return f"translation_probe_{uuid.uuid4().hex[:16]}"


class Broken(Exception):
    """A step did not do what it must."""

    def __init__(self, said: str, cure: str) -> None:
        super().__init__(said)
        self.said = said
        self.cure = cure


class Probe:
    def __init__(self, rpc: Rpc, name: str) -> None:
        self._rpc = rpc
        self._store = JobStore(rpc, name)
        self._name = name
        self._steps: list[str] = []
        self.job_id = ""

    async def start(self) -> None:
        """Make the job. Raises Broken."""
        self.job_id = str(await self._step("make", self._rpc.call("start_translation_probe", {"p_probe": self._name})))

    async def work(self) -> None:
        """Claim it, renew it, give it back, claim it again and record its end. Raises Broken."""
        job = await self._claim()
        await self._renew(job)
        released = await self._step("release", self._store.release_translation_jobs([_lease(job)]))
        _must(released == 1, "the job could not be given back", _HELD_CURE)
        job = await self._claim()
        entry = {**_lease(job), "item": "run", "outcome": "completed", "result": {"provider": "worker verify"}}
        (answer,) = await self._step("record", self._store.record_translation_results([entry]))
        ended = answer["answer"] == "recorded" and answer["job_status"] == "completed"
        _must(ended, f"its result was answered {answer['answer']}, the job is {answer['job_status']}", INSTALL)

    async def _claim(self) -> models.Job:
        claim = self._store.claim_translation_jobs(
            claim_id=str(uuid.uuid4()), limit=1, lease_seconds=_LEASE_SECONDS, job_types=[self._name], found_by="poll"
        )
        jobs = await self._step("claim", claim)
        _must([job.id for job in jobs] == [self.job_id], "a claim did not get the job that waits", INSTALL)
        return jobs[0]

    async def _renew(self, job: models.Job) -> None:
        report = {"mode": "stopping", "leases": [_lease(job)], "lease_ms": round(_LEASE_SECONDS * 1000)}
        answer = await self._step("heartbeat", self._store.heartbeat_translation_worker(report))
        _must(not answer["lost"] and not answer["cancelled"], "a heartbeat did not keep the job", _HELD_CURE)

    async def remove(self) -> None:
        """Take it away, whatever has happened before, and see that it is gone. Raises Broken."""
        await self._step("remove", self._rpc.call("end_translation_probe", {"p_probe": self._name}, repeat_seconds=5))
        if self.job_id and await self._is_there():
            raise Broken("the probe's job is still there", _delete(self.job_id))

    async def _is_there(self) -> bool:
        try:
            await self._rpc.call("get_translation_job", {"p_job_id": self.job_id})
        except errors.StoreRefused:
            return False
        except errors.StoreError as error:
            raise Broken(f"look for what is left: {error}", _delete(self.job_id)) from error
        return True

    async def _step(self, name: str, call: Awaitable[T]) -> T:
        try:
            answer = await call
        except errors.StoreError as error:
            said = error.message if isinstance(error, errors.StoreRefused) else str(error)
            raise Broken(f"{name}: {said or type(error).__name__}", INSTALL) from error
        self._steps.append(name)
        return answer

    @property
    def done(self) -> str:
        return ", ".join(dict.fromkeys(self._steps))


async def tried(name: str, step: Callable[[], Awaitable[None]], said: Callable[[], str]) -> Finding:
    """*step* as a finding."""
    try:
        await step()
    except Broken as broken:
        return failed(name, broken.said, broken.cure)
    return passed(name, said())


def _lease(job: models.Job) -> dict[str, Any]:
    return {"job_id": job.id, "token": job.token}


def _delete(job_id: str) -> str:
    return f"delete from public.translation_jobs where id = '{job_id}';"


def _must(holds: bool, said: str, cure: str) -> None:
    if not holds:
        raise Broken(said, cure)
