"""How far back the question of the streams looks, and what its answer is about, on a clock of its own."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.unit.fake_clock import FakeClock
from worker.web.events import Listener
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
        self.listener: Listener

    async def answer(self, _users: list[str], _jobs: list[str], within_ms: int) -> Mapping[str, Any]:
        if self.before_seconds:
            await self.clock.sleep(self.before_seconds)
        now = self.clock.monotonic()
        self.questions.append((now - within_ms / 1000, now))
        return {"as_of": "2030-01-01T00:00:00+00:00", "jobs": [], "quiet": [], "credits": {}}


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    with watched.hub.listening(ADA, None) as watched.listener:
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


async def test_a_job_that_is_shown_while_a_question_is_on_its_way_is_not_gone(watched: Watched) -> None:
    """The answer is of who was asked about: only the next one can miss it."""
    await watched.clock.advance(0.5)
    watched.before_seconds = 0.4
    await watched.clock.advance(0.6)
    watched.hub.follow(ADA, ["new"])
    await watched.clock.advance(0.4)
    told_at_first = watched.listener.take()
    await watched.clock.advance(1)

    assert told_at_first == []
    assert [(event.name, event.job_id) for event in watched.listener.take()] == [("gone", "new")]
