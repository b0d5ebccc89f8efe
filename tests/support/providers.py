"""
A provider's server that answers in its dialect, or misbehaves on cue: one real socket for all of them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.served import served

Reply = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    path: str
    """With its query."""
    headers: Mapping[str, str]
    body: Any


Dialect = Callable[[Call], Any]
"""What a good answer to a call looks like, as JSON."""


@dataclass
class ProviderServer:
    """Replies that were ordered are used up first, one a POST; then the dialect answers."""

    dialect: Dialect
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def posts(self) -> list[Call]:
        return [call for call in self.calls if call.method == "POST"]

    @property
    def bodies(self) -> list[Any]:
        return [call.body for call in self.posts]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw) if raw else None
        call = Call(request.method, request.path_qs, request.headers.copy(), body)
        self.calls.append(call)
        if self.replies and (request.method == "POST"):
            return await self.replies.pop(0)(request)
        return web.json_response(self.dialect(call))

    def then(self, status: int, body: Any = None, **headers: str) -> None:
        """Answer with *status*; *body* as JSON, a string as it is. Underscores in header names are dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        text = body if isinstance(body, str) else json.dumps(body)

        async def reply(request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, text=text, content_type="application/json", headers=named)

        self.replies.append(reply)

    def then_half_a_body(self) -> None:
        async def reply(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"translatedText": ["ho')
            assert request.transport
            request.transport.close()
            return response

        self.replies.append(reply)

    def then_reset(self) -> None:
        """Cut the connection before a word."""

        async def reply(request: web.Request) -> web.StreamResponse:
            assert request.transport
            request.transport.abort()
            return web.Response()

        self.replies.append(reply)

    def then_silence(self) -> None:
        """Take the request and send not even headers, until the test is over."""

        async def reply(request: web.Request) -> web.StreamResponse:
            await self.released.wait()
            return web.Response(status=503)

        self.replies.append(reply)

    def then_flood(self, total_bytes: int) -> None:
        async def reply(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(total_bytes // 65536):
                await response.write(b" " * 65536)
            return response

        self.replies.append(reply)


@asynccontextmanager
async def serving(dialect: Dialect) -> AsyncIterator[ProviderServer]:
    """A server on a free port of loopback."""
    server = ProviderServer(dialect)
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", server.serve)
    async with served(app) as server.url:
        try:
            yield server
        finally:
            server.released.set()
