"""
Pickup at idle, road by road: from the commit, or from the call that creates the job, to the first line of its handler.

The stack and the worker are processes of their own, the worker at its defaults, JWT and row security on, everything
over TCP. One job at a time; the pause between two is drawn from a span longer than the interval of whoever polls on
that road, because a poller answers after a fixed pause with the same remainder every time.
"""

import argparse
import asyncio
import itertools
import os
import random
import statistics
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from scripts import local
from scripts.benches import project, waiting
from scripts.benches.telling import Figures, latency, percentile, verdict

WORKER_ID = "bench"
_ANSWER_SECONDS = 60.0
_MS = 1e6
# Nothing is said of any job, while all else is heard and the worker has no reason to doubt.
_SILENT = {"mute_table": "translation_jobs", "mute_event": "ready"}

Sample = tuple[str, int]
"""A job, and when the clock was started, in ns."""


@dataclass(frozen=True)
class Road:
    """How jobs are heard of, and what is promised for it. Milliseconds."""

    told: str
    pause_seconds: tuple[float, float]
    share: float  # of the samples asked for
    faults: dict[str, Any]
    mode: str = "realtime"
    median_max: float = float("inf")
    p99_max: float = float("inf")
    max_max: float = float("inf")


ROADS = {
    "broadcast": Road("commit to handler, broadcast road", (0.15, 0.75), 1, {}, "realtime", 8, 25, 100),
    "create": Road("create called to handler, broadcast road", (0.15, 0.75), 1, {}, "realtime", 15, 40),
    "changes": Road(
        "commit to handler, changes road alone", (0.15, 0.75), 1, {"mute_broadcasts": True}, "realtime", 300
    ),
    "polling": Road(
        "commit to handler, polling alone", (0.1, 5.6), 0.12, {"refuse": "realtime"}, "polling", max_max=5_600
    ),
    "silence": Road("commit to handler, event lost in silence", (1, 31), 0.03, _SILENT, max_max=35_000),
}


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`latency [--samples 200] [--roads broadcast,create,changes,polling,silence] [--postgrest PROGRAM]`."""
    parser = argparse.ArgumentParser(prog="scripts/bench latency")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--roads", default=",".join(ROADS))
    project.accept_postgrest(parser)
    wanted = parser.parse_args(args)
    figures: Figures = {}
    async with project.stack(home, postgrest=wanted.postgrest) as stack, project.stamps() as stamps:
        settings = project.worker_environment(stack.env, stamps.port, WORKER_ID=WORKER_ID)
        async with (
            local.running("run", home=home, until="Realtime subscription active", environment=settings),
            await psycopg.AsyncConnection.connect(stack.env["DATABASE_URL"]) as maker,
        ):
            bench = Bench(stack, stamps, await project.sign_up(stack.env), maker)
            await bench.warm_up()
            for name in wanted.roads.split(","):
                figures |= await bench.measure(name, ROADS[name], wanted.samples)
    return figures


class Bench:
    def __init__(self, stack: project.Stack, stamps: project.Stamps, user: project.User, maker: project.Owner) -> None:
        self._stack = stack
        self._stamps = stamps
        self._user = user
        self._maker = maker

    async def warm_up(self) -> None:
        """Plans made, connections open: an hour-old worker is what is measured, not a new one."""
        for _ in range(20):
            job_id, _ = await self._committed()
            await self._stamps.of(job_id, seconds=_ANSWER_SECONDS)
            await asyncio.sleep(0.05)

    async def measure(self, name: str, road: Road, samples: int) -> Figures:
        make = self._created if name == "create" else self._committed
        load = os.getloadavg()[0]
        await self._stack.order(**road.faults)
        if road.mode == "polling":
            await self._stack.close_sockets(1006)
        stamps, jobs = [], []
        for _ in range(max(3, round(samples * road.share))):
            await self._settle(road.mode)
            await asyncio.sleep(random.uniform(*road.pause_seconds))
            job_id, started_at = await make()
            stamp = await self._stamps.of(job_id, seconds=_ANSWER_SECONDS)
            stamps.append(stamp | {"started": started_at})
            jobs.append(job_id)
        await self._stack.behave()
        return await self._tell(name, road, stamps, jobs, load)

    async def _settle(self, mode: str) -> None:
        """Wait until the worker is in *mode* and nothing is under way."""

        async def settled() -> bool:
            busy = await self._stack.value(
                "select exists (select from public.translation_jobs where status in ('pending', 'processing'))"
            )
            return not busy and await self._stack.mode(WORKER_ID) == mode

        await waiting.until(settled, seconds=60)

    async def _tell(
        self, name: str, road: Road, stamps: Sequence[project.Stamp], jobs: Sequence[str], load: float
    ) -> Figures:
        times = [(stamp["handler"] - stamp["started"]) / _MS for stamp in stamps]
        found_by = await self._found_by(jobs)
        median, p99 = statistics.median(times), percentile(times, 0.99)
        held = median <= road.median_max and p99 <= road.p99_max and max(times) <= road.max_max
        print(f"{road.told}: {latency(times)}; found by {_told(found_by)}; load {load:.1f}{verdict(held)}")
        figures = {
            f"latency_{name}_median_ms": median,
            f"latency_{name}_p99_ms": p99,
            f"latency_{name}_max_ms": max(times),
        }
        figures |= {f"latency_{name}_found_by_{road_name}": float(count) for road_name, count in found_by.items()}
        if name == "broadcast":
            figures |= _stages(stamps)
        return figures

    async def _found_by(self, jobs: Sequence[str]) -> Counter[str]:
        rows = await self._stack.owner.execute(
            "select found_by from public.translation_jobs where id = any (%s::uuid[])", [list(jobs)]
        )
        return Counter(row[0] for row in await rows.fetchall())

    # Making jobs

    async def _committed(self) -> Sample:
        """A job of the signed-in user, by SQL; the clock is started before the COMMIT is sent."""
        maker = self._maker
        claims = f'{{"role": "authenticated", "sub": "{self._user.id}"}}'
        await maker.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        await maker.execute("set local role authenticated")
        rows = await maker.execute("select id from public.create_translation_job('\"Good morning.\"', array['es'])")
        row = await rows.fetchone()
        assert row is not None
        started_at = time.monotonic_ns()
        await maker.commit()
        return str(row[0]), started_at

    async def _created(self) -> Sample:
        """The same through the API, with the user's own token, by the official client."""
        arguments = {"p_content": "Good morning.", "p_target_languages": ["es"]}
        started_at = time.monotonic_ns()
        answer = await self._user.client.rpc("create_translation_job", arguments).execute()
        job: Any = answer.data
        return str(uuid.UUID(job["id"])), started_at


def _stages(stamps: Sequence[project.Stamp]) -> Figures:
    """Where the time goes, of samples whose frame came before the claim that found the job."""
    whole = [s for s in stamps if s["started"] < s.get("frame", 0) <= s.get("claim_sent", 0) <= s["handler"]]
    if not whole:
        return {}
    steps = ["started", "frame", "claim_sent", "claim_answered", "handler"]
    figures: Figures = {}
    for since, to in [*itertools.pairwise(steps), ("frame", "handler")]:
        times = [(stamp[to] - stamp[since]) / _MS for stamp in whole]
        label = f"{'commit' if since == 'started' else since.replace('_', ' ')} to {to.replace('_', ' ')}"
        print(f"  {label}: {latency(times)}")
        figures[f"latency_{since}_to_{to}_median_ms"] = statistics.median(times)
    figures["latency_frame_to_handler_p99_ms"] = percentile(times, 0.99)
    return figures


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
