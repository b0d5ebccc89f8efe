"""
More worker processes: jobs of 50 ms provider time on 9 slots each, so that the provider and not the machine is slow.

All workers are there before the jobs are, which come in one commit. The rate is that of the middle three fifths.
"""

import argparse
import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg

from scripts.benches import backlog, project, worker_process
from scripts.benches.telling import Figures, spread, verdict

PROCESSES = (1, 2, 4, 8)
SLOTS = 9
WORK_MS = 50
JOBS_EACH = 1_500
FOUR_TO_ONE_MIN = 3.5
_DRAIN_SECONDS = 300.0


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`scale [--processes 1,2,4,8] [--rounds 3]`."""
    parser = argparse.ArgumentParser(prog="scripts/bench scale")
    parser.add_argument("--processes", default=",".join(map(str, PROCESSES)))
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args(args)
    counts = [int(count) for count in wanted.processes.split(",")]
    rates: dict[int, list[float]] = {count: [] for count in counts}
    async with project.stack(home) as stack:
        for _ in range(wanted.rounds):  # interleaved, so that the machine's moods hit all alike
            for count in counts:
                rates[count].append(await _round(home, stack, count))
    medians = {count: statistics.median(values) for count, values in rates.items()}
    for count, values in rates.items():
        share = medians[count] / ideal(count)
        print(f"{count} processes: {spread(values, 'jobs/s')}; {share:.0%} of what the provider would allow")
    figures: Figures = {}
    for count, values in rates.items():
        ends = {"": medians[count], "_min": min(values), "_max": max(values)}
        figures |= {f"scale_{count}_jobs_per_second{end}": value for end, value in ends.items()}
    if 1 in medians and 4 in medians:
        factor = figures["scale_4_to_1"] = medians[4] / medians[1]
        print(f"1 to 4 processes: {factor:.2f} times{verdict(factor >= FOUR_TO_ONE_MIN)}")
    return figures


def ideal(processes: int) -> float:
    """Jobs a second that the provider would allow."""
    return processes * SLOTS / WORK_MS * 1000


async def _round(home: Path, stack: project.Stack, count: int) -> float:
    await backlog.empty(stack)
    environment = project.worker_environment(
        stack.env, MAX_CONCURRENT_JOBS=str(SLOTS), LOG_LEVEL="WARNING", BENCH_WORK_MS=str(WORK_MS)
    )
    async with (
        AsyncExitStack() as workers,
        await psycopg.AsyncConnection.connect(stack.env["DATABASE_URL"]) as maker,
    ):
        for n in range(count):
            await workers.enter_async_context(worker_process.running(home, environment, name=f"run-{n}"))
        await backlog.enqueue(maker, count * JOBS_EACH)
        await maker.commit()
        return (await backlog.drained(stack, count * JOBS_EACH, seconds=_DRAIN_SECONDS)).steady_rate
