"""How many procedure calls a second the gateway of the local stack answers, or a real PostgREST in its place."""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import psycopg

from scripts import local
from scripts.benches import project, waiting
from scripts.benches.telling import Figures, spread


def add_bench_add(database_url: str) -> None:
    """The trivial procedure `bench_add(a, b)`: what a call costs besides its work."""
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(
            """create or replace function public.bench_add(a int, b int) returns int language sql
               set search_path = '' as $$ select a + b $$;
               grant execute on function public.bench_add(int, int) to service_role;
               notify pgrst, 'reload schema'"""
        )


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`gateway [--postgrest PROGRAM]`: trivial calls a second, 8 connections, the secret key, rounds of 3 s."""
    parser = argparse.ArgumentParser(prog="scripts/bench gateway")
    project.accept_postgrest(parser)
    wanted = parser.parse_args(args)
    rates, answered = [], 0
    async with local.stack(home, postgrest=wanted.postgrest) as env:
        add_bench_add(env["DATABASE_URL"])
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

            async def is_known() -> bool:
                """PostgREST hears of a new function a moment later."""
                async with client.post(url, json={"a": 1, "b": 2}) as answer:
                    return answer.status == 200

            await waiting.until(is_known, seconds=10, every_seconds=0.1)
            await call_until(time.monotonic() + 1)
            before = project.cpu_seconds(env)
            for _ in range(5):
                started = time.monotonic()
                calls = sum(await asyncio.gather(*(call_until(started + 3) for _ in range(8))))
                rates.append(calls / (time.monotonic() - started))
                answered += calls
            spent = {name: (after - before[name]) / answered * 1000 for name, after in project.cpu_seconds(env).items()}
    print(f"gateway: {spread(rates, 'RPC/s')}, 8 connections, client on the same cores")
    print("processor, ms a call: " + ", ".join(f"{name} {milliseconds:.2f}" for name, milliseconds in spent.items()))
    return {
        "gateway_rpc_per_second": statistics.median(rates),
        **{f"gateway_{name}_cpu_ms_per_call": milliseconds for name, milliseconds in spent.items()},
    }
