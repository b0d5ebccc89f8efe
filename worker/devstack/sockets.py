"""
One websocket: reads frames and does what they say, one after the other; writes what its channels have to tell.

While a join waits, heartbeats on the same socket wait too, as on the real server. The order of frames around joins and
leaves is part of the protocol and clients rely on it: see `_join` and `_leave`.
"""

import asyncio
import json
from contextlib import suppress
from typing import Any

from aiohttp import WSMsgType, web
from loguru import logger

from worker.devstack import frames
from worker.devstack.channels import PREFIX, Channel, JoinRefused
from worker.devstack.frames import V2, Frame
from worker.devstack.hub import Hub
from worker.devstack.keys import Identity
from worker.devstack.pipeline import Disconnected, PoolExhausted

_IDLE_SECONDS = 60.0  # without any frame from the client the socket is closed
_OUTBOX_FRAMES_MAX = 50_000  # further behind than this, a client is cut off
_CHANNELS_MAX = 100


class Socket:
    """A client's connection. `serve` lives as long as it does."""

    def __init__(
        self,
        hub: Hub,
        ws: web.WebSocketResponse,
        transport: asyncio.BaseTransport | None,
        version: str,
        identity: Identity,
    ) -> None:
        self._hub = hub
        self._ws = ws
        self._transport = transport
        self._version = version
        self._identity = identity
        self._channels: dict[str, Channel] = {}
        self._outbox: asyncio.Queue[str | bytes] = asyncio.Queue()

    async def serve(self) -> None:
        """Read until the connection ends, whoever ends it."""
        writer = asyncio.create_task(self._write())
        try:
            await self._read()
        finally:
            writer.cancel()
            for channel in self._channels.values():
                channel.close()

    async def close(self, code: int) -> None:
        """Close the connection with *code*; 1006 cuts it without a word."""
        if code == 1006:
            self.cut()
        else:
            await self._ws.close(code=code)

    def cut(self) -> None:
        """End it as a lost network does."""
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()

    @property
    def channels(self) -> list[Channel]:
        return list(self._channels.values())

    def hold(self) -> None:
        """Read nothing more, as if it did not arrive; what is written then is `_put`'s business."""
        if isinstance(self._transport, asyncio.ReadTransport):
            self._transport.pause_reading()

    def resume(self) -> None:
        if isinstance(self._transport, asyncio.ReadTransport) and not self._transport.is_closing():
            self._transport.resume_reading()

    def forget_channels(self) -> None:
        """Lose every channel without a word: the socket lives on, and nobody knows the client's topics any more."""
        for channel in self.channels:
            channel.close()
            self.dropped(channel)

    def push_raw(self, data: str | bytes) -> None:
        """A whole frame, text or binary, with anything in it."""
        self._put(data)

    def write_raw(self, data: bytes) -> None:
        """Bytes on the wire, past the framing."""
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.write(data)

    def push_to_all(self, event: str, payload: str, ref: str | None = None) -> None:
        """Tell every channel, whatever it is: for trouble on order."""
        for channel in self.channels:
            self.push(channel.topic, event, payload, ref, channel.join_ref)

    # What channels need

    def push(self, topic: str, event: str, payload: str, ref: str | None = None, join_ref: str | None = None) -> None:
        self._put(frames.encode(self._version, topic, event, payload, ref, join_ref))

    def push_bytes(self, topic: str, event: str, payload: bytes) -> None:
        if self._version == V2:
            self._put(frames.encode_binary_broadcast(topic, event, payload))

    def dropped(self, channel: Channel) -> None:
        if self._channels.get(channel.topic) is channel:
            del self._channels[channel.topic]

    # Reading

    async def _read(self) -> None:
        while True:
            message = await self._ws.receive(timeout=_IDLE_SECONDS)
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            try:
                frame = frames.decode(message.data, self._version)
            except frames.Malformed as error:
                logger.debug("Realtime dropped a frame it cannot read", error=str(error))
                continue
            await self._handle(frame)

    async def _handle(self, frame: Frame) -> None:
        channel = self._channels.get(frame.topic)
        match frame.event:
            case "heartbeat" if frame.topic == "phoenix":
                self._reply(frame, "ok", {})
            case "phx_join":
                await self._join(frame)
            case "phx_leave":
                self._leave(frame)
            case _ if channel is None:
                self._reply(frame, "error", {"reason": "unmatched topic"})
            case "access_token":
                await channel.set_token(frame.payload.get("access_token"))
            case "broadcast":
                await channel.broadcast(frame.payload, lambda status, body: self._reply(frame, status, body))
            case "presence":  # not offered, and no client minds
                self._reply(frame, "ok", {})

    async def _join(self, frame: Frame) -> None:
        """A second join of a topic replaces the first: reply to the new one, then `phx_close` for the old one."""
        old = self._channels.pop(frame.topic, None)
        if old is not None:
            old.close()
        join_ref = frame.join_ref or frame.ref
        config = frame.payload.get("config")
        channel = Channel(self._hub, self, frame.topic, join_ref, config if isinstance(config, dict) else {})
        try:
            response = await self._try_join(channel, frame)
        except JoinRefused as refused:
            await asyncio.sleep(max(self._hub.refusal_seconds, self._hub.faults.refusal_delay_ms / 1000))
            self._reply(frame, "error", {"reason": str(refused)})
        else:
            self._channels[frame.topic] = channel
            self._reply(frame, "ok", response)
            channel.start()
        if old is not None:
            self.push(old.topic, "phx_close", "{}", old.join_ref, old.join_ref)

    async def _try_join(self, channel: Channel, frame: Frame) -> dict[str, Any]:
        faults = self._hub.faults
        with suppress(TimeoutError):
            async with asyncio.timeout(faults.join_delay_ms / 1000):
                await faults.over("join_delay_ms")
        if faults.join_error:
            raise JoinRefused(faults.join_error)
        if not channel.name or not frame.topic.startswith(PREFIX):
            raise JoinRefused("TopicNameRequired: You must provide a topic name")
        if len(self._channels) >= _CHANNELS_MAX:
            raise JoinRefused("ChannelRateLimitReached: Too many channels")
        token = frame.payload.get("access_token") or frame.payload.get("user_token")
        try:
            return await channel.join(token, self._identity)
        except (Disconnected, PoolExhausted):
            raise JoinRefused(
                "UnableToConnectToProject: Realtime was unable to connect to the project database"
            ) from None

    def _leave(self, frame: Frame) -> None:
        channel = self._channels.pop(frame.topic, None)
        self._reply(frame, "ok", {})
        if channel is not None:
            channel.close()
            self.push(channel.topic, "phx_close", "{}", channel.join_ref, channel.join_ref)

    # Writing

    def _reply(self, frame: Frame, status: str, response: dict[str, Any]) -> None:
        payload = json.dumps({"status": status, "response": response})
        self.push(frame.topic, "phx_reply", payload, frame.ref, frame.join_ref)

    def _put(self, data: str | bytes) -> None:
        if self._hub.faults.mute_all or self._hub.faults.black_hole:
            return
        if self._outbox.qsize() >= _OUTBOX_FRAMES_MAX:
            self.cut()
        else:
            self._outbox.put_nowait(data)

    async def _write(self) -> None:
        while True:
            data = await self._outbox.get()
            try:
                if isinstance(data, bytes):
                    await self._ws.send_bytes(data)
                else:
                    await self._ws.send_str(data)
            except ConnectionError:
                return  # the reader notices too
