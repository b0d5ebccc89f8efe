"""
Hearing about work, for ever: one Realtime session after the other, and the truth about whether it is heard.

Knows no job. An event may ring, and is never believed. The mode is `realtime` only while there is a ready
session *and* nothing says that it is deaf; otherwise `polling`, at once. Deafness has a proof: the database
writes this worker's heartbeat row, and that change must come back through Realtime.
"""

import asyncio
import functools
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol

from loguru import logger
from tenacity import AsyncRetrying, RetryCallState, retry_always

from worker import backoff
from worker import clock as clocks
from worker.counters import Counters
from worker.session import Plan, Session

_BASE_SECONDS: Final = 1.0
_CAP_SECONDS: Final = 10.0
_HEALTHY_SECONDS: Final = 30.0
_CANARY_SECONDS: Final = 10.0
_PROBE_BROADCAST_SECONDS: Final = 300.0
_PERSON_SECONDS: Final = 60.0
_CANARY_MISSED: Final = "heartbeat row not heard"

# Reasons that a quick return would make worse, or that only a person can cure: seconds to stay away at least.
_FLOORS: Final[Mapping[str, float]] = {
    "ChannelRateLimitReached": 30,
    "ConnectionRateLimitReached": 30,
    "ClientJoinRateLimitReached": 30,
    "DatabaseConnectionRateLimitReached": 30,
    "Too many": 30,
    "HTTP 429": 30,
    "HTTP 401": 60,
    "HTTP 403": 60,
    "HTTP 404": 60,
    "RealtimeDisabledForTenant": 60,
    "TenantNotFound": 60,
    _CANARY_MISSED: 30,
}


class Hearer(Protocol):
    """Whom the listener tells."""

    def on_ring(self, road: str, payload: Mapping[str, Any]) -> None:
        """There may be work. *road*: changes, broadcast or catch_up. The payload is not to be believed."""

    def on_cancelled(self, job_id: str) -> None:
        """A job may have been cancelled."""

    def on_mode(self, mode: str, reason: str) -> None:
        """The mode changed to realtime or polling."""


def floor_seconds(reason: str) -> float:
    """How long to stay away at least after a session ended for *reason*."""
    return next((seconds for prefix, seconds in _FLOORS.items() if reason.startswith(prefix)), 0.0)


