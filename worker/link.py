"""
The official Realtime client on a socket that survives anything, and without its loose ends.

Everything private of the client (release 2.34) and nothing else stands here; pyproject pins its minor version for
it. The client's own parsing drops what its types do not allow, a frame over 1 MiB closes its connection, and
what it leaves under way when it is closed lives on.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
from websockets.typing import Data

_JOIN_SECONDS: Final = 10
_CLOSE_SECONDS: Final = 2.0
# No server sends more than 5 MB.
_FRAME_BYTES_MAX: Final = 8 * 1024 * 1024


class _Socket(ClientConnection):
    """A connection with somebody in front who reads every frame first."""

    wanted: Callable[[bytes], bool]
    """Whether the client needs this frame."""

    async def __aiter__(self) -> AsyncIterator[Data]:
        with contextlib.suppress(ConnectionClosedOK):
            while True:
                # Undecoded: text that is no text would end the connection.
                data = await self.recv(decode=False)
                assert isinstance(data, bytes)
                if self.wanted(data):
                    yield data


class Client(AsyncRealtimeClient):
    """The official client on a `_Socket`. It never reconnects: one session, one socket."""

    def __init__(self, url: str, key: str, wanted: Callable[[bytes], bool]) -> None:
        super().__init__(url, token=key, auto_reconnect=False, max_retries=1, timeout=_JOIN_SECONDS)
        self._wanted = wanted

    async def connect(self) -> None:
        socket = await connect(
            self.endpoint_url(), open_timeout=self.timeout, max_size=_FRAME_BYTES_MAX, create_connection=_Socket
        )
        assert isinstance(socket, _Socket)
        socket.wanted = self._wanted
        self._ws_connection = socket
        await self._on_connect()

    @property
    def tasks(self) -> list["asyncio.Task[Any]"]:
        """Its two loops: whoever listens must know when one ends."""
        return [task for task in (self._listen_task, self._heartbeat_task) if task is not None]

    async def shut(self) -> None:
        """Close the socket within 2 s, and end what the client would leave behind: timers and tasks."""
        socket, tasks, channels = self._ws_connection, self.tasks, self.get_channels()
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self.close()
        finally:  # cancelled meanwhile, too
            if socket is not None:
                socket.transport.abort()  # a peer that is gone would keep it open for ten seconds more
            for channel in channels:
                tasks += _abandoned(channel)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _abandoned(channel: AsyncRealtimeChannel) -> list["asyncio.Task[Any]"]:
    """Whatever *channel* has still under way. All of it private: the client has no end of its own for it."""
    pushes = [channel.join_push, *channel.messages_waiting_for_ack.values(), *channel._push_buffer]
    timers = [channel.rejoin_timer.timer, *(push.timeout_task for push in pushes)]
    return [*channel._background_tasks, *(timer for timer in timers if timer is not None)]


def closed(error: Exception | None) -> str:
    """How a lost connection is called; empty for other errors."""
    if not isinstance(error, ConnectionClosed):
        return ""
    close = error.rcvd or error.sent
    return f"socket closed {close.code if close else 1006}"


def reason_of(error: Exception | None) -> str:
    """What the server said, from the JSON text that the client wraps into an exception."""
    if how := closed(error):
        return how
    text = str(error) if error is not None else ""
    try:
        payload = json.loads(text)
    except ValueError:
        return text[:200]
    if not isinstance(payload, dict):
        return text[:200]
    return str(payload.get("reason") or payload.get("message") or text)[:200]
