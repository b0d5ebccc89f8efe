"""
Creating jobs through REST, from one client: one after the other as a signed-in user, and in batches as the owner.

Credits are on, so that each job is priced and reserved. No worker runs: whoever creates waits for the database alone.
*official* is the user's `supabase` client, *plain* the call that the worker itself makes, with the same user's token.
"""

import argparse
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from scripts.benches import backlog, project
from scripts.benches.telling import Figures, latency, percentile, spread, verdict
from worker.rpc import Rpc
from worker.rpc_direct import DirectRpc

BATCH = 100
CREATE_MS_MAX = 8.0
JOBS_A_SECOND_MIN = 1_500
_ROUNDS = 5
_BATCHES = 20
_WARM_UP = 10
_ARGUMENTS = {"p_content": "Good morning.", "p_target_languages": ["es"]}

Create = Callable[[], Awaitable[Any]]


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`create [--samples 200]`: of each client, in five interleaved rounds; and 5 × 20 batches of 100 jobs."""
    parser = argparse.ArgumentParser(prog="scripts/bench create")
    parser.add_argument("--samples", type=int, default=200)
    samples = parser.parse_args(args).samples
    async with project.stack(home) as stack:
        await backlog.prepare(stack, price=1)
        return await _one_by_one(stack, samples) | await _batches(stack)


async def _one_by_one(stack: project.Stack, samples: int) -> Figures:
    user = await project.sign_up(stack.env)
    await stack.owner.execute("select public.grant_translation_credits(%s, %s)", [user.id, project.CREATES_A_MINUTE])
    session = await user.client.auth.get_session()
    assert session is not None
    where = (stack.env["SUPABASE_URL"], stack.env["SUPABASE_PUBLISHABLE_KEY"])
    plain = DirectRpc(*where, access_token=session.access_token)

    async def official() -> Any:
        return await user.client.rpc("create_translation_job", _ARGUMENTS).execute()

    roads: dict[str, Create] = {
        "official": official,
        "plain": lambda: plain.call("create_translation_job", _ARGUMENTS),
    }
    times: dict[str, list[float]] = {name: [] for name in roads}
    busy = dict.fromkeys(roads, 0.0)
    for create in roads.values():
        for _ in range(_WARM_UP):
            await create()
    for _ in range(_ROUNDS):
        for name, create in roads.items():
            processor_at = time.process_time()
            times[name] += [await _took_ms(create) for _ in range(max(1, samples // _ROUNDS))]
            busy[name] += (time.process_time() - processor_at) * 1000
    await plain.close()
    figures: Figures = {}
    for name, values in times.items():
        figures |= tell_client(name, values, busy[name] / len(values))
    return figures


def tell_client(name: str, times_ms: Sequence[float], processor_ms: float) -> Figures:
    median = statistics.median(times_ms)
    print(
        f"create, {name} client: {latency(times_ms)}; {processor_ms:.2f} ms of its processor"
        f"{verdict(median <= CREATE_MS_MAX)}"
    )
    return {
        f"create_{name}_median_ms": median,
        f"create_{name}_p99_ms": percentile(times_ms, 0.99),
        f"create_{name}_processor_ms": processor_ms,
    }


async def _batches(stack: project.Stack) -> Figures:
    await backlog.grant(stack, (_ROUNDS + 1) * _BATCHES * BATCH)
    owner = DirectRpc(stack.env["SUPABASE_URL"], stack.env["SUPABASE_SECRET_KEY"])
    users = [str(await stack.value("select md5('user ' || %s)::uuid", str(n))) for n in range(backlog.USERS)]
    await _batch_round(owner, users)
    rates = []
    stack_before = stack.cpu_seconds()
    for _ in range(_ROUNDS):
        rates.append(_BATCHES * BATCH / await _batch_round(owner, users))
    jobs = _ROUNDS * _BATCHES * BATCH
    spent = {name: (after - stack_before[name]) / jobs * 1000 for name, after in stack.cpu_seconds().items()}
    await owner.close()
    return tell_batches(rates, spent["gateway"], spent["postgres"])


def tell_batches(rates: Sequence[float], gateway_ms: float, postgres_ms: float) -> Figures:
    """*rates* in jobs a second; processor time of a job."""
    median = statistics.median(rates)
    print(
        f"create, batches of {BATCH}: {spread(rates, 'jobs/s')}; a job costs Postgres {postgres_ms:.2f} ms "
        f"and the gateway {gateway_ms:.2f}{verdict(median >= JOBS_A_SECOND_MIN)}"
    )
    return {
        "create_batch_jobs_per_second": median,
        "create_batch_gateway_cpu_ms_per_job": gateway_ms,
        "create_batch_postgres_cpu_ms_per_job": postgres_ms,
    }


async def _batch_round(owner: Rpc, users: Sequence[str]) -> float:
    """Seconds for all batches, one after the other."""
    jobs = [
        {
            "p_job_type": "translation",
            "p_content": "Good morning.",
            "p_items": ["es"],
            "p_user_id": users[n % len(users)],
        }
        for n in range(BATCH)
    ]
    started = time.perf_counter()
    for _ in range(_BATCHES):
        assert len(await owner.call("enqueue_translation_jobs", {"p_jobs": jobs})) == BATCH
    return time.perf_counter() - started


async def _took_ms(create: Create) -> float:
    started = time.perf_counter()
    await create()
    return (time.perf_counter() - started) * 1000
