"""One stack for all faults; each is put right by the cure that was named, or by its test."""

from collections.abc import AsyncIterator, Callable

import psycopg
import pytest
import pytest_asyncio

from tests.conftest import INSTALL
from worker import session as sessions
from worker.devstack.stack import Stack

Sql = Callable[[str], None]


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("stack"), sql=[INSTALL], changes_idle_ms=20) as running:
        yield running


@pytest.fixture
def editor(stack: Stack) -> Sql:
    """The SQL editor: role `postgres`."""
    return lambda statement: _run(stack.urls.database_url, statement)


@pytest.fixture
def admin(stack: Stack) -> Sql:
    """The platform's own superuser."""
    return lambda statement: _run(stack.urls.admin_database_url, statement)


def _run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_READY_SECONDS", 1.0)
