"""
A Realtime session of the worker's own kind, and what it hears of the probe: each road, with its delay.

Knows only what it hears; what a missing event means is said in the findings.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from worker import clock as clocks
from worker import reasons
from worker.session import Plan, Session
from worker.verify.finding import Finding, failed, passed, skipped

# A cold server takes 15 seconds for change capture, a join up to ten.
_OPEN_SECONDS: Final = 40.0
_PROBE_EVERY_SECONDS: Final = 30.0
_NAMES: Final = ("realtime", "private topic", "change capture")

_REALTIME_CURE: Final = (
    "Look at the project's Realtime: dashboard, Project Settings, Realtime, Enable service; and whether a firewall or "
    "proxy on the way lets websockets through (wss)."
)
_CAPTURE_CURE: Final = (
    "Run: alter publication supabase_realtime add table public.translation_jobs, public.translation_workers; (those "
    "that are missing). If both are in it, restart the project: dashboard, Project Settings, General."
)


class Heard:
    """The ears of one session. Times are on the monotonic clock."""

    def __init__(self) -> None:
        self.changes: dict[str, float] = {}
        self.broadcasts: dict[str, float] = {}
        self.row_at: float | None = None
        self._news = asyncio.Event()

    def on_ready(self, session: Session) -> None:
        self._tell()

    def on_end(self, session: Session, reason: str) -> None:
        self._tell()

    def on_change(self, job_id: str | None, status: str) -> None:
        self.changes.setdefault(job_id or "", clocks.SYSTEM.monotonic())
        self._tell()

    def on_broadcast(self, event: str, payload: dict[str, Any], message_id: str) -> None:
        if event == "ready":
            self.broadcasts.setdefault(str(payload.get("job_id")), clocks.SYSTEM.monotonic())
            self._tell()

    def on_worker_row(self) -> None:
        self.row_at = self.row_at or clocks.SYSTEM.monotonic()
        self._tell()

    def on_unreadable(self) -> None:
        pass

    def on_probe(self, seconds: float) -> None:
        pass

    def _tell(self) -> None:
        self._news.set()

    async def until(self, holds: Any, seconds: float) -> bool:
        """Wait for *holds()*, at most *seconds*; whether it does."""
        deadline = clocks.SYSTEM.monotonic() + seconds
        while not holds():
            self._news.clear()
            if not await clocks.SYSTEM.wait(self._news, deadline - clocks.SYSTEM.monotonic()):
                return bool(holds())
        return True


class Hearing:
    """What became of opening a session: the findings, and its ears if it is open."""

    def __init__(self, findings: list[Finding], heard: Heard | None, *, private: bool) -> None:
        self.findings = findings
        self.heard = heard
        self.private = private


@asynccontextmanager
async def hearing(url: str, key: str, name: str) -> AsyncIterator[Hearing]:
    """Listen as the worker *name* would: on the private topic, or, where that is refused, on a public one."""
    plan = Plan()
    refused: Finding | None = None
    while True:
        heard = Heard()
        session = Session(
            realtime_url=f"{url}/realtime/v1", key=key, worker_id=name, plan=plan, ears=heard,
            probe_every_seconds=_PROBE_EVERY_SECONDS,
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(session.run())
            try:
                await heard.until(lambda: session.ready.is_set() or session.is_over, _OPEN_SECONDS)  # noqa: B023
                reason = session.reason if session.is_over else "" if session.ready.is_set() else "no answer"
                next_plan = plan.after(reason) if reason else plan
                if next_plan == plan:
                    yield _opened(reason, refused, heard, plan)
                    return
            finally:
                running.cancel()
        refused = refused or (_refusal(reason) if plan.private and not next_plan.private else None)
        plan = next_plan


def _refusal(reason: str) -> Finding:
    return failed("private topic", reason.partition(":")[0], reasons.cure(reason) or _REALTIME_CURE)


def _opened(reason: str, refused: Finding | None, heard: Heard, plan: Plan) -> Hearing:
    topic = refused or passed("private topic", "joined")
    if not reason:
        opened = [passed("realtime", "joined"), topic, passed("change capture", "on")]
        return Hearing(opened, heard, private=plan.private)
    if reason.startswith(("no system ok", "Unable to subscribe", "system error", "Too many database timeouts")):
        capture = failed("change capture", reason, reasons.cure(reason) or _CAPTURE_CURE)
        return Hearing([passed("realtime", "joined"), topic, capture], None, private=plan.private)
    wrong = failed("realtime", reason, reasons.cure(reason) or _REALTIME_CURE)
    rest = [
        refused or skipped("private topic", "Realtime is not there"),
        skipped("change capture", "Realtime is not there"),
    ]
    return Hearing([wrong, *rest], None, private=plan.private)
