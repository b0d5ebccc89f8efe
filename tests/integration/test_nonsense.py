"""A socket that says what no server should say: nothing raises, what may have been news is looked after."""

import asyncio
import json
from typing import Any

import pytest

from tests.integration.hearing import WORKER, Heard, hearing, insert
from tests.support.waiting import until
from worker import listener as listening
from worker.devstack.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

JOBS = "realtime:translation_jobs"


def frame(event: str, payload: Any = None, **more: Any) -> str:
    return json.dumps({"topic": JOBS, "event": event, "payload": payload, **more})


UNREADABLE: list[str | bytes] = [
    b"",
    b"\x00\x01\x02\x03",
    b"\xff" * 300,
    "",
    "not json",
    "{",
    "[" * 100_000,
    "null",
    "[1, 2]",
    '{"topic": "realtime:translation_jobs"}',
    '{"topic": 1, "event": []}',
    '{"topic": "realtime:translation_jobs", "event": "postgres_changes", "payload": {"data": NaN',
    "9" * 10_000,
    frame("something new"),
    frame("postgres_changes"),
    frame("postgres_changes", {"data": {"table": 7}}),
    frame("postgres_changes", {"ids": "1", "data": []}),
    frame("broadcast"),
    frame("broadcast", {"type": "broadcast", "event": "unheard of", "payload": {}}),
    frame("broadcast", {"event": "cancelled", "payload": {"job_id": None}}),
    frame("broadcast", {"event": ["ready"], "payload": "text"}),
    frame("system", {"status": None}),
    frame("broadcast", {"event": "ready", "payload": {"text": "x" * 2 * 1024 * 1024}}),
]

# Odd, and still to be understood: the job or the row is there.
READABLE = [
    frame("postgres_changes", {"data": {"table": "translation_jobs", "type": "INSERT", "errors": ["Error 401"]}}),
    frame("postgres_changes", {"data": {"table": "translation_jobs", "record": None, "commit_timestamp": None}}),
    frame("postgres_changes", {"data": {"table": "translation_jobs", "record": {"id": 5, "status": []}}}),
    frame("broadcast", {"event": "ready", "payload": {"job_id": 7, "due_in_ms": "soon", "jobs": -1}}),
    frame("broadcast", {"event": "ready", "payload": {}, "meta": "none"}, ref={"a": 1}),
]

HARMLESS = [
    frame("presence_state", {}),
    frame("broadcast", {"event": "claimed", "payload": {"job_ids": {"a": 1}}}),
    frame("broadcast", {"event": "claimed", "payload": {"job_ids": [1, None, "x"]}}),
    frame("broadcast", {"event": "beat", "payload": {"worker_id": 1}}),
    frame("phx_reply", {"status": "perhaps", "response": []}, ref="1"),
    frame("phx_reply", None),
    frame("phx_reply", {"status": "ok", "response": {"postgres_changes": [{"id": "x"}]}}, ref="2"),
    frame("system", {"status": "ok", "extension": 1, "message": {}}),
    json.dumps({"topic": "phoenix", "event": "phx_reply", "payload": {"status": "ok", "response": {}}}),
    json.dumps({"topic": "realtime:of somebody else", "event": "phx_close", "payload": {}}),
]


@pytest.fixture
def says_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_UNREADABLE_SECONDS", 0.0)


def push(stack: Stack, data: str | bytes) -> None:
    for socket in stack.realtime.sockets:
        socket.push_raw(data)


async def still_hears(heard: Heard, stack: Stack) -> None:
    """One session all along, and the next job is heard on it."""
    job_id = await asyncio.to_thread(insert, stack)
    await until(lambda: any(payload.get("job_id") == job_id for _, payload in heard.notes.rings), "the job is heard")
    await heard.beat()
    await until(lambda: heard.listener.roads == ["changes", "broadcast"], "both roads are proved")
    assert heard.counters.sessions.total() == 0
    assert heard.notes.modes == [("realtime", "subscribed")]


@pytest.mark.usefixtures("says_everything")
async def test_what_cannot_be_read_is_a_reason_to_look_and_nothing_else(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        for data in UNREADABLE:
            before = len(heard.notes.rings)
            push(stack, data)
            await until(lambda before=before: len(heard.notes.rings) > before, f"a look after {data[:80]!r}")  # type: ignore[misc]
        assert heard.counters.undecoded == len(UNREADABLE)
        assert heard.notes.roads == {"catch_up"}
        await still_hears(heard, stack)


@pytest.mark.usefixtures("says_everything")
async def test_what_is_only_odd_is_understood(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        for data in READABLE:
            before = len(heard.notes.rings)
            push(stack, data)
            await until(lambda before=before: len(heard.notes.rings) > before, f"a ring after {data[:80]!r}")  # type: ignore[misc]
        assert heard.counters.undecoded == 0
        await still_hears(heard, stack)


async def test_what_is_not_for_us_is_left_alone(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        for data in HARMLESS:
            push(stack, data)
        await still_hears(heard, stack)

    assert heard.counters.undecoded == 0
    assert heard.notes.cancelled == []
    assert heard.notes.claimed == ["x"]


async def test_a_flood_that_cannot_be_read_is_few_looks(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        for _ in range(5000):
            push(stack, "nonsense")
        await until(lambda: heard.counters.undecoded == 5000, "all of it arrived")
        at_once = [payload for _, payload in heard.notes.rings[1:] if "due_in_ms" not in payload]
        later = [payload["due_in_ms"] for _, payload in heard.notes.rings if "due_in_ms" in payload]

    assert len(at_once) == 1
    assert len(later) == 4999, "and one is never forgotten: the timers are one look"
    assert all(0 < due_in_ms <= 5000 for due_in_ms in later)


async def test_a_burst_of_ten_thousand_events_is_heard_by_one_session(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        for number in range(10_000):
            record = {"id": f"00000000-0000-0000-0000-{number:012}", "status": "pending"}
            push(stack, frame("postgres_changes", {"data": {"table": "translation_jobs", "record": record}}))
        await until(lambda: len(heard.notes.rings) == 10_001, "all of them")
        await still_hears(heard, stack)


@pytest.mark.parametrize(
    "data", [b"\x81\x7e\x10\x00" + b'{"topic"', b"\xff\xff\xff\xff", b"HTTP/1.1 200 OK\r\n\r\n"], ids=repr
)
async def test_bytes_that_break_the_framing_cost_one_session(stack: Stack, data: bytes) -> None:
    async with hearing(stack, check_seconds=0.3) as heard:
        await heard.realtime()
        for socket in stack.realtime.sockets:
            socket.write_raw(data)
        await heard.polling()
        await heard.realtime()

    assert heard.counters.sessions.total() == 1


async def test_another_workers_row_and_beat_prove_nothing(stack: Stack) -> None:
    async with hearing(stack) as heard:
        await heard.realtime()
        push(stack, frame("postgres_changes", {"data": {"table": "translation_workers", "record": {"id": "other"}}}))
        push(stack, frame("broadcast", {"event": "beat", "payload": {"worker_id": "other"}}))
        push(stack, frame("broadcast", {"event": "cancelled", "payload": {"job_id": "the last one"}}))
        await until(lambda: heard.notes.cancelled, "all was heard")
        assert heard.listener.roads == []
        push(stack, frame("postgres_changes", {"data": {"table": "translation_workers", "record": {"id": WORKER}}}))
        await until(lambda: heard.listener.roads == ["changes"], "the own row")
