"""
The handlers of one job, side by side: started, watched, stopped. Mostly one for each item; a handler of the owner's is
one for all of them.

Owns the tasks in which handlers run, and how many at once. Never records anything: it tells how each try ended.
The rule that keeps it correct: a handler holds up nobody but itself. One that does not stop when it is cancelled
is abandoned: its task goes on unheard, and whatever it brings is dropped.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from loguru import logger

from worker import clock as clocks
from worker import errors, models, telemetry
from worker.handlers.verdict import stopped_itself, took_too_long, verdict
from worker.models import Completed, Outcome

# What a cancelled handler has for putting its things away. Part of a shutdown, so it is short.
UNWIND_SECONDS: Final = 0.5

# Tasks that did not stop: referenced, so that they are not collected while they run.
_abandoned: set["asyncio.Task[Any]"] = set()


class Tried(Protocol):
    """What a handler is given, as far as it matters here."""

    @property
    def job(self) -> models.Job: ...

    @property
    def attempt(self) -> int: ...

    @property
    def items(self) -> Sequence[str]:
        """The names of the items that this try will end."""
        ...


C = TypeVar("C", bound=Tried)


@dataclass(frozen=True, slots=True)
class Ended(Generic[C]):
    """One try is over."""

    ctx: C
    outcome: Outcome
    elapsed_seconds: float


@dataclass(slots=True)
class _Try(Generic[C]):
    ctx: C
    started_at: float
    is_started: bool = False


class Attempts(Generic[C]):
    def __init__(
        self,
        handler: Callable[[C], Awaitable[models.ItemResult]],
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
        self._waiting: deque[C] = deque()
        self._tries: dict[asyncio.Task[Outcome], _Try[C]] = {}

    def add(self, contexts: Sequence[C]) -> None:
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

    def ended(self) -> Iterator[Ended[C]]:
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

    async def stop(self) -> Sequence[Ended[C]]:
        """Cancel what runs, and return what was finished all the same. Takes UNWIND_SECONDS at most."""
        self._waiting.clear()
        for task in self._tries:
            task.cancel()
        if self._tries:
            await asyncio.wait(self._tries, timeout=UNWIND_SECONDS)
        finished: list[Ended[C]] = []
        for task, running in list(self._tries.items()):
            if not task.done():
                self._abandon(task)
            elif not task.cancelled() and task.exception() is None and isinstance(task.result(), Completed):
                # Only successes: whatever else came of being interrupted is no failure of the item.
                finished.append(self._end(task, running, task.result()))
        self._tries.clear()
        return finished

    async def _attempt(self, running: _Try[C]) -> Outcome:
        await self._room()
        running.started_at, running.is_started = self._clock.monotonic(), True
        limit = asyncio.timeout(self._timeout_seconds)
        about = {"item": _named(running.ctx), "attempt": running.ctx.attempt}
        with logger.contextualize(**about), telemetry.span("item", **about) as span:
            try:
                async with limit:
                    return Completed(await self._handler(running.ctx))
            except errors.LeaseLost:
                raise
            except Exception as error:
                outcome = took_too_long(self._timeout_seconds) if limit.expired() else verdict(error)
                span.failed(outcome.error_class)
                return outcome

    def _overdue_at(self, running: _Try[C]) -> float:
        if not running.is_started:  # it waits for room: look again in a while
            return self._clock.monotonic() + self._timeout_seconds
        return running.started_at + self._timeout_seconds + UNWIND_SECONDS

    def _end(self, task: "asyncio.Task[Outcome]", running: _Try[C], outcome: Outcome) -> Ended[C]:
        self._tries.pop(task, None)
        return Ended(running.ctx, outcome, self._clock.monotonic() - running.started_at)

    def _abandon(self, task: "asyncio.Task[Outcome]") -> None:
        running = self._tries[task]
        logger.error(
            "Handler does not stop when it is cancelled; it is left to itself",
            item=_named(running.ctx),
            job_type=running.ctx.job.job_type,
        )
        _abandoned.add(task)
        task.add_done_callback(_forget)


def _named(ctx: Tried) -> str | None:
    """The one item that a try is of; None when it is of several."""
    return ctx.items[0] if len(ctx.items) == 1 else None


def _outcome(task: "asyncio.Task[Outcome]") -> Outcome:
    # Nobody but the handler itself can have cancelled it: a task of its own was, and it let that pass.
    return stopped_itself() if task.cancelled() else task.result()


def _forget(task: "asyncio.Task[Any]") -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, or asyncio would complain that nobody did
