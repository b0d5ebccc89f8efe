"""
Postgres connections that send a whole transaction in one round trip.

A request of the stack is always the same few statements: begin, who is asking, the question, commit. Sent one by one
they cost more waiting than work, so they go out together in libpq's pipeline mode, prepared once per connection.
Values travel as text. The rule: a connection goes back to the pool idle and outside any transaction, or it is closed.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple, Self

import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

_PREPARED_MAX = 400  # statements kept per connection; filters of every shape would add up otherwise

Value = str | bytes | None


class Statement(NamedTuple):
    """One SQL statement and its values, as text; *prepare* it if it will be seen again."""

    sql: str
    values: Sequence[Value] = ()
    prepare: bool = True


_COMMIT = Statement("commit")
_ROLLBACK = Statement("rollback")


class Refused(Exception):
    """The database refused a statement; the transaction around it is rolled back."""

    def __init__(self, result: PGresult) -> None:
        def field(which: DiagnosticField) -> str | None:
            value = result.error_field(which)
            return None if value is None else value.decode(errors="replace")

        self.sqlstate = field(DiagnosticField.SQLSTATE) or "XX000"
        self.message = field(DiagnosticField.MESSAGE_PRIMARY) or ""
        self.detail = field(DiagnosticField.MESSAGE_DETAIL)
        self.hint = field(DiagnosticField.MESSAGE_HINT)
        super().__init__(f"{self.sqlstate}: {self.message}")


class Disconnected(Exception):
    """The connection is gone, or none could be made; whether the statements took effect is unknown."""


class PoolExhausted(Exception):
    """No connection became free in time."""


@dataclass(frozen=True)
class Rows:
    """The rows of one statement, as text."""

    _result: PGresult

    def __len__(self) -> int:
        return self._result.ntuples

    def get(self, row: int, column: int) -> bytes | None:
        """The value as bytes of UTF-8 text; `None` is NULL."""
        return self._result.get_value(row, column)

    def text(self, row: int, column: int) -> str | None:
        """The value as text; `None` is NULL."""
        value = self._result.get_value(row, column)
        return None if value is None else value.decode()

    @property
    def affected(self) -> int:
        """How many rows a write touched."""
        return self._result.command_tuples or 0


class Connection:
    """One connection in pipeline mode. Not for two tasks at once."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        self._connection = connection  # kept for its life; the wire is driven from here
        self._pgconn = connection.pgconn
        self._pgconn.enter_pipeline_mode()
        self._prepared: dict[str, bytes] = {}
        self._names = itertools.count()
        self._loop = asyncio.get_running_loop()
        self._exchange: _Exchange | None = None
        self._socket = self._pgconn.socket
        self._loop.add_reader(self._socket, self._readable)

    @classmethod
    async def open(cls, conninfo: str) -> Self:
        """Connect. Raises `Disconnected` when that fails."""
        try:
            return cls(await psycopg.AsyncConnection.connect(conninfo, autocommit=True, connect_timeout=5))
        except psycopg.OperationalError as error:
            raise Disconnected(str(error)) from error

    @property
    def is_usable(self) -> bool:
        """Connected, and nobody's answer is outstanding."""
        return self._pgconn.status == ConnStatus.OK and self._exchange is None

    @property
    def in_transaction(self) -> bool:
        return self._pgconn.transaction_status != TransactionStatus.IDLE

    async def close(self) -> None:
        if self._connection.closed:  # and its descriptor may be somebody else's by now
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        await self._connection.close()

    async def transact(
        self, *statements: Statement, begin: str = "begin", verdict: Callable[[list[Rows]], None] | None = None
    ) -> list[Rows]:
        """
        Run *statements* as one transaction and return what each answered.

        Args:
            verdict: looks at the answers before the commit; raising there rolls back. Costs a second round trip.

        Raises:
            Refused, Disconnected, whatever *verdict* raises: the transaction is rolled back (after `Disconnected`
                it may also have been committed).
        """
        try:
            if verdict is None:
                return (await self.run(Statement(begin), *statements, _COMMIT))[1:-1]
            rows = (await self.run(Statement(begin), *statements))[1:]
            verdict(rows)
            await self.run(_COMMIT)
            return rows
        finally:
            if self.is_usable and self.in_transaction:
                await self.run(_ROLLBACK)

    async def run(self, *statements: Statement) -> list[Rows]:
        """
        Send *statements* together and return what each answered.

        Raises:
            Refused: one of them was; those after it did not run. An open transaction is still open.
            Disconnected: no answer came.
        """
        if len(self._prepared) > _PREPARED_MAX:
            await self.forget()
        try:
            fresh = [self._send(statement) for statement in statements]
            self._pgconn.pipeline_sync()
            self._exchange = exchange = _Exchange(self._pgconn, len(statements) + sum(fresh))
            self._flush()
            await exchange.done
        except psycopg.OperationalError as error:
            await self.close()
            raise Disconnected(str(error)) from error
        except asyncio.CancelledError:
            await self.close()  # the answer is still on its way and nobody else may read it
            raise
        finally:
            self._exchange = None
        return self._read(statements, fresh, exchange.answers)

    async def forget(self) -> None:
        """Drop all prepared statements: there are too many, or what they refer to has changed."""
        self._prepared.clear()
        await self.run(Statement("deallocate all", prepare=False))

    def _send(self, statement: Statement) -> bool:
        """Queue one statement; true when it is prepared on the way, which is answered too."""
        values = [value.encode() if isinstance(value, str) else value for value in statement.values]
        if not statement.prepare:
            self._pgconn.send_query_params(statement.sql.encode(), values)
            return False
        name = self._prepared.get(statement.sql)
        fresh = name is None
        if name is None:
            name = self._prepared[statement.sql] = b"s%d" % next(self._names)
            self._pgconn.send_prepare(name, statement.sql.encode())
        self._pgconn.send_query_prepared(name, values)
        return fresh

    def _read(self, statements: Sequence[Statement], fresh: Sequence[bool], answers: Sequence[PGresult]) -> list[Rows]:
        results = iter(answers)
        rows = []
        for statement, is_fresh in zip(statements, fresh, strict=True):
            if is_fresh and next(results).status != ExecStatus.COMMAND_OK:
                self._prepared.pop(statement.sql, None)
            rows.append(Rows(next(results)))
        for result in answers:
            if result.status == ExecStatus.FATAL_ERROR:
                raise Refused(result)
        return rows

    def _flush(self) -> None:
        if self._pgconn.flush() == 1:
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        try:
            if self._pgconn.flush() == 0:
                self._loop.remove_writer(self._socket)
        except psycopg.OperationalError as error:
            self._lose(error)

    def _readable(self) -> None:
        try:
            self._pgconn.consume_input()
            if self._exchange is not None:
                self._exchange.collect()
        except psycopg.OperationalError as error:
            self._lose(error)

    def _lose(self, error: psycopg.OperationalError) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        if self._exchange is not None and not self._exchange.done.done():
            self._exchange.done.set_exception(error)


