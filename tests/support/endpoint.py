"""
An endpoint of an owner's, as jobs call it: it counts its calls, keeps what they carried, and answers as it is told.

In this process for tests of the handler; `python -m tests.support.endpoint` is the same as a process of its own, which
prints its address and leaves at the end of its stdin. GET /calls tells what was called.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.support.served import served

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Called:
    method: str
    path: str
    headers: dict[str, str]
    """Names in small letters."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Endpoint:
    def __init__(self) -> None:
        self.url = ""
        self.called: list[Called] = []
        self.answer: Answer = _accepted

    async def _take(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.called.append(Called(request.method, request.raw_path, headers, await request.read()))
        return await self.answer(request)

    async def _calls(self, _request: web.Request) -> web.Response:
        calls = [{"path": one.path, "headers": one.headers, "body": one.body.decode()} for one in self.called]
        return web.json_response(calls)


async def _accepted(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"ok": True})


@asynccontextmanager
async def running_endpoint() -> AsyncIterator[Endpoint]:
    """On a free port of loopback."""
    endpoint = Endpoint()
    app = web.Application()
    app.router.add_get("/calls", endpoint._calls)
    app.router.add_route("*", "/{path:.*}", endpoint._take)
    async with served(app) as endpoint.url:
        yield endpoint


async def _main() -> None:
    """/broken is out of order; /patience never answers its first call."""
    async with running_endpoint() as endpoint:

        async def by_path(request: web.Request) -> web.StreamResponse:
            if request.path.startswith("/broken"):
                return web.json_response({"error": {"message": "The cache is away."}}, status=422)
            if request.path.startswith("/patience") and len(endpoint.called) == 1:
                await asyncio.Event().wait()
            return web.json_response({"path": request.path})

        endpoint.answer = by_path
        print(endpoint.url, flush=True)  # noqa: T201 — who started it waits for this line
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
