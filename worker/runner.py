"""
One claimed job, from its claim to the last answer about it.

Runs its items side by side (`attempts`) and hands whatever becomes of each to the recorder. A handler can end
its own item only. The run stops when the lease is over by our own monotonic clock, when the database says that
the job is lost or cancelled, and at shutdown; what had finished is with the recorder by then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from loguru import logger

from worker import clock as clocks
from worker import errors, logs, models
from worker.attempts import Attempts, Ended
from worker.counters import Counters
from worker.handlers.base import Handler
from worker.models import Completed
from worker.pauses import Pauses
from worker.progress import JobProgress
from worker.recorder import Recorder
from worker.store import MEMORY_KEYS_MAX, JobStore

T = TypeVar("T")

# Calls for content, memory and glossary are repeated this long; the lease would not last much longer either.
_REPEAT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every run needs and none owns."""

    store: JobStore
    recorder: Recorder
    handlers: Mapping[str, Handler]
    languages_max: int
    lease_seconds: float
    counters: Counters
    pauses: Pauses
    clock: clocks.Clock = clocks.SYSTEM


class JobRun:
    """One job while this worker holds it."""

    def __init__(self, job: models.Job, *, lease_until: float, shop: Workshop) -> None:
        """*lease_until*: on the monotonic clock, and never later than the database's own end of the lease."""
        self.job = job
        self.lease_until = lease_until
        self.cancelled = False
        self._shop = shop
        self._task: asyncio.Task[Any] | None = None
        self._lease: asyncio.Timeout | None = None
        self._stop_reason: str | None = None
        self._open = {item.name for item in job.items}
        self._shared = _Shared()
        self._message: str | None = None
        self._progress = JobProgress(
            {item.name: item.chars or job.content_chars for item in job.items},
            started_at=shop.clock.monotonic(),
        )

    @property
    def lease(self) -> dict[str, Any]:
        return {"job_id": self.job.id, "token": self.job.token}

    def renew(self, sent_at: float) -> None:
        """The database accepted a call sent at *sent_at* that renewed the lease."""
        self.lease_until = max(self.lease_until, sent_at + self._shop.lease_seconds)
        if self._lease is not None and not self._lease.expired():
            self._lease.reschedule(self.lease_until)

    def stop(self, reason: str) -> None:
        """End this run as *reason* (lost, cancelled, shutdown). Nothing is recorded for interrupted items."""
        if self._stop_reason is not None or not self._open:
            return  # with every item handed in, the recorder's answer will tell how it ended
        self._stop_reason = reason
        self.cancelled = True
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> str:
        """
        Run to an end and return how it ended: the job's status after it, or lost, cancelled, lease_over,
        shutdown, broken. Raises nothing but CancelledError: a bad job must not end the others.
        """
        self._task = asyncio.current_task()
        started_at = self._shop.clock.monotonic()
        with logger.contextualize(job_id=self.job.id, correlation_id=self.job.correlation_id):
            ended_as = self._stop_reason or await self._run_guarded()
            self.cancelled = True
            self._shop.recorder.forget(self.job.id)
            self._shop.counters.jobs_ended[self.job.job_type, ended_as] += 1
            seconds = round(self._shop.clock.monotonic() - started_at, 3)
            logger.info("Job run ended", outcome=ended_as, seconds=seconds, items=len(self.job.items))
        return ended_as

    async def _run_guarded(self) -> str:
        try:
            return await self._run_under_lease()
        except asyncio.CancelledError:
            assert self._task is not None
            if self._stop_reason is None or self._task.uncancel() > 0:
                raise
            return self._stop_reason
        except Exception as error:  # ours, since handlers cannot get here: the lease runs out, another tries
            logger.error("Job run broke", error=type(error).__name__, place=logs.place(error))
            return "broken"

    async def _run_under_lease(self) -> str:
        try:
            async with asyncio.timeout_at(self.lease_until) as self._lease:
                return await self._run_items()
        except TimeoutError:
            logger.warning("Lease is over by our own clock; the job is given up")
            return "lease_over"

    async def _run_items(self) -> str:
        attempts = Attempts(
            self._shop.handlers[self.job.job_type],
            at_once=self._shop.languages_max,
            timeout_seconds=self.job.item_timeout_seconds,
            room=self._shop.recorder.room,
            clock=self._shop.clock,
        )
        attempts.add([ItemRun(self, item) for item in self.job.items])
        try:
            return await self._follow(attempts)
        except errors.LeaseLost as lost:
            return str(lost) or "lost"
        finally:
            for ended in await attempts.stop():
                self._hand_in(ended)

    async def _follow(self, attempts: Attempts) -> str:
        """See every item to its end, and return the job's status after the last answer."""
        status = "processing"
        answers: set[asyncio.Future[models.Answer]] = set()
        while pending := [*attempts.start(), *answers]:
            await asyncio.wait(pending, timeout=attempts.overdue_in(), return_when=asyncio.FIRST_COMPLETED)
            answers |= {self._hand_in(ended) for ended in attempts.ended()}
            for answer in [answer.result() for answer in answers if answer.done()]:
                if not answer.still_held:
                    raise errors.LeaseLost(answer.answer)
                if answer.job_status not in (None, "processing"):
                    status = answer.job_status
            answers = {answer for answer in answers if not answer.done()}
        return status

    def _hand_in(self, ended: Ended) -> "asyncio.Future[models.Answer]":
        item, outcome = ended.ctx.item, ended.outcome
        if isinstance(outcome, Completed):
            kind = "completed"
        else:
            kind = outcome.disposition.value
            self._shop.counters.item_errors[outcome.error_class] += 1
            if outcome.speaks_for_provider:
                self._shop.pauses.note(self.job.job_type, outcome.error_class, outcome.retry_after_seconds)
        self._shop.counters.items[kind] += 1
        if self.job.job_type == "translation":  # other types name their items as they like
            self._shop.counters.note_language(item.name, ended.elapsed_seconds)
        self._progress.finish(item.name)
        self._open.discard(item.name)
        return self._shop.recorder.hand_in(self.job, item.name, outcome, elapsed_seconds=ended.elapsed_seconds)

    async def shared(self, name: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        return await self._shared.get(name, make)

    async def content(self) -> Any:
        return self.job.content if self.job.content_inline else await self.shared("content", self._fetch_content)

    async def _fetch_content(self) -> Any:
        return await self._shop.store.get_translation_source(self.job.id, repeat_seconds=_REPEAT_SECONDS)

    async def glossary(self) -> Sequence[models.GlossaryTerm]:
        return () if self.job.user_id is None else await self.shared("glossary", self._fetch_glossary)

    async def _fetch_glossary(self) -> Sequence[models.GlossaryTerm]:
        languages = [item.name for item in self.job.items]
        return await self._shop.store.recall_translation_glossary(self.job, languages, repeat_seconds=_REPEAT_SECONDS)

    async def recall(self, item: models.Item, keys: Sequence[str]) -> Mapping[str, models.Recalled]:
        known: dict[str, models.Recalled] = {}
        for batch in _batches(keys):
            known |= await self._shop.store.recall_translation_memory(
                self.job, item.name, batch, repeat_seconds=_REPEAT_SECONDS
            )
        hits = sum(key in known for key in keys)
        self._shop.counters.memory.update(hit=hits, miss=len(keys) - hits)
        return known

    async def remember(self, item: models.Item, segments: Mapping[str, str]) -> None:
        for batch in _batches(list(segments)):
            await self._shop.store.remember_translation_memory(
                self.job, item.name, {key: segments[key] for key in batch}, repeat_seconds=_REPEAT_SECONDS
            )

    def note_progress(self, item: models.Item, counts: Mapping[str, int], message: str | None) -> None:
        if item.name not in self._open:
            return  # its handler was given up and does not know
        self._progress.update(item.name, now=self._shop.clock.monotonic(), **counts)
        self._message = message
        self._shop.recorder.progress(self.job.id, self._progress_entry)

    def _progress_entry(self) -> Mapping[str, Any]:
        progress = self._progress.entry(self._shop.clock.monotonic())
        return {**self.lease, **progress, "message": self._message or progress["message"]}


class _Shared:
    """What is made once for all items of a job, by whichever asks first, and gone with its run."""

    def __init__(self) -> None:
        self._values: dict[Hashable, Any] = {}
        self._making: dict[Hashable, asyncio.Lock] = {}

    async def get(self, name: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        if name not in self._values:
            async with self._making.setdefault(name, asyncio.Lock()):
                if name not in self._values:  # whoever made it may have been cancelled: then the next one does
                    self._values[name] = await make()
        value: T = self._values[name]
        return value


class ItemRun:
    """The `ItemContext` of one try of one item."""

    def __init__(self, run: JobRun, item: models.Item) -> None:
        self._run = run
        self.item = item

    @property
    def job(self) -> models.Job:
        return self._run.job

    @property
    def attempt(self) -> int:
        return self.item.attempts + 1

    @property
    def cancelled(self) -> bool:
        return self._run.cancelled

    async def content(self) -> Any:
        return await self._run.content()

    async def glossary(self) -> Sequence[models.GlossaryTerm]:
        return await self._run.glossary()

    async def shared(self, name: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        return await self._run.shared(name, make)

    async def recall(self, keys: Sequence[str]) -> Mapping[str, models.Recalled]:
        return await self._run.recall(self.item, keys)

    async def remember(self, segments: Mapping[str, str]) -> None:
        await self._run.remember(self.item, segments)

    def progress(
        self,
        *,
        done_chars: int,
        total_chars: int,
        cached_chars: int,
        chunks_done: int,
        chunks_total: int,
        message: str | None = None,
    ) -> None:
        counts = {
            "done_chars": done_chars,
            "total_chars": total_chars,
            "cached_chars": cached_chars,
            "chunks_done": chunks_done,
            "chunks_total": chunks_total,
        }
        self._run.note_progress(self.item, counts, message)


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), MEMORY_KEYS_MAX):
        yield keys[start : start + MEMORY_KEYS_MAX]
