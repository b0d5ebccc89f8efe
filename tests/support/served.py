"""Something that answers HTTP, for as long as a test needs it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def served(app: web.Application | web.AppRunner) -> AsyncIterator[str]:
    """Where *app*, or a runner made for one, answers: a free port of loopback."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1) if isinstance(app, web.Application) else app
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
