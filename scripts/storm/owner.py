"""The project's owner at the database, whose questions are asked again until the server is there to answer."""

from typing import Any

import psycopg
import tenacity

from worker import backoff

_CONNECT_SECONDS = 5
_PATIENCE_SECONDS = 60.0


class Owner:
    """A connection for each question: whatever is done to connections in a storm, the next one gets through."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def rows(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """
        The rows of *statement*, none if it has none. It may have been carried out twice.

        Raises:
            psycopg.OperationalError: no answer for a minute.
        """
        again = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(psycopg.OperationalError),
            wait=backoff.wait_full_jitter(0.1, 1.0),
            stop=tenacity.stop_after_delay(_PATIENCE_SECONDS),
            reraise=True,
        )
        async for attempt in again:
            with attempt:
                found = await self._ask(statement, params)
        return found

    async def _ask(self, statement: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        connect = psycopg.AsyncConnection.connect(self.url, autocommit=True, connect_timeout=_CONNECT_SECONDS)
        async with await connect as connection:
            cursor = await connection.execute(statement, params or None)
            return await cursor.fetchall() if cursor.description else []
