"""Five hundred live streams on one worker: what they ask of the database, weigh, and cost the API beside them."""

import argparse
import asyncio
import contextlib
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import jwt

from scripts.benches import project, waiting, worker_process
from scripts.benches.telling import Figures, latency, percentile

STREAMS = 500
QUIET_SECONDS = 20
BUSY_ROUNDS = 15
REQUESTS = 300
WATCH = 'function="watch_translation_users"'


async def run(home: Path, args: Sequence[str]) -> Figures:
    """Streams of as many users, each with a job: first nothing changes, then a tenth of them each second, then all."""
    parser = argparse.ArgumentParser(prog="scripts/bench sse")
    parser.add_argument("--streams", type=int, default=STREAMS)
    count = parser.parse_args(args).streams
    async with project.stack(home) as stack:
        env = project.worker_environment(
            stack.env,
            SUPABASE_PUBLISHABLE_KEY=stack.env["SUPABASE_PUBLISHABLE_KEY"],
            SUPABASE_JWT_SECRET=stack.env["JWT_SECRET"],
        )
        users = await with_a_job(stack, count + 1)
        async with worker_process.running(home, env) as worker:
            return await measured(stack, worker, users)


async def with_a_job(stack: project.Stack, count: int) -> list[str]:
    """Users, each with a job for tomorrow: unfinished, and nobody's to take."""
    users = [str(uuid.uuid4()) for _ in range(count)]
    await stack.owner.execute("insert into auth.users (id) select unnest(%s::uuid[])", [users])
    await stack.owner.execute(
        """select public.enqueue_translation_job('translation', '"Good morning."', array['es', 'fr', 'de'],
             p_user_id => u, p_run_at => now() + interval '1 day') from unnest(%s::uuid[]) as u""",
        [users],
    )
    return users


class Crowd:
    """The streams, and when each change was seen."""

    def __init__(self, url: str, secret: str, http: aiohttp.ClientSession) -> None:
        self._url = url
        self._secret = secret
        self._http = http
        self.open = 0
        self.resyncs = 0
        self.changed_at: dict[int, float] = {}
        self.lags: list[float] = []

    def headers(self, user: str) -> dict[str, str]:
        claims = {"sub": user, "aud": "authenticated", "role": "authenticated", "exp": int(time.time()) + 3600}
        return {"Authorization": f"Bearer {jwt.encode(claims, self._secret, 'HS256')}"}

    async def listen(self, user: str) -> None:
        async with self._http.get(f"{self._url}/api/stream", headers=self.headers(user)) as answer:
            assert answer.status == 200, await answer.text()
            name = b""
            async for line in answer.content:
                if line.startswith(b"event: "):
                    name = line[7:].strip()
                    self.resyncs += name == b"resync"
                elif line.startswith(b"data: ") and name == b"snapshot":
                    self.open += 1
                elif line.startswith(b"data: ") and name == b"job":
                    changed_at = self.changed_at.get(json.loads(line[6:])["progress"])
                    if changed_at is not None:
                        self.lags.append((time.perf_counter() - changed_at) * 1000)

    async def answered(self, user: str) -> list[float]:
        """Milliseconds of requests one after the other."""
        took = []
        for number in range(REQUESTS):
            path = ("/api/jobs", "/api/credits", "/api/jobs/counts")[number % 3]
            started = time.perf_counter()
            async with self._http.get(self._url + path, headers=self.headers(user)) as answer:
                await answer.read()
                assert answer.status == 200
            took.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.02)
        return took


@contextlib.asynccontextmanager
async def listening(crowd: Crowd, users: Sequence[str]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = []
        for place, user in enumerate(users):
            tasks.append(group.create_task(crowd.listen(user)))
            if place % 20 == 19:
                await asyncio.sleep(0.05)  # browsers do not all come in the same instant
        await waiting.until(lambda: crowd.open >= len(users), seconds=60)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def measured(stack: project.Stack, worker: worker_process.WorkerProcess, users: list[str]) -> Figures:
    *listeners, other = users
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as http:
        crowd = Crowd(worker.url, stack.env["JWT_SECRET"], http)
        figures: Figures = {}
        await crowd.answered(other)  # whatever is made at the first request is made
        idle_megabytes = worker.megabytes()
        alone = await crowd.answered(other)
        print(f"API alone: {latency(alone)}")
        async with listening(crowd, listeners):
            asked, started, cpu = await questions(worker), time.perf_counter(), worker.cpu_seconds()
            quiet = await crowd.answered(other)
            await asyncio.sleep(max(0.0, QUIET_SECONDS - (time.perf_counter() - started)))
            seconds = time.perf_counter() - started
            figures["sse_questions_a_second"] = (await questions(worker) - asked) / seconds
            figures["sse_megabytes_more"] = worker.megabytes() - idle_megabytes
            busy = (worker.cpu_seconds() - cpu) / seconds * 100
            print(
                f"{len(listeners)} streams, nothing changes: {figures['sse_questions_a_second']:.2f} questions a "
                f"second, {figures['sse_megabytes_more']:.0f} MB more, {busy:.0f} % of a core; API {latency(quiet)}"
            )
            figures["sse_quiet_api_p99_ms"] = percentile(quiet, 0.99)
            for share in (10, 1):
                crowd.lags.clear()
                changing = asyncio.create_task(change(stack, crowd, listeners[::share], base=10 if share == 10 else 50))
                asked, started, cpu = await questions(worker), time.perf_counter(), worker.cpu_seconds()
                took = await crowd.answered(other)
                await changing
                await asyncio.sleep(1.5)
                seconds = time.perf_counter() - started
                busy = (worker.cpu_seconds() - cpu) / seconds * 100
                rate = (await questions(worker) - asked) / seconds
                print(
                    f"{len(listeners) // share} jobs change each second: {len(crowd.lags)} events, database to client "
                    f"{latency(crowd.lags)}, p95 {percentile(crowd.lags, 0.95):.0f} ms; {rate:.2f} questions a second, "
                    f"{busy:.0f} % of a core; API {latency(took)}"
                )
                figures[f"sse_api_p99_ms_1_in_{share}"] = percentile(took, 0.99)
                figures[f"sse_lag_p95_ms_1_in_{share}"] = percentile(crowd.lags, 0.95)
            figures["sse_megabytes_more_after"] = worker.megabytes() - idle_megabytes
            print(f"{figures['sse_megabytes_more_after']:.0f} MB more afterwards; {crowd.resyncs} resyncs")
        return figures


async def change(stack: project.Stack, crowd: Crowd, users: Sequence[str], *, base: int) -> None:
    for number in range(BUSY_ROUNDS):
        await stack.owner.execute(
            """update public.translation_jobs set progress = %s, updated_at = clock_timestamp()
               where user_id = any (%s::uuid[]) and status = 'scheduled'""",
            [base + number, list(users)],
        )
        crowd.changed_at[base + number] = time.perf_counter()
        await asyncio.sleep(random.uniform(0.7, 1.3))  # not in step with the questions


async def questions(worker: worker_process.WorkerProcess) -> float:
    calls = await worker.metrics("worker_store_calls_total")
    return sum(value for labels, value in calls.items() if WATCH in labels)
