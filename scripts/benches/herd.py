"""
Many workers on one project: what an insert costs when all of them hear it, and how they come back when all are cut off.

The workers are whole ones in one process, each with its own socket, so that fifty fit on a laptop. Counted is what they
ask the server for; times are coarse here, because fifty workers share one core.
"""

import argparse
import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from loguru import logger

from scripts.benches import project, waiting
from scripts.benches.telling import Figures, percentile, verdict
from worker import app as service
from worker import settings as chosen
from worker.handlers import ItemContext
from worker.models import ItemResult

STEPS = (1, 2, 5, 10, 20, 50)
JOBS = 20
CLAIMS_BY_TWO_MAX = 2.0
_QUIET_SECONDS = 1.5  # longer than both roads and a herd's own delays take
_BACK_SECONDS = 120.0
_EVERY_SECONDS = 0.1
_BEAT = ("heartbeat_translation_worker", "ok")
_BEAT_SECONDS = 60.0


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`herd [--workers 50] [--jobs 20]`."""
    parser = argparse.ArgumentParser(prog="scripts/bench herd")
    parser.add_argument("--workers", type=int, default=STEPS[-1])
    parser.add_argument("--jobs", type=int, default=JOBS, help="0: only the return")
    wanted = parser.parse_args(args)
    logger.remove()  # fifty workers would tell all about it
    figures: Figures = {}
    async with project.stack(home) as stack, herd(stack.env) as workers:
        for count in [step for step in STEPS if step <= wanted.workers]:
            await workers.grow(count)
            if wanted.jobs:
                figures |= await measure_claims(stack, workers, wanted.jobs)
        for code in (1012, 1006):
            figures |= await measure_return(stack, workers, code)
    return figures


class Herd:
    def __init__(self, env: Mapping[str, str], group: asyncio.TaskGroup) -> None:
        self.apps: list[service.App] = []
        self._env = env
        self._group = group

    async def grow(self, count: int) -> None:
        """Have *count* workers, all of them listening, told how many they are, and quiet."""
        while len(self.apps) < count:
            app = self._new(f"bench-{len(self.apps)}")
            self.apps.append(app)
            self._group.create_task(app.run())
        await waiting.until(self.all_listen, seconds=_BACK_SECONDS)
        beats = [app.counters.store_calls[_BEAT] for app in self.apps]

        def told() -> bool:
            return all(app.counters.store_calls[_BEAT] > had for app, had in zip(self.apps, beats, strict=True))

        await waiting.until(told, seconds=_BEAT_SECONDS)
        await self.quiet()

    def all_listen(self) -> bool:
        return all(app.listener.mode == "realtime" for app in self.apps)

    def claims(self) -> int:
        return sum(app.counters.claims.total() for app in self.apps)

    def rung_by(self) -> Counter[str]:
        """The claims by what rang for them."""
        return sum((app.counters.claims for app in self.apps), Counter[str]())

    def calls(self) -> int:
        return sum(app.counters.store_calls.total() for app in self.apps)

    async def quiet(self) -> None:
        """Wait until nobody has claimed for a while."""
        seen, since = self.claims(), time.monotonic()
        while time.monotonic() - since < _QUIET_SECONDS:
            await asyncio.sleep(_EVERY_SECONDS)
            if self.claims() != seen:
                seen, since = self.claims(), time.monotonic()

    def _new(self, worker_id: str) -> service.App:
        settings = chosen.load(
            None,
            supabase_url=self._env["SUPABASE_URL"],
            supabase_secret_key=self._env["SUPABASE_SECRET_KEY"],
            worker_id=worker_id,
        )
        return service.App(settings, {"translation": _nothing}, lambda: (("*", "*"),))


async def _nothing(_: ItemContext) -> ItemResult:
    return ItemResult(content="", provider="bench")


@asynccontextmanager
async def herd(env: Mapping[str, str]) -> AsyncIterator[Herd]:
    async with asyncio.TaskGroup() as group:
        workers = Herd(env, group)
        yield workers
        for app in workers.apps:
            app.ask_to_stop()
    for app in workers.apps:
        await app.store.close()


async def measure_claims(stack: project.Stack, workers: Herd, jobs: int) -> Figures:
    """Claim calls of all workers together for one job that comes alone."""
    costs: list[int] = []
    rung_by: Counter[str] = Counter()
    for _ in range(jobs):
        await workers.quiet()
        before, rung_before = workers.claims(), workers.rung_by()
        await stack.owner.execute(
            "select public.enqueue_translation_job('translation', '\"Good morning.\"', array['es'])"
        )
        await workers.quiet()
        costs.append(workers.claims() - before)
        rung_by += workers.rung_by() - rung_before
    left = await stack.value("select count(*) from public.translation_jobs where status <> 'completed'")
    assert left == 0, f"{left} jobs were not done"
    count, mean = len(workers.apps), statistics.mean(costs)
    held = count != 2 or mean <= CLAIMS_BY_TWO_MAX
    print(
        f"{count} workers: {mean:.2f} claim calls for one job (from {min(costs)} to {max(costs)}, n={jobs}); "
        f"rung by {', '.join(f'{name} {times}' for name, times in rung_by.most_common())}{verdict(held)}",
        flush=True,
    )
    return {f"herd_{count}_claims_per_job": mean, f"herd_{count}_claims_per_job_max": float(max(costs))}


async def measure_return(stack: project.Stack, workers: Herd, code: int) -> Figures:
    """All sockets closed at once: when everybody is back, and what that asks of the server."""
    await waiting.until(workers.all_listen, seconds=_BACK_SECONDS)
    await workers.quiet()
    ended = [app.counters.sessions.total() for app in workers.apps]

    def all_back() -> bool:
        cut_off = all(app.counters.sessions.total() > had for app, had in zip(workers.apps, ended, strict=True))
        return cut_off and workers.all_listen()

    before, closed_at = workers.calls(), time.monotonic()
    await stack.close_sockets(code)
    calls: Counter[int] = Counter()
    seen = before
    while not all_back():
        if time.monotonic() - closed_at > _BACK_SECONDS:
            raise SystemExit("Not every worker came back.")
        await asyncio.sleep(_EVERY_SECONDS)
        calls[int(time.monotonic() - closed_at)] += workers.calls() - seen
        seen = workers.calls()
    back = [app.listener.mode_since - closed_at for app in workers.apps]
    count, total = len(workers.apps), seen - before
    print(
        f"{count} workers cut off with {code}: back after {_spread(back)}; "
        f"{total} REST calls meanwhile, at most {max(calls.values())} in one second",
        flush=True,
    )
    return {
        f"herd_{code}_back_median_seconds": statistics.median(back),
        f"herd_{code}_back_max_seconds": max(back),
        f"herd_{code}_calls": float(total),
        f"herd_{code}_calls_in_a_second_max": float(max(calls.values())),
    }


def _spread(seconds: Sequence[float]) -> str:
    return (
        f"{min(seconds):.1f} to {max(seconds):.1f} s, median {statistics.median(seconds):.1f}, "
        f"nine in ten by {percentile(seconds, 0.9):.1f}"
    )
