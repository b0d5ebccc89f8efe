"""
The Realtime endpoint's HTTP side: the websocket's upgrade and broadcasts over REST.

`/realtime/v1` is the path of hosted projects, `/socket` and `/api` that of the bare server behind their gateway.
"""

import asyncio
import json
from typing import Any

from aiohttp import web

from worker.devstack import broadcasts, frames
from worker.devstack.channels import Channel
from worker.devstack.hub import Hub
from worker.devstack.keys import Identity, KeyRefused, TokenRefused
from worker.devstack.sockets import Socket

_CLIENT_FRAME_BYTES_MAX = 5_000_000


class Realtime:
    """The endpoint over *hub*; knows every open socket."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._sockets: set[Socket] = set()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/realtime/v1/websocket", self._connect),
            web.get("/socket/websocket", self._connect),
            *(web.post(f"{prefix}/api/broadcast", self._send_many) for prefix in ("/realtime/v1", "")),
            *(
                web.post(f"{prefix}/api/broadcast/{{topic}}/events/{{event}}", self._send_one)
                for prefix in ("/realtime/v1", "")
            ),
        ]

    @property
    def sockets(self) -> list[Socket]:
        return list(self._sockets)

    @property
    def channels(self) -> list[Channel]:
        return [channel for socket in self._sockets for channel in socket.channels]

    async def close_sockets(self, code: int) -> None:
        """Close every connection with *code*; 1006 cuts them."""
        await asyncio.gather(*(socket.close(code) for socket in self.sockets))

    def push_to_all(self, event: str, payload: dict[str, Any], ref: str | None = None) -> None:
        """Send a frame to every channel of every socket, whatever it is: for trouble on order."""
        for socket in self.sockets:
            socket.push_to_all(event, json.dumps(payload), ref)

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if self._hub.faults.upgrade_status:
            return web.json_response({"error": "on order"}, status=self._hub.faults.upgrade_status)
        try:
            identity = self._identify(request)
        except (KeyRefused, TokenRefused) as refused:
            await asyncio.sleep(self._hub.refusal_seconds)
            return web.json_response({"error": str(refused)}, status=401)
        ws = web.WebSocketResponse(max_msg_size=_CLIENT_FRAME_BYTES_MAX, compress=False)
        await ws.prepare(request)
        socket = Socket(self._hub, ws, request.transport, request.query.get("vsn", frames.V1), identity)
        self._sockets.add(socket)
        try:
            await socket.serve()
        except TimeoutError:  # nothing heard for a minute
            await self._hub.faults.over("black_hole")
            await ws.close()
        finally:
            self._sockets.discard(socket)
        return ws

    def _identify(self, request: web.Request) -> Identity:
        """The key, from the header or the address; browsers cannot send a header with an upgrade."""
        key = request.headers.get("x-api-key") or request.query.get("apikey")
        return self._hub.keys.key_identity(key, request.headers.get("User-Agent", ""))

    # Broadcasts over HTTP

    async def _send_many(self, request: web.Request) -> web.Response:
        try:
            entries = [
                (str(m["topic"]), bool(m.get("private", False)), str(m["event"]), m["payload"])
                for m in (await request.json())["messages"]
            ]
        except (ValueError, KeyError, TypeError):
            return web.json_response({"errors": {"messages": ["is invalid"]}}, status=422)
        return await self._send(request, entries)

    async def _send_one(self, request: web.Request) -> web.Response:
        body: Any = await request.read()
        if request.content_type != "application/octet-stream":
            try:
                body = json.loads(body or b"{}")
            except ValueError:
                return web.json_response({"errors": {"messages": ["is invalid"]}}, status=422)
        private = request.query.get("private") == "true"
        return await self._send(request, [(request.match_info["topic"], private, request.match_info["event"], body)])

    async def _send(self, request: web.Request, entries: list[tuple[str, bool, str, Any]]) -> web.Response:
        try:
            identity = self._hub.keys.identify(request.headers, request.query)
        except (KeyRefused, TokenRefused) as refused:
            return web.json_response({"error": str(refused)}, status=401)
        for topic, private, event, body in entries:
            if not private or await broadcasts.may_write(self._hub.pool, identity, topic):
                self._hub.send(broadcasts.message(topic, private, event, body))
        return web.Response(status=202)
