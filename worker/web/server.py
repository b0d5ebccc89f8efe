"""
One aiohttp application on one port, for as long as it is awaited.
"""

import asyncio
from collections.abc import Iterable

from aiohttp import web
from loguru import logger


async def serve(routes: Iterable[web.RouteDef], *, host: str, port: int) -> None:
    """Serve *routes* until cancelled. Port 0 takes a free one; the log names it."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        logger.info("HTTP listening", host=host, port=runner.addresses[0][1])
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
