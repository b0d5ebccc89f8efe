"""The listener against the stand-in's Realtime endpoint and everything that can go wrong with it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from tests.conftest import INSTALL
from tests.support.waiting import until
from worker import listener as listening
from worker import session as sessions
from worker.counters import Counters
from worker.devstack.stack import Stack
from worker.listener import Listener
from worker.rpc import Rpc
from worker.store import JobStore

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

WORKER = "listener-test"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("stack"), sql=[INSTALL], changes_idle_ms=20) as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in [
        (listening, "_BASE_SECONDS", 0.05),
        (listening, "_CAP_SECONDS", 0.2),
        (listening, "_CANARY_SECONDS", 0.5),
        (sessions, "_READY_SECONDS", 1.0),
        (sessions, "_PROBE_SECONDS", 0.5),
    ]:
        monkeypatch.setattr(module, name, seconds)
    floors = {reason: min(seconds, 0.5) for reason, seconds in listening._FLOORS.items()}
    monkeypatch.setattr(listening, "_FLOORS", floors)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def behaved(stack: Stack) -> AsyncIterator[None]:
    yield
    stack.faults.clear()


class Notes:
    """What the listener told."""

    def __init__(self) -> None:
        self.rings: list[tuple[str, Mapping[str, Any]]] = []
        self.modes: list[tuple[str, str]] = []
        self.cancelled: list[str] = []
        self._news = asyncio.Condition()

    def on_ring(self, road: str, payload: Mapping[str, Any]) -> None:
        self.rings.append((road, payload))

    def on_cancelled(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def on_mode(self, mode: str, reason: str) -> None:
        self.modes.append((mode, reason))

    @property
    def roads(self) -> set[str]:
        return {road for road, _ in self.rings}


class Heard:
    def __init__(self, stack: Stack, check_seconds: float) -> None:
        self.notes = Notes()
        self._seen = 0
        self.counters = Counters()
        rpc = Rpc(stack.urls.url, stack.urls.secret_key)
        self.store = JobStore(rpc, WORKER)
        self.listener = Listener(
            realtime_url=f"{stack.urls.url}/realtime/v1",
            key=stack.urls.secret_key,
            worker_id=WORKER,
            hearer=self.notes,
            check_seconds=check_seconds,
            counters=self.counters,
        )

    async def beat(self) -> None:
        sent_at = asyncio.get_running_loop().time()
        report = {"mode": self.listener.mode, "job_types": [], "probe": self.listener.take_probe()}
        await self.store.heartbeat_translation_worker(report)
        self.listener.beat_accepted(sent_at)

    async def realtime(self) -> None:
        await until(lambda: self.listener.mode == "realtime", f"realtime; {self.notes.modes} {self.counters.sessions}")

    async def polling(self) -> None:
        """Wait until it went over to polling since the last time, however short it stayed there."""
        await until(lambda: "polling" in self._modes(), "polling")
        self._seen += self._modes().index("polling") + 1

    def _modes(self) -> list[str]:
        return [mode for mode, _ in self.notes.modes[self._seen :]]


@asynccontextmanager
async def hearing(stack: Stack, check_seconds: float = 30.0) -> AsyncIterator[Heard]:
    before = set(asyncio.all_tasks())
    heard = Heard(stack, check_seconds)
    task = asyncio.create_task(heard.listener.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await heard.store.close()
    left = {t for t in asyncio.all_tasks() - before if "devstack" not in str(t.get_coro()) and "aiohttp" not in repr(t)}
    assert [t for t in left if not t.done() and "realtime" in repr(t)] == []


def insert(stack: Stack) -> str:
    with psycopg.connect(stack.urls.database_url, autocommit=True) as db:
        row = db.execute("select id from enqueue_translation_job('translation', to_jsonb('Hi'::text), array['es'])")
        return str(row.fetchone()[0])  # type: ignore[index]


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
        await until(lambda: heard.counters.sessions.total() == 1, "a new session after the second miss")
        await asyncio.sleep(1.0)
        assert heard.listener.mode == "polling", "an ok alone is not believed after that"
        stack.faults.clear()
        await heard.beat()
        await heard.realtime()

    assert "heartbeat row not heard" in heard.counters.sessions


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
        desk = Rpc(stack.urls.url, stack.urls.secret_key)
        await desk.call("cancel_translation_job", {"p_job_id": job_id})
        await desk.close()
        await until(lambda: heard.notes.cancelled == [job_id], f"the cancel {heard.notes.cancelled}")
