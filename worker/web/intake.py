"""
A trigger's request becomes a job, or goes the old way; never both.

The rule: the fallback is called only when the database has certainly *not* taken the job. An answer that was lost may
have been lost after the commit, so the same call is made again under the same idempotency key: a job that is there is
then found instead of made. When nobody can tell, nobody is called: the request is refused, to be sent again.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from loguru import logger
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from worker import backoff, errors
from worker.flags import PRIORITIES, Flags, Kind
from worker.rpc import Rpc
from worker.web.fallback import Fallback
from worker.web.project import refused
from worker.web.refusals import Refusal, unavailable

# A database that certainly has nothing is left alone soon; one that may have taken the job is asked for longer.
_SURE_SECONDS: Final = 2.0
_UNSURE_SECONDS: Final = 20.0
_UNDER_WAY_MAX: Final = 100
_OFF: Final = "trigger_off"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a trigger."""

    body: bytes
    """As it came: what the fallback is given."""
    params: Mapping[str, Any]
    """Arguments of the procedure without their `p_`, but not those that stand here."""
    idempotency_key: str
    correlation_id: str
    is_own_key: bool = False
    """Whether whoever asks chose the key, and so may be asking again."""
    trigger: str | None = None
    """A row of translation_triggers; None: *params* say everything."""
    kind: Kind | None = None
    """Who asks; None: as the named trigger has it."""
    fallback_url: str | None = None

    def headers(self) -> dict[str, str]:
        """What the fallback is told beside the body."""
        said = {
            "Idempotency-Key": self.idempotency_key,
            "X-Correlation-Id": self.correlation_id,
            "X-Trigger": self.trigger,
            "X-Trigger-Kind": self.kind,
        }
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of it: the *job*'s row, or the status that the fallback answered."""

    job: Mapping[str, Any] | None = None
    fallback_status: int | None = None


class Intake:
    def __init__(self, rpc: Rpc, flags: Flags, fallback: Fallback | None) -> None:
        """*rpc* calls as `service_role`. Without a *fallback* what makes no job is refused."""
        self._rpc = rpc
        self._flags = flags
        self._fallback = fallback
        self._under_way = 0

    async def take(self, asked: Asked) -> Taken:
        """Raises Refusal."""
        if self._under_way >= _UNDER_WAY_MAX:
            raise Refusal(
                503, "busy", "Too many requests are under way: try again in a moment.", headers={"Retry-After": "1"}
            )
        self._under_way += 1
        try:
            return await self._take(asked)
        finally:
            self._under_way -= 1

    async def _take(self, asked: Asked) -> Taken:
        if self._fallback is not None:
            self._fallback.address(asked.fallback_url)  # a wrong one is refused before anything is done
        if not self._flags.kinds() or (asked.kind is not None and not self._flags.lets(asked.kind)):
            return await self._known(asked) or await self._fall_back(asked, why="off")
        try:
            return Taken(job=await self._until_known(*self._call(asked)))
        except errors.StoreRefused as no:
            if no.word == _OFF:
                return await self._known(asked) or await self._fall_back(asked, why="off")
            raise refused(400, {"code": no.code, "details": no.word, "message": no.message}) from no
        except errors.StoreError as trouble:
            logger.error("The database has not taken a job", error=type(trouble).__name__)
            return await self._fall_back(asked, why="unavailable")

    async def _known(self, asked: Asked) -> Taken | None:
        """
        The job, if the same request made one before the switch was turned. A database that does not answer at once
        holds nobody up: the switch is there for the day it is in trouble.
        """
        if not asked.is_own_key:
            return None
        params = {"p_idempotency_key": asked.idempotency_key, "p_trigger": asked.trigger}
        if (user_id := asked.params.get("user_id")) is not None:
            params["p_user_id"] = user_id
        try:
            async with asyncio.timeout(_SURE_SECONDS):
                job_id = await self._rpc.call("find_translation_job", params)
                found = job_id and await self._rpc.call("get_translation_job", {"p_job_id": job_id})
        except (errors.StoreError, TimeoutError) as trouble:
            logger.warning("Nobody knows whether a job was made before", error=type(trouble).__name__)
            return None
        return Taken(job=found) if found else None

    def _call(self, asked: Asked) -> tuple[str, dict[str, Any]]:
        """Procedure and arguments."""
        said = {**asked.params, "idempotency_key": asked.idempotency_key, "correlation_id": asked.correlation_id}
        if asked.trigger is not None:
            function = "run_translation_trigger"
            said |= {"name": asked.trigger, "kinds": self._flags.kinds()}
        else:
            function = "enqueue_translation_job"
            if said.get("priority") is None and asked.kind is not None:
                said["priority"] = PRIORITIES[asked.kind]
            said["metadata"] = {**(said.get("metadata") or {}), "trigger_kind": asked.kind}
        return function, {f"p_{name}": value for name, value in said.items() if value is not None}

    async def _until_known(self, function: str, params: dict[str, Any]) -> Mapping[str, Any]:
        """
        The job. The same call as often as it takes to know.

        Raises:
            StoreError: the database has not taken it.
            Refusal: nobody knows.
        """
        is_sure = True

        def given_up(state: RetryCallState) -> bool:
            return (state.seconds_since_start or 0.0) >= (_SURE_SECONDS if is_sure else _UNSURE_SECONDS)

        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(errors.StoreUnavailable),
                stop=given_up,
                wait=backoff.wait_full_jitter(0.1, 2.0),
                reraise=True,
            ):
                with attempt:
                    try:
                        job = await self._rpc.call(function, params)
                    except errors.StoreUnavailable as trouble:
                        is_sure = is_sure and trouble.not_done
                        raise
                    if not isinstance(job, dict):
                        raise errors.StoreUnauthorized("the address does not answer like a Supabase project")
                    return job
        except errors.StoreRefused:
            raise  # it answered: nothing of this request is there
        except errors.StoreError as trouble:
            if is_sure:
                raise
            raise _unknown() from trouble
        raise AssertionError("unreachable: tenacity returns or raises")

    async def _fall_back(self, asked: Asked, *, why: str) -> Taken:
        if self._fallback is None:
            if why == "off":
                raise Refusal(503, "jobs_off", "Triggers of this kind make no jobs at the moment (JOBS_ENABLED).")
            raise unavailable()
        url = self._fallback.address(asked.fallback_url)
        status = await self._fallback.call(url, asked.body, {**asked.headers(), "X-Fallback-Reason": why})
        logger.info("Went the old way", why=why, status=status, correlation_id=asked.correlation_id)
        return Taken(fallback_status=status)


def _unknown() -> Refusal:
    return Refusal(
        503,
        "outcome_unknown",
        "The database does not answer, and may have taken the job.",
        hint="Send the request again with the same idempotency key: it makes one job at most.",
        headers={"Retry-After": "5"},
    )
