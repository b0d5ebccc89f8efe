"""
The routes of operators: the whole queue, and what may be done about it.

Every route asks for a signed-in user whose token carries the operator claim, and then speaks as the service. Whatever
changes a job or shows a source names the operator to the database, which writes it down. What is read is kept for a
moment and shared, so that ten open pages ask the database no more often than one.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from worker import clock as clocks
from worker import errors
from worker.rpc import Rpc
from worker.web import documents as docs
from worker.web import ops_documents as ops
from worker.web.api import job_id
from worker.web.bodies import read_body, read_query
from worker.web.callers import Caller
from worker.web.refusals import Refusal, job_not_found, unavailable
from worker.web.routing import Route

READ_SECONDS: Final = 5.0
"""The limit of a look. The database's own, where the API hands it on, is 2 seconds."""
KEEP_SECONDS: Final = 2.0
_BODY: Final = frozenset({400, 408, 413, 415})
_CHANGE_SECONDS: Final = 15.0


class Ops:
    def __init__(self, rpc: Rpc, limits: Mapping[str, Any], clock: clocks.Clock = clocks.SYSTEM) -> None:
        """*rpc* calls as `service_role`; *limits* are the thresholds of the alerts, as arguments."""
        self._rpc = rpc
        self._limits = dict(limits)
        self._kept = _Kept(self._read, clock)

    def routes(self) -> list[Route]:
        def look(path: str, handler: Any, summary: str, answer: type[BaseModel], **more: Any) -> Route:
            return Route("GET", f"/api/ops/{path}", handler, summary, answer, operators=True, **more)

        def act(path: str, handler: Any, summary: str, answer: type[BaseModel], **more: Any) -> Route:
            return Route("POST", f"/api/ops/{path}", handler, summary, answer, operators=True, **more)

        return [
            look("stats", self.stats, "The queue in numbers.", ops.Stats),
            look("alerts", self.alerts, "What an operator should know now.", ops.Alerts),
            look("workers", self.workers, "Workers, and what each holds.", ops.OpsWorkers),
            look("failures", self.failures, "Failed items of a day, grouped by their fault.", ops.Failures),
            look("endings", self.endings, "The jobs that ended last.", ops.Endings),
            look("series", self.series, "The plots.", ops.Series, query=ops.SeriesQuery),
            look("jobs", self.ops_jobs, "Jobs of all users, without sources.", ops.OpsJobPage, query=ops.OpsJobsQuery),
            look("triggers", self.triggers, "Triggers, and what became of each one's last job.", ops.Triggers),
            look("actions", self.actions, "What operators did.", ops.Actions),
            act(
                "actions", self.operate, "Retry, cancel or requeue jobs.", ops.Done, body=ops.OpsAction, refusals=_BODY
            ),
            act(
                "failures/{signature}/retry", self.retry_group, "Retry the jobs of a group of failures.", ops.Done,
                body=ops.RetryGroup, refusals=_BODY,
            ),
            act(
                "jobs/{id}/reveal", self.reveal, "The source of a job. That it was shown is written down.",
                docs.SourceText, refusals=frozenset({404}),
            ),
            act(
                "triggers/{name}/run", self.run_trigger, "Make the job of a trigger now.", ops.Started, status=202,
                body=ops.RunTrigger, refusals=_BODY | {402, 404, 409},
            ),
        ]  # fmt: skip

    # Looks

    async def stats(self, _: Caller, request: web.Request) -> web.Response:
        return _answer(ops.Stats, await self._kept.of("translation_queue_stats"))

    async def alerts(self, _: Caller, request: web.Request) -> web.Response:
        return _answer(ops.Alerts, {"alerts": await self._kept.of("translation_alerts", **self._limits)})

    async def workers(self, _: Caller, request: web.Request) -> web.Response:
        return _answer(ops.OpsWorkers, {"workers": await self._kept.of("list_translation_workers")})

    async def failures(self, _: Caller, request: web.Request) -> web.Response:
        return _answer(ops.Failures, await self._kept.of("list_translation_failures"))

    async def endings(self, _: Caller, request: web.Request) -> web.Response:
        return _answer(ops.Endings, {"jobs": await self._kept.of("list_translation_endings")})

    async def series(self, _: Caller, request: web.Request) -> web.Response:
        query = read_query(request, ops.SeriesQuery)
        return _answer(ops.Series, await self._kept.of("translation_series", p_range=query.range))

    async def ops_jobs(self, _: Caller, request: web.Request) -> web.Response:
        query = read_query(request, ops.OpsJobsQuery)
        rows = await self._read("list_translation_jobs_of_all", **query.params())
        return _sent(ops.OpsJobPage.of(rows, query.limit))

    async def triggers(self, _: Caller, request: web.Request) -> web.Response:
        return _answer(ops.Triggers, {"triggers": await self._kept.of("list_translation_triggers")})

    async def actions(self, _: Caller, request: web.Request) -> web.Response:
        return _answer(ops.Actions, {"actions": await self._read("list_translation_operator_actions")})

    # Acts

    async def operate(self, caller: Caller, request: web.Request) -> web.Response:
        asked = await read_body(request, ops.OpsAction)
        ids = [str(one) for one in asked.job_ids]
        return await self._done("operate_translation_jobs", caller, p_action=asked.action, p_job_ids=ids)

    async def retry_group(self, caller: Caller, request: web.Request) -> web.Response:
        asked = await read_body(request, ops.RetryGroup)
        signature = request.match_info["signature"]
        return await self._done("retry_translation_failures", caller, p_signature=signature, p_limit=asked.limit)

    async def reveal(self, caller: Caller, request: web.Request) -> web.Response:
        shown = await self._change("reveal_translation_source", caller, p_job_id=job_id(request))
        return _answer(docs.SourceText, shown)

    async def run_trigger(self, caller: Caller, request: web.Request) -> web.Response:
        asked = await read_body(request, ops.RunTrigger)
        row = await self._change(
            "start_translation_trigger",
            caller,
            p_name=request.match_info["name"],
            p_idempotency_key=asked.idempotency_key,
        )
        return _sent(ops.Started(job_id=row["id"], status=row["status"]), 202)

    async def _done(self, function: str, caller: Caller, **params: Any) -> web.Response:
        return _answer(ops.Done, await self._change(function, caller, **params))

    async def _change(self, function: str, caller: Caller, **params: Any) -> Any:
        self._kept.forget()  # who acted wants to see it
        try:
            return await self._call(function, _CHANGE_SECONDS, p_operator=caller.user_id, **params)
        finally:
            self._kept.forget()

    async def _read(self, function: str, **params: Any) -> Any:
        return await self._call(function, READ_SECONDS, **params)

    async def _call(self, function: str, seconds: float, **params: Any) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await self._rpc.call(
                    function, {name: value for name, value in params.items() if value is not None}
                )
        except (errors.StoreTooSlow, TimeoutError):
            raise Refusal(
                503, "statistics_late", "The database took too long: try again in a few seconds.",
                headers={"Retry-After": "5"},
            ) from None  # fmt: skip
        except errors.StoreRefused as refused:
            raise _refusal(refused) from None
        except errors.StoreError as trouble:
            raise unavailable() from trouble


