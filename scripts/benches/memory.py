"""What a worker weighs."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from scripts import local
from scripts.benches.telling import Figures, verdict

MEGABYTES_MAX = 75


async def run(home: Path, _args: Sequence[str]) -> Figures:
    """Resident memory of an idle worker that listens, half a minute after it was ready."""
    async with local.stack(home) as env:
        settings = local.worker_environment(env, TRANSLATOR="pseudo", PORT="0")
        async with local.running("run", home=home, until="Realtime subscription active", environment=settings) as pid:
            await asyncio.sleep(30)
            megabytes = resident_megabytes(pid)
    print(f"idle worker: {megabytes:.0f} MB resident{verdict(megabytes <= MEGABYTES_MAX)}")
    return {"idle_worker_megabytes": megabytes}


def resident_megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
