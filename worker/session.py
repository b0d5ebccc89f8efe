"""
One Realtime session: one socket, two channels, one end. Crash-only.

Built on the official client, of which only what works is used (release 2.34.1): it connects, joins, parses and
calls back. It is never asked to reconnect or to rejoin, because it comes out of that deaf and cheerful:
the first sign of trouble ends the session, whoever runs it makes a new one from nothing.

    jobs    `translation_jobs`: change events and, when private, the database's broadcasts
    probe   a topic of this worker alone, whose acknowledged broadcasts prove that the server still reads

A session is ready when the jobs channel is joined *and* the server has said that change capture is on;
everything committed after that is delivered. What was committed before is the catch-up's business.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from loguru import logger
from realtime import AsyncRealtimeChannel, AsyncRealtimeClient
from realtime.types import (
    RealtimeAcknowledgementStatus,
    RealtimePostgresChangesListenEvent,
    RealtimeSubscribeStates,
)
from websockets.exceptions import InvalidStatus

from worker import clock as clocks

JOBS_TOPIC: Final = "translation_jobs"
_JOIN_SECONDS: Final = 10
# From the join's ok: change capture may be cold, and its owner retries every 1 to 3 seconds.
_READY_SECONDS: Final = 15.0
_PROBE_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 2.0
_LEAVE_SECONDS: Final = 0.5


class Ears(Protocol):
    """What a session tells while it lasts. Called from the socket's own task: be quick, never await."""

    def on_ready(self) -> None:
        """Change capture is on (again): there may have been a gap."""

    def on_change(self, job_id: str | None) -> None:
        """A job was inserted."""

    def on_broadcast(self, event: str, payload: dict[str, Any]) -> None:
        """The database sent `ready`, `cancelled` or `beat`."""

    def on_worker_row(self) -> None:
        """This worker's own heartbeat row was written."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to join. The first plan is the best one; each refusal that will not pass gives up one thing."""

    private: bool = True
    """Both roads. A public channel carries change events only."""
    replication_ready: bool = True
    """Ask to be told when the broadcast road is open."""
    private_probe: bool = False

    def after(self, reason: str) -> "Plan":
        """The plan for the next session when this one ended for *reason*."""
        if self.private and reason.startswith("Unauthorized"):
            return Plan(False, False, self.private_probe)
        if self.replication_ready and reason.startswith("Replication connection was not established"):
            return Plan(self.private, False, self.private_probe)
        if not self.private_probe and reason.startswith("PrivateOnly"):
            return Plan(self.private, self.replication_ready, True)
        return self


