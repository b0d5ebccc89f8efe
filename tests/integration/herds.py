"""Whole workers in this process, against the stand-in."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.support.waiting import until
from worker import app, models, settings
from worker.devstack.stack import Stack
from worker.handlers import ItemContext


async def done(_: ItemContext) -> models.ItemResult:
    return models.ItemResult(content="Hecho", provider="test", simulated=True)


@asynccontextmanager
async def herd(stack: Stack, number: int, **more: Any) -> AsyncIterator[Sequence[app.App]]:
    """*number* workers that all hear, know how many they are, and have looked for what came before."""
    workers = [
        app.App(
            settings.load(
                None,
                supabase_url=stack.urls.url,
                supabase_secret_key=stack.urls.secret_key,
                worker_id=f"herd-{nr}",
                shutdown_grace_seconds=1,
                **more,
            ),
            {"translation": done},
            lambda: (("*", "*"),),
        )
        for nr in range(number)
    ]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        for worker in workers:
            await until(lambda worker=worker: worker.listener.mode == "realtime", "it hears")  # type: ignore[misc]
            worker.heartbeat.soon()
        await until(lambda: all(knows(worker, number) for worker in workers), "they know how many they are")
        await until(lambda: at_rest(workers), "each has looked for what came before it heard")
        yield workers
    finally:
        for worker in workers:
            worker.ask_to_stop()
        await asyncio.gather(*running)
        for worker in workers:
            await worker.store.close()


def knows(worker: app.App, number: int) -> bool:
    return worker.workers == number and set(worker.listener.roads) == {"changes", "broadcast"}


def at_rest(workers: Sequence[app.App]) -> bool:
    """Whether none of them looks for work, or has a reason to."""
    return all(worker.crew.bell.rests for worker in workers)


def claims(workers: Sequence[app.App]) -> int:
    return sum(worker.counters.claims.total() for worker in workers)


def doubts(worker: app.App) -> int:
    """How often its connection was given up or replaced, or it changed between hearing and polling."""
    return worker.counters.sessions.total() + worker.counters.mode_changes.total()
