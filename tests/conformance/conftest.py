"""Two stacks on one database, with the same keys: one answers REST itself, in the other a real PostgREST does."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import aiohttp
import psycopg
import pytest

from tests.conformance import requests
from tests.conformance.answers import Ground, Server
from tests.conftest import INSTALL
from tests.stack.conftest import PROJECT
from tests.support import postgrest, stacks
from worker.devstack.postgres import Cluster
from worker.devstack.stack import Stack

DATABASE = "conformance"


@pytest.fixture(scope="session")
def postgrest_program(request: pytest.FixtureRequest) -> Path:
    return postgrest.program(request)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conformance")


@pytest.fixture(scope="session")
def stand_in(cluster: Cluster, home: Path) -> Iterator[Stack]:
    """A running stack. Its event loop is not the tests', as in real use."""
    sql = [PROJECT, requests.MORE, INSTALL]
    with stacks.in_thread(Stack(home, database=DATABASE, sql=sql, cluster=cluster)) as running:
        yield running


@pytest.fixture(scope="session")
def fronted(cluster: Cluster, home: Path, stand_in: Stack, postgrest_program: Path) -> Iterator[Stack]:
    """The same project behind a real PostgREST."""
    with stacks.in_thread(Stack(home, database=DATABASE, cluster=cluster, postgrest=postgrest_program)) as running:
        assert running.urls.secret_key == stand_in.urls.secret_key
        yield running


@pytest.fixture(scope="session")
def ground(stand_in: Stack) -> Iterator[Ground]:
    with psycopg.connect(stand_in.urls.admin_database_url, autocommit=True) as owner:
        yield Ground(owner)


@pytest.fixture
async def servers(stand_in: Stack, fronted: Stack, ground: Ground) -> AsyncIterator[tuple[Server, Server]]:
    """Whom to ask: the stand-in and PostgREST."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as http:
        yield Server(stand_in, http, ground), Server(fronted, http, ground)


@pytest.fixture(scope="session")
def stack(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, postgrest_program: Path
) -> Iterator[Mapping[str, str]]:
    """What a worker finds in its environment: a project of its own behind a real PostgREST."""
    home = tmp_path_factory.mktemp("project")
    sql = [INSTALL]
    with stacks.in_thread(Stack(home, database="fronted", sql=sql, cluster=cluster, postgrest=postgrest_program)) as it:
        yield it.urls.environment()
