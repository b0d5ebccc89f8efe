"""How far back the question of the streams looks, on a clock of its own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.unit.fake_clock import FakeClock
from worker.web.hub import Hub

ADA = "ada"


class Watched:
    """A hub with one listener, over a database that takes its time."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.hub = Hub(self.answer, clock=self.clock)
        self.before_seconds = 0.0
        """How long a question is on its way until it is read; its answer is there at once."""
        self.questions: list[tuple[float, float]] = []
        """From when to when each looked at what had changed."""

    async def answer(self, _users: list[str], _jobs: list[str], within_ms: int) -> Mapping[str, Any]:
        if self.before_seconds:
            await self.clock.sleep(self.before_seconds)
        now = self.clock.monotonic()
        self.questions.append((now - within_ms / 1000, now))
        return {"as_of": "2030-01-01T00:00:00+00:00", "jobs": [], "quiet": [], "credits": {}}


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    with watched.hub.listening(ADA, None):
        task = asyncio.create_task(watched.hub.run())
        yield watched
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def covers(questions: list[tuple[float, float]], *, commit_seconds: float) -> bool:
    """Whether each change, seen that long after its date, is within what a question looked at that could see it."""
    return all(
        any(began <= read - commit_seconds for began, _ in questions[number:])
        for number, (_, read) in enumerate(questions[:-1], 1)
    )


async def test_questions_that_are_answered_at_once_look_back_a_second_and_the_overlap(watched: Watched) -> None:
    await watched.clock.advance(3)

    assert {round(ended - began, 3) for began, ended in watched.questions[1:]} == {4.0}


@pytest.mark.parametrize("seconds", [1.5, 4.0, 9.0])
async def test_a_change_is_in_some_answer_however_long_a_question_takes(watched: Watched, seconds: float) -> None:
    await watched.clock.advance(3)
    watched.before_seconds = seconds
    await watched.clock.advance(4 * seconds)
    watched.before_seconds = 0.0
    await watched.clock.advance(3)

    assert len(watched.questions) > 6
    assert covers(watched.questions, commit_seconds=1.0)
