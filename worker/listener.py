"""
Hearing about work, for ever, and the truth about whether it is heard.

Knows no job. An event may ring, and is never believed. The mode is `realtime` only while there is a ready
session *and* nothing says that it is deaf; otherwise `polling`, at once. `relay` keeps a session alive,
`canary` proves that change capture lives; what is heard goes to the `Hearer`.
"""

import asyncio
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from loguru import logger

from worker import clock as clocks
from worker import reasons
from worker.canary import Canary
from worker.counters import Counters
from worker.relay import Relay
from worker.session import Session

_CANARY_MISSED: Final = "heartbeat row not heard"
# Missed once while all else is green it may be the server's silent rate limiter, which a new session would only feed.
_DOUBT_SECONDS: Final = 30.0
_PROVE_BROADCAST_SECONDS: Final = 60.0
# What cannot be read may be news, but not more often than this.
_UNREADABLE_SECONDS: Final = 5.0
_MESSAGES_MAX: Final = 1000
_JOB_IDS_MAX: Final = 100


class Hearer(Protocol):
    """Whom the listener tells."""

    def on_ring(self, road: str, payload: Mapping[str, Any]) -> None:
        """There may be work. *road*: changes, broadcast or catch_up. The payload is not to be believed."""

    def on_cancelled(self, job_id: str) -> None:
        """A job may have been cancelled."""

    def on_claimed(self, job_ids: list[str]) -> None:
        """Another worker says that it has taken these jobs."""

    def on_mode(self, mode: str, reason: str) -> None:
        """The mode changed to realtime or polling."""

    def on_doubt(self) -> None:
        """A heartbeat would show whether we hear."""


