"""
Liveness, readiness, metrics.

`/health` says that the process turns, and how it hears of work; restart it when it does not answer. `/ready`
says that it can really work: the database accepts its calls. A worker whose Realtime is down is ready, since it polls.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

import worker


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    mode: str
    reason: str | None
    """Why it is not ready, for a person."""


def routes(
    readiness: Callable[[], Readiness],
    details: Callable[[], Mapping[str, Any]],
    numbers: Callable[[], Awaitable[bytes]],
) -> list[web.RouteDef]:
    """
    *details*: the mode and since when, slots, how well Realtime is heard, and how the providers fare.
    *numbers*: the text of `/metrics`.
    """

    async def health(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "version": worker.__version__, **details()})

    async def ready(_: web.Request) -> web.Response:
        now = readiness()
        body = {"ready": now.ready, "mode": now.mode, "reason": now.reason}
        return web.json_response(body, status=200 if now.ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=await numbers(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/health", health), web.get("/ready", ready), web.get("/metrics", metrics)]
