"""
The live streams: what a user has under way, or one job, as server-sent events.

A stream is opened with an answer to the user's own call, so the database has said yes before anything is heard of the
hub. It lives as long as the token, and everything on it is either read as the user (`snapshot`) or concerns that user.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from aiohttp import web

from worker import clock as clocks
from worker.web import documents as docs
from worker.web.api import job_id
from worker.web.callers import Caller
from worker.web.events import Event, Listener, encoded, frame
from worker.web.hub import Hub
from worker.web.project import Project
from worker.web.refusals import Refusal, job_not_found
from worker.web.routing import EVENT_STREAM, Route

KEEPALIVE_SECONDS: Final = 15.0
_RECONNECT_MS: Final = 3000
_WRITE_SECONDS: Final = 30.0
_WARN_SECONDS: Final = 60.0
_CREDITS: Final = ""
"""In the place of a job's id."""
_HEADERS: Final = {
    "Content-Type": EVENT_STREAM,
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",  # a proxy that collects answers would hold the events back
}


class Streams:
    def __init__(self, project: Project, hub: Hub, *, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._project = project
        self._hub = hub
        self._clock = clock

    def routes(self) -> list[Route]:
        return [
            Route(
                "GET", "/api/stream", self.stream, "Your unfinished jobs, live.", None, refusals=frozenset({429})
            ),
            Route(
                "GET", "/api/jobs/{id}/stream", self.stream_job, "One job, live, until it ends.", None,
                refusals=frozenset({404, 429}),
            ),
        ]  # fmt: skip

    async def stream(self, caller: Caller, request: web.Request) -> web.StreamResponse:
        return await self._serve(caller, request, None)

    async def stream_job(self, caller: Caller, request: web.Request) -> web.StreamResponse:
        return await self._serve(caller, request, job_id(request))

    async def _serve(self, caller: Caller, request: web.Request, name: str | None) -> web.StreamResponse:
        with self._hub.listening(caller.user_id, name) as listener:
            stream = _Stream(self._project, self._hub, self._clock, caller, listener)
            await stream.look()
            response = web.StreamResponse(headers=_HEADERS)
            await response.prepare(request)
            with contextlib.suppress(ConnectionError):
                await stream.run(response, request.headers.get("Last-Event-ID"))
            return response


class _Ended(Exception):
    """The stream has said its last."""


class _Stream:
    """One connection, from its snapshot to its last event."""

    def __init__(self, project: Project, hub: Hub, clock: clocks.Clock, caller: Caller, listener: Listener) -> None:
        self._project = project
        self._hub = hub
        self._clock = clock
        self._caller = caller
        self._listener = listener
        self._snapshot: Mapping[str, docs.Job] = {}
        self._credits: Any = None
        self._event_id = ""
        self._as_of: dict[str, datetime] = {}
        self._expires_at = clock.monotonic() + caller.seconds_left()
        self._warned = False

    async def look(self) -> None:
        """Read the state as the user. Raises Refusal; 404 when there is no such job for this user."""
        self._event_id = self._hub.event_id()
        name = self._listener.job_id
        answer = await self._project.call(
            self._caller,
            "watch_translation_users",
            user_ids=[self._caller.user_id],
            job_ids=[name] if name is not None else None,
        )
        jobs = [docs.Job.from_row(row) for row in answer["jobs"] if name is None or row["id"] == name]
        if name is not None and not jobs:
            raise job_not_found()
        self._snapshot = {str(job.id): job for job in jobs}
        self._credits = answer["credits"].get(self._caller.user_id, {"balance": 0, "reserved": 0})
        self._as_of = {name: job.as_of for name, job in self._snapshot.items()}
        self._as_of[_CREDITS] = datetime.fromisoformat(answer["as_of"])
        unfinished = [name for name, job in self._snapshot.items() if job.status not in docs.ENDED]
        self._hub.follow(self._caller.user_id, unfinished)

    async def run(self, response: web.StreamResponse, last_event_id: str | None) -> None:
        """Send until the job ends, the token expires, the server stops or the connection is gone."""
        self._response = response
        with contextlib.suppress(_Ended):
            await self._send(f"retry: {_RECONNECT_MS}\n\n".encode())
            if last_event_id is not None:
                await self._catch_up(last_event_id)
            await self._send_snapshot()
            while True:
                await self._listener.wait(self._patience_seconds())
                await self._turn()

    async def _catch_up(self, last_event_id: str) -> None:
        missed = self._hub.missed(self._caller.user_id, last_event_id)
        if missed is None:
            await self._send(frame("resync", b"{}"))
            return
        for event in missed:
            if self._listener.job_id in (None, event.job_id):
                await self._send_event(event)

    async def _turn(self) -> None:
        if self._listener.closed:
            await self._close({"reason": "server stops"})
        if self._listener.take_resync():
            await self._again()
        events = self._listener.take()
        for event in events:
            await self._send_event(event)
        left_seconds = self._expires_at - self._clock.monotonic()
        if left_seconds <= 0:
            await self._close({"reason": "token expired"})
        if left_seconds <= _WARN_SECONDS and not self._warned:
            self._warned = True
            expires_at = datetime.fromtimestamp(self._caller.expires_at).astimezone().isoformat()
            await self._send(frame("auth-expiring", encoded({"expires_at": expires_at})))
        elif self._quiet_seconds() >= KEEPALIVE_SECONDS:
            await self._send(b": here\n\n")

    async def _again(self) -> None:
        """Events were lost: read afresh what is, as the user."""
        await self._send(frame("resync", b"{}"))
        try:
            await self.look()
        except Refusal as refusal:
            await self._close({"reason": refusal.code})
        await self._send_snapshot()

    async def _send_snapshot(self) -> None:
        jobs = b",".join(job.to_json() for job in self._snapshot.values())
        data = b'{"jobs":[' + jobs + b'],"credits":' + encoded(self._credits) + b"}"
        await self._send(frame("snapshot", data, event_id=self._event_id))
        only = self._snapshot.get(self._listener.job_id or "")
        self._snapshot = {}  # sent; what is kept is when each of it was read
        if only is not None and only.status in docs.ENDED:
            await self._close({"reason": "finished", "status": only.status})

    async def _send_event(self, event: Event) -> None:
        read_at = self._as_of.get(event.job_id or _CREDITS)
        if event.as_of is not None and read_at is not None and event.as_of <= read_at:
            return  # read before the snapshot, and told after it
        await self._send(event.frame)
        if self._listener.job_id is not None:
            if event.name == "gone":
                await self._close({"reason": "gone"})
            if event.status in docs.ENDED:
                await self._close({"reason": "finished", "status": event.status})

    async def _close(self, data: Mapping[str, Any]) -> None:
        await self._send(frame("close", encoded(data)))
        raise _Ended

    async def _send(self, data: bytes) -> None:
        self._sent_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._response.write(data)
        except TimeoutError:
            # A reader that takes nothing for so long is gone, or as good as gone.
            raise ConnectionAbortedError from None

    def _quiet_seconds(self) -> float:
        return self._clock.monotonic() - self._sent_at

    def _patience_seconds(self) -> float:
        left = self._expires_at - self._clock.monotonic()
        return min(KEEPALIVE_SECONDS - self._quiet_seconds(), left, left if self._warned else left - _WARN_SECONDS)
