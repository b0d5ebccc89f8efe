"""
What the project's own servers ask: a job for a trigger, and work from a process that sleeps in between.

Behind one key, never a user's token; without the key the addresses are not there. Whether a request becomes a job is
`intake`'s business, and who works is the caller's of this module; here it is read and answered.
"""

import hmac
import math
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel

from worker.web import internal_documents as docs
from worker.web.bodies import read_body, read_query
from worker.web.callers import Caller
from worker.web.intake import Asked, Intake
from worker.web.middleware import REQUEST_ID
from worker.web.refusals import Refusal, unauthorized
from worker.web.routing import Route

SCHEME: Final = "internal"
_BODY: Final = frozenset({400, 408, 413, 415})
_SANE: Final = re.compile(r"[\x21-\x7e]{1,200}")
_JWT: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*")

Drain = Callable[[int, float], Awaitable[docs.Processed]]
"""Works on at most so many jobs, claiming for so many seconds. Raises Refusal."""


class Internal:
    def __init__(self, key: str, intake: Intake, drain: Drain) -> None:
        self._key = key.encode()
        self._intake = intake
        self._drain = drain

    def routes(self) -> list[Route]:
        return [
            Route(
                "POST", "/api/internal/jobs", self.enqueue,
                "A job for a trigger. Answered 200 when the fallback was called instead.", docs.Taken, 202,
                body=docs.NewInternalJob, query=docs.EventQuery, refusals=_BODY | {402, 404, 409, 502},
                other_status=200, scheme=SCHEME,
            ),
            Route(
                "POST", "/api/internal/process", self.process, "Work until nothing waits, or a limit is reached.",
                docs.Processed, body=docs.Process, refusals=_BODY | {409}, scheme=SCHEME,
            ),
        ]  # fmt: skip

    async def identify(self, authorization: str | None) -> Caller:
        """Whoever has the key: nobody in particular. Raises Refusal."""
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not given:
            raise unauthorized("Send the key of the internal API as bearer token, in the header Authorization.")
        if not hmac.compare_digest(given.strip().encode(), self._key):
            if _JWT.fullmatch(given.strip()):
                raise Refusal(403, "forbidden", "A user's token does not open this: send the key of the internal API.")
            raise unauthorized("That is not the key of the internal API.")
        return Caller("", "", math.inf)

    async def enqueue(self, _: Caller, request: web.Request) -> web.Response:
        query = read_query(request, docs.EventQuery)
        asked = await (self._event(request, query) if query.trigger is not None else self._job(request))
        taken = await self._intake.take(asked)
        if taken.job is not None:
            return _answer(docs.Taken.of_job(taken.job), 202)
        message = "No job was made: the fallback did the work."
        return _answer(docs.Taken(status="fallback", message=message, fallback_status=taken.fallback_status))

    async def _job(self, request: web.Request) -> Asked:
        new = await read_body(request, docs.NewInternalJob)
        key = _key(request, new.idempotency_key)
        return Asked(
            body=await request.read(),
            params=new.params(),
            idempotency_key=key or str(uuid.uuid4()),
            correlation_id=_correlation(request, new.correlation_id),
            is_own_key=key is not None,
            trigger=new.trigger,
            kind=new.kind,
            fallback_url=new.fallback_url,
        )

    async def _event(self, request: web.Request, query: docs.EventQuery) -> Asked:
        event = (await read_body(request, docs.Event)).root
        said = _at(event, query.key) if query.key is not None else None
        key = _key(request, None if said is None else str(said)[:200])
        return Asked(
            body=await request.read(),
            params={"content": _at(event, query.content)},
            idempotency_key=key or str(uuid.uuid4()),
            correlation_id=_correlation(request, None),
            is_own_key=key is not None,
            trigger=query.trigger,
        )

    async def process(self, _: Caller, request: web.Request) -> web.Response:
        wanted = await read_body(request, docs.Process) if request.can_read_body else docs.Process()
        return _answer(await self._drain(wanted.max_jobs, wanted.max_seconds))


def drain_running() -> Refusal:
    return Refusal(
        409,
        "drain_running",
        "This process is working on another such request.",
        hint="Nothing is lost: that one goes on until its own limits.",
        headers={"Retry-After": "10"},
    )


def drain_failed(cure: str) -> Refusal:
    return Refusal(503, "database_unavailable", cure, headers={"Retry-After": "10"})


def _key(request: web.Request, said: str | None) -> str | None:
    """The idempotency key, of the header or of the body; None: none was given."""
    headed = request.headers.get("Idempotency-Key")
    if headed is not None and not _SANE.fullmatch(headed):
        raise Refusal(422, "value_invalid", "Idempotency-Key has 1 to 200 printable characters without spaces.")
    if headed is not None and said is not None and headed != said:
        raise Refusal(422, "value_invalid", "The header and the body give different idempotency keys.")
    return headed or said or None


def _correlation(request: web.Request, said: str | None) -> str:
    headed = request.headers.get("X-Correlation-Id", "")
    return said or (headed if _SANE.fullmatch(headed) else request[REQUEST_ID])


def _at(document: Any, pointer: str) -> Any:
    """What stands at *pointer* (RFC 6901). Raises Refusal: nothing does."""
    found = document
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            raise Refusal(422, "value_invalid", "The body has nothing at the place that the address names.")
    return found


def _answer(model: BaseModel, status: int = 200) -> web.Response:
    # Of a job's answer that no fallback is in, nothing of fallbacks is said.
    skip = {"fallback_status"} if status == 202 else {"job_id"} if isinstance(model, docs.Taken) else None
    body = model.model_dump_json(exclude=skip).encode()
    return web.Response(status=status, body=body, content_type="application/json")
