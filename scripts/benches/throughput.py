"""
Empty jobs a second: 20 000 jobs of one item at price 1, all settled, one worker process over the local gateway.

From the first claim to the last item settled, by the database's clock. A real PostgREST may stand in the gateway's
place. What the worker, and the stack with its Postgres, took of the two cores is told beside it, because all of them
share these.
"""

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from scripts.benches import backlog, project, worker_process
from scripts.benches.telling import Figures, spread, verdict

JOBS = 20_000
SLOTS = 500
JOBS_A_SECOND_MIN = 3_000
CALLS_A_JOB_MAX = 0.05
MEGABYTES_MAX = 140
_DRAIN_SECONDS = 600.0


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`throughput [--jobs 20000] [--rounds 5] [--slots 500] [--postgrest PROGRAM]`."""
    parser = argparse.ArgumentParser(prog="scripts/bench throughput")
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slots", type=int, default=SLOTS)
    project.accept_postgrest(parser)
    wanted = parser.parse_args(args)
    rounds: list[Figures] = []
    async with project.stack(home, postgrest=wanted.postgrest) as stack:
        await backlog.prepare(stack, price=1)
        # One line a job at INFO is meant for jobs that take seconds.
        environment = project.worker_environment(stack.env, MAX_CONCURRENT_JOBS=str(wanted.slots), LOG_LEVEL="WARNING")
        for _ in range(wanted.rounds):
            await backlog.fill(stack, wanted.jobs)
            rounds.append(await _round(home, stack, environment, wanted.jobs))
            print("round: " + ", ".join(f"{name} {value:.4g}" for name, value in rounds[-1].items()), flush=True)
    rate = [figures["jobs_per_second"] for figures in rounds]
    figures = {f"throughput_{name}": statistics.median(figures[name] for figures in rounds) for name in rounds[0]}
    held = figures["throughput_jobs_per_second"] >= JOBS_A_SECOND_MIN
    held &= figures["throughput_calls_per_job"] <= CALLS_A_JOB_MAX
    held &= figures["throughput_worker_megabytes"] <= MEGABYTES_MAX
    print(
        f"throughput: {spread(rate, 'jobs/s')}, {figures['throughput_calls_per_job']:.3f} calls a job, "
        f"{figures['throughput_worker_megabytes']:.0f} MB{verdict(held)}"
    )
    return figures


async def _round(home: Path, stack: project.Stack, environment: dict[str, str], jobs: int) -> Figures:
    stack_before = stack.cpu_seconds()
    async with worker_process.running(home, environment) as worker:
        drained = await backlog.drained(stack, jobs, seconds=_DRAIN_SECONDS)
        await backlog.check_money(stack, jobs)
        calls = sum((await worker.metrics("worker_store_calls_total")).values())
        spent = {name: after - stack_before[name] for name, after in stack.cpu_seconds().items()}
        return {
            "jobs_per_second": jobs / drained.seconds,
            "steady_jobs_per_second": drained.steady_rate,
            "calls_per_job": calls / jobs,
            "worker_cpu_ms_per_job": worker.cpu_seconds() / jobs * 1000,
            **{f"{name}_cpu_ms_per_job": seconds / jobs * 1000 for name, seconds in spent.items()},
            "worker_megabytes": worker.megabytes(),
        }
