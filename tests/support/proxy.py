"""
A proxy between a client and the stack that loses answers: the request arrives, the reply does not.

The one fault a client can never tell from a request that did not arrive. It can also keep requests at its door, as a
network does that is cut and mended, and it remembers what was answered.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.support.served import served

_HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding", "content-encoding"}


class Proxy:
    """Forwards HTTP to *upstream*; refuses websockets, so a worker behind it polls."""

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.lose: Counter[str] = Counter()  # procedure → how many of its next answers are lost
        self.lose_first: set[str] = set()  # procedures: a request's first answer is lost, a repeated one gets it
        self.lost: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.answers: defaultdict[str, list[bytes]] = defaultdict(list)  # procedure → what was delivered
        self._asked: set[bytes] = set()
        self._doors: dict[str, asyncio.Event] = {}
        self._upstream = upstream
        self._session = session

    def hold(self, *procedures: str) -> None:
        """Keep calls of *procedures* at the door until `let`."""
        self._doors.update({procedure: asyncio.Event() for procedure in procedures})

    def let(self, *procedures: str) -> None:
        for procedure in procedures:
            self._doors.pop(procedure).set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return web.Response(status=502)
        procedure = request.path.rpartition("/")[2]
        self.seen[procedure] += 1
        if door := self._doors.get(procedure):
            await door.wait()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        said = await request.read()
        async with self._session.request(
            request.method, self._upstream + request.path_qs, headers=headers, data=said
        ) as answer:
            body = await answer.read()
            if answer.status < 300 and self._is_lost(procedure, said):
                self.lost[procedure] += 1
                assert request.transport is not None
                request.transport.abort()
                return web.Response(status=500)
            self.answers[procedure].append(body)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
            return web.Response(status=answer.status, body=body, headers=kept)

    def _is_lost(self, procedure: str, said: bytes) -> bool:
        if procedure in self.lose_first and said not in self._asked:
            self._asked.add(said)
            return True
        if self.lose[procedure] > 0:
            self.lose[procedure] -= 1
            return True
        return False


@asynccontextmanager
async def running_proxy(upstream: str) -> AsyncIterator[Proxy]:
    """A proxy on a free port of loopback."""
    async with aiohttp.ClientSession() as session:
        proxy = Proxy(upstream, session)
        app = web.Application(client_max_size=32 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        async with served(app) as proxy.url:
            yield proxy
