"""
Processes outside the worker, for tests: an endpoint that counts its calls, and a clock that makes some.

    python -m tests.acceptance.outside endpoint            prints its URL; GET / tells what it was sent
    python -m tests.acceptance.outside clock URL KEY       POSTs there again and again, and prints each status
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.support.processes import ROOT
from tests.support.served import served

_EVERY_SECONDS = 0.2


async def endpoint() -> None:
    calls: list[dict[str, object]] = []

    async def take(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response(calls)
        calls.append({"path": request.path, "body": await request.json(), **dict(request.headers)})
        return web.json_response({"done": request.path})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    async with served(app) as url:
        print(url, flush=True)  # noqa: T201  # it is how the test learns of it
        await asyncio.Event().wait()


async def clock(url: str, key: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.post(url, headers={"Authorization": f"Bearer {key}"}, json={"max_seconds": 20}) as answer:
                print(json.dumps([answer.status, await answer.json()]), flush=True)  # noqa: T201  # the same
            await asyncio.sleep(_EVERY_SECONDS)


class Outside:
    """One of them, as the test sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            return (await self.process.stdout.readline()).decode()


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Outside]:
    """One of the two as a process; killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.acceptance.outside", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    outside = Outside(process)
    try:
        if arguments[0] == "endpoint":
            outside.url = (await outside.line()).strip()
        yield outside
    finally:
        process.kill()
        await process.communicate()


if __name__ == "__main__":
    asyncio.run(endpoint() if sys.argv[1] == "endpoint" else clock(*sys.argv[2:]))
