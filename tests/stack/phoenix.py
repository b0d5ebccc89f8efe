"""A bare Phoenix client: what goes over the wire, frame by frame, where the official clients would smooth it over."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from worker.devstack.stack import Stack

TIMEOUT_SECONDS = 10.0


class Phoenix:
    """One socket, version 1 frames."""

    def __init__(self, ws: ClientConnection) -> None:
        self.ws = ws
        self._ref = 0

    async def send(self, topic: str, event: str, payload: dict[str, Any], join_ref: str | None = None) -> str:
        self._ref += 1
        frame = {"topic": topic, "event": event, "payload": payload, "ref": str(self._ref), "join_ref": join_ref}
        await self.ws.send(json.dumps(frame))
        return str(self._ref)

    async def join(self, topic: str, token: str | None = None, **config: Any) -> str:
        """Send a join; the ref to look for in the reply."""
        payload = {"config": config, **({"access_token": token} if token else {})}
        return await self.send(f"realtime:{topic}", "phx_join", payload)

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            frame: dict[str, Any] = json.loads(await self.ws.recv())
            return frame

    async def until(self, event: str) -> dict[str, Any]:
        """The next frame of *event*; those before it are dropped."""
        while (frame := await self.receive())["event"] != event:
            pass
        return frame


@asynccontextmanager
async def connected(
    stack: Stack, key: str | None = None, path: str = "/realtime/v1/websocket", version: str = "1.0.0"
) -> AsyncIterator[Phoenix]:
    """A socket; of another *version*, its frames are the caller's own business."""
    url = f"{stack.urls.url.replace('http', 'ws')}{path}?vsn={version}&apikey={key or stack.urls.publishable_key}"
    async with connect(url) as ws:
        yield Phoenix(ws)
