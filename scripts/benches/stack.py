"""How long the local stack takes to start."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from scripts import local
from scripts.benches.telling import Figures, spread


async def run(home: Path, _args: Sequence[str]) -> Figures:
    """From the command to `Stack ready`, after the first initdb."""
    async with local.stack(home):
        pass
    seconds = []
    for _ in range(5):
        started = time.monotonic()
        async with local.stack(home):
            seconds.append(time.monotonic() - started)
    print(f"stack ready: {spread(seconds, 's')}")
    return {"stack_ready_seconds": statistics.median(seconds)}
