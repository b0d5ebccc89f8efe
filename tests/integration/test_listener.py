"""The listener against the stand-in's Realtime endpoint and everything that can go wrong with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.integration.hearing import Heard, hearing, insert
from tests.support.waiting import until
from worker import link
from worker.devstack.stack import Stack
from worker.rpc_direct import DirectRpc

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]


async def test_an_insert_is_heard_on_both_roads(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        assert heard.notes.rings == [("catch_up", {})]
        job_id = await asyncio.to_thread(insert, stack)
        await until(lambda: heard.notes.roads >= {"changes", "broadcast"}, f"both roads {heard.notes.rings}")

    assert {payload["job_id"] for road, payload in heard.notes.rings if road != "catch_up"} == {job_id}


async def test_a_beat_proves_both_roads(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        await heard.beat()
        await until(lambda: heard.listener.roads == ["changes", "broadcast"], f"roads {heard.listener.roads}")
        assert heard.listener.take_probe() is False


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012])
async def test_a_closed_socket_is_replaced_at_once(stack: Stack, code: int) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        await stack.realtime.close_sockets(code)
        await heard.polling()
        await heard.realtime()

    assert [road for road, _ in heard.notes.rings] == ["catch_up", "catch_up"]


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("phx_close", {}),
        ("phx_error", {}),
        (
            "system",
            {
                "extension": "postgres_changes",
                "status": "error",
                "message": "Too many database timeouts",
                "channel": "translation_jobs",
            },
        ),
        (
            "system",
            {"extension": "system", "status": "error", "message": "Token has expired", "channel": "translation_jobs"},
        ),
    ],
)
async def test_trouble_with_a_channel_ends_the_session(stack: Stack, event: str, payload: dict[str, Any]) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        stack.realtime.push_to_all(event, payload)
        await heard.polling()
        await heard.realtime()


async def test_a_repeated_system_ok_is_a_reason_to_look(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        payload = {
            "extension": "postgres_changes",
            "status": "ok",
            "message": "Subscribed to PostgreSQL",
            "channel": "x",
        }
        stack.realtime.push_to_all("system", payload)
        await until(lambda: len(heard.notes.rings) >= 2, "a second catch-up")

    assert heard.notes.roads == {"catch_up"}
    assert heard.notes.modes == [("realtime", "subscribed")]


async def test_a_refused_connection_is_tried_for_ever(stack: Stack) -> None:
    stack.faults.order(refuse="realtime")
    async with hearing(stack) as heard:
        await heard.polling()
        await until(lambda: heard.counters.sessions.total() > 8, "more tries than the client would make")
        stack.faults.clear()
        await heard.realtime()


@pytest.mark.parametrize("status", [401, 404, 429, 502])
async def test_a_refused_upgrade_is_survived(stack: Stack, status: int) -> None:
    stack.faults.order(upgrade_status=status)
    async with hearing(stack) as heard:
        await heard.polling()
        stack.faults.clear()
        await heard.realtime()

    assert f"HTTP {status}" in heard.counters.sessions


async def test_a_join_without_the_systems_ok_is_not_believed(stack: Stack) -> None:
    stack.faults.order(drop_system_ok=True)
    async with hearing(stack) as heard:
        await heard.polling()
        assert heard.notes.rings == []
        stack.faults.clear()
        await heard.realtime()

    assert "no system ok" in heard.counters.sessions


async def test_an_unauthorized_private_channel_leaves_the_changes_road(stack: Stack) -> None:
    stack.faults.order(join_error="Unauthorized: You do not have permissions to read from this Channel topic: x")
    async with hearing(stack) as heard:
        await heard.polling()
        stack.faults.clear()
        await heard.realtime()
        await asyncio.to_thread(insert, stack)
        await until(lambda: "changes" in heard.notes.roads, "the change event")
        await asyncio.sleep(0.1)

    assert "broadcast" not in heard.notes.roads
    assert heard.listener.take_probe() is False


async def test_mute_changes_are_found_by_the_heartbeat_row(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        stack.faults.order(mute_changes=True)
        await heard.beat()
        await heard.polling()
        assert heard.counters.sessions.total() == 0
        await heard.beat()
        await until(lambda: heard.counters.sessions["doubted"] == 1, "a new session after the second miss")
        doubts = heard.notes.doubts
        await until(lambda: heard.notes.doubts > doubts, "asked to prove it")
        assert heard.listener.mode == "polling", "an ok alone is not believed after that"
        stack.faults.clear()
        await heard.beat()
        await heard.realtime()

    assert heard.notes.modes[1] == ("polling", "heartbeat row not heard")


async def test_a_server_that_answers_pings_only_is_found_by_the_probe(stack: Stack) -> None:
    async with hearing(stack, check_seconds=0.3) as heard:
        await heard.realtime()
        stack.faults.order(mute_all=True)
        await heard.polling()
        stack.faults.clear()
        await heard.realtime()

    assert "probe not acknowledged" in heard.counters.sessions


async def test_probes_are_acknowledged_for_as_long_as_all_is_well(stack: Stack) -> None:
    async with hearing(stack, check_seconds=0.05) as heard:
        await heard.realtime()
        await asyncio.sleep(1.0)

    assert heard.counters.sessions.total() == 0


async def test_the_cancel_of_a_running_job_is_told(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        job_id = await asyncio.to_thread(insert, stack)
        claim: dict[str, Any] = {"claim_id": "00000000-0000-0000-0000-000000000001", "limit": 10, "lease_seconds": 30}
        await heard.store.claim_translation_jobs(**claim, job_types=["translation"], found_by="poll")
        desk = DirectRpc(stack.urls.url, stack.urls.secret_key)
        await desk.call("cancel_translation_job", {"p_job_id": job_id})
        await desk.close()
        await until(lambda: heard.notes.cancelled == [job_id], f"the cancel {heard.notes.cancelled}")


@asynccontextmanager
async def two(stack: Stack) -> AsyncIterator[tuple[Heard, Heard]]:
    async with hearing(stack, worker_id="first") as first:
        await first.realtime()
        async with hearing(stack, worker_id="second") as second:
            await second.realtime()
            yield first, second


async def test_what_one_worker_took_the_others_are_told(stack: Stack) -> None:
    async with two(stack) as (first, second):
        for heard in (second, first):
            await heard.beat()
        first.listener.tell_claimed(["job a", "job b"])
        await until(lambda: second.notes.claimed == ["job a", "job b"], f"the word {second.notes.claimed}")

    assert first.notes.claimed == []


async def test_a_worker_alone_tells_nobody(stack: Stack) -> None:
    async with two(stack) as (first, second):
        first.listener.beat_accepted(0.0, workers=1)
        first.listener.tell_claimed(["alone"])
        first.listener.beat_accepted(0.0, workers=2)
        first.listener.tell_claimed(["not alone"])
        await until(lambda: second.notes.claimed, "the word")

    assert second.notes.claimed == ["not alone"]


async def test_on_a_public_channel_nobodys_word_counts(stack: Stack) -> None:
    stack.faults.order(join_error="Unauthorized: You do not have permissions to read from this Channel topic: x")
    async with hearing(stack) as heard:
        await heard.polling()
        stack.faults.clear()
        await heard.realtime()
        stack.realtime.push_to_all("broadcast", {"event": "claimed", "payload": {"job_ids": ["forged"]}})
        stack.realtime.push_to_all("broadcast", {"event": "ready", "payload": {"job_id": "forged"}})
        job_id = await asyncio.to_thread(insert, stack)
        await until(lambda: "changes" in heard.notes.roads, "the change event")

    assert heard.notes.claimed == []
    assert [payload.get("job_id") for _, payload in heard.notes.rings] == [None, job_id]


async def test_proofs_leave_their_delays(stack: Stack) -> None:
    async with hearing(stack, check_seconds=0.1) as heard:
        await heard.realtime()
        await heard.beat()
        await until(lambda: len(heard.counters.delays) == 3, f"three delays {heard.counters.delays}")
        await until(lambda: all(delay.last for delay in heard.counters.delays.values()), "each of them")

    assert set(heard.counters.delays) == {"changes", "broadcast", "probe"}


async def test_time_in_each_mode_is_kept(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        await stack.realtime.close_sockets(1006)
        await heard.polling()
        await heard.realtime()
        seconds = heard.listener.mode_seconds()

    assert set(seconds) == {"starting", "realtime", "polling"}
    assert all(value > 0 for value in seconds.values())
    assert heard.listener.reconnects == 1


async def test_a_listen_task_that_dies_ends_the_session(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        session = heard.listener._relay.current
        assert session is not None
        for task in session._client.tasks:
            task.cancel()
        await heard.polling()
        await heard.realtime()

    assert "socket closed" in heard.counters.sessions


async def test_a_listener_that_is_cancelled_while_a_socket_closes_leaves_nothing_behind(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = asyncio.Event()

    async def never_closed(_: link.Client) -> None:
        closing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(link.Client, "close", never_closed)
    async with hearing(stack) as heard:
        await heard.realtime()
        stack.realtime.push_to_all("phx_error", {})
        await closing.wait()


async def test_a_callback_that_raises_ends_the_session_and_not_the_listener(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        with monkeypatch.context() as broken:
            broken.setattr(heard.notes, "on_cancelled", lambda _: 1 / 0)
            stack.realtime.push_to_all("broadcast", {"event": "cancelled", "payload": {"job_id": "a"}})
            await heard.polling()
        await heard.realtime()

    assert "callback failed" in heard.counters.sessions


async def test_channels_that_the_server_forgot_are_found_by_the_probe(stack: Stack) -> None:
    async with hearing(stack, check_seconds=0.3) as heard:
        await heard.realtime()
        for socket in stack.realtime.sockets:
            socket.forget_channels()
        await heard.polling()
        await heard.realtime()

    assert "unmatched topic" in heard.counters.sessions


async def test_the_last_words_of_a_session_that_is_over_change_nothing(stack: Stack) -> None:
    ok = {"extension": "postgres_changes", "status": "ok", "message": "Subscribed to PostgreSQL", "channel": "x"}
    async with hearing(stack) as heard:
        await heard.realtime()
        stack.faults.order(upgrade_status=502)
        stack.realtime.push_to_all("phx_error", {})
        stack.realtime.push_to_all("system", ok)
        await heard.polling()
        await until(lambda: heard.counters.sessions["HTTP 502"] >= 2, "it tries again")
        assert heard.listener.mode == "polling"
        stack.faults.clear()
        await heard.realtime()

    assert [mode for mode, _ in heard.notes.modes] == ["realtime", "polling", "realtime"]
