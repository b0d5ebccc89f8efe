"""One stack with the project's SQL and one server beside it for all tests of this folder: none adds or takes a row."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.conftest import INSTALL
from tests.security import doors as doors_
from tests.security import project as project_
from tests.security.doors import Doors
from tests.security.project import Project
from tests.support import stacks
from worker.devstack.postgres import Cluster
from worker.devstack.stack import Stack


@pytest.fixture(scope="session")
def guarded(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with the project's SQL. Its event loop is not the tests', as in real use."""
    home = tmp_path_factory.mktemp("guarded")
    running = Stack(home, database="guarded", sql=[INSTALL], changes_idle_ms=50, cluster=cluster)
    with stacks.in_thread(running):
        yield running


@pytest.fixture(scope="session")
def filled(guarded: Stack) -> Iterator[Project]:
    with contextlib.closing(project_.filled(guarded)) as project:
        yield project


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def doors(filled: Project) -> AsyncIterator[Doors]:
    """Ask in tests whose loop is the session's."""
    ready: asyncio.Future[Doors] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def hold() -> None:  # a task of its own, because fixtures enter and leave from different ones
        async with doors_.opened(filled) as opened:
            ready.set_result(opened)
            await done.wait()

    holding = asyncio.create_task(hold())
    holding.add_done_callback(
        lambda task: None if ready.done() else ready.set_exception(task.exception() or EOFError())
    )
    yield await ready
    done.set()
    await holding
