"""What Realtime sessions leave behind: memory, tasks and descriptors of a worker that is cut off again and again."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.benches import project, waiting, worker_process
from scripts.benches.telling import Figures, verdict

# The first ones fill pools and caches; what they take is not growth.
WARM_UP = 10
GROWTH_MB_MAX = 5.0
CODE = 1012  # what the platform says when it restarts
_BACK_SECONDS = 60.0
_TELL_EVERY = 50


@dataclass(frozen=True)
class Weight:
    megabytes: float
    tasks: int
    descriptors: int

    def __str__(self) -> str:
        return f"{self.megabytes:.1f} MB, {self.tasks} tasks, {self.descriptors} descriptors"


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`reconnects [--times 200]`."""
    parser = argparse.ArgumentParser(prog="scripts/bench reconnects")
    parser.add_argument("--times", type=int, default=200)
    times = parser.parse_args(args).times
    async with project.stack(home) as stack, project.stamps() as stamps:
        environment = project.worker_environment(stack.env, stamps.port, WORKER_ID="bench")
        async with worker_process.running(home, environment) as worker:

            async def weigh() -> Weight:
                job_id = await stack.value(project.ENQUEUE)
                stamp = await stamps.of(str(job_id), seconds=_BACK_SECONDS)
                return Weight(worker.megabytes(), stamp["tasks"], worker.descriptors())

            await _reconnect(stack, worker, WARM_UP)
            before, started = await weigh(), time.monotonic()
            print(f"before: {before}", flush=True)
            for done in range(0, times, _TELL_EVERY):
                await _reconnect(stack, worker, min(_TELL_EVERY, times - done))
                print(f"after {min(done + _TELL_EVERY, times)}: {await weigh()}", flush=True)
            after = await weigh()
    growth = after.megabytes - before.megabytes
    held = abs(growth) <= GROWTH_MB_MAX and after.tasks <= before.tasks
    print(f"{times} reconnects in {time.monotonic() - started:.0f} s: {growth:+.1f} MB{verdict(held)}")
    return {
        "reconnects": float(times),
        "reconnects_growth_megabytes": growth,
        "reconnects_more_tasks": float(after.tasks - before.tasks),
        "reconnects_more_descriptors": float(after.descriptors - before.descriptors),
    }


async def _reconnect(stack: project.Stack, worker: worker_process.WorkerProcess, times: int) -> None:
    for _ in range(times):
        ended = sum((await worker.metrics("worker_realtime_sessions_ended_total")).values())

        async def is_back(ended: float = ended) -> bool:
            now_ended = sum((await worker.metrics("worker_realtime_sessions_ended_total")).values())
            return now_ended > ended and await worker.listens()

        await stack.close_sockets(CODE)
        await waiting.until(is_back, seconds=_BACK_SECONDS)