class _Kept:
    """The latest answer of each look, asked for again when it is KEEP_SECONDS old; by one at a time."""

    def __init__(self, read: Any, clock: clocks.Clock) -> None:
        self._read = read
        self._clock = clock
        self._answers: dict[str, tuple[float, Any]] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def of(self, function: str, **params: Any) -> Any:
        name = f"{function} {params}"
        async with self._asking.setdefault(name, asyncio.Lock()):
            asked_at, answer = self._answers.get(name, (float("-inf"), None))
            if self._clock.monotonic() >= asked_at + KEEP_SECONDS:
                answer = await self._read(function, **params)
                self._answers[name] = (self._clock.monotonic(), answer)
        return answer

    def forget(self) -> None:
        self._answers.clear()


def _refusal(refused: errors.StoreRefused) -> Refusal:
    if refused.word == "job_not_found":
        return job_not_found()
    known = refused.code.startswith("PT") and refused.word
    if not known:
        return Refusal(422, "value_invalid", "A value is out of range, or not of its kind.")
    return Refusal(int(refused.code[2:]), refused.word, refused.message)


def _answer(model: type[BaseModel], found: Any) -> web.Response:
    return _sent(model.model_validate(found))


def _sent(model: BaseModel, status: int = 200) -> web.Response:
    return web.Response(
        status=status, body=model.model_dump_json(by_alias=True).encode(), content_type="application/json"
    )