class Listener:
    def __init__(
        self,
        *,
        realtime_url: str,
        key: str,
        worker_id: str,
        hearer: Hearer,
        check_seconds: float,
        session_seconds: float,
        counters: Counters,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        new_session = functools.partial(
            Session,
            realtime_url=realtime_url,
            key=key,
            worker_id=worker_id,
            ears=self,
            probe_every_seconds=check_seconds,
            clock=clock,
        )
        self._relay = Relay(
            lambda plan: new_session(plan=plan),
            session_seconds=session_seconds,
            on_current=self._on_successor,
            clock=clock,
        )
        self._canary = Canary(
            could_hear=self._could_hear,
            on_missed=self._on_row_missed,
            ask=hearer.on_doubt,
            delays=counters.delays["changes"],
            clock=clock,
        )
        self._worker_id = worker_id
        self._hearer = hearer
        self._counters = counters
        self._clock = clock
        self.mode = "starting"
        self.mode_since = clock.monotonic()
        self._mode_seconds = dict.fromkeys(("starting", "realtime", "polling"), 0.0)
        self._told: set[str] = set()
        self._replaced_at = float("-inf")
        self._beat_asked_at = float("-inf")
        self._beat_heard_at = float("-inf")
        self._messages: dict[str, None] = {}
        self._unreadable_at = float("-inf")

    @property
    def roads(self) -> list[str]:
        """The roads that have proved themselves since the session began."""
        since = self._relay.ready_at()
        if since is None:
            return []
        heard = {"changes": self._canary.heard_at, "broadcast": self._beat_heard_at}
        return [road for road, heard_at in heard.items() if heard_at >= since]

    @property
    def has_both_roads(self) -> bool:
        """Whether every new job should be told on both roads now."""
        return self._relay.plan.private and len(self.roads) == 2

    @property
    def reconnects(self) -> int:
        """Sessions that ended in trouble."""
        return self._counters.sessions.total() - self._counters.sessions[reasons.AGED]

    def mode_seconds(self) -> dict[str, float]:
        """How long it was in each mode."""
        now = self._clock.monotonic() - self.mode_since
        return {mode: seconds + now * (mode == self.mode) for mode, seconds in self._mode_seconds.items()}

    async def run(self) -> None:
        """Listen until cancelled; the channels are left then."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._canary.run())
            await self._relay.run()

    def beat_accepted(self, sent_at: float, workers: int) -> None:
        """The database took the heartbeat sent at *sent_at*, and says how many *workers* there are."""
        self._relay.workers = workers
        self._canary.beat_accepted(sent_at)

    def take_probe(self) -> bool:
        """Whether the next heartbeat shall ask for a broadcast: always while that road is silent, else now and then."""
        since, now = self._relay.ready_at(), self._clock.monotonic()
        if since is None or not self._relay.plan.private:
            return False
        silent = self._beat_heard_at < since or self._beat_heard_at < self._beat_asked_at
        if not silent and now < self._beat_asked_at + _PROVE_BROADCAST_SECONDS:
            return False
        self._beat_asked_at = now
        return True

    def tell_claimed(self, job_ids: Iterable[str]) -> None:
        """Tell the other workers, if there are any, that these jobs are taken."""
        if self._relay.workers > 1 and self._relay.current is not None:
            self._relay.current.tell_claimed(job_ids)

    # What a session tells.

    def on_ready(self, session: Session) -> None:
        self._hearer.on_ring("catch_up", {})
        if session is self._relay.current:
            self._on_ready_now("subscribed")

    def on_end(self, session: Session, reason: str) -> None:
        self._counters.sessions[reasons.label(reason)] += 1
        if session is self._relay.current and reason not in reasons.HANDOVERS:
            self._not_heard(reason)

    def on_change(self, job_id: str | None, status: str) -> None:
        self._hearer.on_ring("changes", {"job_id": job_id, "status": status})

    def on_broadcast(self, event: str, payload: dict[str, Any], message_id: str) -> None:
        if message_id and self._is_repeated(message_id):
            return
        job_id = payload.get("job_id")
        match event:
            case "ready":
                self._hearer.on_ring("broadcast", payload)
            case "cancelled" if isinstance(job_id, str):
                self._hearer.on_cancelled(job_id)
            case "claimed":
                job_ids = payload.get("job_ids")
                known = [one for one in job_ids if isinstance(one, str)] if isinstance(job_ids, list) else []
                self._hearer.on_claimed(known[:_JOB_IDS_MAX])
            case "beat":
                if payload.get("worker_id") == self._worker_id:
                    self._on_beat()
            case _:
                self.on_unreadable()

    def on_worker_row(self) -> None:
        self._canary.row_heard()
        if self._relay.ready_at() is not None:
            self._set_mode("realtime", "heartbeat row heard")

    def on_unreadable(self) -> None:
        self._counters.undecoded += 1
        wait_seconds = self._unreadable_at + _UNREADABLE_SECONDS - self._clock.monotonic()
        if wait_seconds > 0:
            self._hearer.on_ring("catch_up", {"due_in_ms": math.ceil(wait_seconds * 1000)})
            return
        self._unreadable_at = self._clock.monotonic()
        self._hearer.on_ring("catch_up", {})

    def on_probe(self, seconds: float) -> None:
        self._counters.delays["probe"].note(seconds)

    def _on_beat(self) -> None:
        now = self._clock.monotonic()
        if self._beat_heard_at < self._beat_asked_at:
            self._counters.delays["broadcast"].note(now - self._beat_asked_at)
        self._beat_heard_at = now

    def _is_repeated(self, message_id: str) -> bool:
        """Two sessions that overlap hear everything twice."""
        if message_id in self._messages:
            return True
        self._messages[message_id] = None
        if len(self._messages) > _MESSAGES_MAX:
            del self._messages[next(iter(self._messages))]
        return False

    # The mode.

    def _on_successor(self) -> None:
        self._hearer.on_doubt()  # what was proved, the old session proved
        self._on_ready_now("successor ready")

    def _on_ready_now(self, reason: str) -> None:
        if self._relay.ready_at() is None:
            return  # the last words of a session that is over
        if self._canary.missed:
            self._hearer.on_doubt()  # doubted once, the next proof decides and not the server's word
        else:
            self._set_mode("realtime", reason)

    def _could_hear(self, at: float) -> bool:
        since = self._relay.ready_at()
        return since is not None and since <= at

    def _on_row_missed(self) -> None:
        self._not_heard(_CANARY_MISSED)
        now, since = self._clock.monotonic(), self._canary.doubted_since
        if since is not None and now >= max(since, self._replaced_at) + _DOUBT_SECONDS:
            self._replaced_at = now
            self._relay.replace()

    def _not_heard(self, reason: str) -> None:
        """One line for each class of reason until it is heard again."""
        name = reasons.label(reason)
        if name not in self._told:
            self._told.add(name)
            cure = reasons.cure(reason)
            say = "Realtime not heard; polling" if self.mode != "polling" else "Realtime still not heard"
            logger.log("ERROR" if cure else "WARNING", say, reason=reason, cure=cure)
        else:
            logger.debug("Realtime still not heard", reason=reason)
        self._set_mode("polling", reason)

    def _set_mode(self, mode: str, reason: str) -> None:
        if mode == self.mode:
            return
        now = self._clock.monotonic()
        self._mode_seconds[self.mode] += now - self.mode_since
        self.mode, self.mode_since = mode, now
        self._counters.mode_changes[mode] += 1
        if mode == "realtime":
            self._told.clear()
            logger.info("Realtime subscription active", reason=reason)
        self._hearer.on_mode(mode, reason)
