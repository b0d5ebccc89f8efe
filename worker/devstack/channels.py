"""
One channel: a topic that a socket has joined, as somebody, with what it asked for.

The rule: a channel is told things only between its join reply and its close, and acts with the token it was given
last. Token trouble ends the channel with a `system` error and `phx_close`, and leaves the socket alone.
"""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from loguru import logger

from worker.devstack import broadcasts, changes
from worker.devstack.broadcasts import Message
from worker.devstack.changes import Binding, CannotSubscribe, Subscriber
from worker.devstack.hub import Hub
from worker.devstack.keys import Identity, TokenRefused
from worker.devstack.pipeline import Disconnected, PoolExhausted

PREFIX = "realtime:"

_BROADCAST_BYTES_MAX = 3_000_000
_RESUBSCRIBE_SECONDS = 1.0
_TOKEN_CHECK_SECONDS_MAX = 3600.0


class JoinRefused(Exception):
    """The reason, as the client reads it."""


class Outlet(Protocol):
    """The socket, as its channels see it."""

    def push(
        self, topic: str, event: str, payload: str, ref: str | None = None, join_ref: str | None = None
    ) -> None: ...

    def push_bytes(self, topic: str, event: str, payload: bytes) -> None: ...

    def dropped(self, channel: "Channel") -> None:
        """The channel has closed by itself."""


