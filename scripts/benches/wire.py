"""
What another wire format or JSON library would save the worker: processor time of its own side, in interleaved rounds.

*Calls*: a POST as the worker sends it, over aiohttp and over httpx with HTTP/1.1 and with HTTP/2, against a server of
all of them that answers with a file. No TLS on either, which both would pay alike; and no gateway of a hosted project,
whose own side nobody here can measure. *JSON*: what a claim of 500 jobs brings and what their results are written as,
both real, by `json` and by `orjson`.
"""

import asyncio
import importlib
import json
import socket
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import httpx

from scripts import local
from scripts.benches import backlog, project, waiting
from scripts.benches.telling import Figures, spread
from worker import models, rpc
from worker.rpc_direct import DirectRpc

JOBS = 500
LONG_CHARS = 2_000
SERVER = Path(__file__).parent / "drivers/canned.py"
_ROUNDS = 7
_RUNS = 20
_CALLS = {"small": 300, "large": 30}
_BODY = b'{"p_worker_id":"bench","p_limit":500,"p_lease_ms":30000,"p_job_types":["translation"],"p_found_by":"poll"}'
_HEADERS = {
    "apikey": "sb_secret_" + "x" * 32,
    "Authorization": "Bearer sb_secret_" + "x" * 32,
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Content-Profile": "public",
}

Call = Callable[[str], Awaitable[bytes]]
Json = tuple[Callable[[Any], bytes], Callable[[bytes], Any]]
"""Writes, reads."""


async def run(home: Path, _args: Sequence[str]) -> Figures:
    """`wire`. Needs the extra `wire`; says so where it is missing."""
    try:
        orjson: Any = importlib.import_module("orjson")
        importlib.import_module("hypercorn")
    except ImportError as error:
        print(f"wire: NOT RUN, {error.name} is not installed (pip install -e '.[wire]')", flush=True)
        return {}
    rows = await _claimed(home)
    libraries: dict[str, Json] = {"json": (rpc.write, json.loads), "orjson": (orjson.dumps, orjson.loads)}
    figures = measure_json(rows, libraries, "short")
    figures |= measure_json(
        [row | {"content": "Good morning. " * (LONG_CHARS // 14)} for row in rows], libraries, "long"
    )
    return figures | await _measure_calls(home, rpc.write(rows))


async def _claimed(home: Path) -> list[dict[str, Any]]:
    """What a real claim of 500 jobs brings."""
    async with project.stack(home) as stack:
        await backlog.prepare(stack, price=1)
        await backlog.fill(stack, JOBS)
        road = DirectRpc(stack.env["SUPABASE_URL"], stack.env["SUPABASE_SECRET_KEY"])
        arguments = {
            "p_worker_id": "bench",
            "p_limit": JOBS,
            "p_lease_ms": 30_000,
            "p_job_types": ["translation"],
            "p_claim_id": str(uuid.uuid4()),
        }
        rows: list[dict[str, Any]] = await road.call("claim_translation_jobs", arguments)
        await road.close()
    assert len(rows) == JOBS
    return rows


# JSON


def measure_json(rows: Sequence[Mapping[str, Any]], libraries: Mapping[str, Json], name: str) -> Figures:
    """Processor microseconds a job, by library: reading the claim, writing the results."""
    claim = rpc.write(rows)
    entries = []
    for row in rows:
        job = models.Job.from_row(row)
        result = models.Completed(models.ItemResult(content=row["content"], provider="pseudo", total_chars=13))
        entries.append(models.outcome_entry(job, "es", result, 0.01))
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(_ROUNDS):
        for library, (dumps, loads) in libraries.items():
            ways = {"read": partial(loads, claim), "write": partial(_each, dumps, entries)}
            for way, work in ways.items():
                took.setdefault((library, way), []).append(_processor_us(work) / len(rows))
    for (library, way), values in took.items():
        print(f"{library}, {name} texts, {way} a job: {spread(values, 'µs of processor')}", flush=True)
    return {f"wire_{library}_{name}_{way}_us": statistics.median(values) for (library, way), values in took.items()}


def _each(dumps: Callable[[Any], bytes], entries: Sequence[Any]) -> bytes:
    """One by one, as the recorder does: what cannot be written is found alone."""
    return b",".join([dumps(entry) for entry in entries])


def _processor_us(work: Callable[[], Any]) -> float:
    """Of one in twenty runs."""
    started = time.process_time()
    for _ in range(_RUNS):
        work()
    return (time.process_time() - started) / _RUNS * 1e6


# Calls


async def _measure_calls(home: Path, answer: bytes) -> Figures:
    file = home / "answer.json"
    file.write_bytes(answer)
    async with AsyncExitStack() as open_:
        url = await open_.enter_async_context(_serving(file))
        clients = {
            "aiohttp": _over_aiohttp(await open_.enter_async_context(aiohttp.ClientSession(headers=_HEADERS)), url),
            "httpx": _over_httpx(await open_.enter_async_context(httpx.AsyncClient(headers=_HEADERS)), url),
            "http2": _over_httpx(
                await open_.enter_async_context(httpx.AsyncClient(headers=_HEADERS, http1=False, http2=True)), url
            ),
        }
        took: dict[str, list[float]] = {}
        for round_number in range(_ROUNDS + 1):
            for path, calls in _CALLS.items():
                for at_once in (1, 3):
                    for client, call in clients.items():
                        processor_ms = await _processor_ms(call, path, calls, at_once)
                        if round_number:  # the first one connects and warms
                            took.setdefault(f"{client}_{path}_{at_once}", []).append(processor_ms)
    print(f"large: an answer of {JOBS} jobs, {len(answer) / 1000:.0f} kB; small: an empty one", flush=True)
    for name, values in took.items():
        print(f"{', '.join(name.split('_'))} at once: {spread(values, 'ms of processor a call')}", flush=True)
    return {f"wire_{name}_ms": statistics.median(values) for name, values in took.items()}


async def _processor_ms(call: Call, path: str, calls: int, at_once: int) -> float:
    async def some() -> None:
        for _ in range(calls // at_once):
            assert await call(path)

    started = time.process_time()
    await asyncio.gather(*(some() for _ in range(at_once)))
    return (time.process_time() - started) * 1000 / (calls // at_once * at_once)


def _over_aiohttp(session: aiohttp.ClientSession, url: str) -> Call:
    async def call(path: str) -> bytes:
        async with session.post(f"{url}/{path}", data=_BODY, allow_redirects=False) as answer:
            return await answer.read()

    return call


def _over_httpx(client: httpx.AsyncClient, url: str) -> Call:
    async def call(path: str) -> bytes:
        return (await client.post(f"{url}/{path}", content=_BODY)).content

    return call


@asynccontextmanager
async def _serving(file: Path) -> AsyncIterator[str]:
    port = local.free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), str(file), str(port), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await waiting.until(lambda: _answers(port), seconds=local.START_SECONDS)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
