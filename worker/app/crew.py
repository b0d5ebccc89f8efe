"""
Who claims, works and hands in: of a service for as long as it runs, or of one drain.

Owns the order in which work ends: claim no more, let what runs end within the grace, interrupt the rest, hand in
what is done, give back what is not, say good-bye. No step is waited for in vain. Knows nothing of Realtime or HTTP:
whoever has a crew rings its bell.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from loguru import logger

import worker
from worker import errors, models
from worker.chores import Chores
from worker.claimer import Claimer
from worker.counters import Counters
from worker.handlers import Handler, OwnHandler
from worker.heartbeat import Condition, Heartbeat, Rhythm
from worker.pauses import Pauses
from worker.recorder import Recorder
from worker.runner import Workshop
from worker.runs import Runs
from worker.settings import Settings
from worker.storage import Storage
from worker.store import JobStore
from worker.wakeup import Bell

# What follows the grace, all together: handing in results, giving jobs back, saying good-bye.
CLOSING_SECONDS: Final = 1.5


class Crew:
    def __init__(
        self,
        settings: Settings,
        handlers: Mapping[str, Handler | OwnHandler],
        *,
        store: JobStore,
        counters: Counters,
        condition: Callable[[], Condition],
        spread_seconds: Callable[[], float] = lambda: 0.0,
        on_beat: Callable[[float, int], None] = lambda sent_at, workers: None,
        on_claimed: Callable[[Sequence[models.Job]], None] = lambda _: None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """
        *condition*: what the heartbeat says about the worker. *on_beat*: see `Heartbeat`.
        *on_claimed*: told the jobs of each claim that brought some. *on_change*: a run began or ended.
        """
        self._grace_seconds = settings.shutdown_grace_seconds
        self._on_claimed = on_claimed
        self.job_types = settings.job_types or tuple(handlers)
        self.store = store
        self.pauses = Pauses()
        self.bell = Bell(interval_seconds=settings.claim_interval_seconds, spread_seconds=spread_seconds)
        self.recorder = Recorder(store, keep_seconds=settings.exit_seconds)

        def changed() -> None:
            self.heartbeat.reconsider()
            on_change()

        self.chores = Chores(store)
        self._storage = Storage(
            settings.supabase_url,
            settings.supabase_secret_key.get_secret_value(),
            public_url=settings.supabase_public_url,
            request_seconds=settings.request_seconds,
        )
        self.runs = Runs(on_change=changed, on_retrying=lambda: self.heartbeat.soon())
        self.heartbeat = Heartbeat(
            store=store,
            runs=self.runs,
            bell=self.bell,
            rhythm=Rhythm(
                busy=settings.beat_seconds,
                idle=settings.health_check_seconds,
                lease=settings.lease_seconds,
                exit=settings.exit_seconds,
            ),
            identity={"version": worker.__version__, "slots": settings.max_concurrent_jobs},
            condition=condition,
            on_beat=on_beat,
            handlers=self.job_types,
            on_chores=self.chores.heard,
        )
        shop = Workshop(
            store=store,
            recorder=self.recorder,
            handlers=handlers,
            languages_max=settings.max_concurrent_languages,
            lease_seconds=settings.lease_seconds,
            counters=counters,
            pauses=self.pauses,
            storage=self._storage,
        )
        self.claimer = Claimer(
            shop=shop,
            bell=self.bell,
            runs=self.runs,
            slots=settings.max_concurrent_jobs,
            job_types=self.job_types,
            on_claimed=self._note_claimed,
        )

    async def proved(self, stop_asked: asyncio.Event, *, patience_seconds: float) -> bool:
        """
        Whether the first heartbeat was accepted; False when asked to stop before that.

        Raises:
            ConfigurationError: address, key or SQL is wrong, or nobody answered for *patience_seconds*.
        """
        async with asyncio.TaskGroup() as group:
            stop = group.create_task(stop_asked.wait())
            first = group.create_task(self.heartbeat.first(patience_seconds=patience_seconds))
            await asyncio.wait({stop, first}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            first.cancel()
        return not first.cancelled()

    def supporting(self) -> list[Coroutine[Any, Any, None]]:
        """What must run beside the claimer; to be cancelled after `finish`."""
        return [self.recorder.run(), self.heartbeat.run(), self.chores.run()]

    async def finish(self, claiming: "asyncio.Task[None]") -> None:
        """Claim no more, let running jobs end within the grace, then give back what is left."""
        self.claimer.stop()
        await asyncio.wait({claiming}, timeout=self._grace_seconds)
        self.runs.stop_all()
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await asyncio.wait({claiming})
                await self.recorder.settled()
                if interrupted := self.runs.take_interrupted():
                    await self.store.release_translation_jobs(interrupted)
                    logger.info("Jobs given back", jobs=len(interrupted))
                await self.heartbeat.last()
        except (errors.StoreError, TimeoutError) as error:
            logger.warning("Not everything was handed in; leases will run out", error=type(error).__name__)
        finally:
            await self._storage.close()

    def _note_claimed(self, jobs: Sequence[models.Job]) -> None:
        self.bell.settle(job.id for job in jobs)
        self._on_claimed(jobs)
