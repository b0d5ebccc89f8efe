"""
One aiohttp application on one port, for as long as it is awaited.
"""

import asyncio
import logging
from typing import Final

from aiohttp import web
from loguru import logger

# A token is one header, and carries whatever its project puts into it.
_HEADER_BYTES_MAX: Final = 32_768
_SHUTDOWN_SECONDS: Final = 1.0


async def serve(app: web.Application, *, host: str, port: int) -> None:
    """Serve *app* until cancelled. Port 0 takes a free one; the log names it."""
    runner = prepared(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        logger.info("HTTP listening", host=host, port=runner.addresses[0][1])
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def prepared(app: web.Application) -> web.AppRunner:
    """A runner for *app*, not yet set up."""
    return web.AppRunner(
        app,
        access_log=None,
        logger=_wire_log(),
        handle_signals=False,
        handler_cancellation=True,  # a stream that nobody reads any more is not kept up
        max_field_size=_HEADER_BYTES_MAX,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )


def _wire_log() -> logging.Logger:
    log = logging.getLogger("worker.web.wire")
    log.propagate = False
    log.handlers = [_WireLog()]
    return log


class _WireLog(logging.Handler):
    """aiohttp's own complaints, by their kind alone: their texts quote what was sent, and so tokens."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0] if record.exc_info else None
        logger.debug("Request not understood", error=error.__name__ if error else None, place=record.funcName)
