"""
Sessions in succession, for ever: the one that listens now, and its successor before it goes.

A session that failed is followed by a new one after a pause that fits the reason. One that has become old, or
doubtful, is replaced while it still listens: its successor must be ready first, so nothing is missed in between.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from loguru import logger
from tenacity import AsyncRetrying, RetryCallState, retry_always

from worker import backoff, reasons
from worker import clock as clocks
from worker.session import Plan, Session

_HEALTHY_SECONDS: Final = 30.0
# A successor that fails is not hurried: the one it was for still listens.
_SUCCESSOR_SECONDS: Final = (30.0, 60.0)
# A fleet that was started together grows old together; each worker draws its share of the age.
_AGE_SHARE_LEAST: Final = 0.75


class Relay:
    def __init__(
        self,
        new_session: Callable[[Plan], Session],
        *,
        session_seconds: float,
        on_current: Callable[[], None],
        clock: clocks.Clock = clocks.SYSTEM,
        draw: backoff.Draw = random.uniform,
    ) -> None:
        """
        *session_seconds*: the age at which a session is replaced at the latest.
        *on_current*: told when `current` is another one that is ready already.
        """
        self._new_session = new_session
        self._session_seconds = session_seconds
        self._on_current = on_current
        self._clock = clock
        self._draw = draw
        self._replace = asyncio.Event()
        self._failures = 0
        self.plan = Plan()
        self.current: Session | None = None
        """The one that decides whether we hear; None between two."""
        self.workers = 1
        """How many would come back together with us."""

    async def run(self) -> None:
        """One session after the other until cancelled; the channels are left then."""
        forever = AsyncRetrying(retry=retry_always, wait=self._pause_seconds, sleep=self._clock.sleep)
        await forever(self._succession)

    def replace(self) -> None:
        """The current session is doubtful: replace it as soon as another one is ready."""
        self._replace.set()

    def ready_at(self) -> float | None:
        """Since when the current session is ready, on the monotonic clock; None when it is not."""
        session = self.current
        return None if session is None or session.is_over else session.ready_at

    async def _succession(self) -> str:
        """Sessions that follow each other without a pause. Returns why the last one ended."""
        async with asyncio.TaskGroup() as running:
            session = self._begin(running, self.plan)
            while True:
                self.current, self.plan = session, session.plan
                if session.ready_at is not None:
                    self._on_current()
                successor = await self._successor(running, session)
                if successor is None:
                    break
                session.end(reasons.DOUBTED if self._replace.is_set() else reasons.AGED)
                session = successor
        self.current = None
        return self._take_stock(session)

    def _begin(self, running: asyncio.TaskGroup, plan: Plan) -> Session:
        session = self._new_session(plan)
        running.create_task(session.run())
        return session

    async def _successor(self, running: asyncio.TaskGroup, session: Session) -> Session | None:
        """Whoever follows *session*; None when it ended alone."""
        due_seconds = self._session_seconds * self._draw(_AGE_SHARE_LEAST, 1.0)
        plan = Plan()  # what was refused may be granted by now
        while True:
            self._replace.clear()
            await _first(self._clock.wait(self._replace, due_seconds), session.wait_over())
            if session.is_over:
                return None
            successor = self._begin(running, session.plan if self._replace.is_set() else plan)
            await _first(successor.ready.wait(), successor.wait_over(), session.wait_over())
            if not successor.is_over:  # it is ready, or the only one left
                return successor
            logger.debug("Realtime successor failed", reason=successor.reason)
            if session.is_over:
                return None
            due_seconds, plan = self._draw(*_SUCCESSOR_SECONDS), session.plan

    def _take_stock(self, session: Session) -> str:
        reason = session.reason
        healthy = session.ready_at is not None and self._clock.monotonic() - session.ready_at > _HEALTHY_SECONDS
        self._failures = 0 if healthy else self._failures + 1
        plan = self.plan.after(reason)
        if plan != self.plan:
            logger.warning("Realtime joined differently from now on", reason=reason, cure=reasons.cure(reason))
        self.plan = Plan() if healthy else plan
        return reason

    def _pause_seconds(self, state: RetryCallState) -> float:
        assert state.outcome is not None
        reason = state.outcome.result()
        return reasons.pause_seconds(reason, failures=self._failures, workers=self.workers, draw=self._draw)


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    """Return when the first of *waits* is over; the others are cancelled."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait) for wait in waits]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
