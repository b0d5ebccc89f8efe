"""One stack for all tests of this folder, in a thread of its own; each test makes its own users and topics."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from supabase import AsyncClientOptions, acreate_client

from tests.support import stacks
from worker.devstack.postgres import Cluster
from worker.devstack.stack import Stack

PROJECT = (Path(__file__).parent / "project.sql").read_text()
PASSWORD = "correct horse"

Client = Any  # the official client: its JSON types would want a cast at every use

_numbers = itertools.count(1)


@dataclass(frozen=True)
class User:
    id: str
    email: str
    access_token: str
    client: Client


@pytest.fixture(scope="session")
def stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack. Its event loop is not the tests', as in real use."""
    running = Stack(
        tmp_path_factory.mktemp("stack"),
        database="stack",
        sql=[PROJECT],
        changes_idle_ms=10,
        admin_key="sesame",
        cluster=cluster,
    )
    with stacks.in_thread(running):
        yield running


@pytest.fixture
def clean_faults(stack: Stack) -> Iterator[None]:
    """No test leaves trouble behind."""
    yield
    stack.faults.clear()


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """What the clients below and raw requests share; closed with the test."""
    async with httpx.AsyncClient(timeout=10) as session:
        yield session


@pytest.fixture
async def service(stack: Stack, http: httpx.AsyncClient) -> Client:
    """The official client with the secret key."""
    return await acreate_client(stack.urls.url, stack.urls.secret_key, AsyncClientOptions(httpx_client=http))


@pytest.fixture
def new_user(stack: Stack, http: httpx.AsyncClient) -> Callable[[], Awaitable[User]]:
    """Signs up a user; call it again for another."""

    async def sign_up() -> User:
        email = f"user{next(_numbers)}@example.org"
        client = await acreate_client(
            stack.urls.url, stack.urls.publishable_key, AsyncClientOptions(httpx_client=http, auto_refresh_token=False)
        )
        signed_up = await client.auth.sign_up({"email": email, "password": PASSWORD})
        assert signed_up.user is not None
        assert signed_up.session is not None
        return User(signed_up.user.id, email, signed_up.session.access_token, client)

    return sign_up


@pytest.fixture
async def user(new_user: Callable[[], Awaitable[User]]) -> User:
    return await new_user()


@pytest.fixture
async def sql(stack: Stack) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    """A connection as role `postgres`, each statement its own transaction."""
    connection = await psycopg.AsyncConnection.connect(stack.urls.database_url, autocommit=True)
    async with connection:
        yield connection
