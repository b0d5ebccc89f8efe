"""
The way back: outcomes and progress of all running jobs, coalesced into few calls.

One call is under way at a time, and what arrives meanwhile shares the next: a lone result leaves at once,
a thousand leave together. Nothing that was submitted is forgotten: a batch is repeated until the database
has answered, and a batch it refuses is halved until the culprit stands alone. Results may be sent again and
again because a token fences them: the database says `already` or `lost`, and charges once.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from loguru import logger
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from worker import backoff, errors, models, rpc
from worker import clock as clocks
from worker.store import JobStore

ENTRIES_MAX: Final = 500
BATCH_BYTES_MAX: Final = 2_000_000
_WAITING_MAX: Final = 2 * ENTRIES_MAX
_PROGRESS_SECONDS: Final = 1.0
_LOST: Final = models.Answer("lost", None)

ProgressSource = Callable[[], Mapping[str, Any]]


@dataclass(eq=False, slots=True)
class _Waiting:
    """An outcome on its way. *answer* is None for progress, which nobody waits for."""

    entry: rpc.Written
    submitted_at: float
    answer: "asyncio.Future[models.Answer] | None" = field(default=None)
    correlation_id: str | None = None

    @property
    def about(self) -> dict[str, Any]:
        """Whose it is, for a line in the log."""
        return {"job_id": self.entry["job_id"], "item": self.entry.get("item"), "correlation_id": self.correlation_id}

    def resolve(self, answer: models.Answer) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(answer)


class Recorder:
    def __init__(self, store: JobStore, *, keep_seconds: float = 300.0, clock: clocks.Clock = clocks.SYSTEM) -> None:
        """
        *keep_seconds*: how long a result is offered to a database that does not answer. Far longer than a
        lease on purpose: when nobody took the job over meanwhile, a late result still counts.
        """
        self._store = store
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._outcomes: deque[_Waiting] = deque()
        self._under_way: Sequence[_Waiting] = ()
        self._progress: dict[Hashable, ProgressSource] = {}
        self._progress_sent_at = float("-inf")
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._roomy = asyncio.Event()
        self._roomy.set()

    @property
    def lag_seconds(self) -> float:
        """How long the oldest outcome has been waiting for the database's answer; 0 when none waits."""
        waiting = [*self._under_way, *itertools.islice(self._outcomes, 1)]
        oldest = min((one.submitted_at for one in waiting if one.answer is not None), default=None)
        return 0.0 if oldest is None else self._clock.monotonic() - oldest

    async def room(self) -> None:
        """Wait until results leave as fast as they come. Ask before starting an item, not after."""
        await self._roomy.wait()

    def hand_in(
        self, job: models.Job, item: str, outcome: models.Outcome, *, elapsed_seconds: float = 0.0
    ) -> "asyncio.Future[models.Answer]":
        """
        Take how *item* ended after *elapsed_seconds*. Returns what will hold the database's answer. The outcome
        is safe as soon as this returns: when nobody waits for the answer it is recorded all the same.
        """
        entry = models.outcome_entry(job, item, outcome, elapsed_seconds)
        try:
            waiting = self._waiting(entry)
        except (TypeError, ValueError) as unfit:
            # Called within the run of the job, whose id stands on every line there.
            logger.error("Result cannot be written as JSON", item=item, error=type(unfit).__name__)
            waiting = self._waiting(_condemned(entry))
        waiting.correlation_id = job.correlation_id
        waiting.answer = asyncio.get_running_loop().create_future()
        self._outcomes.append(waiting)
        self._settled.clear()
        self._note_room()
        self._changed.set()
        return waiting.answer

    def progress(self, run: Hashable, source: ProgressSource) -> None:
        """There is news of *run*; *source* is asked for the entry when it is sent, within a second."""
        self._progress[run] = source
        self._changed.set()

    def forget(self, run: Hashable) -> None:
        """*run* is over: its progress is no longer news. A newer run of the same job may have some."""
        self._progress.pop(run, None)

    async def settled(self) -> None:
        """Wait until everything submitted so far has been answered."""
        await self._settled.wait()

    async def run(self) -> None:
        while True:
            await self._something_to_send()
            self._under_way = self._next_batch()
            await self._deliver(self._under_way)
            self._under_way = ()
            if not self._outcomes:
                self._settled.set()

    async def _something_to_send(self) -> None:
        while not self._outcomes:
            due_in = None
            if self._progress:
                due_in = self._progress_sent_at + _PROGRESS_SECONDS - self._clock.monotonic()
                if due_in <= 0:
                    return
            self._changed.clear()
            await self._clock.wait(self._changed, due_in)
        await asyncio.sleep(0)  # items that ended in the same turn of the loop share the call

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size_bytes = 0
        while self._outcomes and len(batch) < ENTRIES_MAX:
            size_bytes += len(self._outcomes[0].entry.text)
            if batch and size_bytes > BATCH_BYTES_MAX:
                break
            batch.append(self._outcomes.popleft())
        self._note_room()
        if len(batch) < ENTRIES_MAX and size_bytes < BATCH_BYTES_MAX / 2:
            batch += self._due_progress(ENTRIES_MAX - len(batch))
        return batch

    def _due_progress(self, limit: int) -> list[_Waiting]:
        now = self._clock.monotonic()
        if not self._progress or now < self._progress_sent_at + _PROGRESS_SECONDS:
            return []
        self._progress_sent_at = now
        due = [self._progress.pop(run) for run in list(self._progress)[:limit]]
        return [self._waiting(source()) for source in due]

    async def _deliver(self, batch: Sequence[_Waiting]) -> None:
        """Send *batch* until it is answered, halving it while it is refused or takes too long."""
        try:
            answers = await self._send_until_answered(batch)
        except (errors.StoreRefused, errors.StoreTooSlow) as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._deliver(batch[:middle])
                await self._deliver(batch[middle:])
            else:
                await self._condemn(batch[0], error)
        except errors.StoreError:
            logger.error("Results given up: the database did not answer", entries=len(batch))
            for waiting in batch:
                waiting.resolve(_LOST)
        else:
            outcomes = [waiting for waiting in batch if waiting.answer is not None]
            for waiting, answer in itertools.zip_longest(outcomes, answers[: len(outcomes)]):
                waiting.resolve(models.Answer(answer["answer"], answer.get("job_status")) if answer else _LOST)

    async def _send_until_answered(self, batch: Sequence[_Waiting]) -> list[dict[str, Any]]:
        entries = [waiting.entry for waiting in batch]
        youngest = max(waiting.submitted_at for waiting in batch)

        def may_pass(error: BaseException) -> bool:
            if isinstance(error, errors.StoreTooSlow):
                return len(batch) == 1
            return isinstance(error, errors.StoreError) and not isinstance(error, errors.StoreRefused)

        def given_up(_: RetryCallState) -> bool:
            return self._clock.monotonic() > youngest + self._keep_seconds

        def report(state: RetryCallState) -> None:
            if state.attempt_number == 3:  # the first two are everyday: a restart, a stale connection
                error = state.outcome and state.outcome.exception()
                logger.warning("Results wait for the database", entries=len(batch), error=str(error))

        async for attempt in AsyncRetrying(
            retry=retry_if_exception(may_pass),
            stop=given_up,
            wait=backoff.wait_full_jitter(0.1, 5.0),
            before_sleep=report,
            sleep=self._clock.sleep,
            reraise=True,
        ):
            with attempt:
                return await self._store.record_translation_results(entries)
        raise AssertionError("unreachable: tenacity returns or raises")

    async def _condemn(self, culprit: _Waiting, error: errors.StoreError) -> None:
        """*culprit* stands alone and the database will not have it: its item fails, nothing else does."""
        # The code only: the database's sentence may quote a customer.
        code = error.code if isinstance(error, errors.StoreRefused) else type(error).__name__
        if culprit.answer is None:
            logger.warning("Progress refused", code=code, **culprit.about)
        elif culprit.entry["outcome"] != "failed":
            logger.error("Result refused; the item fails", code=code, **culprit.about)
            await self._deliver([self._replaced(culprit)])
        else:
            logger.error("Failure refused; the lease will run out", code=code, **culprit.about)
            culprit.resolve(_LOST)

    def _replaced(self, culprit: _Waiting) -> _Waiting:
        replacement = self._waiting(_condemned(culprit.entry))
        replacement.answer, replacement.correlation_id = culprit.answer, culprit.correlation_id
        return replacement

    def _waiting(self, entry: Mapping[str, Any]) -> _Waiting:
        # Written here, so that what cannot be sent is found alone.
        return _Waiting(rpc.Written(entry), self._clock.monotonic())

    def _note_room(self) -> None:
        if len(self._outcomes) < _WAITING_MAX:
            self._roomy.set()
        else:
            self._roomy.clear()


def _condemned(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The same item, failed: what its result says cannot be stored."""
    return {
        "job_id": entry["job_id"],
        "token": entry["token"],
        "item": entry["item"],
        "outcome": "failed",
        "error": {"class": "internal", "message": "The result could not be stored."},
    }
