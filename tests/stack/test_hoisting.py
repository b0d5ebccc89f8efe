"""The statement_timeout that an owner sets on a function holds for a call of the API, above the role's as below it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from tests.support import stacks
from worker.devstack import platform
from worker.devstack.postgres import Cluster
from worker.devstack.stack import Stack

# Asleep for longer than the role may: 3 s here, 8 s on the platform.
SQL = """
create function public.nap(seconds float) returns text language plpgsql as
  $$ begin perform pg_sleep(seconds); return current_setting('statement_timeout'); end $$;
grant execute on function public.nap(float) to service_role;
"""


@pytest.fixture(scope="module")
def hasty(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose API gives every statement three seconds."""
    asyncio.run(_make(cluster))
    with psycopg.connect(cluster.url(database="hasty"), autocommit=True) as admin:
        admin.execute("alter role authenticator in database hasty set statement_timeout = '3s'")
    running = Stack(tmp_path_factory.mktemp("hasty"), database="hasty", sql=[SQL], cluster=cluster)
    with stacks.in_thread(running):
        yield running


async def _make(cluster: Cluster) -> None:
    await cluster.create_database("hasty")
    await platform.install(cluster, "hasty")  # the roles


@pytest.fixture
async def owner(hasty: Stack) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    connection = await psycopg.AsyncConnection.connect(hasty.urls.database_url, autocommit=True)
    async with connection:
        yield connection


async def nap(stack: Stack, seconds: float) -> tuple[int, Any]:
    headers = {"apikey": stack.urls.secret_key}
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.post(f"{stack.urls.url}/rest/v1/rpc/nap", json={"seconds": seconds}, headers=headers)
        return answer.status_code, answer.json()


async def test_a_function_may_take_as_long_as_its_owner_says(
    hasty: Stack, owner: psycopg.AsyncConnection[tuple[object, ...]]
) -> None:
    """Sets, raises and resets it: each holds from the next call on."""
    status, refused = await nap(hasty, 30)
    assert (status, refused["code"]) == (500, "57014")

    await owner.execute("alter function public.nap(float) set statement_timeout = '20s'")
    assert await until_known(hasty, "20s") == (200, "20s")
    assert await nap(hasty, 3.5) == (200, "20s")

    await owner.execute("alter function public.nap(float) reset statement_timeout")
    assert await until_known(hasty, "3s") == (200, "3s")


async def until_known(stack: Stack, timeout: str) -> tuple[int, Any]:
    """The gateway hears of a change a moment after it."""
    for _ in range(1000):
        answer = await nap(stack, 0)
        if answer[1] == timeout:
            break
        await asyncio.sleep(0.02)
    return answer
