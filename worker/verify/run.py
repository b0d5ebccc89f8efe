"""
The checks in their order: what each needs comes before it, and what cannot be looked at says why.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Final

from worker import clock as clocks
from worker.rpc import Rpc
from worker.rpc_direct import DirectRpc
from worker.verify import catalog, project
from worker.verify.finding import Finding, failed, passed, skipped
from worker.verify.hearing import Hearing, hearing
from worker.verify.probe import Probe, new_name, tried
from worker.verify.queues import queues

Now = Callable[[], datetime]

EVENT_SECONDS: Final = 10.0
"""A server's honest delay is half a second."""

_CHANGES_CURE: Final = (
    "Restart the project (dashboard, Project Settings, General): change capture has died without a word. "
    "Meanwhile workers hear the broadcast, or poll."
)
_BROADCAST_CURE: Final = (
    "Run: select realtime.send('{}', 'test', 'translation_jobs', true); it warns of what is wrong. If it is silent, "
    "restart the project (dashboard, Project Settings, General). Meanwhile jobs are found by change capture."
)


def _utc() -> datetime:
    return datetime.now(UTC)


async def verify(
    url: str, key: str, *, now: Now = _utc, event_seconds: float = EVENT_SECONDS
) -> AsyncGenerator[Finding, None]:
    """
    Every finding about the project at *url*, one after the other.

    Args:
        key: the one the worker has.
        now: this machine's time.
        event_seconds: how long an event may take.
    """
    yield project.key_kind(key, now())
    rpc = DirectRpc(url, key)
    async with contextlib.aclosing(_findings(rpc, url, key, now, event_seconds)) as findings:
        try:
            async for finding in findings:
                yield finding
        finally:
            await rpc.close()


async def _findings(rpc: Rpc, url: str, key: str, now: Now, event_seconds: float) -> AsyncGenerator[Finding, None]:
    asked_at = clocks.SYSTEM.monotonic()
    facts, told = await project.read(rpc)
    for finding in told:
        yield finding
    if facts is None:
        yield skipped("everything else", "cannot be looked at before this works")
        return
    yield project.clocks(facts, now(), clocks.SYSTEM.monotonic() - asked_at)
    for finding in catalog.findings(facts, catalog.shipped()):
        yield finding
    yield project.broadcast_function(facts)
    yield await project.price(rpc, facts)
    yield project.workers(facts)
    yield queues(facts)
    for finding in await _live(rpc, url, key, event_seconds):
        yield finding


async def _live(rpc: Rpc, url: str, key: str, event_seconds: float) -> list[Finding]:
    """A job made, heard of, worked on and taken away."""
    name = new_name()
    probe = Probe(rpc, name)
    async with hearing(url, key, name) as opened:
        made_at = clocks.SYSTEM.monotonic()
        made = await tried("probe: make", probe.start, lambda: "a job of a type of its own")
        heard = await _roads(opened, probe.job_id, made_at, event_seconds) if made.ok else []
        worked = made
        if made.ok:
            worked = await tried("probe: work", probe.work, lambda: probe.done)
            if worked.ok:
                heard.append(await _row(opened, event_seconds))
        removed = await tried("probe: remove", probe.remove, lambda: "no trace left")
    return [*opened.findings, *heard, *([made] if not made.ok else [worked]), removed]


async def _roads(opened: Hearing, job_id: str, made_at: float, seconds: float) -> list[Finding]:
    ears = opened.heard
    if ears is None:
        return [skipped(f"road: {road}", "Realtime is not heard") for road in ("changes", "broadcast")]
    await ears.until(lambda: job_id in ears.changes and (job_id in ears.broadcasts or not opened.private), seconds)
    changes = _road("changes", ears.changes.get(job_id), made_at, seconds, _CHANGES_CURE)
    if not opened.private:
        return [changes, skipped("road: broadcast", "it needs the private topic")]
    return [changes, _road("broadcast", ears.broadcasts.get(job_id), made_at, seconds, _BROADCAST_CURE)]


def _road(road: str, heard_at: float | None, made_at: float, seconds: float, cure: str) -> Finding:
    if heard_at is None:
        return failed(f"road: {road}", f"an insert was not heard within {seconds:g} s", cure)
    return passed(f"road: {road}", f"an insert was heard after {(heard_at - made_at) * 1000:.0f} ms, the call included")


async def _row(opened: Hearing, seconds: float) -> Finding:
    """The heartbeat row that comes back is what a worker judges its hearing by."""
    ears = opened.heard
    if ears is None:
        return skipped("heartbeat row", "Realtime is not heard")
    if await ears.until(lambda: ears.row_at is not None, seconds):
        return passed("heartbeat row", "came back through change capture")
    return failed("heartbeat row", f"did not come back within {seconds:g} s", _CHANGES_CURE)
