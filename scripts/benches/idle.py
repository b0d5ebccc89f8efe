"""
What an idle, healthy worker asks the server for, counted on the wire: calls that look for work, and calls in all.

One worker at its defaults. The bars: at most 14 looks an hour, where polling every 5 s makes 720, and at most 2.2
REST calls a minute in all. A heartbeat sweeps and promotes within its own transaction; it is counted as one call.
"""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from scripts import local
from scripts.benches import memory, tap
from scripts.benches.telling import Figures

LOOKS = ("claim_translation_jobs", "rescue_translation_jobs", "promote_translation_jobs")
LOOKS_AN_HOUR_MAX = 14
CALLS_A_MINUTE_MAX = 2.2
# After the start: its first heartbeats and the catch-up are not idleness.
SETTLE_SECONDS = 40.0
TELL_SECONDS = 300.0


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`idle [--minutes 60]`: with fewer the hour is reckoned from them, and said to be."""
    parser = argparse.ArgumentParser(prog="scripts/bench idle")
    parser.add_argument("--minutes", type=float, default=60)
    minutes = parser.parse_args(args).minutes
    async with local.stack(home) as env, tap.running(env["SUPABASE_URL"]) as wire:
        settings = local.worker_environment({**env, "SUPABASE_URL": wire.url}, WORKER_ID="bench")
        async with local.running("run", home=home, until="Realtime subscription active", environment=settings) as pid:
            await asyncio.sleep(SETTLE_SECONDS)
            print(f"the start: {_told(wire.calls)}, {wire.sockets} websocket", flush=True)
            before, sockets = Counter(wire.calls), wire.sockets
            started = time.monotonic()
            while (left := started + minutes * 60 - time.monotonic()) > 0:
                await asyncio.sleep(min(left, TELL_SECONDS))
                tell(wire.calls - before, time.monotonic() - started)
            spent, calls = time.monotonic() - started, wire.calls - before
            healthy = _was_healthy(env["DATABASE_URL"], spent) and wire.sockets == sockets
            weight = memory.resident_megabytes(pid)
    figures = _figures(calls, spent) | {"idle_healthy_throughout": float(healthy), "idle_worker_megabytes": weight}
    ok = figures["idle_looks_per_hour"] <= LOOKS_AN_HOUR_MAX and figures["idle_calls_per_minute"] <= CALLS_A_MINUTE_MAX
    print(f"healthy throughout: {healthy}; {weight:.0f} MB resident; bars {'held' if ok and healthy else 'MISSED'}")
    return figures


def _figures(calls: Mapping[str, int], spent_seconds: float) -> Figures:
    looks = sum(calls.get(name, 0) for name in LOOKS)
    return {
        "idle_minutes": spent_seconds / 60,
        "idle_looks": looks,
        "idle_looks_per_hour": looks / spent_seconds * 3600,
        "idle_calls_per_minute": sum(calls.values()) / spent_seconds * 60,
    } | {f"idle_calls_{name}": float(count) for name, count in calls.items()}


def tell(calls: Mapping[str, int], spent_seconds: float) -> None:
    figures = _figures(calls, spent_seconds)
    reckoned = "" if figures["idle_minutes"] >= 60 else ", reckoned"
    print(
        f"idle {figures['idle_minutes']:.1f} min: {figures['idle_looks']:.0f} looks for work "
        f"({figures['idle_looks_per_hour']:.1f} an hour{reckoned}), "
        f"{figures['idle_calls_per_minute']:.2f} calls a minute in all; {_told(calls)}",
        flush=True,
    )


def _told(calls: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(calls.items())) or "no call"


def _was_healthy(url: str, spent_seconds: float) -> bool:
    """Whether the worker has been in mode `realtime` all the time, by its own row."""
    with psycopg.connect(url) as owner:
        row = owner.execute(
            """select mode = 'realtime' and mode_since < now() - make_interval(secs => %s)
               from public.translation_workers where id = 'bench'""",
            [spent_seconds],
        ).fetchone()
    return row is not None and bool(row[0])