class _Exchange:
    """The answers to one `run`, as they arrive."""

    def __init__(self, pgconn: PGconn, expected: int) -> None:
        self.answers: list[PGresult] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pgconn = pgconn
        self._ends_left = expected

    def collect(self) -> None:
        """Take what is in; done when the answer to the sync, always the last one, is."""
        while not self.done.done() and not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:  # the end of one statement's results; a dead connection says so for ever
                self._ends_left -= 1
                if self._ends_left < 0:
                    raise psycopg.OperationalError("the server closed the connection")
            elif result.status == ExecStatus.PIPELINE_SYNC:
                self.done.set_result(None)
            else:
                self.answers.append(result)


class Pool:
    """At most *size* connections, opened when first needed; the one used last is used next."""

    def __init__(self, conninfo: str, *, size: int = 10, acquire_seconds: float = 10.0) -> None:
        self._conninfo = conninfo
        self._free = asyncio.Semaphore(size)
        self._acquire_seconds = acquire_seconds
        self._idle: list[tuple[Connection, int]] = []
        self._generation = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """
        Borrow a connection.

        Raises:
            PoolExhausted: none became free in time.
            Disconnected: a new one could not be made.
        """
        try:
            async with asyncio.timeout(self._acquire_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise PoolExhausted from None
        try:
            connection, generation = await self._take()
            try:
                yield connection
            finally:
                if connection.is_usable and not connection.in_transaction:
                    self._idle.append((connection, generation))
                else:
                    await connection.close()
        finally:
            self._free.release()

    def outdate(self) -> None:
        """The schema has changed: prepared statements are made anew."""
        self._generation += 1

    async def close(self) -> None:
        """Close what is idle. Connections still borrowed are closed by their borrowers' end."""
        while self._idle:
            await self._idle.pop()[0].close()

    async def _take(self) -> tuple[Connection, int]:
        while self._idle:
            connection, generation = self._idle.pop()
            if not connection.is_usable:
                await connection.close()
                continue
            if generation != self._generation:
                await connection.forget()
            return connection, self._generation
        return await Connection.open(self._conninfo), self._generation
