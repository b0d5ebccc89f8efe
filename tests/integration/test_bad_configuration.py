"""What a person must cure: said once, with the cure, while the worker goes on polling and trying."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from loguru import logger

from tests.integration.hearing import Heard, hearing, insert
from tests.support.waiting import until
from worker import reasons
from worker.devstack.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

TRIES = 4
UNPUBLISHED = reasons.label("Unable to subscribe to changes with given parameters. Please check Realtime is enabled")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What an operator reads."""
    told: list[str] = []
    sink = logger.add(lambda line: told.append(line.strip()), level="INFO", format="{level} {message} {extra[cure]}")
    with logger.contextualize(cure=""):
        yield told
    logger.remove(sink)


def admin(stack: Stack, statement: str) -> None:
    with psycopg.connect(stack.urls.admin_database_url, autocommit=True) as db:
        db.execute(statement)


@asynccontextmanager
async def refused(stack: Stack, heard: Heard, reason: str) -> AsyncIterator[None]:
    """The listener polls, and has tried again several times."""
    await heard.polling()
    await until(lambda: heard.counters.sessions[reason] >= TRIES, f"it tries again; {heard.counters.sessions}")
    yield
    await heard.realtime()


@pytest.mark.parametrize("table", ["translation_jobs", "translation_workers"])
async def test_a_table_that_is_not_published_is_named_with_the_statement(
    stack: Stack, lines: list[str], table: str
) -> None:
    admin(stack, f"alter publication supabase_realtime drop table public.{table}")
    try:
        async with (
            hearing(stack) as heard,
            refused(stack, heard, UNPUBLISHED),
        ):
            admin(stack, f"alter publication supabase_realtime add table public.{table}")
    finally:
        admin(
            stack, "alter publication supabase_realtime set table public.translation_jobs, public.translation_workers"
        )

    (error, healed) = lines
    assert error.startswith("ERROR Realtime not heard; polling")
    assert "alter publication supabase_realtime add table public.translation_jobs, public.translation_workers" in error
    assert healed.startswith("INFO Realtime subscription active")


@pytest.mark.parametrize(
    ("join_error", "reason", "cure"),
    [
        (
            "RealtimeDisabledForTenant: disabled for this tenant",
            "RealtimeDisabledForTenant",
            "Switch Realtime on",
        ),
        ("InvalidJWTToken: Token has expired", "InvalidJWTToken", "SUPABASE_SECRET_KEY"),
    ],
)
async def test_realtime_that_refuses_for_good_is_told_once(
    stack: Stack, lines: list[str], join_error: str, reason: str, cure: str
) -> None:
    stack.faults.order(join_error=join_error)
    async with hearing(stack) as heard, refused(stack, heard, reason):
        stack.faults.clear()

    assert [line.split(maxsplit=1)[0] for line in lines] == ["ERROR", "INFO"]
    assert cure in lines[0]


async def test_a_wrong_key_is_told_once(stack: Stack, lines: list[str]) -> None:
    stack.faults.order(upgrade_status=401)
    async with hearing(stack) as heard, refused(stack, heard, "HTTP 401"):
        stack.faults.clear()

    assert [line.split(maxsplit=1)[0] for line in lines] == ["ERROR", "INFO"]
    assert "SUPABASE_SECRET_KEY" in lines[0]


async def test_a_private_topic_without_permission_leaves_the_road_of_changes_and_the_policy_to_write(
    stack: Stack, lines: list[str]
) -> None:
    admin(stack, "revoke all on realtime.messages from service_role")
    try:
        async with hearing(stack) as heard:
            await heard.realtime()
            await asyncio.to_thread(insert, stack)
            await until(lambda: "changes" in heard.notes.roads, "the change event")
            assert heard.notes.roads == {"catch_up", "changes"}
            assert heard.listener.take_probe() is False
    finally:
        admin(stack, "grant all on realtime.messages to service_role")

    assert "create policy" in lines[0]
    assert next(line for line in lines if "joined differently" in line).startswith("WARNING")


async def test_an_outage_is_one_line_however_often_it_is_tried(stack: Stack, lines: list[str]) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        stack.faults.order(upgrade_status=502)
        await stack.realtime.close_sockets(1006)
        async with refused(stack, heard, "HTTP 502"):
            stack.faults.clear()

    assert [line.rstrip() for line in lines] == [
        "INFO Realtime subscription active",
        "WARNING Realtime not heard; polling None",
        "WARNING Realtime still not heard None",
        "INFO Realtime subscription active",
    ]
