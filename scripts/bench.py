"""
Measurements of the whole, each against processes as they are in use.

Owns what is measured and how it is told: medians with their spread, the command beside the figure. Timing
lives here and not in tests, because a busy machine must not fail a build.
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

import aiohttp
import psycopg

from scripts import bench_claim, local

Figures = dict[str, float]


def spread(values: Sequence[float], unit: str) -> str:
    return (
        f"median {statistics.median(values):.3g} {unit} (from {min(values):.3g} to {max(values):.3g}, n={len(values)})"
    )


async def bench_stack(home: Path) -> Figures:
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


async def bench_gateway(home: Path) -> Figures:
    """Trivial procedure calls a second: 8 connections, the secret key, rounds of 3 s."""
    rates = []
    async with local.stack(home) as env:
        with psycopg.connect(env["DATABASE_URL"], autocommit=True) as owner:
            owner.execute(
                """create or replace function public.bench_add(a int, b int) returns int language sql
                   set search_path = '' as $$ select a + b $$;
                   grant execute on function public.bench_add(int, int) to service_role;
                   notify pgrst, 'reload schema'"""
            )
        url = f"{env['SUPABASE_URL']}/rest/v1/rpc/bench_add"
        headers = {"apikey": env["SUPABASE_SECRET_KEY"], "Content-Profile": "public"}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8), headers=headers) as client:

            async def call_until(deadline: float) -> int:
                calls = 0
                while time.monotonic() < deadline:
                    async with client.post(url, json={"a": 1, "b": 2}) as answer:
                        assert await answer.json() == 3
                    calls += 1
                return calls

            await call_until(time.monotonic() + 1)
            for _ in range(5):
                started = time.monotonic()
                calls = await asyncio.gather(*(call_until(started + 3) for _ in range(8)))
                rates.append(sum(calls) / (time.monotonic() - started))
    print(f"gateway: {spread(rates, 'RPC/s')}, 8 connections, client on the same cores")
    return {"gateway_rpc_per_second": statistics.median(rates)}


async def bench_memory(home: Path) -> Figures:
    """Resident memory of an idle worker that listens, half a minute after it was ready."""
    async with local.stack(home) as env:
        settings = local.worker_environment(env, TRANSLATOR="pseudo", PORT="0")
        async with local.running("run", home=home, until="Realtime subscription active", environment=settings) as pid:
            await asyncio.sleep(30)
            megabytes = resident_megabytes(pid)
    print(f"idle worker: {megabytes:.0f} MB resident")
    return {"idle_worker_megabytes": megabytes}


def resident_megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure_claim(home: Path) -> Figures:
    """Blocks of a claim in every shape of a queue, and the list of a user with a million jobs."""
    return await asyncio.to_thread(bench_claim.run, home)


BENCHES: dict[str, Callable[[Path], Coroutine[None, None, Figures]]] = {
    "stack": bench_stack,
    "gateway": bench_gateway,
    "memory": bench_memory,
    "claim": measure_claim,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the whole.")
    parser.add_argument("bench", choices=[*BENCHES, "all"], nargs="?", default="all")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    wanted = parser.parse_args()
    figures: Figures = {}
    for name in BENCHES if wanted.bench == "all" else [wanted.bench]:
        with tempfile.TemporaryDirectory(prefix="bench-") as home:
            figures |= asyncio.run(BENCHES[name](Path(home)))
    if wanted.json:
        wanted.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
