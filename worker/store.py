"""
The database as this project sees it: one method per SQL function, under the function's own name.

Nothing here decides or remembers anything: Postgres owns state, time, money and who holds a job. Durations
go out as milliseconds; no timestamp of ours ever travels. Every procedure of a worker answers a repeated call
like the first one, so `repeat_seconds` is safe here; who has a loop of his own does without.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from worker import errors, models
from worker.rpc import Rpc

SCHEMA_VERSION: Final = 1
"""The oldest installed SQL this worker can work with."""

SCHEMA_VERSIONS_AHEAD: Final = 1
"""How much newer the installed SQL may be: by one release, so that it can be upgraded before the workers."""

MEMORY_KEYS_MAX: Final = 500
_TERMS_MAX: Final = 1000  # a call of recall_translation_glossary
_PARENTS_MAX: Final = 50  # a call of get_translation_parents

Row = dict[str, Any]


class JobStore:
    """What a worker calls, as `service_role`."""

    def __init__(self, rpc: Rpc, worker_id: str) -> None:
        self._rpc = rpc
        self._worker_id = worker_id

    @property
    def answered_at(self) -> float:
        """When the database last accepted a call, on the monotonic clock."""
        return self._rpc.answered_at

    async def claim_translation_jobs(
        self,
        *,
        claim_id: str,
        limit: int,
        lease_seconds: float,
        job_types: Sequence[str],
        found_by: str,
        floor: Mapping[str, Any] | None = None,
        terms: Mapping[str, Mapping[str, int]] | None = None,
    ) -> list[models.Job]:
        """
        Claim up to *limit* jobs. The same *claim_id* again returns what its first call claimed.

        *terms*: job types with a `limit` or a `lease_ms` of their own.

        *floor*: what the last claim said (`Job.floor`); None costs time while old snapshots are held, and no more.
        """
        params = {
            "p_limit": limit,
            "p_lease_ms": _ms(lease_seconds),
            "p_job_types": list(job_types),
            "p_claim_id": claim_id,
            "p_found_by": found_by,
        }
        if floor is not None:
            params["p_floor"] = dict(floor)
        if terms:
            params["p_terms"] = {job_type: dict(said) for job_type, said in terms.items()}
        rows = await self._call("claim_translation_jobs", params)
        return [models.Job.from_row(row) for row in _rows(rows)]

    async def heartbeat_translation_worker(self, report: Mapping[str, Any]) -> Row:
        """
        Renew the leases in *report* and tell how the worker is.

        Raises:
            SqlTooOld: the answer comes from SQL older than this worker needs.
        """
        answer = await self._call("heartbeat_translation_worker", {"p_report": dict(report)})
        if not isinstance(answer, dict):
            raise errors.StoreUnauthorized("the address does not answer like a Supabase project")
        if answer.get("schema_version", 0) < SCHEMA_VERSION:
            raise errors.SqlTooOld(f"schema version {answer.get('schema_version', 0)}")
        return answer

    async def record_translation_results(self, entries: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Record outcomes and progress; one answer for each entry that has an `item`, in order."""
        return _rows(await self._call("record_translation_results", {"p_results": list(entries)}))

    async def release_translation_jobs(
        self, leases: Sequence[Mapping[str, Any]], *, repeat_seconds: float = 0.0
    ) -> int:
        """Give jobs back as they are; nothing is counted and they start next."""
        return int(await self._call("release_translation_jobs", {"p_leases": list(leases)}, repeat_seconds))

    async def recall_translation_memory(
        self, job: models.Job, target_language: str, keys: Sequence[str], *, repeat_seconds: float = 0.0
    ) -> dict[str, models.Recalled]:
        """What the memory knows of *keys* (at most MEMORY_KEYS_MAX). Empty when the lease is lost."""
        params = {
            "p_job_id": job.id,
            "p_token": job.token,
            "p_target_language": target_language,
            "p_keys": list(keys),
        }
        rows = _rows(await self._call("recall_translation_memory", params, repeat_seconds))
        return {row["key"]: models.Recalled(row["target"], bool(row["free"])) for row in rows}

    async def remember_translation_memory(
        self, job: models.Job, item: str, segments: Mapping[str, str], *, repeat_seconds: float = 0.0
    ) -> None:
        """
        Store checked segments (at most MEMORY_KEYS_MAX). When this returns they are stored.

        Raises:
            LeaseLost: the token is stale; nothing was stored.
        """
        params = {
            "p_job_id": job.id,
            "p_token": job.token,
            "p_item": item,
            "p_segments": [{"key": key, "target": target} for key, target in segments.items()],
        }
        if await self._call("remember_translation_memory", params, repeat_seconds) == -1:
            raise errors.LeaseLost

    async def recall_translation_glossary(
        self, job: models.Job, target_languages: Sequence[str], *, repeat_seconds: float = 0.0
    ) -> list[models.GlossaryTerm]:
        """All terms of the job's user for *target_languages*. Empty when the lease is lost."""
        params = {"p_job_id": job.id, "p_token": job.token, "p_target_languages": list(target_languages)}
        terms: list[models.GlossaryTerm] = []
        after_id = 0
        while True:
            page = {**params, "p_after_id": after_id}
            rows = _rows(await self._call("recall_translation_glossary", page, repeat_seconds))
            terms += map(models.GlossaryTerm.from_row, rows)
            if len(rows) < _TERMS_MAX:
                return terms
            after_id = rows[-1]["id"]

    async def get_translation_source(self, job_id: str, *, repeat_seconds: float = 0.0) -> Any:
        """The content of a job that was too large for its claim."""
        return await self._rpc.call("get_translation_source", {"p_job_id": job_id}, repeat_seconds=repeat_seconds)

    async def get_translation_parents(self, job_id: str, *, repeat_seconds: float = 0.0) -> list[models.Parent]:
        """The jobs that *job_id* came after, oldest first, with their results; those of a megabyte stay behind."""
        parents: list[models.Parent] = []
        after_seq = 0
        while True:
            page = {"p_job_id": job_id, "p_after_seq": after_seq}
            rows = _rows(await self._rpc.call("get_translation_parents", page, repeat_seconds=repeat_seconds))
            parents += map(models.Parent.from_row, rows)
            if len(rows) < _PARENTS_MAX:
                return parents
            after_seq = rows[-1]["seq"]

    async def get_translation_result(self, job_id: str, item: str, *, repeat_seconds: float = 0.0) -> Row:
        """The result of one finished item of any job."""
        params = {"p_job_id": job_id, "p_item": item}
        return _row(await self._rpc.call("get_translation_result", params, repeat_seconds=repeat_seconds))

    async def do_translation_chores(self) -> Row:
        """Do for the whole project what is due: `queues` that were read, how many jobs were `purged`, `again_ms`."""
        return _row(await self._rpc.call("do_translation_chores", {}))

    async def close(self) -> None:
        await self._rpc.close()

    async def _call(self, function: str, params: Row, repeat_seconds: float = 0.0) -> Any:
        params = {"p_worker_id": self._worker_id, **params}
        return await self._rpc.call(function, params, repeat_seconds=repeat_seconds)


