"""
The composition root: builds the parts of `worker run`, runs them in one TaskGroup, and stops them in order.

The only place that knows all parts. A part that fails ends the process loudly; a service manager starts it
afresh, and the leases it held run out and go to another worker.
"""

import asyncio
import contextlib
import importlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from loguru import logger
from pydantic import SecretStr

import worker
from worker import backoff, errors, models
from worker import clock as clocks
from worker.claimer import Claimer
from worker.counters import Counters
from worker.handlers import Handler, registered
from worker.heartbeat import Condition, Heartbeat, Rhythm
from worker.listener import Listener
from worker.pauses import Pauses
from worker.recorder import Recorder
from worker.roads import Roads
from worker.rpc_direct import DirectRpc
from worker.runner import Workshop
from worker.runs import Runs
from worker.settings import Settings
from worker.store import JobStore
from worker.stuck import LoopWatch
from worker.switchboard import Switchboard
from worker.translators import Limits, Translator, TranslatorOptions
from worker.translators import build as build_translator
from worker.translators.chain import Chain
from worker.translators.patience import ProviderCondition
from worker.wakeup import Bell

if TYPE_CHECKING:
    from worker.web import health, metrics
    from worker.web.portal import Portal

# What follows the grace of a shutdown, all together: handing in results, giving jobs back, saying good-bye.
_CLOSING_SECONDS: Final = 1.5


async def run(settings: Settings) -> None:
    """
    Work until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the worker cannot start like this.
        WorkerError: it had to end, and shall be started again.
    """
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        translator = _translator(settings, http)
        stack.push_async_callback(translator.close)
        await translator.prepare()
        app = App(
            settings,
            _handlers(settings, translator),
            lambda: translator.languages,
            is_simulated=lambda: translator.simulated,
            providers=translator.condition,
        )
        stack.push_async_callback(app.store.close)
        await app.run()


