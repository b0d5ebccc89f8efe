"""How many procedure calls a second the gateway of the local stack answers."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import psycopg

from scripts import local
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


async def run(home: Path, _args: Sequence[str]) -> Figures:
    """Trivial procedure calls a second: 8 connections, the secret key, rounds of 3 s."""
    rates = []
    async with local.stack(home) as env:
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

            await call_until(time.monotonic() + 1)
            for _ in range(5):
                started = time.monotonic()
                calls = await asyncio.gather(*(call_until(started + 3) for _ in range(8)))
                rates.append(sum(calls) / (time.monotonic() - started))
    print(f"gateway: {spread(rates, 'RPC/s')}, 8 connections, client on the same cores")
    return {"gateway_rpc_per_second": statistics.median(rates)}
