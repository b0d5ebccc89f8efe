"""
One Realtime session: one socket, two channels, one end. Crash-only.

Built on the official client (`link`), of which only what works is used: it connects, joins and pairs replies with
pushes. Everything else is read here, so that nothing the server may say can raise in the client's listen task
or be dropped by its types. It is never asked to reconnect or to rejoin, because it comes out of that deaf and
cheerful: the first sign of trouble ends the session, whoever runs it makes a new one from nothing.

    jobs    `translation_jobs`: change events and, when private, the database's broadcasts and other workers' word
    probe   a topic of this worker alone, whose acknowledged broadcasts prove that the server still reads

A session is ready when the jobs channel is joined *and* the server has said that change capture is on;
everything committed after that is delivered. What was committed before is the catch-up's business.
"""

import asyncio
import contextlib
import functools
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from loguru import logger
from realtime import AsyncRealtimeChannel
from realtime.message import Message
from realtime.types import (
    RealtimeAcknowledgementStatus,
    RealtimePostgresChangesListenEvent,
    RealtimeSubscribeStates,
)
from websockets.exceptions import InvalidStatus

from worker import clock as clocks
from worker import frames, link
from worker.frames import Frame, object_in, text_in

JOBS_TOPIC: Final = "translation_jobs"
WORKERS_TABLE: Final = "translation_workers"
_PREFIX: Final = "realtime:"
# From the join's ok: change capture may be cold, and its owner retries every 1 to 3 seconds.
_READY_SECONDS: Final = 15.0
_PROBE_SECONDS: Final = 4.0
_LEAVE_SECONDS: Final = 0.5
_TOLD_JOBS_MAX: Final = 100