class App:
    def __init__(
        self,
        settings: Settings,
        handlers: Mapping[str, Handler],
        languages: Callable[[], tuple[tuple[str, str], ...]],
        *,
        is_simulated: Callable[[], bool] = lambda: False,
        providers: Callable[[], Sequence[ProviderCondition]] = tuple,
    ) -> None:
        key = settings.supabase_secret_key.get_secret_value()
        job_types = self._job_types = settings.job_types or tuple(handlers)
        self._languages = languages
        self._is_simulated = is_simulated
        self._providers = providers
        self._settings = settings
        self._clock = clocks.SYSTEM
        self._stop_asked = asyncio.Event()
        self._stopping = False
        self.workers = 1
        self.counters = Counters()
        self.rpc = DirectRpc(
            settings.supabase_url, key, request_seconds=settings.request_seconds, counters=self.counters
        )
        self.store = JobStore(self.rpc, settings.worker_id)
        self.pauses = Pauses()
        self.bell = Bell(
            interval_seconds=settings.claim_interval_seconds,
            spread_seconds=lambda: backoff.herd_seconds(
                self.workers, told_seconds=self.counters.delays["broadcast"].last
            ),
        )
        self.recorder = Recorder(self.store, keep_seconds=settings.exit_seconds)
        self.runs = Runs(on_change=lambda: self.heartbeat.reconsider(), on_retrying=lambda: self.heartbeat.soon())
        self.heartbeat = Heartbeat(
            store=self.store,
            runs=self.runs,
            bell=self.bell,
            rhythm=Rhythm(
                busy=settings.beat_seconds,
                idle=settings.health_check_seconds,
                lease=settings.lease_seconds,
                exit=settings.exit_seconds,
            ),
            identity={"version": worker.__version__, "slots": settings.max_concurrent_jobs},
            condition=self._condition,
            on_beat=self._on_beat,
        )
        self._roads = Roads(self.counters)
        switchboard = Switchboard(
            bell=self.bell,
            runs=self.runs,
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
        shop = Workshop(
            store=self.store,
            recorder=self.recorder,
            handlers=handlers,
            languages_max=settings.max_concurrent_languages,
            lease_seconds=settings.lease_seconds,
            counters=self.counters,
            pauses=self.pauses,
        )
        self.claimer = Claimer(
            shop=shop,
            bell=self.bell,
            runs=self.runs,
            slots=settings.max_concurrent_jobs,
            job_types=job_types,
            on_claimed=self._on_claimed,
        )

    async def run(self) -> None:
        """Prove the settings, then work until asked to stop."""
        with _signals(self.ask_to_stop):
            try:
                if await self._proved():
                    await self._work()
            except BaseExceptionGroup as group:
                raise _first_leaf(group) from group
            logger.info("Stopped")

    def ask_to_stop(self) -> None:
        """Stop in order; asked a second time, do not wait for running items."""
        if self._stop_asked.is_set():
            self.runs.stop_all()
        self._stop_asked.set()

    async def _proved(self) -> bool:
        """Whether the first heartbeat was accepted; False when asked to stop before that."""
        async with asyncio.TaskGroup() as group:
            stop = group.create_task(self._stop_asked.wait())
            first = group.create_task(self.heartbeat.first(patience_seconds=self._settings.start_seconds))
            await asyncio.wait({stop, first}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            first.cancel()
        return not first.cancelled()

    async def _work(self) -> None:
        logger.info(
            "Job processor started",
            worker_id=self._settings.worker_id,
            slots=self._settings.max_concurrent_jobs,
            version=worker.__version__,
        )
        self.bell.poll_every(self._settings.poll_seconds)
        self.bell.ring("poll")
        async with asyncio.TaskGroup() as parts:
            listening = parts.create_task(self.listener.run())
            claiming = parts.create_task(self.claimer.run())
            others = [parts.create_task(part) for part in self._supporting_parts()]
            await self._stop_asked.wait()
            logger.info("Stopping", running=len(self.runs))
            self._stopping = True
            self.claimer.stop()
            listening.cancel()
            await self._finish(claiming)
            for part in (claiming, *others):
                part.cancel()

    def _supporting_parts(self) -> list[Coroutine[Any, Any, None]]:
        parts = [self.recorder.run(), self.heartbeat.run(), LoopWatch(on_turn=self.counters.loop_lag.note).run()]
        if self._settings.port is not None:
            parts.append(self._serve(self._settings.port))
        return parts

    async def _finish(self, claiming: "asyncio.Task[None]") -> None:
        """Let running jobs end within the grace, then give back what is left. No step is waited for in vain."""
        await asyncio.wait({claiming}, timeout=self._settings.shutdown_grace_seconds)
        self.runs.stop_all()
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await asyncio.wait({claiming})
                await self.recorder.settled()
                if interrupted := self.runs.take_interrupted():
                    await self.store.release_translation_jobs(interrupted)
                    logger.info("Jobs given back", jobs=len(interrupted))
                await self.heartbeat.last()
        except (errors.StoreError, TimeoutError) as error:
            logger.warning("Not everything was handed in; leases will run out", error=type(error).__name__)

    def _on_beat(self, sent_at: float, workers: int) -> None:
        self.workers = workers
        self.listener.beat_accepted(sent_at, workers)
        self._roads.settle()

    def _on_claimed(self, jobs: Sequence[models.Job]) -> None:
        self.bell.settle(job.id for job in jobs)
        # Who polls, or takes a queue down one by one, has nobody waiting for the word.
        self.listener.tell_claimed(job.id for job in jobs if job.found_by in ("changes", "broadcast"))

    def _condition(self) -> Condition:
        return Condition(
            mode=self._mode,
            mode_seconds=self._clock.monotonic() - self.listener.mode_since,
            job_types=self.pauses.open(self._job_types),
            languages=self._languages() if "translation" in self._job_types else (),
            probe=self.listener.take_probe(),
            stats={
                **self._hearing(),
                "rings": dict(self.counters.rings),
                "claimed": dict(self.counters.jobs_claimed),
                "items": dict(self.counters.items),
                "paused_seconds": {name: round(left) for name, left in self.pauses.left_seconds().items()},
                "providers": {one.provider: one.reason for one in self._providers() if one.reason},
            },
        )

    def _hearing(self) -> dict[str, Any]:
        """How well Realtime is heard, for the database and for `/health`."""
        delays = {road: delay.last for road, delay in self.counters.delays.items()}
        return {
            "roads": self.listener.roads,
            "reconnects": self.listener.reconnects,
            "mode_seconds": {mode: round(seconds) for mode, seconds in self.listener.mode_seconds().items()},
            "delay_ms": {road: round(last * 1000, 1) for road, last in delays.items() if last is not None},
            "heard_first": dict(self.counters.heard_first),
            "unheard": dict(self.counters.unheard),
        }

    @property
    def _mode(self) -> str:
        return "stopping" if self._stopping else self.listener.mode

    async def _serve(self, port: int) -> None:
        from worker.web import health, metrics, queue_metrics, site  # only a worker with a port pays for them

        numbers = metrics.page(self.counters, self._gauges, queue_metrics.QueueStats(self.rpc).latest)
        routes = health.routes(self._readiness, self._health, numbers)
        portal = _portal(self._settings, self._is_simulated)
        await site.serve(routes, portal, service=self.rpc, host=self._settings.host, port=port)

    def _readiness(self) -> "health.Readiness":
        from worker.web import health

        silent_seconds = self._silent_seconds()
        reason = self.heartbeat.trouble
        if self._stopping:
            reason = "The worker is stopping."
        elif silent_seconds > self._settings.unready_seconds:
            reason = f"The database has accepted nothing for {silent_seconds:.0f} seconds."
        return health.Readiness(ready=reason is None, mode=self._mode, reason=reason)

    def _health(self) -> dict[str, Any]:
        return {
            "mode": self._mode,
            "mode_for_seconds": round(self._mode_age_seconds()),
            "running": len(self.runs),
            "slots": self._settings.max_concurrent_jobs,
            "simulated": self._is_simulated(),
            "providers": [
                {"provider": one.provider, "breaker": one.breaker, "reason": one.reason} for one in self._providers()
            ],
            **self._hearing(),
        }

    def _gauges(self) -> "metrics.Gauges":
        from worker.web import metrics

        return metrics.Gauges(
            ready=self._readiness().ready,
            mode=self._mode,
            running=len(self.runs),
            slots=self._settings.max_concurrent_jobs,
            silent_seconds=self._silent_seconds(),
            mode_seconds=self.listener.mode_seconds(),
            mode_age_seconds=self._mode_age_seconds(),
            reconnects=self.listener.reconnects,
            recorder_lag_seconds=self.recorder.lag_seconds,
            providers=self._providers(),
            roads=self.listener.roads,
            workers=self.workers,
        )

    def _mode_age_seconds(self) -> float:
        return self._clock.monotonic() - self.listener.mode_since

    def _silent_seconds(self) -> float:
        return self._clock.monotonic() - self.store.answered_at


def _portal(settings: Settings, is_simulated: Callable[[], bool]) -> "Portal | None":
    """What users reach; None without the publishable key, and then nothing of it is imported."""
    if settings.supabase_publishable_key is None:
        return None
    from worker.web.panel import PanelConfig
    from worker.web.portal import Portal

    key = settings.supabase_publishable_key.get_secret_value()
    secret = settings.supabase_jwt_secret
    panel = PanelConfig(
        supabase_url=settings.supabase_public_url or settings.supabase_url,
        publishable_key=key,
        version=worker.__version__,
        simulated=is_simulated,
        sign_up=settings.panel_sign_up,
        embed_origins=settings.panel_embed_origins,
    )
    return Portal(
        supabase_url=settings.supabase_url,
        publishable_key=key,
        jwt_secret=secret.get_secret_value() if secret else None,
        request_seconds=settings.request_seconds,
        cors_origins=settings.cors_origins,
        panel=panel if settings.panel_enabled else None,
    )


def _translator(settings: Settings, http: aiohttp.ClientSession) -> Chain:
    def shown(key: SecretStr | None) -> str | None:
        return key.get_secret_value() if key else None

    options = TranslatorOptions(
        openai_api_key=shown(settings.openai_api_key),
        openai_url=settings.openai_base_url,
        openai_model=settings.openai_model,
        deepl_api_key=shown(settings.deepl_api_key),
        deepl_glossary_ids=settings.deepl_glossary_ids,
        google_api_key=shown(settings.google_api_key),
        libretranslate_url=settings.libretranslate_url,
        libretranslate_api_key=shown(settings.libretranslate_api_key),
        apertium_modes=Path(settings.apertium_modes),
        limits=Limits(
            concurrency=settings.provider_concurrency,
            requests_per_minute=settings.provider_requests_per_minute,
            characters_per_minute=settings.provider_characters_per_minute,
            wait_seconds=settings.provider_wait_seconds,
        ),
    )
    translator = build_translator(settings.translator, session=http, options=options)
    logger.info("Translator chosen", translator=translator.name, simulated=translator.simulated)
    return translator


def _handlers(settings: Settings, translator: Translator) -> dict[str, Handler]:
    from worker.handlers.translation import TranslationHandler

    for module in settings.worker_modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise errors.ConfigurationError(
                f"WORKER_MODULES is {','.join(settings.worker_modules)!r}; {module} cannot be imported: {error}."
            ) from error
    handlers: dict[str, Handler] = {"translation": TranslationHandler(translator), **registered()}
    if unknown := set(settings.job_types) - set(handlers):
        raise errors.ConfigurationError(
            f"JOB_TYPES is {','.join(settings.job_types)!r}; there is no handler for {', '.join(sorted(unknown))}; "
            f"allowed: {', '.join(sorted(handlers))}."
        )
    return handlers


@contextlib.contextmanager
def _signals(on_signal: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first_leaf(first) if isinstance(first, BaseExceptionGroup) else first
