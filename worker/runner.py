"""
One claimed job, from its claim to the last answer about it.

Runs its items side by side (`attempts`), or one handler of the owner's for all of them, and hands whatever becomes of
each to the recorder. A handler can end what it was given only. The run stops when the lease is over by our own
monotonic clock, when the database says that the job is lost or cancelled, and at shutdown; what had finished is with
the recorder by then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from loguru import logger

from worker import clock as clocks
from worker import errors, logs, models, telemetry
from worker.attempts import Attempts, C, Ended
from worker.contexts import ItemRun, JobTry
from worker.counters import Counters
from worker.handlers import own
from worker.handlers.base import Handler
from worker.handlers.verdict import verdict
from worker.models import Completed
from worker.pauses import Pauses
from worker.progress import JobProgress
from worker.recorder import Recorder
from worker.steps import Steps
from worker.storage import Storage, with_addresses
from worker.store import MEMORY_KEYS_MAX, JobStore

T = TypeVar("T")

# Calls for content, memory and glossary are repeated this long; the lease would not last much longer either.
_REPEAT_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Workshop:
    """What every run needs and none owns."""

    store: JobStore
    recorder: Recorder
    handlers: Mapping[str, Handler | own.OwnHandler]
    languages_max: int
    lease_seconds: float
    counters: Counters
    pauses: Pauses
    storage: Storage | None = None
    clock: clocks.Clock = clocks.SYSTEM

    def own_lease_seconds(self, job_type: str) -> float | None:
        """How long a claim of *job_type* lasts if its handler says so; None: as long as every other."""
        handler = self.handlers.get(job_type)
        return handler.lease_seconds if isinstance(handler, own.OwnHandler) else None

    def concurrency(self, job_type: str) -> int | None:
        """How many jobs of *job_type* this process may hold at once; None: any number."""
        handler = self.handlers.get(job_type)
        return handler.concurrency if isinstance(handler, own.OwnHandler) else None


class JobRun:
    """One job while this worker holds it."""

    def __init__(self, job: models.Job, *, lease_until: float, shop: Workshop) -> None:
        """*lease_until*: on the monotonic clock, and never later than the database's own end of the lease."""
        self.job = job
        self.lease_until = lease_until
        self.cancelled = False
        self._shop = shop
        self._own_lease_seconds = shop.own_lease_seconds(job.job_type)
        self._lease_seconds = self._own_lease_seconds or shop.lease_seconds
        self._task: asyncio.Task[Any] | None = None
        self._lease: asyncio.Timeout | None = None
        self._stop_reason: str | None = None
        self._status = "processing"
        self._open = {item.name for item in job.items}
        self._shared = _Shared()
        self._message: str | None = None
        self._progress = JobProgress(
            {item.name: item.chars or job.content_chars for item in job.items},
            started_at=shop.clock.monotonic(),
        )
        self._steps = Steps(self._progress, started_at=shop.clock.monotonic())
        self._handed_in_at = shop.clock.monotonic()

    @property
    def lease(self) -> dict[str, Any]:
        lease: dict[str, Any] = {"job_id": self.job.id, "token": self.job.token}
        if self._own_lease_seconds is not None:
            lease["lease_ms"] = round(self._own_lease_seconds * 1000)
        return lease

    def renew_at(self, busy_seconds: float) -> float:
        """When the lease is to be renewed: *busy_seconds* old, but no more than half of it gone."""
        return self.lease_until - self._lease_seconds + min(busy_seconds, self._lease_seconds / 2)

    def renew(self, sent_at: float) -> None:
        """The database accepted a call sent at *sent_at* that renewed the lease."""
        self.lease_until = max(self.lease_until, sent_at + self._lease_seconds)
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
        job = self.job
        about = {"job_id": job.id, "attempt": job.attempt, "correlation_id": job.correlation_id}
        with logger.contextualize(**about), telemetry.span("job", job_type=job.job_type, **about) as span:
            ended_as = self._stop_reason or await self._run_guarded()
            span.set(outcome=ended_as, found_by=job.found_by)
            self.cancelled = True
            self._shop.recorder.forget(self)
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
                return await self._run_handler()
        except TimeoutError:
            if not self._open and self._status != "processing":
                return self._status  # everything was handed in; its handler only had more to put away than time
            logger.warning("Lease is over by our own clock; the job is given up")
            return "lease_over"

    async def _run_handler(self) -> str:
        handler = self._shop.handlers[self.job.job_type]
        try:
            if isinstance(handler, own.OwnHandler):
                seconds = self.job.item_timeout_seconds * len(self.job.items)
                await self._see_through(self._attempts(handler, [JobTry(self)], timeout_seconds=seconds))
            else:
                await self._see_through(self._attempts(handler, [ItemRun(self, item) for item in self.job.items]))
        except errors.LeaseLost as lost:
            return str(lost) or "lost"
        return self._status

    def _attempts(
        self,
        handler: Callable[[C], Awaitable[models.ItemResult]],
        contexts: Sequence[C],
        *,
        timeout_seconds: float | None = None,
    ) -> Attempts[C]:
        attempts = Attempts(
            handler,
            at_once=self._shop.languages_max,
            timeout_seconds=timeout_seconds or self.job.item_timeout_seconds,
            room=self._shop.recorder.room,
            clock=self._shop.clock,
        )
        attempts.add(contexts)
        return attempts

    async def _see_through(self, attempts: Attempts[C]) -> None:
        """See every try to its end, and wait for what the database says about each item."""
        try:
            await self._follow(attempts)
        finally:
            for ended in await attempts.stop():
                self._hand_in_all(ended)

    async def _follow(self, attempts: Attempts[C]) -> None:
        answers: set[asyncio.Future[models.Answer]] = set()
        while pending := [*attempts.start(), *answers]:
            await asyncio.wait(pending, timeout=attempts.overdue_in(), return_when=asyncio.FIRST_COMPLETED)
            for ended in attempts.ended():
                answers.update(self._hand_in_all(ended))
            for answer in [answer.result() for answer in answers if answer.done()]:
                self._heed(answer)
            answers = {answer for answer in answers if not answer.done()}

    def _heed(self, answer: models.Answer) -> None:
        if not answer.still_held:
            raise errors.LeaseLost(answer.answer)
        if answer.job_status not in (None, "processing"):
            self._status = answer.job_status

    def _hand_in_all(self, ended: Ended[C]) -> list["asyncio.Future[models.Answer]"]:
        return [self._hand_in(name, ended.outcome, ended.elapsed_seconds) for name in ended.ctx.items]

    def _hand_in(self, name: str, outcome: models.Outcome, elapsed_seconds: float) -> "asyncio.Future[models.Answer]":
        if isinstance(outcome, Completed):
            kind = "completed"
        else:
            kind = outcome.disposition.value
            self._shop.counters.item_errors[outcome.error_class] += 1
            if outcome.speaks_for_provider:
                self._shop.pauses.note(self.job.job_type, outcome.error_class, outcome.retry_after_seconds)
        self._shop.counters.items[kind] += 1
        if self.job.job_type == "translation":  # other types name their items as they like
            self._shop.counters.note_language(name, elapsed_seconds)
        self._progress.finish(name)
        self._open.discard(name)
        return self._shop.recorder.hand_in(self.job, name, outcome, elapsed_seconds=elapsed_seconds)

    async def shared(self, name: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        return await self._shared.get(name, make)

    async def content(self) -> Any:
        return self.job.content if self.job.content_inline else await self.shared("content", self._fetch_content)

    async def _fetch_content(self) -> Any:
        return await self._shop.store.get_translation_source(self.job.id, repeat_seconds=_REPEAT_SECONDS)

    async def signed_content(self, seconds: int) -> Any:
        return await with_addresses(await self.content(), lambda bucket, path: self.signed_url(bucket, path, seconds))

    async def signed_url(self, bucket: str, path: str, seconds: int) -> str:
        if self._shop.storage is None:
            raise errors.ItemError("internal", "This worker was put together without Storage.")
        return await self._shop.storage.signed_url(bucket, path, seconds)

    async def parents(self) -> Sequence[models.Parent]:
        return await self.shared("parents", self._fetch_parents)

    async def _fetch_parents(self) -> Sequence[models.Parent]:
        return await self._shop.store.get_translation_parents(self.job.id, repeat_seconds=_REPEAT_SECONDS)

    async def parent_result(self, parent_id: str, item: str) -> Any:
        result = await self._shop.store.get_translation_result(parent_id, item, repeat_seconds=_REPEAT_SECONDS)
        return result.get("content")

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
        self._shop.recorder.progress(self, self._progress_entry)

    def _progress_entry(self) -> Mapping[str, Any]:
        progress = self._progress.entry(self._shop.clock.monotonic())
        return {**self.lease, **progress, "message": self._message or progress["message"]}

    # For a handler of the owner's

    @property
    def open_items(self) -> Sequence[str]:
        return [item.name for item in self.job.items if item.name in self._open]

    async def end_item(self, name: str, result: Any, error: Exception | None) -> None:
        if name not in self._open:
            raise ValueError(f"{name!r} is not an open item of this job; those are in ctx.items")
        outcome = verdict(error) if error else Completed(own.result_of(result, self.job.job_type))
        now = self._shop.clock.monotonic()
        elapsed_seconds, self._handed_in_at = now - self._handed_in_at, now
        self._steps.finish(name, now)
        answer = self._hand_in(name, outcome, elapsed_seconds)
        self._tell_steps()
        await asyncio.wait([answer])  # which does not cancel it when we are
        self._heed(answer.result())

    async def each(self, function: Callable[[str], Awaitable[Any]]) -> None:
        async def do(ctx: ItemRun) -> models.ItemResult:
            name = ctx.item.name
            self._steps.begin(name, self._shop.clock.monotonic())
            self._tell_steps()
            result = own.result_of(await function(name), self.job.job_type)
            self._steps.finish(name, self._shop.clock.monotonic())
            self._tell_steps()
            return result

        open_items = [item for item in self.job.items if item.name in self._open]
        await self._see_through(self._attempts(do, [ItemRun(self, item) for item in open_items]))

    def note_steps(self, done: float, total: float, message: str | None) -> None:
        self._steps.count(done, total, message, self._shop.clock.monotonic())
        self._tell_steps()

    def _tell_steps(self) -> None:
        if self._open and not self.cancelled:  # or it was given up and does not know
            self._shop.recorder.progress(self, self._steps_entry)

    def _steps_entry(self) -> Mapping[str, Any]:
        return {**self.lease, **self._steps.entry(self._shop.clock.monotonic())}


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


def _batches(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), MEMORY_KEYS_MAX):
        yield keys[start : start + MEMORY_KEYS_MAX]