class JobDesk:
    """What a user or an operator calls: the queue from a terminal."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def create_translation_job(self, **params: Any) -> Row:
        """As the signed-in user; *params* are the procedure's own, without their `p_`."""
        return _row(await self._rpc.call("create_translation_job", _prefixed(params)))

    async def enqueue_translation_job(self, **params: Any) -> Row:
        """The same for an operator with the secret key, for any job type and user."""
        return _row(await self._rpc.call("enqueue_translation_job", _prefixed(params)))

    async def list_translation_jobs(self, **params: Any) -> list[Row]:
        return _rows(await self._rpc.call("list_translation_jobs", _prefixed(params)))

    async def get_translation_job(self, job_id: str) -> Row:
        return _row(await self._rpc.call("get_translation_job", {"p_job_id": job_id}, repeat_seconds=15))

    async def get_translation_result(self, job_id: str, item: str) -> Any:
        return await self._rpc.call("get_translation_result", {"p_job_id": job_id, "p_item": item})

    async def cancel_translation_job(self, job_id: str) -> Row:
        return _row(await self._rpc.call("cancel_translation_job", {"p_job_id": job_id}))

    async def retry_translation_job(self, job_id: str) -> Row:
        return _row(await self._rpc.call("retry_translation_job", {"p_job_id": job_id}))

    async def close(self) -> None:
        await self._rpc.close()


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _prefixed(params: Mapping[str, Any]) -> Row:
    # An explicit null is not an omission to PostgREST: the default would not apply.
    return {f"p_{name}": value for name, value in params.items() if value is not None}


def _rows(answer: Any) -> list[Row]:
    if not isinstance(answer, list):
        raise errors.StoreUnauthorized("the address does not answer like a Supabase project")
    return answer


def _row(answer: Any) -> Row:
    if not isinstance(answer, dict):
        raise errors.StoreUnauthorized("the address does not answer like a Supabase project")
    return answer