class Ears(Protocol):
    """What a session tells while it lasts. Called from the socket's own task: be quick, never await."""

    def on_ready(self, session: "Session") -> None:
        """Change capture is on (again): there may have been a gap."""

    def on_end(self, session: "Session", reason: str) -> None:
        """This was the first sign of trouble; nothing more is heard. Closing the socket takes a moment longer."""

    def on_change(self, job_id: str | None, status: str) -> None:
        """A job was inserted. None: the server did not say which, or hides it. *status* may be empty."""

    def on_broadcast(self, event: str, payload: dict[str, Any], message_id: str) -> None:
        """The database or another worker sent `ready`, `cancelled`, `claimed` or `beat`. The id may be empty."""

    def on_worker_row(self) -> None:
        """This worker's own heartbeat row was written."""

    def on_unreadable(self) -> None:
        """Something was said that cannot be read: it may have been news."""

    def on_probe(self, seconds: float) -> None:
        """A probe was acknowledged after *seconds*."""


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
        self._client = link.Client(realtime_url, key, self._is_for_client)
        self._worker_id = worker_id
        self._probe_topic = f"translation_worker:{worker_id}"
        self._ears = ears
        self._probe_every_seconds = probe_every_seconds
        self._clock = clock
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._told: dict[str, None] = {}
        self._to_tell = asyncio.Event()
        self.plan = plan
        self.ready = asyncio.Event()
        self.ready_at: float | None = None
        """When it became ready, on the monotonic clock."""

    async def run(self) -> str:
        """
        Live until the first sign of trouble and return its reason. When cancelled, leave the channels first.
        Nothing stays behind, however it ends.
        """
        try:
            async with asyncio.TaskGroup() as group:
                parts = [group.create_task(self._until_trouble(part())) for part in (self._live, self._tell)]
                reason = await self._over
                for part in parts:
                    part.cancel()
            return reason
        except asyncio.CancelledError:
            await self._leave()
            raise
        finally:
            await self._client.shut()

    def end(self, reason: str) -> None:
        """End for *reason*; only the first one counts."""
        if not self._over.done():
            self._over.set_result(reason)
            self._ears.on_end(self, reason)

    @property
    def is_over(self) -> bool:
        return self._over.done()

    @property
    def reason(self) -> str:
        """Why it ended."""
        return self._over.result()

    async def wait_over(self) -> None:
        """Wait for the end, not for the closing."""
        await asyncio.wait([self._over])

    def tell_claimed(self, job_ids: Iterable[str]) -> None:
        """Tell the other workers that these jobs are taken. Best effort, and only where strangers cannot listen."""
        if self.plan.private and self.ready_at is not None and len(self._told) < _TOLD_JOBS_MAX:
            self._told.update(dict.fromkeys(job_ids))
            self._to_tell.set()

    async def _leave(self) -> None:
        """Tell the server that we go, so that it need not find out. Best effort."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_LEAVE_SECONDS):
                for channel in reversed(self._client.get_channels()):
                    await channel.unsubscribe()
                await asyncio.shield(self._over)  # the status CLOSED, when a leave is answered

    async def _until_trouble(self, part: Coroutine[Any, Any, None]) -> None:
        try:
            await part
        except InvalidStatus as refused:
            self.end(f"HTTP {refused.response.status_code}")
        except Exception as error:  # crash-only: whatever it is, this session has had it
            self.end(link.closed(error) or type(error).__name__)

    async def _live(self) -> None:
        await self._client.connect()
        self._watch_tasks()
        await self._join(self._jobs_channel())
        probe = self._channel(self._probe_topic, {"ack": True, "self": False}, private=self.plan.private_probe)
        await self._join(probe)
        if not await self._clock.wait(self.ready, _READY_SECONDS):
            self.end("no system ok")
        while True:
            await self._clock.sleep(self._probe_every_seconds)
            async with asyncio.timeout(_PROBE_SECONDS + 0.5):  # for a push that a full buffer holds back
                await self._probe(probe)

    async def _tell(self) -> None:
        while True:
            await self._to_tell.wait()
            self._to_tell.clear()
            job_ids, self._told = list(self._told), {}
            payload = {"type": "broadcast", "event": "claimed", "payload": {"job_ids": job_ids}}
            # Not a push: nobody answers this, and a push would wait for that.
            await self._client.send(
                Message(
                    topic=_PREFIX + JOBS_TOPIC,
                    event="broadcast",
                    payload=payload,
                    ref="claimed",
                    join_ref=self._join_ref,
                )
            )

    def _watch_tasks(self) -> None:
        # The client keeps its two loops to itself, and an exception in one of them only shows when it is freed.
        for task in self._client.tasks:
            task.add_done_callback(lambda _: self.end("socket closed"))

    async def _join(self, channel: AsyncRealtimeChannel) -> None:
        """Join; returning means an outcome, not a success: the callback has ended the session otherwise."""

        def on_status(status: RealtimeSubscribeStates, error: Exception | None) -> None:
            if status is not RealtimeSubscribeStates.SUBSCRIBED:
                self.end(link.reason_of(error) or status.value)

        await channel.subscribe(on_status)

    def _jobs_channel(self) -> AsyncRealtimeChannel:
        broadcast: dict[str, Any] = {"ack": False, "self": False}
        if self.plan.replication_ready:
            broadcast["replication_ready"] = True
        channel = self._channel(JOBS_TOPIC, broadcast, private=self.plan.private)
        bind = functools.partial(channel.on_postgres_changes, callback=_heard_already, schema="public")
        events = RealtimePostgresChangesListenEvent
        # Every binding names its table and asks for little: an event only says "look".
        bind(events.Insert, table=JOBS_TOPIC, select=["id", "status"])
        for event in (events.Insert, events.Update):
            bind(event, table=WORKERS_TABLE, filter=f"id=eq.{self._worker_id}", select=["id"])
        return channel

    def _channel(self, topic: str, broadcast: Any, *, private: bool) -> AsyncRealtimeChannel:
        config: Any = {"broadcast": broadcast, "presence": {"key": "", "enabled": False}, "private": private}
        return self._client.channel(topic, {"config": config})

    @property
    def _join_ref(self) -> str | None:
        return self._client.channel(JOBS_TOPIC).join_push.ref

    # What is heard.

    def _is_for_client(self, data: bytes) -> bool:
        """Hear a frame. Whether the client must have it too: only replies, which it pairs with its pushes."""
        try:
            frame = frames.read(data)
            if frame is None:
                self._ears.on_unreadable()
            elif frame.event == "phx_reply":
                return True
            elif frame.topic == _PREFIX + JOBS_TOPIC:
                self._on_jobs(frame)
            elif frame.topic == _PREFIX + self._probe_topic:
                self._on_any(frame)
        except Exception as error:  # it would kill the client's listen task and show nowhere
            logger.error("Realtime callback failed", error=type(error).__name__)
            self.end("callback failed")
        return False

    def _on_jobs(self, frame: Frame) -> None:
        match frame.event:
            case "postgres_changes":
                self._on_changes(object_in(frame.payload, "data"))
            case "broadcast" if self.plan.private:  # on a public channel anybody may say anything
                event, payload = text_in(frame.payload, "event"), object_in(frame.payload, "payload")
                self._ears.on_broadcast(event, payload, text_in(object_in(frame.payload, "meta"), "id"))
            case "broadcast":
                pass
            case _ if not self._on_any(frame):
                self._ears.on_unreadable()

    def _on_any(self, frame: Frame) -> bool:
        """What both channels may be told; whether it was that."""
        match frame.event:
            case "system":
                self._on_system(frame.payload)
            case "phx_close":
                self.end("CLOSED")
            case "phx_error":
                self.end("channel crashed")
            case "presence_state" | "presence_diff":
                pass
            case _:
                return False
        return True

    def _on_system(self, payload: dict[str, Any]) -> None:
        extension, message = text_in(payload, "extension"), text_in(payload, "message")[:200]
        status = text_in(payload, "status")
        if status == "error" or message == "Server requested disconnect":
            self.end(message or "system error")
        elif status != "ok":
            self._ears.on_unreadable()
        elif extension == "postgres_changes":
            if self.ready_at is None:
                self.ready_at = self._clock.monotonic()
            self.ready.set()
            self._ears.on_ready(self)
        else:
            logger.debug("Realtime says", extension=extension, said=message)

    def _on_changes(self, data: dict[str, Any]) -> None:
        record = object_in(data, "record")  # empty when the server hides it: too large, no key, no right
        table, row_id = text_in(data, "table"), text_in(record, "id")
        if table == JOBS_TOPIC:
            self._ears.on_change(row_id or None, text_in(record, "status"))
        elif table == WORKERS_TABLE:
            if row_id == self._worker_id:
                self._ears.on_worker_row()
        else:
            self._ears.on_unreadable()

    async def _probe(self, channel: AsyncRealtimeChannel) -> None:
        """One acknowledged broadcast: proves socket, server, channel and the client's own listen task."""
        acknowledged = asyncio.Event()
        sent_at = self._clock.monotonic()
        push = await channel.push("broadcast", {"type": "broadcast", "event": "probe", "payload": {}})
        try:
            push.receive(RealtimeAcknowledgementStatus.Ok, lambda _: acknowledged.set())
            push.receive(
                RealtimeAcknowledgementStatus.Error,
                lambda answer: self.end(str(answer.get("reason") or "probe refused")),
            )
            if await self._clock.wait(acknowledged, _PROBE_SECONDS):
                self._ears.on_probe(self._clock.monotonic() - sent_at)
            else:
                self.end("probe not acknowledged")
        finally:
            push.destroy()


def _heard_already(_: Any) -> None:
    """The callback of every binding: `Session` has read the frame, and the client never sees it."""
