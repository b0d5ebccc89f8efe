"""
The worker that works on request: an HTTP side, and a drain while `POST /api/internal/process` is open. Nothing else.

For hosts that give a process its processor only during requests, and take it away after a while without any. Between
two requests there is no listener, no poll, no heartbeat and no connection. One drain at a time: a second request is
told so, since the first one takes what there is.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from loguru import logger

import worker
from worker import errors
from worker.app import doors
from worker.app.drain import Drain, Report
from worker.app.endings import first_leaf, signals
from worker.app.vitals import Speaks
from worker.counters import Counters
from worker.handlers import Handler, OwnHandler
from worker.rpc_direct import DirectRpc
from worker.settings import Settings
from worker.web import health, metrics
from worker.web.internal import drain_failed, drain_running

if TYPE_CHECKING:
    from worker.web.internal_documents import Processed

_MODE = "request"


def refuse_unreachable(settings: Settings) -> None:
    """Raises ConfigurationError: nobody could ask this process to work."""
    missing = {"PORT": settings.port, "INTERNAL_API_KEY": settings.internal_api_key}
    if names := [name for name, value in missing.items() if value is None]:
        raise errors.ConfigurationError(
            f"WORK_ON is 'request', and {' and '.join(names)} not set; without, nobody can ask this worker to work."
        )


class OnRequest:
    def __init__(self, settings: Settings, handlers: Mapping[str, Handler | OwnHandler], speaks: Speaks) -> None:
        self._settings = settings
        self._handlers = handlers
        self._speaks = speaks
        self._stop_asked = asyncio.Event()
        self._drain: Drain | None = None
        self._draining: asyncio.Task[Report | errors.WorkerError] | None = None
        self._trouble: str | None = None
        self.counters = Counters()
        key = settings.supabase_secret_key.get_secret_value()
        self._rpc = DirectRpc(
            settings.supabase_url, key, request_seconds=settings.request_seconds, counters=self.counters
        )

    async def run(self) -> None:
        """Prove the settings, then work whenever asked, until asked to stop."""
        with signals(self.ask_to_stop):
            try:
                proof = await self._drained(0, self._settings.start_seconds)
                if isinstance(proof, errors.WorkerError):
                    raise proof
                await self._serve()
            except BaseExceptionGroup as group:
                raise first_leaf(group) from group
            finally:
                await self._rpc.close()
        logger.info("Stopped")

    def ask_to_stop(self) -> None:
        """Stop in order; asked a second time, do not wait for running items."""
        self._stop_asked.set()
        if self._drain is not None:
            self._drain.stop()

    async def _serve(self) -> None:
        assert self._settings.port is not None
        logger.info("Job processor started", worker_id=self._settings.worker_id, mode=_MODE, version=worker.__version__)
        async with asyncio.TaskGroup() as self._group:
            serving = self._group.create_task(
                doors.serve(
                    self._settings,
                    self,
                    counters=self.counters,
                    rpc=self._rpc,
                    is_simulated=self._speaks.is_simulated,
                    drain=self._process,
                    port=self._settings.port,
                )
            )
            await self._stop_asked.wait()
            logger.info("Stopping", running=self._running())
            if self._draining is not None:
                await asyncio.wait({self._draining})
            serving.cancel()  # it answers what is open, for a moment

    async def _process(self, max_jobs: int, max_seconds: float) -> "Processed":
        """
        One drain, for the request that asks. Whoever asks may go away meanwhile: the drain then ends in order.

        Raises:
            Refusal: another one is under way, or the database cannot be worked with.
        """
        from worker.web.internal_documents import Processed

        if self._draining is not None or self._stop_asked.is_set():
            raise drain_running()
        self._draining = self._group.create_task(self._drained(max_jobs, max_seconds))
        self._draining.add_done_callback(self._forget)
        try:
            report = await asyncio.shield(self._draining)
        except asyncio.CancelledError:
            if self._drain is not None:
                self._drain.stop()
            raise
        if isinstance(report, errors.WorkerError):
            raise drain_failed(str(report))
        return Processed.model_validate(dataclasses.asdict(report))

    async def _drained(self, max_jobs: int, max_seconds: float) -> Report | errors.WorkerError:
        """What a drain did, or why it could not: the process lives on, and the next request may find things cured."""
        self._drain = drain = Drain(
            self._settings, self._handlers, self._speaks, self.counters, max_jobs=max_jobs, max_seconds=max_seconds
        )
        try:
            report = await drain.run()
        except errors.WorkerError as error:
            logger.error("Drain failed", error=type(error).__name__, cure=str(error))
            self._trouble = str(error)
            return error
        finally:
            self._drain = None
        self._trouble = None
        return report

    def _forget(self, _: "asyncio.Task[Any]") -> None:
        self._draining = None

    def _running(self) -> int:
        return self._drain.running if self._drain is not None else 0

    # What the platform asks

    def readiness(self) -> health.Readiness:
        reason = "The worker is stopping." if self._stop_asked.is_set() else self._trouble
        return health.Readiness(ready=reason is None, mode=_MODE, reason=reason)

    def health(self) -> dict[str, Any]:
        return {
            "mode": _MODE,
            "running": self._running(),
            "slots": self._settings.max_concurrent_jobs,
            "simulated": self._speaks.is_simulated(),
            "providers": self._speaks.conditions(),
        }

    def gauges(self) -> metrics.Gauges:
        return metrics.Gauges(
            ready=self.readiness().ready,
            mode=_MODE,
            running=self._running(),
            slots=self._settings.max_concurrent_jobs,
            silent_seconds=0.0,  # between two drains silence is no sign of anything
            providers=self._speaks.providers(),
        )
