"""
A counting tap on the wire between a worker and the stack: what arrives at the server, by procedure.

Knows nothing of the worker's own counters, which is the point. Slow enough to be of no use where time is measured.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.support.served import served

_HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding", "content-encoding", "upgrade"}
_BODY_BYTES_MAX = 32 * 1024 * 1024
_FORWARD_SECONDS = 60.0


class Tap:
    """Forwards everything to *upstream* and counts it."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.calls: Counter[str] = Counter()
        """REST requests by the last part of their path."""
        self.sockets = 0
        """Websockets opened."""
        self._upstream = upstream
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            self.sockets += 1
            return await self._websocket(request)
        self.calls[request.path.rpartition("/")[2]] += 1
        async with self._session.request(
            request.method, self._upstream + request.path_qs, headers=_kept(request.headers), data=await request.read()
        ) as answer:
            return web.Response(status=answer.status, body=await answer.read(), headers=_kept(answer.headers))

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower().startswith(("x-", "auth"))}
        async with self._session.ws_connect(
            self._upstream + request.path_qs, headers=headers, max_msg_size=0, autoclose=False
        ) as server:
            client = web.WebSocketResponse(max_msg_size=0, compress=False)
            await client.prepare(request)
            async with asyncio.TaskGroup() as both:
                up = both.create_task(_pump(client, server))
                down = both.create_task(_pump(server, client))
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                up.cancel()
                down.cancel()
            return client


_Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def _pump(source: _Socket, sink: _Socket) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await sink.send_bytes(message.data)
    await sink.close(code=source.close_code or 1000)


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


@asynccontextmanager
async def running(upstream: str) -> AsyncIterator[Tap]:
    """A tap on a free port of loopback."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_FORWARD_SECONDS)) as session:
        tap = Tap(upstream, session)
        app = web.Application(client_max_size=_BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", tap.handle)
        async with served(app) as tap.url:
            yield tap
