"""What the database announces by NOTIFY: one listening connection, remade for as long as it takes."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

import psycopg
from loguru import logger
from psycopg import sql

_RETRY_SECONDS = 0.2


class Notices:
    """
    Hands each notification's payload to its channel's callback.

    Args:
        connected: called after every (re)connection, when something may have been missed.
        lost: called when the connection is gone.
    """

    def __init__(
        self,
        conninfo: str,
        callbacks: Mapping[str, Callable[[str], None]],
        *,
        connected: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._conninfo = conninfo
        self._callbacks = callbacks
        self._connected = connected
        self._lost = lost

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            with suppress(psycopg.OperationalError):
                await self._listen()
            self._lost()
            logger.debug("The stack lost its listening connection")
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True, connect_timeout=5)
        async with connection:
            for channel in self._callbacks:
                await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
            self._connected()
            async for notice in connection.notifies():
                self._callbacks[notice.channel](notice.payload)
