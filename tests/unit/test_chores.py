"""When a worker does what has to be done for the whole project, and when it leaves that alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from loguru import logger

from tests.unit.fake_clock import FakeClock
from tests.unit.scripted_store import ScriptedStore
from worker import errors
from worker.chores import Chores
from worker.store import Row


class Store(ScriptedStore):
    """Answers the chores as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.on_chores: Callable[[], Row] = lambda: {"queues": [], "purged": 0, "again_ms": 3_600_000}

    async def do_translation_chores(self) -> Row:
        self.calls += 1
        return self.on_chores()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def chores(store: Store, clock: FakeClock) -> AsyncIterator[Chores]:
    chores = Chores(store, clock=clock)
    task = asyncio.create_task(chores.run())
    yield chores
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_asked_until_a_beat_says_that_something_is_due(
    chores: Chores, store: Store, clock: FakeClock
) -> None:
    chores.heard(12.5)
    await clock.advance(86_400)
    assert store.calls == 0

    chores.heard(0)
    await clock.advance(86_400)
    assert store.calls == 1, "an hour later is the next beat's business"


async def test_who_does_it_goes_on_while_there_is_more_soon(chores: Chores, store: Store, clock: FakeClock) -> None:
    left = [5_000, 5_000, 3_600_000]
    store.on_chores = lambda: {"queues": [], "purged": 100, "again_ms": left.pop(0)}

    chores.heard(0)
    await clock.advance(4)
    assert store.calls == 1
    await clock.advance(7)
    assert store.calls == 3


async def test_a_refusal_is_told_once_and_left_to_the_next_beats(
    chores: Chores, store: Store, clock: FakeClock
) -> None:
    def refuse() -> Row:
        raise errors.StoreUnavailable("57014")

    told: list[str] = []
    sink = logger.add(lambda message: told.append(message.record["message"]), level="WARNING")
    store.on_chores = refuse
    for _ in range(3):
        chores.heard(0)
        await clock.advance(100)
    logger.remove(sink)

    assert store.calls == 3
    assert told == ["Chores not done; the next heartbeats try again"]


async def test_what_was_done_is_told_without_what_was_in_it(chores: Chores, store: Store, clock: FakeClock) -> None:
    lines: list[tuple[str, dict[str, Any]]] = []
    sink = logger.add(lambda message: lines.append((message.record["message"], message.record["extra"])))
    store.on_chores = lambda: {
        "queues": [
            {"queue": "cards", "read": 3, "taken": 2, "refused": 1, "left": 0},
            {"queue": "empty", "read": 0},
            {"queue": "gone", "error": "pgmq has no queue gone"},
        ],
        "purged": 7,
        "again_ms": None,
    }

    chores.heard(0)
    await clock.advance(1)
    logger.remove(sink)

    assert lines == [
        ("Messages taken from a queue", {"queue": "cards", "taken": 2, "refused": 1, "left": 0}),
        ("Queue could not be read", {"queue": "gone", "reason": "pgmq has no queue gone"}),
        ("Old jobs deleted", {"jobs": 7}),
    ]
