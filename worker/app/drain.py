"""
One drain: a crew that works until nothing waits, or so many jobs or seconds are over, and leaves nothing behind.

For hosts that run a process only while a request is open, and for cron. The same claimer, runner, recorder and
heartbeat as the service; only who rings the bell differs. Everything of it is made for the one drain and gone after it,
connections included: a process that sleeps in between keeps nothing that could go stale.

It ends like a service that is asked to stop: claims no more, lets what runs end within the grace, hands in, gives the
rest back. A drain that ends for lack of work has nothing to wait for.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from loguru import logger

from worker import clock as clocks
from worker import errors, models
from worker.app.crew import Crew
from worker.app.endings import first_leaf
from worker.app.vitals import Speaks
from worker.counters import Counters
from worker.handlers import Handler, OwnHandler
from worker.heartbeat import Condition
from worker.rpc import Rpc
from worker.rpc_direct import DirectRpc
from worker.settings import Settings
from worker.store import JobStore

_ASK_SECONDS: Final = 3.0  # for a number in a report
_LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a drain did, in jobs."""

    processed: int
    completed: int
    failed: int
    retrying: int
    given_back: int
    """Interrupted at the end, cancelled or lost."""
    remaining: int | None
    """How many wait now; None: the database did not say."""
    seconds: float


class Tally:
    """The runs that end between now and the report."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._before = Counter(counters.jobs_ended)
        self._began_at = clocks.SYSTEM.monotonic()

    def processed(self) -> int:
        return sum(self._ended().values())

    def report(self, remaining: int | None) -> Report:
        ended = self._ended()
        told = {name: ended[name] for name in ("completed", "failed", "retrying")}
        return Report(
            processed=ended.total(),
            **told,
            given_back=ended.total() - sum(told.values()),
            remaining=remaining,
            seconds=round(clocks.SYSTEM.monotonic() - self._began_at, 3),
        )

    def _ended(self) -> Counter[str]:
        by_end: Counter[str] = Counter()
        for (_, ended_as), count in (self._counters.jobs_ended - self._before).items():
            by_end[ended_as] += count
        return by_end


async def remaining(rpc: Rpc, job_types: tuple[str, ...]) -> int | None:
    """How many jobs of *job_types* wait; None without an answer."""
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            stats = await rpc.call("translation_queue_stats", {})
        return sum(int(stats["waiting_by_type"].get(name, 0)) for name in job_types)
    except (errors.StoreError, TimeoutError, KeyError, TypeError) as error:
        logger.warning("Queue not counted", error=type(error).__name__)
        return None


async def follow(crew: Crew, tally: Tally, rpc: Rpc, *, max_jobs: int, max_seconds: float) -> int | None:
    """
    Wait until *crew*, which works anyway, has nothing left to do, or so many jobs or seconds are over. Returns how many
    jobs wait then.
    """
    left: int | None = None
    try:
        async with asyncio.timeout(max_seconds):
            while tally.processed() < max_jobs:
                left = await remaining(rpc, crew.job_types)
                if not crew.runs and left in (0, None):
                    return left
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        pass
    return left


class _Rationed(JobStore):
    """Claims no more jobs than are left, and notices when there is nothing to claim."""

    def __init__(self, rpc: Rpc, worker_id: str, *, left: int, on_looked: Callable[[], None]) -> None:
        super().__init__(rpc, worker_id)
        self._on_looked = on_looked
        self.left = left
        self.running = 0
        """How many jobs are held now."""
        self.dry = False
        """Whether a claim came back empty while none was held: what running jobs bring about is then there, too."""

    async def claim_translation_jobs(self, *, limit: int, **how: Any) -> list[models.Job]:
        if self.left <= 0:
            return []
        was_idle = self.running == 0
        jobs = await super().claim_translation_jobs(limit=min(limit, self.left), **how)
        self.left -= len(jobs)
        self.dry = was_idle and not jobs
        self._on_looked()
        return jobs


class Drain:
    def __init__(
        self,
        settings: Settings,
        handlers: Mapping[str, Handler | OwnHandler],
        speaks: Speaks,
        counters: Counters,
        *,
        max_jobs: int,
        max_seconds: float,
    ) -> None:
        """*counters*: of the process, which outlives its drains."""
        self._settings = settings
        self._speaks = speaks
        self._max_seconds = max_seconds
        self._stop_asked = asyncio.Event()
        self._leaving = False
        self._changed = asyncio.Event()
        self._tally = Tally(counters)
        key = settings.supabase_secret_key.get_secret_value()
        self._rpc = DirectRpc(settings.supabase_url, key, request_seconds=settings.request_seconds, counters=counters)
        self._store = _Rationed(self._rpc, settings.worker_id, left=max_jobs, on_looked=self._changed.set)
        self._crew = Crew(
            settings,
            handlers,
            store=self._store,
            counters=counters,
            condition=self._condition,
            on_change=self._on_change,
        )

    @property
    def running(self) -> int:
        """Jobs that are held now."""
        return len(self._crew.runs)

    def stop(self) -> None:
        """End it in order; asked a second time, do not wait for running items."""
        if self._stop_asked.is_set():
            self._crew.runs.stop_all()
        self._stop_asked.set()
        self._changed.set()

    async def run(self) -> Report:
        """
        Raises:
            ConfigurationError: address, key or SQL is wrong, or nobody answered.
            WorkerError: the database fell silent for too long.
        """
        try:
            patience_seconds = min(self._settings.start_seconds, self._max_seconds)
            if await self._crew.proved(self._stop_asked, patience_seconds=patience_seconds):
                await self._work()
            report = self._tally.report(await remaining(self._rpc, self._crew.job_types))
        except BaseExceptionGroup as group:
            raise first_leaf(group) from group
        finally:
            await self._rpc.close()
        logger.info("Drained", processed=report.processed, remaining=report.remaining, seconds=report.seconds)
        return report

    async def _work(self) -> None:
        self._crew.bell.ring("poll")
        async with asyncio.TaskGroup() as group:
            claiming = group.create_task(self._crew.claimer.run())
            others = [group.create_task(part) for part in self._crew.supporting()]
            await self._until_over()
            self._leaving = True
            await self._crew.finish(claiming)
            for part in (claiming, *others):
                part.cancel()

    async def _until_over(self) -> None:
        try:
            async with asyncio.timeout(self._max_seconds):
                while not self._is_over():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            logger.info("The time of a drain is over", running=len(self._crew.runs))

    def _is_over(self) -> bool:
        if self._stop_asked.is_set():
            return True
        nothing_open = self._store.dry or self._store.left <= 0 or not self._crew.claimer.open_types()
        return nothing_open and not self._crew.runs

    def _on_change(self) -> None:
        ended = len(self._crew.runs) < self._store.running
        self._store.running = len(self._crew.runs)
        if ended:  # a slot is free, and what waited for that job may be due
            self._crew.bell.ring("poll")
        self._changed.set()

    def _condition(self) -> Condition:
        crew = self._crew
        return Condition(
            # To the database a drain is a worker that polls, and says good-bye at its end. Since when is nobody's
            # worry: that Realtime is not heard is no fault here.
            mode="stopping" if self._leaving else "polling",
            mode_seconds=0.0,
            job_types=crew.claimer.open_types(),
            languages=self._speaks.languages() if "translation" in crew.job_types else (),
            probe=False,
            stats={"drain": True, "providers": self._speaks.reasons()},
        )