class Listener:
    def __init__(
        self,
        *,
        realtime_url: str,
        key: str,
        worker_id: str,
        hearer: Hearer,
        check_seconds: float,
        counters: Counters,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        self._new_session = functools.partial(
            Session,
            realtime_url=realtime_url,
            key=key,
            worker_id=worker_id,
            ears=self,
            probe_every_seconds=check_seconds,
            clock=clock,
        )
        self._worker_id = worker_id
        self._hearer = hearer
        self._counters = counters
        self._clock = clock
        self._plan = Plan()
        self._session: Session | None = None
        self._failures = 0
        self.mode = "starting"
        self.mode_since = clock.monotonic()

        self._beat = asyncio.Event()
        self._beat_sent_at = float("-inf")
        self._row_heard = asyncio.Event()
        self._row_heard_at = float("-inf")
        self._rows_missed = 0
        self._broadcast_asked_at = float("-inf")
        self._broadcast_heard_at = float("-inf")

    @property
    def roads(self) -> list[str]:
        """The roads that have proved themselves since the session began."""
        since = self._ready_at()
        if since is None:
            return []
        heard = {"changes": self._row_heard_at, "broadcast": self._broadcast_heard_at}
        return [road for road, heard_at in heard.items() if heard_at >= since]

    async def run(self) -> None:
        """Listen until cancelled; the channels are left then."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_canary())
            forever = AsyncRetrying(retry=retry_always, wait=self._pause_seconds, sleep=self._clock.sleep)
            await forever(self._one_session)

    def beat_accepted(self, sent_at: float) -> None:
        """The database took the heartbeat sent at *sent_at*: its row must be heard soon."""
        self._beat_sent_at = sent_at
        self._beat.set()

    def take_probe(self) -> bool:
        """Whether the next heartbeat shall ask for a broadcast: often while that road is silent, else rarely."""
        since, now = self._ready_at(), self._clock.monotonic()
        if since is None or not self._plan.private:
            return False
        silent = self._broadcast_heard_at < since
        if not silent and now < self._broadcast_asked_at + _PROBE_BROADCAST_SECONDS:
            return False
        self._broadcast_asked_at = now
        return True

    # What the session tells.

    def on_ready(self) -> None:
        self._hearer.on_ring("catch_up", {})
        if not self._rows_missed:  # doubted once, the next proof decides and not the server's word
            self._set_mode("realtime", "subscribed")

    def on_change(self, job_id: str | None) -> None:
        self._hearer.on_ring("changes", {"job_id": job_id})

    def on_broadcast(self, event: str, payload: dict[str, Any]) -> None:
        if event == "ready":
            self._hearer.on_ring("broadcast", payload)
        elif event == "cancelled":
            self._hearer.on_cancelled(str(payload.get("job_id")))
        elif event == "beat" and payload.get("worker_id") == self._worker_id:
            self._broadcast_heard_at = self._clock.monotonic()

    def on_worker_row(self) -> None:
        self._row_heard_at = self._clock.monotonic()
        self._row_heard.set()
        self._rows_missed = 0
        if self._ready_at() is not None:
            self._set_mode("realtime", "heartbeat row heard")

    # Sessions.

    async def _one_session(self) -> str:
        plan = self._plan
        session = self._session = self._new_session(plan=plan)
        try:
            reason = await session.run()
        finally:
            self._session = None
        healthy = session.ready_at is not None and (self._clock.monotonic() - session.ready_at > _HEALTHY_SECONDS)
        self._failures = 0 if healthy else self._failures + 1
        self._plan = Plan() if healthy else plan.after(reason)
        self._counters.sessions[_label(reason)] += 1
        self._report_end(reason, changed_plan=self._plan != plan)
        self._set_mode("polling", reason)
        return reason

    def _report_end(self, reason: str, *, changed_plan: bool) -> None:
        if changed_plan:
            logger.warning("Realtime joined differently from now on", reason=reason, private=self._plan.private)
        elif self._failures == 1 and floor_seconds(reason) >= _PERSON_SECONDS:
            logger.error("Realtime refuses this worker", reason=reason)
        else:
            logger.debug("Realtime session ended", reason=reason, failures=self._failures)

    def _pause_seconds(self, state: RetryCallState) -> float:
        assert state.outcome is not None
        pause = backoff.full_jitter(self._failures, base_seconds=_BASE_SECONDS, cap_seconds=_CAP_SECONDS)
        return floor_seconds(state.outcome.result()) + pause

    def _ready_at(self) -> float | None:
        return self._session.ready_at if self._session is not None else None

    def _set_mode(self, mode: str, reason: str) -> None:
        if mode == self.mode:
            return
        self.mode = mode
        self.mode_since = self._clock.monotonic()
        self._counters.mode_changes[mode] += 1
        if mode == "realtime":
            logger.info("Realtime subscription active", reason=reason)
        else:
            logger.warning("Realtime not heard; polling", reason=reason)
        self._hearer.on_mode(mode, reason)

    # The canary.

    async def _watch_canary(self) -> None:
        while True:
            await self._beat.wait()
            self._beat.clear()
            session, sent_at = self._session, self._beat_sent_at
            if session is None or session.ready_at is None or session.ready_at > sent_at:
                continue  # it could not have heard this beat
            if not await self._row_heard_since(sent_at):
                self._note_missed_row(session)

    async def _row_heard_since(self, sent_at: float) -> bool:
        until = sent_at + _CANARY_SECONDS
        while self._row_heard_at < sent_at:
            self._row_heard.clear()
            if not await self._clock.wait(self._row_heard, until - self._clock.monotonic()):
                return False
        return True

    def _note_missed_row(self, session: Session) -> None:
        if session is not self._session:
            return
        self._rows_missed += 1
        self._set_mode("polling", _CANARY_MISSED)
        # Once may be the server's silent rate limiter, which a new session would only feed.
        if self._rows_missed >= 2:
            session.end(_CANARY_MISSED)


def _label(reason: str) -> str:
    """*reason* without what varies, for a metric."""
    return reason if reason.startswith("HTTP ") else re.sub(r"[0-9]+", "n", reason.split(":")[0])[:60]
