"""One stack for all tests of the HTTP side, in a thread of its own; each test has its own server and users."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.conftest import INSTALL
from tests.support import stacks
from tests.support.database import Database
from tests.web import site as sites
from worker.devstack.postgres import Cluster
from worker.devstack.stack import Stack


@pytest.fixture(scope="session")
def web_stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with the project's SQL. Its event loop is not the tests', as in real use."""
    running = Stack(tmp_path_factory.mktemp("web"), database="web", sql=[INSTALL], changes_idle_ms=100, cluster=cluster)
    with stacks.in_thread(running):
        yield running


@pytest.fixture
def web_project(web_stack: Stack) -> Iterator[Database]:
    """The stack's database: emptied, ten credits a language."""
    database = Database(web_stack.urls.database_url, web_stack.urls.admin_database_url)
    with contextlib.closing(database):
        database.run(
            """truncate public.translation_jobs, public.translation_workers, public.translation_languages,
                 public.translation_credits, public.translation_credit_ledger,
                 translation_private.create_budget cascade"""
        )
        database.price(10)
        yield database


@pytest.fixture
async def site(web_stack: Stack, web_project: Database) -> AsyncIterator[sites.Site]:
    ready: asyncio.Future[sites.Site] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def hold() -> None:  # a task of its own, because fixtures enter and leave from different ones
        async with sites.running(web_stack, web_project) as running:
            ready.set_result(running)
            await done.wait()

    holding = asyncio.create_task(hold())
    holding.add_done_callback(
        lambda task: None if ready.done() else ready.set_exception(task.exception() or EOFError())
    )
    await ready
    yield ready.result()
    done.set()
    await holding


@pytest.fixture
def ada(site: sites.Site) -> sites.User:
    return site.user(credits=100)


@pytest.fixture
def bob(site: sites.Site) -> sites.User:
    return site.user(credits=100)
