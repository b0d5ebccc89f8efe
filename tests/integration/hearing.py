"""A listener under test, against the stand-in's Realtime endpoint."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from tests.support.waiting import until
from worker.counters import Counters
from worker.devstack.stack import Stack
from worker.listener import Listener
from worker.rpc_direct import DirectRpc
from worker.store import JobStore

WORKER = "listener-test"


class Notes:
    """What the listener told."""

    def __init__(self) -> None:
        self.rings: list[tuple[str, Mapping[str, Any]]] = []
        self.modes: list[tuple[str, str]] = []
        self.cancelled: list[str] = []
        self.claimed: list[str] = []
        self.doubts = 0

    def on_ring(self, road: str, payload: Mapping[str, Any]) -> None:
        self.rings.append((road, payload))

    def on_cancelled(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def on_claimed(self, job_ids: list[str]) -> None:
        self.claimed += job_ids

    def on_mode(self, mode: str, reason: str) -> None:
        self.modes.append((mode, reason))

    def on_doubt(self) -> None:
        self.doubts += 1

    @property
    def roads(self) -> set[str]:
        return {road for road, _ in self.rings}


class Heard:
    def __init__(
        self, stack: Stack, check_seconds: float = 30.0, session_seconds: float = 3600.0, worker_id: str = WORKER
    ) -> None:
        self.notes = Notes()
        self._seen = 0
        self.counters = Counters()
        rpc = DirectRpc(stack.urls.url, stack.urls.secret_key)
        self.store = JobStore(rpc, worker_id)
        self.listener = Listener(
            realtime_url=f"{stack.urls.url}/realtime/v1",
            key=stack.urls.secret_key,
            worker_id=worker_id,
            hearer=self.notes,
            check_seconds=check_seconds,
            session_seconds=session_seconds,
            counters=self.counters,
        )

    async def beat(self) -> None:
        sent_at = asyncio.get_running_loop().time()
        report = {"mode": self.listener.mode, "job_types": [], "probe": self.listener.take_probe()}
        answer = await self.store.heartbeat_translation_worker(report)
        self.listener.beat_accepted(sent_at, answer["workers"])

    async def realtime(self) -> None:
        await until(lambda: self.listener.mode == "realtime", f"realtime; {self.notes.modes} {self.counters.sessions}")

    async def polling(self) -> None:
        """Wait until it went over to polling since the last time, however short it stayed there."""
        await until(lambda: "polling" in self._modes(), "polling")
        self._seen += self._modes().index("polling") + 1

    def _modes(self) -> list[str]:
        return [mode for mode, _ in self.notes.modes[self._seen :]]


@asynccontextmanager
async def hearing(stack: Stack, **settings: Any) -> AsyncIterator[Heard]:
    before = set(asyncio.all_tasks())
    heard = Heard(stack, **settings)
    task = asyncio.create_task(heard.listener.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await heard.store.close()
    left = {t for t in asyncio.all_tasks() - before if "devstack" not in str(t.get_coro()) and "aiohttp" not in repr(t)}
    under_way = [t for t in left if not t.done() and "realtime" in repr(t)]
    assert under_way == [], under_way


def insert(stack: Stack) -> str:
    with psycopg.connect(stack.urls.database_url, autocommit=True) as db:
        row = db.execute("select id from enqueue_translation_job('translation', to_jsonb('Hi'::text), array['es'])")
        return str(row.fetchone()[0])  # type: ignore[index]
