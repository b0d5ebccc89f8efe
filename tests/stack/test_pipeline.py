"""The gateway's own connections: many statements, large ones, and a server that goes away."""

from collections.abc import AsyncIterator

import pytest

from worker.devstack import pipeline
from worker.devstack.pipeline import Connection, Disconnected, Statement
from worker.devstack.postgres import Cluster

LARGE = 32 * 1024 * 1024


@pytest.fixture
async def connection(cluster: Cluster) -> AsyncIterator[Connection]:
    connection = await Connection.open(cluster.url())
    yield connection
    await connection.close()


async def number(connection: Connection, statement: Statement) -> int:
    (rows,) = await connection.run(statement)
    return int(rows.text(0, 0) or 0)


async def test_what_does_not_fit_into_a_socket_is_sent_as_it_empties(connection: Connection) -> None:
    assert await number(connection, Statement("select length($1)", ["x" * LARGE])) == LARGE
    assert await number(connection, Statement("select 7")) == 7


async def test_too_many_prepared_statements_are_forgotten(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_PREPARED_MAX", 3)
    for n in range(10):
        assert await number(connection, Statement(f"select {n}")) == n

    count = Statement("select count(*) from pg_prepared_statements", prepare=False)
    assert await number(connection, count) <= 4


async def test_a_server_that_ends_the_connection_is_told_at_once(connection: Connection) -> None:
    with pytest.raises(Disconnected):
        await connection.run(Statement("select pg_terminate_backend(pg_backend_pid())"))

    assert not connection.is_usable
