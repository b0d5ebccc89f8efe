"""
Around every request: its id, its errors, its headers, and who of other origins may ask.

The rule: whatever happens inside, the answer is one of ours, and no log line holds a token or a customer's text.
"""

import re
import uuid
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from loguru import logger

from worker import logs
from worker.web.refusals import Refusal, of_http

REQUEST_ID: Final = web.RequestKey("request_id", str)
_ORIGIN: Final = web.RequestKey("origin", str)
_SANE: Final = re.compile(r"[A-Za-z0-9._:-]{1,100}")
_PREFLIGHT_SECONDS: Final = 600


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id, and turns every ending into an answer."""
    said = request.headers.get("X-Request-ID", "")
    request_id = said if _SANE.fullmatch(said) else uuid.uuid4().hex
    request[REQUEST_ID] = request_id
    with logger.contextualize(request_id=request_id):
        response = await _answered(request, handler)
        # The address as the table has it: a job's id is no secret, but a search may be a customer's text.
        logger.debug("Request answered", method=request.method, route=_route(request), status=response.status)
        return response


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        return refusal.response()
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return of_http(error).response()
    except (ConnectionError, TimeoutError) as error:
        logger.info("Connection lost", error=type(error).__name__)
        return Refusal(499, "gone", "The connection was lost.").response()
    except Exception as error:
        logger.error("Request failed", route=_route(request), error=type(error).__name__, place=logs.place(error))
        return Refusal(500, "internal", "Something went wrong here: the log has more under this request.").response()


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


async def sign(request: web.Request, response: web.StreamResponse) -> None:
    """The headers of every answer, streams included: for `on_response_prepare`."""
    if REQUEST_ID in request:
        response.headers["X-Request-ID"] = request[REQUEST_ID]
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if request.path.startswith("/api"):
        response.headers.setdefault("Cache-Control", "no-store")


def cross_origin(origins: Collection[str]) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
    """Lets pages of *origins* (`*`: of all) use the API with a token. No cookies are involved, so none are allowed."""

    @web.middleware
    async def allow(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is None or not request.path.startswith("/api/") or not (origin in origins or "*" in origins):
            return await handler(request)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return web.Response(status=204, headers={**_told(origin), **_PREFLIGHT})
        request[_ORIGIN] = origin
        return await handler(request)

    return allow


async def sign_cross_origin(request: web.Request, response: web.StreamResponse) -> None:
    if (origin := request.get(_ORIGIN)) is not None:
        response.headers.update(_told(origin))


def _told(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "X-Request-ID, Retry-After, Location",
        "Vary": "Origin",
    }


_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-ID, Last-Event-ID",
    "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
}