class Channel:
    """A joined topic. Made by `join`, ended by `close` or `shut_down`."""

    def __init__(self, hub: Hub, outlet: Outlet, topic: str, join_ref: str | None, config: dict[str, Any]) -> None:
        broadcast = config.get("broadcast") or {}
        self.topic = topic
        self.join_ref = join_ref
        self.name = topic.removeprefix(PREFIX)
        self.private = _flag(config.get("private"))
        self._hub = hub
        self._outlet = outlet
        self._acks = _flag(broadcast.get("ack"))
        self._hears_itself = _flag(broadcast.get("self"))
        self._wants_ready = _flag(broadcast.get("replication_ready"))
        self._entries = [entry for entry in config.get("postgres_changes") or [] if entry]
        self._bindings = [Binding.read(entry) for entry in self._entries]
        self._may_write: bool | None = None if self.private else True  # not asked yet
        self._expiry: asyncio.TimerHandle | None = None
        self._subscriber: Subscriber | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._token: str | None = None
        self._identity: Identity

    # Life

    async def join(self, token: str | None, connected_as: Identity) -> dict[str, Any]:
        """
        Become a member of the topic; the answer is the join reply's response.

        Raises:
            JoinRefused: a bad token, or a private topic that this identity may not read.
        """
        await self._act_as(token, connected_as)
        self._hub.enter(self.name, self.private, self)
        entries = zip(self._entries, self._bindings, strict=True)
        return {"postgres_changes": [{**entry, "id": binding.id} for entry, binding in entries]}

    def start(self) -> None:
        """After the join reply: what comes by itself, comes now."""
        if self._wants_ready:
            self._spawn(self._announce_ready())
        if self._bindings:
            self._spawn(self._follow_changes())

    def close(self) -> None:
        """Stop telling it anything."""
        self._hub.leave(self.name, self.private, self)
        if self._subscriber is not None:
            self._hub.feed.unsubscribe(self._subscriber)
        if self._expiry is not None:
            self._expiry.cancel()
        for task in self._tasks:
            task.cancel()

    def shut_down(self, message: str) -> None:
        """End it from this side, saying why. The server does not take it back without a new join."""
        self._system("system", "error", message)
        self.close()
        self._outlet.push(self.topic, "phx_close", "{}", self.join_ref, self.join_ref)
        self._outlet.dropped(self)

    # Trouble on order

    def crash(self) -> None:
        """End as if its process had died."""
        self.close()
        self._outlet.push(self.topic, "phx_error", "{}", self.join_ref, self.join_ref)
        self._outlet.dropped(self)

    def interrupt_changes(self) -> None:
        """Have it subscribe anew, with what a subscription has to say."""
        if self._bindings:
            self._spawn(self._follow_changes())

    def invent_insert(self, record: dict[str, Any], table: str = "") -> None:
        """Tell of a row inserted into *table*, whether or not it is; empty: into every table it asked for whole."""
        for binding in self._bindings:
            if binding.event in ("*", "INSERT") and not binding.filter and table in ("", binding.table):
                self._change(changes.invented(binding, record))

    # What the client sends

    async def set_token(self, token: str | None) -> None:
        """Act with *token* from now on. Keys, nothing, and the token it has are ignored."""
        if not token or token.startswith("sb_") or token == self._token:
            return
        try:
            await self._act_as(token, self._identity)
        except JoinRefused as refused:
            self.shut_down(str(refused).partition(": ")[2])
            return
        if self._bindings:
            self._spawn(self._follow_changes())

    async def broadcast(self, payload: dict[str, Any], reply: Callable[[str, dict[str, Any]], None]) -> None:
        """Send to everybody else on the topic, and to the sender if it joined so."""
        if self._may_write is None:
            try:
                self._may_write = await broadcasts.may_write(self._hub.pool, self._identity, self.name)
            except (Disconnected, PoolExhausted):
                return  # this message is lost; the next one is asked about again
        if not self._may_write:
            return  # as the real server: no reply either
        message = broadcasts.message(self.name, self.private, str(payload.get("event", "")), payload.get("payload"))
        if len(message.body) > _BROADCAST_BYTES_MAX:
            if self._acks:
                reply("error", {"reason": "payload_size_exceeded"})
            return
        self._hub.send(message, but=None if self._hears_itself else self)
        if self._acks:
            reply("ok", {})

    # What it hears

    def hear(self, message: Message) -> None:
        if isinstance(message.body, bytes):
            self._outlet.push_bytes(self.topic, message.event, message.body)
        else:
            self._outlet.push(self.topic, "broadcast", message.body)

    def _system(self, extension: str, status: str, message: str) -> None:
        payload = {"extension": extension, "status": status, "message": message, "channel": self.name}
        self._outlet.push(self.topic, "system", json.dumps(payload), join_ref=self.join_ref)

    async def _announce_ready(self) -> None:
        await self._hub.database_road_open.wait()
        self._system("system", "ok", "Replication connection established")

    async def _follow_changes(self) -> None:
        """Subscribe as who it is now. Clients take the `system` message, not the join reply, as the start."""
        if self._subscriber is not None:
            self._hub.feed.unsubscribe(self._subscriber)
        self._subscriber = Subscriber(self._identity, self._bindings, self._change, self._say_subscribed)
        await self._report_capture_error()
        while True:
            try:
                await self._hub.feed.subscribe(self._subscriber)
                self._say_subscribed()
                return
            except CannotSubscribe as error:  # no retry, as the real server
                self._system("postgres_changes", "error", str(error))
                return
            except (Disconnected, PoolExhausted) as error:
                self._system("postgres_changes", "error", str(error))
                await asyncio.sleep(_RESUBSCRIBE_SECONDS)

    async def _report_capture_error(self) -> None:
        """On order: once, and then as long as it lasts."""
        if error := self._hub.faults.capture_error:
            self._system("postgres_changes", "error", error)
            await self._hub.faults.over("capture_error")

    def _say_subscribed(self) -> None:
        if not self._hub.faults.drop_system_ok:
            self._system("postgres_changes", "ok", "Subscribed to PostgreSQL")

    def _change(self, payload: str) -> None:
        self._outlet.push(self.topic, "postgres_changes", payload)

    # Who it is

    async def _act_as(self, token: str | None, fallback: Identity) -> None:
        identity = self._verified(token, fallback)
        if self.private and not await broadcasts.may_read(self._hub.pool, identity, self.name):
            raise JoinRefused(f"Unauthorized: You do not have permissions to read from this Channel topic: {self.name}")
        self._token = token
        self._identity = identity
        self._may_write = None if self.private else True
        self._watch_expiry()

    def _verified(self, token: str | None, fallback: Identity) -> Identity:
        if not token or token.startswith("sb_"):
            return fallback
        try:
            identity = self._hub.keys.verify(token)
        except TokenRefused as refused:
            if refused.expired:
                raise JoinRefused("InvalidJWTToken: Token has expired") from None
            if refused.malformed:
                raise JoinRefused("MalformedJWT: The token provided is not a valid JWT") from None
            raise JoinRefused("JwtSignatureError: Failed to validate JWT signature") from None
        if identity.expires_at is None:
            raise JoinRefused("InvalidJWTToken: Fields `role` and `exp` are required in JWT")
        if identity.expires_at <= time.time():
            raise JoinRefused(f"InvalidJWTToken: {_expired(identity.expires_at)}")
        return identity

    def _watch_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        expires_at = self._identity.expires_at
        if expires_at is not None:
            wait = min(expires_at - time.time(), _TOKEN_CHECK_SECONDS_MAX)
            self._expiry = asyncio.get_running_loop().call_later(max(wait, 0), self._check_expiry)

    def _check_expiry(self) -> None:
        expires_at = self._identity.expires_at
        if expires_at is not None and expires_at <= time.time():
            self.shut_down(_expired(expires_at))
        else:
            self._watch_expiry()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.opt(exception=error).error("A Realtime channel failed")
            self._outlet.push(self.topic, "phx_error", "{}", self.join_ref, self.join_ref)


def _expired(expires_at: float) -> str:
    return f"Token has expired {max(0, int(time.time() - expires_at))} seconds ago"


def _flag(value: Any) -> bool:
    """Clients may send booleans as strings."""
    return value is True or value == "true"