class Session:
    def __init__(
        self,
        *,
        realtime_url: str,
        key: str,
        worker_id: str,
        plan: Plan,
        ears: Ears,
        probe_every_seconds: float,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        self._client = AsyncRealtimeClient(
            realtime_url, token=key, auto_reconnect=False, max_retries=1, timeout=_JOIN_SECONDS
        )
        self._worker_id = worker_id
        self._plan = plan
        self._ears = ears
        self._probe_every_seconds = probe_every_seconds
        self._clock = clock
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._captured = asyncio.Event()
        self.ready_at: float | None = None
        """When it became ready, on the monotonic clock."""

    async def run(self) -> str:
        """
        Live until the first sign of trouble and return its reason. When cancelled, leave the channels first.
        Nothing stays behind, however it ends.
        """
        try:
            async with asyncio.TaskGroup() as group:
                work = group.create_task(self._live())
                reason = await self._over
                work.cancel()
            return reason
        except asyncio.CancelledError:
            await self._leave()
            raise
        finally:
            await self._close()

    def end(self, reason: str) -> None:
        if not self._over.done():
            self._over.set_result(reason)

    async def _leave(self) -> None:
        """Tell the server that we go, so that it need not find out. Best effort."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_LEAVE_SECONDS):
                for channel in reversed(self._client.get_channels()):
                    await channel.unsubscribe()
                await asyncio.shield(self._over)  # the status CLOSED, when a leave is answered

    async def _live(self) -> None:
        try:
            await self._client.connect()
            self._watch_tasks()
            await self._join(self._jobs_channel())
            probe = self._probe_channel()
            await self._join(probe)
            if not await self._clock.wait(self._captured, _READY_SECONDS):
                self.end("no system ok")
            while True:
                await self._clock.sleep(self._probe_every_seconds)
                await self._probe(probe)
        except InvalidStatus as refused:
            self.end(f"HTTP {refused.response.status_code}")
        except Exception as error:  # crash-only: whatever it is, this session has had it
            self.end(f"{type(error).__name__}")

    def _watch_tasks(self) -> None:
        # The client keeps its two loops to itself, and an exception in one of them only shows when it is freed.
        for task in (self._client._listen_task, self._client._heartbeat_task):
            if task is not None:
                task.add_done_callback(lambda _: self.end("socket closed"))

    async def _join(self, channel: AsyncRealtimeChannel) -> None:
        """Join; returning means an outcome, not a success: the callback has ended the session otherwise."""

        def on_status(status: RealtimeSubscribeStates, error: Exception | None) -> None:
            if status is not RealtimeSubscribeStates.SUBSCRIBED:
                self.end(reason_of(error) or status.value)

        await channel.subscribe(on_status)

    def _jobs_channel(self) -> AsyncRealtimeChannel:
        broadcast: dict[str, Any] = {"ack": False, "self": False}
        if self._plan.replication_ready:
            broadcast["replication_ready"] = True
        channel = self._channel(JOBS_TOPIC, broadcast, private=self._plan.private)
        channel.on_system(self._tight(self._on_system))
        channel.on_broadcast("*", self._tight(self._on_broadcast))
        own_row = f"id=eq.{self._worker_id}"
        change, events = channel.on_postgres_changes, RealtimePostgresChangesListenEvent
        # Every binding names its table and asks for the key alone: an event only says "look".
        change(events.Insert, self._tight(self._on_job), JOBS_TOPIC, "public", None, ["id"])
        for event in (events.Insert, events.Update):
            change(event, self._tight(self._on_row), "translation_workers", "public", own_row, ["id"])
        return channel

    def _probe_channel(self) -> AsyncRealtimeChannel:
        topic = f"translation_worker:{self._worker_id}"
        return self._channel(topic, {"ack": True, "self": False}, private=self._plan.private_probe)

    def _channel(self, topic: str, broadcast: Any, *, private: bool) -> AsyncRealtimeChannel:
        config: Any = {"broadcast": broadcast, "presence": {"key": "", "enabled": False}, "private": private}
        return self._client.channel(topic, {"config": config})

    def _on_system(self, payload: Any) -> None:
        if payload.extension == "postgres_changes":
            if self.ready_at is None:
                self.ready_at = self._clock.monotonic()
            self._captured.set()
            self._ears.on_ready()
        else:
            logger.debug("Realtime says", extension=payload.extension, said=payload.message)

    def _on_job(self, payload: Any) -> None:
        record = payload["data"].get("record") or {}
        self._ears.on_change(record.get("id"))

    def _on_row(self, _: Any) -> None:
        self._ears.on_worker_row()

    def _on_broadcast(self, payload: Any) -> None:
        self._ears.on_broadcast(payload["event"], payload["payload"])

    def _tight(self, callback: Callable[[Any], None]) -> Callable[[Any], None]:
        """*callback*, unable to raise: an exception would kill the client's listen task and show nowhere."""

        def guarded(payload: Any) -> None:
            try:
                callback(payload)
            except Exception as error:
                logger.error("Realtime callback failed", error=type(error).__name__)
                self.end("callback failed")

        return guarded

    async def _probe(self, channel: AsyncRealtimeChannel) -> None:
        """One acknowledged broadcast: proves socket, server, channel and the client's own listen task."""
        acknowledged = asyncio.Event()
        push = await channel.push("broadcast", {"type": "broadcast", "event": "probe", "payload": {}})
        try:
            push.receive(RealtimeAcknowledgementStatus.Ok, lambda _: acknowledged.set())
            push.receive(
                RealtimeAcknowledgementStatus.Error,
                lambda answer: self.end(str(answer.get("reason") or "probe refused")),
            )
            if not await self._clock.wait(acknowledged, _PROBE_SECONDS):
                self.end("probe not acknowledged")
        finally:
            push.destroy()

    async def _close(self) -> None:
        """Close the socket within 2 s, and end what the client would leave behind: timers and tasks."""
        client = self._client
        socket = client._ws_connection
        tasks = [task for task in (client._listen_task, client._heartbeat_task) if task is not None]
        channels = client.get_channels()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await client.close()
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


def reason_of(error: Exception | None) -> str:
    """What the server said, from the JSON text that the client wraps into an exception."""
    text = str(error) if error is not None else ""
    try:
        payload = json.loads(text)
    except ValueError:
        return text[:200]
    if not isinstance(payload, dict):
        return text[:200]
    return str(payload.get("reason") or payload.get("message") or text)[:200]
