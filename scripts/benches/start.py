"""
A cold start: from the start of the process `worker run` to its first claim answered, and to the first handler.

A job waits, so the first claim brings it. Each start is a process of its own on a stack that is up; the files are in
the system's cache and compiled, as in a container. The processor time of the worker stands beside the time: on a busy
machine it says more.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from scripts import local
from scripts.benches import project, worker_process
from scripts.benches.telling import Figures, spread, verdict

CLAIM_SECONDS_MAX = 1.2
_ANSWER_SECONDS = 60.0
_NS = 1e9


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`start [--rounds 15]`."""
    parser = argparse.ArgumentParser(prog="scripts/bench start")
    parser.add_argument("--rounds", type=int, default=15)
    wanted = parser.parse_args(args)
    rounds: list[Figures] = []
    async with project.stack(home) as stack, project.stamps() as stamps:
        for number in range(wanted.rounds + 1):
            figures = await _round(home, stack, stamps)
            if number:  # the first one fills the caches
                rounds.append(figures)
    return tell(rounds)


def tell(rounds: Sequence[Figures]) -> Figures:
    values = {name: [figures[name] for figures in rounds] for name in rounds[0]}
    medians = {name: statistics.median(of) for name, of in values.items()}
    held = medians["claim_seconds"] <= CLAIM_SECONDS_MAX
    print(f"process start to first claim: {spread(values['claim_seconds'], 's')}{verdict(held)}")
    print(f"process start to first handler: {spread(values['handler_seconds'], 's')}")
    print(f"processor until then: {spread(values['processor_seconds'], 's')}")
    return {f"start_{name}": median for name, median in medians.items()}


async def _round(home: Path, stack: project.Stack, stamps: project.Stamps) -> Figures:
    job_id = str(await stack.value(project.ENQUEUE))
    environment = project.worker_environment(stack.env, stamps.port)
    started_at = time.monotonic_ns()
    async with local.running("run", home=home, until="", environment=environment) as pid:
        stamp = await stamps.of(job_id, seconds=_ANSWER_SECONDS)
        processor = worker_process.cpu_seconds(pid)
    return {
        "claim_seconds": (stamp["claim_answered"] - started_at) / _NS,
        "handler_seconds": (stamp["handler"] - started_at) / _NS,
        "processor_seconds": processor,
    }
