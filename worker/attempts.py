"""
The handlers of one job's items, side by side: started, watched, stopped.

Owns the tasks in which handlers run, and how many at once. Never records anything: it tells how each try ended.
The rule that keeps it correct: a handler holds up nobody but itself. One that does not stop when it is cancelled
is abandoned: its task goes on unheard, and whatever it brings is dropped.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loguru import logger

from worker import clock as clocks
from worker import errors
from worker.handlers.base import Handler, ItemContext
from worker.handlers.verdict import stopped_itself, took_too_long, verdict
from worker.models import Completed, Outcome

# What a cancelled handler has for putting its things away. Part of a shutdown, so it is short.
UNWIND_SECONDS: Final = 0.5

# Tasks that did not stop: referenced, so that they are not collected while they run.
_abandoned: set["asyncio.Task[Any]"] = set()


@dataclass(frozen=True, slots=True)
class Ended:
    """One try of one item is over."""

    ctx: ItemContext
    outcome: Outcome
    elapsed_seconds: float


@dataclass(slots=True)
class _Try:
    ctx: ItemContext
    started_at: float
    is_started: bool = False


class Attempts:
    def __init__(
        self,
        handler: Handler,
        *,
        at_once: int,
        timeout_seconds: float,
        room: Callable[[], Awaitable[None]],
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        """*room* is awaited before a handler starts, never after: what is finished shall not wait."""
        self._handler = handler
        self._at_once = at_once
        self._timeout_seconds = timeout_seconds
        self._room = room
        self._clock = clock
        self._waiting: deque[ItemContext] = deque()
        self._tries: dict[asyncio.Task[Outcome], _Try] = {}

    def add(self, contexts: Sequence[ItemContext]) -> None:
        self._waiting.extend(contexts)

    def start(self) -> Sequence["asyncio.Task[Any]"]:
        """Start as many as may run at once, and return the tasks of all that run now; empty: nothing is left."""
        while self._waiting and len(self._tries) < self._at_once:
            running = _Try(self._waiting.popleft(), self._clock.monotonic())
            self._tries[asyncio.create_task(self._attempt(running))] = running
        return list(self._tries)

    def overdue_in(self) -> float | None:
        """Seconds until the first running handler is over its time limit and did not stop; None without any."""
        now = self._clock.monotonic()
        return min((max(0.0, self._overdue_at(running) - now) for running in self._tries.values()), default=None)

    def ended(self) -> Iterator[Ended]:
        """
        The tries that have ended since the last call, those included that are given up because they should have.

        Raises:
            LeaseLost: a handler was told so.
        """
        now = self._clock.monotonic()
        for task, running in list(self._tries.items()):
            if task.done():
                yield self._end(task, running, _outcome(task))
            elif now >= self._overdue_at(running):
                self._abandon(task)
                yield self._end(task, running, took_too_long(self._timeout_seconds))

    async def stop(self) -> Sequence[Ended]:
        """Cancel what runs, and return what was finished all the same. Takes UNWIND_SECONDS at most."""
        self._waiting.clear()
        for task in self._tries:
            task.cancel()
        if self._tries:
            await asyncio.wait(self._tries, timeout=UNWIND_SECONDS)
        finished: list[Ended] = []
        for task, running in list(self._tries.items()):
            if not task.done():
                self._abandon(task)
            elif not task.cancelled() and task.exception() is None and isinstance(task.result(), Completed):
                # Only successes: whatever else came of being interrupted is no failure of the item.
                finished.append(self._end(task, running, task.result()))
        self._tries.clear()
        return finished

    async def _attempt(self, running: _Try) -> Outcome:
        await self._room()
        running.started_at, running.is_started = self._clock.monotonic(), True
        limit = asyncio.timeout(self._timeout_seconds)
        try:
            async with limit:
                return Completed(await self._handler(running.ctx))
        except errors.LeaseLost:
            raise
        except Exception as error:
            return took_too_long(self._timeout_seconds) if limit.expired() else verdict(error)

    def _overdue_at(self, running: _Try) -> float:
        if not running.is_started:  # it waits for room: look again in a while
            return self._clock.monotonic() + self._timeout_seconds
        return running.started_at + self._timeout_seconds + UNWIND_SECONDS

    def _end(self, task: "asyncio.Task[Outcome]", running: _Try, outcome: Outcome) -> Ended:
        self._tries.pop(task, None)
        return Ended(running.ctx, outcome, self._clock.monotonic() - running.started_at)

    def _abandon(self, task: "asyncio.Task[Outcome]") -> None:
        running = self._tries[task]
        logger.error(
            "Handler does not stop when it is cancelled; it is left to itself",
            item=running.ctx.item.name,
            job_type=running.ctx.job.job_type,
        )
        _abandoned.add(task)
        task.add_done_callback(_forget)


def _outcome(task: "asyncio.Task[Outcome]") -> Outcome:
    # Nobody but the handler itself can have cancelled it: a task of its own was, and it let that pass.
    return stopped_itself() if task.cancelled() else task.result()


def _forget(task: "asyncio.Task[Any]") -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, or asyncio would complain that nobody did
