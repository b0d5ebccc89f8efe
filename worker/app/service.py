"""
The worker as a service: builds the parts, runs them in one TaskGroup, and stops them in order.

A part that fails ends the process loudly; a service manager starts it afresh, and the leases it held run out and
go to another worker.
"""

import asyncio
import contextlib
import dataclasses
import gc
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import aiohttp
from loguru import logger

import worker
from worker import backoff, models, telemetry
from worker.app import parts
from worker.app.crew import Crew
from worker.app.drain import Drain, Report, Tally, follow
from worker.app.endings import first_leaf, signals
from worker.app.vitals import Speaks, Vitals
from worker.counters import Counters
from worker.handlers import Handler, OwnHandler, own
from worker.listener import Listener
from worker.roads import Roads
from worker.rpc_direct import DirectRpc
from worker.settings import Settings
from worker.store import JobStore
from worker.stuck import LoopWatch
from worker.switchboard import Switchboard
from worker.translators.patience import ProviderCondition

if TYPE_CHECKING:
    from worker.web.internal_documents import Processed


async def run(settings: Settings) -> None:
    """
    Work until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the worker cannot start like this.
        WorkerError: it had to end, and shall be started again.
    """
    async with _means(settings) as (handlers, speaks):
        _spare_the_collector()
        if settings.work_on == "request":
            from worker.app import on_request

            on_request.refuse_unreachable(settings)
            await on_request.OnRequest(settings, handlers, speaks).run()
            return
        app = App(settings, handlers, speaks.languages, is_simulated=speaks.is_simulated, providers=speaks.providers)
        try:
            await app.run()
        finally:
            await app.store.close()


async def drain(settings: Settings, *, max_jobs: int, max_seconds: float) -> Report:
    """
    Work until nothing waits, or so many jobs or seconds are over, or SIGTERM or SIGINT.

    Raises:
        ConfigurationError: it cannot work like this.
        WorkerError: it had to end.
    """
    async with _means(settings) as (handlers, speaks):
        once = Drain(settings, handlers, speaks, Counters(), max_jobs=max_jobs, max_seconds=max_seconds)
        with signals(once.stop):
            return await once.run()


@contextlib.asynccontextmanager
async def _means(settings: Settings) -> AsyncIterator[tuple[Mapping[str, Handler | OwnHandler], Speaks]]:
    """What the work is done with."""
    async with contextlib.AsyncExitStack() as stack:
        if (endpoint := settings.otel_exporter_otlp_endpoint) is not None:
            telemetry.configure(endpoint, worker_id=settings.worker_id, version=worker.__version__)
            stack.push_async_callback(telemetry.close)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        translator = parts.translator(settings, http)
        stack.push_async_callback(translator.close)
        await translator.prepare()
        speaks = Speaks(lambda: translator.languages, lambda: translator.simulated, translator.condition)
        yield parts.handlers(settings, translator, http), speaks


