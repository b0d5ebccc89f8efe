"""
A route and what it promises: the table from which the server is built and `openapi.json` is written, so that the two
cannot differ.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from worker.web.callers import Caller, Identify
from worker.web.refusals import Refusal

UserHandler = Callable[[Caller, web.Request], Awaitable[web.StreamResponse]]
EVENT_STREAM: Final = "text/event-stream"
# Not a name that is an address of its own, so that each address answers to its own methods only.
_JOB: Final = "{id:(?!counts$|preview$)[^{}/]+}"


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: UserHandler
    summary: str
    answer: type[BaseModel] | None
    """The body of a success; None: a stream of events."""
    status: int = 200
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    refusals: frozenset[int] = field(default=frozenset())
    """Beside those that every route has."""
    operators: bool = False
    """Whether only operators may ask."""
    other_status: int | None = None
    """Of another success, with the same body."""
    scheme: str = "user"
    """Whose token opens it, as `openapi.json` calls it."""


def definitions(routes: list[Route], identify: Identify) -> list[web.RouteDef]:
    return [_definition(route, identify) for route in routes]


def _definition(route: Route, identify: Identify) -> web.RouteDef:
    handler = _signed_in(route.handler, identify, operators=route.operators)
    # What is not promised is not there: aiohttp would answer HEAD wherever GET is.
    more = {"allow_head": False} if route.method == "GET" else {}
    return web.route(route.method, route.path.replace("{id}", _JOB), handler, **more)


def _signed_in(
    handler: UserHandler, identify: Identify, *, operators: bool
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        caller = await identify(request.headers.get("Authorization"))
        if operators and not caller.operator:
            raise Refusal(403, "operators_only", "Only operators of the project may ask this.")
        return await handler(caller, request)

    return handle
