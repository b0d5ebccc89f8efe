"""
Drives one Python queue by its public interface, told what to do by lines of JSON, for `scripts/bench peers`.

Runs in an environment of its own, where nothing of this project is installed: it imports the standard library and one
peer. `python python.py PEER default|tuned DATABASE_URL`; every command is answered by one line. Times are
CLOCK_MONOTONIC in nanoseconds. *tuned* is what the peer's own documentation names as fastest.
"""

import asyncio
import importlib
import json
import logging
import os
import sys
import time
from typing import Any

CONCURRENCY = {"default": 10, "tuned": 100}
LOAD_BATCH = 5_000


class Hits:
    """The jobs whose handler has begun."""

    def __init__(self) -> None:
        self.count = 0
        self.first: int | None = None
        self.is_told = False

    def note(self, number: int) -> None:
        now = time.monotonic_ns()
        self.first = self.first or now
        self.count += 1
        if self.is_told:
            tell({"hit": number, "at": now})


class Procrastinate:
    def __init__(self, url: str, mode: str, hits: Hits) -> None:
        package: Any = importlib.import_module("procrastinate")
        self._mode = mode
        self._concurrency = CONCURRENCY[mode]
        pool = self._concurrency + 2 if mode == "tuned" else 10
        self._app = package.App(connector=package.PsycopgConnector(conninfo=url, max_size=pool))

        async def nothing(number: int) -> None:
            hits.note(number)

        self._task = self._app.task(name="nothing")(nothing)
        self._worker: asyncio.Task[Any] | None = None

    async def open(self) -> None:
        await self._app.open_async()

    async def install(self) -> None:
        await self._app.schema_manager.apply_schema_async()

    async def load(self, numbers: range) -> None:
        await self._task.batch_defer_async(*({"number": n} for n in numbers))

    async def create(self, number: int) -> None:
        await self._task.defer_async(number=number)

    async def start(self) -> None:
        kept: dict[str, Any] = {"delete_jobs": "always"} if self._mode == "tuned" else {}
        working = self._app.run_worker_async(concurrency=self._concurrency, install_signal_handlers=False, **kept)
        self._worker = asyncio.create_task(working)


class PgQueuer:
    def __init__(self, url: str, mode: str, hits: Hits) -> None:
        self._url = url
        self._hits = hits
        self._concurrency = CONCURRENCY[mode]
        self._batch = 50 if mode == "tuned" else 10
        self._worker: asyncio.Task[Any] | None = None

    async def open(self) -> None:
        driver: Any = importlib.import_module("pgqueuer.db")
        queries: Any = importlib.import_module("pgqueuer.queries")
        self._connection = await self._connected()
        self._queries = queries.Queries(driver.AsyncpgDriver(self._connection))

    async def _connected(self) -> Any:
        asyncpg: Any = importlib.import_module("asyncpg")
        return await asyncpg.connect(self._url)

    async def install(self) -> None:
        await self._queries.install()

    async def load(self, numbers: range) -> None:
        await self._queries.enqueue(["nothing"] * len(numbers), [b"%d" % n for n in numbers], [0] * len(numbers))

    async def create(self, number: int) -> None:
        await self._queries.enqueue("nothing", b"%d" % number)

    async def start(self) -> None:
        package: Any = importlib.import_module("pgqueuer")
        app = package.PgQueuer.from_asyncpg_connection(self._connection)

        async def nothing(job: Any) -> None:
            self._hits.note(int(job.payload))

        app.entrypoint("nothing")(nothing)
        working = app.qm.run(batch_size=self._batch, max_concurrent_tasks=max(self._concurrency, 2 * self._batch))
        self._worker = asyncio.create_task(working)


PEERS: dict[str, Any] = {"procrastinate": Procrastinate, "pgqueuer": PgQueuer}


def tell(said: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


async def obey(peer: Any, hits: Hits, order: dict[str, Any]) -> dict[str, Any]:
    match order["do"]:
        case "install":
            await peer.install()
        case "load":
            for start in range(0, order["jobs"], LOAD_BATCH):
                await peer.load(range(start, min(start + LOAD_BATCH, order["jobs"])))
        case "start":
            hits.is_told = order["tell"]
            await peer.start()
        case "create":
            called_at = time.monotonic_ns()
            await peer.create(order["number"])
            return {"called": called_at}
        case "hits":
            return {"count": hits.count, "first": hits.first}
    return {}


async def main() -> None:
    logging.disable(logging.WARNING)
    name, mode, url = sys.argv[1:]
    hits = Hits()
    peer = PEERS[name](url, mode, hits)
    await peer.open()
    tell({"done": "open"})
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        tell({"done": order["do"], **await obey(peer, hits, order)})


if __name__ == "__main__":
    asyncio.Runner().run(main())
    os._exit(0)  # its ruler closed its input; the worker inside is not waited for
