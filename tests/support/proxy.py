"""
A proxy between a client and the stack that loses answers: the request arrives, the reply does not.

The one fault a client can never tell from a request that did not arrive.
"""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

_HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding", "content-encoding"}


class Proxy:
    """Forwards HTTP to *upstream*; refuses websockets, so a worker behind it polls."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.lose: Counter[str] = Counter()  # procedure → how many of its next answers are lost
        self.lost: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self._upstream = upstream
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return web.Response(status=502)
        procedure = request.path.rpartition("/")[2]
        self.seen[procedure] += 1
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        async with self._session.request(
            request.method, self._upstream + request.path_qs, headers=headers, data=await request.read()
        ) as answer:
            body = await answer.read()
            if self.lose[procedure] > 0 and answer.status < 300:
                self.lose[procedure] -= 1
                self.lost[procedure] += 1
                assert request.transport is not None
                request.transport.abort()
                return web.Response(status=500)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            return web.Response(status=answer.status, body=body, headers=kept)


@asynccontextmanager
async def running_proxy(upstream: str) -> AsyncIterator[Proxy]:
    """A proxy on a free port of loopback."""
    async with aiohttp.ClientSession() as session:
        proxy = Proxy(upstream, session)
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield proxy
        finally:
            await runner.cleanup()
