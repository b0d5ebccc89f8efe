"""Sessions that follow each other: by age, by force, two hundred times, and nothing stays behind."""

import asyncio
import gc
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from tests.integration.hearing import Heard, hearing, insert
from tests.support.waiting import until
from worker import reasons
from worker.devstack.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

FORCED = 200
GROWTH_BYTES_MAX = 5 * 1024 * 1024


async def test_an_old_session_is_replaced_before_it_is_given_up(stack: Stack) -> None:
    async with hearing(stack, session_seconds=0.5) as heard:
        await heard.realtime()
        jobs = []
        while heard.counters.sessions["aged"] < 5:
            jobs.append(await asyncio.to_thread(insert, stack))
        await until(lambda: set(jobs) <= told(heard, "broadcast") & told(heard, "changes"), "every job on both roads")

    assert heard.notes.modes == [("realtime", "subscribed")], "it never had to poll"
    assert len(heard.notes.rings) - sum(road == "catch_up" for road, _ in heard.notes.rings) >= 2 * len(jobs)
    assert heard.listener.reconnects == 0


def told(heard: Heard, road: str) -> set[Any]:
    return {payload.get("job_id") for told_by, payload in heard.notes.rings if told_by == road}


async def test_while_two_sessions_overlap_a_broadcast_rings_once(stack: Stack) -> None:
    async with hearing(stack, session_seconds=0.2) as heard:
        await heard.realtime()
        jobs = []
        while heard.counters.sessions["aged"] < 5:
            jobs.append(await asyncio.to_thread(insert, stack))
        await until(lambda: set(jobs) <= told(heard, "broadcast"), "every job")
        heard_ids = [payload["job_id"] for road, payload in heard.notes.rings if road == "broadcast"]

    assert len(heard_ids) == len(set(heard_ids))


async def test_a_successor_that_is_refused_costs_nothing(stack: Stack) -> None:
    async with hearing(stack, session_seconds=0.5) as heard:
        await heard.realtime()
        stack.faults.order(upgrade_status=429)
        await until(lambda: heard.counters.sessions["HTTP 429"] >= 2, "it tried twice")
        job_id = await asyncio.to_thread(insert, stack)
        await until(lambda: job_id in told(heard, "broadcast"), "the old session still hears")
        stack.faults.clear()
        await until(lambda: heard.counters.sessions["aged"] == 1, "the handover at last")

    assert heard.notes.modes == [("realtime", "subscribed")]


async def test_a_successor_asks_again_for_what_was_refused_before(stack: Stack) -> None:
    stack.faults.order(join_error="Unauthorized: You do not have permissions to read from this Channel topic: x")
    async with hearing(stack, session_seconds=0.7) as heard:
        await until(lambda: heard.counters.sessions["Unauthorized"] >= 1, "refused")
        stack.faults.clear()
        await heard.realtime()
        await until(lambda: heard.counters.sessions["aged"] >= 1, "the handover")
        job_id = await asyncio.to_thread(insert, stack)
        await until(lambda: job_id in told(heard, "broadcast"), "the road of broadcasts")


async def test_a_session_that_dies_while_its_successor_joins_is_followed_without_a_pause(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasons, "pause_seconds", lambda *_, **__: 3600.0)
    async with hearing(stack, session_seconds=0.3) as heard:
        await heard.realtime()
        stack.faults.order(join_delay_ms=500)
        (old,) = stack.realtime.sockets
        await until(lambda: len(stack.realtime.sockets) == 2, "the successor joins")
        await old.close(1011)
        await heard.polling()
        stack.faults.clear()
        await heard.realtime()


async def test_two_hundred_forced_reconnects_leave_nothing_behind(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasons, "_BASE_SECONDS", 0.002)
    monkeypatch.setattr(reasons, "_CAP_SECONDS", 0.002)
    monkeypatch.setattr(reasons, "_SECONDS_A_WORKER", 0.0)
    async with hearing(stack) as heard:
        await forced(heard, stack, FORCED // 4)
        before, bytes_before = own_tasks(), resident_bytes()
        await forced(heard, stack, FORCED)
        await until(lambda: own_tasks() <= before, f"no more tasks than {before}")

        assert resident_bytes() - bytes_before < GROWTH_BYTES_MAX
        assert heard.counters.sessions.total() == FORCED + FORCED // 4


async def forced(heard: Heard, stack: Stack, times: int) -> None:
    """Lose the socket so often, in every way there is."""
    for number in range(times):
        await heard.realtime()
        ended = heard.counters.sessions.total()
        await stack.realtime.close_sockets((1000, 1001, 1006, 1011, 1012)[number % 5])
        await until(lambda ended=ended: heard.counters.sessions.total() > ended, "the session ended")  # type: ignore[misc]
    await heard.realtime()


def own_tasks() -> int:
    """Tasks of the client and of the worker, not of the stack in the same process."""
    return sum("/worker/devstack/" not in repr(task) and "aiohttp" not in repr(task) for task in asyncio.all_tasks())


def resident_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)