class App:
    def __init__(
        self,
        settings: Settings,
        handlers: Mapping[str, Handler | OwnHandler],
        languages: Callable[[], tuple[tuple[str, str], ...]],
        *,
        is_simulated: Callable[[], bool] = lambda: False,
        providers: Callable[[], Sequence[ProviderCondition]] = tuple,
    ) -> None:
        key = settings.supabase_secret_key.get_secret_value()
        self._settings = settings
        self.speaks = Speaks(languages, is_simulated, providers)
        self._stop_asked = asyncio.Event()
        self.counters = Counters()
        self.rpc = DirectRpc(
            settings.supabase_url, key, request_seconds=settings.request_seconds, counters=self.counters
        )
        self.store = JobStore(self.rpc, settings.worker_id)
        self.crew = Crew(
            settings,
            handlers,
            store=self.store,
            counters=self.counters,
            condition=lambda: self.vitals.condition(),
            spread_seconds=lambda: backoff.herd_seconds(
                self.workers, told_seconds=self.counters.delays["broadcast"].last
            ),
            on_beat=self._on_beat,
            on_claimed=self._on_claimed,
        )
        self.heartbeat = self.crew.heartbeat
        self._roads = Roads(self.counters)
        switchboard = Switchboard(
            bell=self.crew.bell,
            runs=self.crew.runs,
            roads=self._roads,
            has_both_roads=lambda: self.listener.has_both_roads,
            poll_seconds=settings.poll_seconds,
            beat_soon=self.heartbeat.soon,
            counters=self.counters,
        )
        self.listener = Listener(
            realtime_url=f"{settings.supabase_url}/realtime/v1",
            key=key,
            worker_id=settings.worker_id,
            hearer=switchboard,
            check_seconds=settings.health_check_seconds,
            session_seconds=settings.realtime_session_seconds,
            counters=self.counters,
        )
        self.vitals = Vitals(
            settings, crew=self.crew, listener=self.listener, counters=self.counters, speaks=self.speaks
        )

    @property
    def workers(self) -> int:
        """How many workers there are, this one included, as the database said last."""
        return self.vitals.workers

    async def run(self) -> None:
        """Prove the settings, then work until asked to stop."""
        with signals(self.ask_to_stop):
            try:
                if await self.crew.proved(self._stop_asked, patience_seconds=self._settings.start_seconds):
                    await self._work()
            except BaseExceptionGroup as group:
                raise first_leaf(group) from group
            logger.info("Stopped")

    def ask_to_stop(self) -> None:
        """Stop in order; asked a second time, do not wait for running items."""
        if self._stop_asked.is_set():
            self.crew.runs.stop_all()
        self._stop_asked.set()

    async def _work(self) -> None:
        logger.info(
            "Job processor started",
            worker_id=self._settings.worker_id,
            slots=self._settings.max_concurrent_jobs,
            version=worker.__version__,
        )
        self.crew.bell.poll_every(self._settings.poll_seconds)
        self.crew.bell.ring("poll")
        async with asyncio.TaskGroup() as running:
            listening = running.create_task(self.listener.run())
            claiming = running.create_task(self.crew.claimer.run())
            others = [running.create_task(part) for part in self._supporting_parts()]
            await self._stop_asked.wait()
            logger.info("Stopping", running=len(self.crew.runs))
            self.vitals.stopping = True
            listening.cancel()
            await self.crew.finish(claiming)
            for part in (claiming, *others):
                part.cancel()

    def _supporting_parts(self) -> list[Coroutine[Any, Any, None]]:
        found = [*self.crew.supporting(), LoopWatch(on_turn=self.counters.loop_lag.note, whose=own.whose).run()]
        if self._settings.port is not None:
            found.append(self._serve(self._settings.port))
        if (webhook := parts.alert_webhook(self._settings, self.rpc)) is not None:
            found.append(webhook.run())
        return found

    async def _serve(self, port: int) -> None:
        from worker.app import doors  # only a worker with a port pays for it

        await doors.serve(
            self._settings,
            self.vitals,
            counters=self.counters,
            rpc=self.rpc,
            is_simulated=self.speaks.is_simulated,
            drain=self._process,
            port=port,
        )

    async def _process(self, max_jobs: int, max_seconds: float) -> "Processed":
        """A worker that always works needs nobody to wake it; who asks is told what it did meanwhile."""
        from worker.web.internal_documents import Processed

        self.crew.bell.ring("poll")
        tally = Tally(self.counters)
        left = await follow(self.crew, tally, self.rpc, max_jobs=max_jobs, max_seconds=max_seconds)
        return Processed.model_validate(dataclasses.asdict(tally.report(left)))

    def _on_beat(self, sent_at: float, workers: int) -> None:
        self.vitals.workers = workers
        self.listener.beat_accepted(sent_at, workers)
        self._roads.settle()

    def _on_claimed(self, jobs: Sequence[models.Job]) -> None:
        # Who polls, or takes a queue down one by one, has nobody waiting for the word.
        self.listener.tell_claimed(job.id for job in jobs if job.found_by in ("changes", "broadcast"))


def _spare_the_collector() -> None:
    """
    What is loaded by now stays for good: it need not be looked through again and again. And documents are made of many
    small objects that live briefly; looked at less often, JSON goes through a third faster (`scripts/bench pipeline`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
