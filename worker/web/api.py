"""
The routes of a signed-in user: jobs, what became of them, credits.

Each reads the request, calls one or two procedures as the user, and shows the answer. Nothing is decided or
remembered here: whether a job exists for this user is for row level security to say, on every call.
"""

import re
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from worker.web import documents as docs
from worker.web.bodies import read_body, read_query
from worker.web.callers import Caller
from worker.web.middleware import REQUEST_ID
from worker.web.project import Project
from worker.web.refusals import Refusal, job_not_found
from worker.web.routing import Route

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BODY: Final = frozenset({400, 408, 413, 415})
_CREATE: Final = _BODY | {402, 404, 409, 429}


def job_id(request: web.Request) -> str:
    """The id in the address. What is no id is the id of no job."""
    text = request.match_info["id"]
    if not _UUID.fullmatch(text):
        raise job_not_found()
    return text.lower()


class Api:
    def __init__(self, project: Project) -> None:
        self._project = project

    def routes(self) -> list[Route]:
        missing, changing = frozenset({404}), frozenset({404, 409})
        return [
            Route("GET", "/api/jobs", self.list, "Your jobs, newest first.", docs.JobPage, query=docs.JobsQuery),
            Route(
                "POST", "/api/jobs", self.create, "Create a job.", docs.Accepted, 202, body=docs.NewJob,
                refusals=_CREATE,
            ),
            Route("GET", "/api/jobs/counts", self.counts, "Jobs in each state.", docs.Counts, query=docs.CountsQuery),
            Route(
                "POST", "/api/jobs/preview", self.preview, "What a job would cost at most.", docs.Price,
                body=docs.Preview, refusals=_BODY,
            ),
            Route("GET", "/api/jobs/{id}", self.show, "One job.", docs.Job, refusals=missing),
            Route(
                "DELETE", "/api/jobs/{id}", self.cancel,
                "Cancel a job, at once and for good. Finished items are kept, the others refunded.", docs.Job,
                refusals=changing,
            ),
            Route(
                "POST", "/api/jobs/{id}/retry", self.retry,
                "One new job of what failed or was cancelled. Called again, it answers with the same one.",
                docs.Accepted, 202, refusals=changing | {402, 429},
            ),
            Route(
                "GET", "/api/jobs/{id}/source", self.source, "What is translated.", docs.SourceText, refusals=missing
            ),
            Route(
                "GET", "/api/jobs/{id}/items/{item}", self.result, "The result of one item.", docs.Result,
                refusals=changing,
            ),
            Route("GET", "/api/jobs/{id}/attempts", self.attempts, "Its tries.", docs.Attempts, refusals=missing),
            Route("GET", "/api/jobs/{id}/credits", self.movements, "Its money.", docs.Movements, refusals=missing),
            Route("GET", "/api/credits", self.credits, "Your credits.", docs.Credits),
            Route("GET", "/api/languages", self.languages, "Pairs on offer.", docs.Languages),
        ]  # fmt: skip

    async def list(self, caller: Caller, request: web.Request) -> web.Response:
        query = read_query(request, docs.JobsQuery)
        rows = await self._project.call(caller, "show_translation_jobs", **query.params())
        jobs = [docs.Job.from_row(row) for row in rows]
        full = len(jobs) == query.limit
        return _answer(docs.JobPage(jobs=jobs, next=jobs[-1].seq if full else None))

    async def create(self, caller: Caller, request: web.Request) -> web.Response:
        new = await read_body(request, docs.NewJob)
        params = {"correlation_id": request[REQUEST_ID], **new.params()}
        row = await self._project.call(caller, "create_translation_job", **params)
        return _accepted(row)

    async def counts(self, caller: Caller, request: web.Request) -> web.Response:
        query = read_query(request, docs.CountsQuery)
        return _answer(
            docs.Counts.model_validate(
                await self._project.call(caller, "count_translation_jobs", subject=query.subject)
            )
        )

    async def preview(self, caller: Caller, request: web.Request) -> web.Response:
        asked = await read_body(request, docs.Preview)
        said = asked.params()
        params = {name: said.get(name) for name in ("target_languages", "source_language", "content_kind", "options")}
        if "content" in said:
            params["content"] = said["content"]
        else:  # a price that does not look at the text can be told without one
            params |= {"content": "x", "content_kind": "text"}
        price = await self._project.call(caller, "preview_translation_price", **params)
        chars = price["chars"] if "content" in said else 0
        items = [docs.PricedItem(item=item, credits=cost, chars=chars) for item, cost in price["items"].items()]
        return _answer(docs.Price(credits=price["total"], items=items, balance=price["balance"]))

    async def show(self, caller: Caller, request: web.Request) -> web.Response:
        return _answer(docs.Job.from_row(await self._job(caller, job_id(request))))

    async def cancel(self, caller: Caller, request: web.Request) -> web.Response:
        name = job_id(request)
        if (await self._job(caller, name))["status"] not in docs.ENDED:
            row = await self._project.call(caller, "cancel_translation_job", job_id=name)
            if row["status"] == "cancelled":
                return _answer(docs.Job.from_row(await self._job(caller, name)))
        raise Refusal(409, "job_finished", "The job has already ended: there is nothing to cancel.")

    async def retry(self, caller: Caller, request: web.Request) -> web.Response:
        row = await self._project.call(caller, "retry_translation_job", job_id=job_id(request))
        return _accepted(row)

    async def source(self, caller: Caller, request: web.Request) -> web.Response:
        name = job_id(request)
        kind = (await self._job(caller, name))["content_kind"]
        content = await self._project.call(caller, "get_translation_source", job_id=name)
        return _answer(docs.SourceText(content=content, content_kind=kind))

    async def result(self, caller: Caller, request: web.Request) -> web.Response:
        item = request.match_info["item"]
        result = await self._project.call(caller, "get_translation_result", job_id=job_id(request), item=item)
        return _answer(docs.Result.model_validate({**_NO_RESULT, **result, "item": item}))

    async def attempts(self, caller: Caller, request: web.Request) -> web.Response:
        found = await self._project.call(caller, "get_translation_attempts", job_id=job_id(request))
        return _answer(docs.Attempts.model_validate({"attempts": found}))

    async def movements(self, caller: Caller, request: web.Request) -> web.Response:
        found = await self._project.call(caller, "get_translation_movements", job_id=job_id(request))
        return _answer(docs.Movements.model_validate({"movements": found}))

    async def credits(self, caller: Caller, request: web.Request) -> web.Response:
        return _answer(docs.Credits.model_validate(await self._project.call(caller, "get_translation_credits")))

    async def languages(self, caller: Caller, request: web.Request) -> web.Response:
        pairs = await self._project.call(caller, "list_translation_languages")
        return _answer(docs.Languages.model_validate({"pairs": pairs}))

    async def _job(self, caller: Caller, name: str) -> dict[str, Any]:
        rows: list[dict[str, Any]] = await self._project.call(caller, "watch_translation_jobs", job_ids=[name])
        if not rows:
            raise job_not_found()
        return rows[0]


# A handler of the owner's own may leave out what it has nothing to say about.
_NO_RESULT: Final = {
    "content": None,
    "provider": None,
    "simulated": False,
    "cached_chars": 0,
    "source_language": None,
}


def _answer(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = model.model_dump_json(by_alias=True).encode()
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def _accepted(row: dict[str, Any]) -> web.Response:
    return _answer(docs.Accepted.of(row), 202, {"Location": f"/api/jobs/{row['id']}"})
