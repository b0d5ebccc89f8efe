"""
What somebody has to do for the whole project now and then: queues of pgmq become jobs, old jobs are deleted.

Owns when this worker asks; what is due, and that only one worker does it, is the database's business. The rule: nothing
is asked until a heartbeat says that something is due. Who then does it goes on as long as there is more soon, so the
others find nothing due.
"""

import asyncio
from typing import Any, Final

from loguru import logger

from worker import clock as clocks
from worker import errors
from worker.store import JobStore

# What is due later than this is left to whichever beat comes first then.
SOON_SECONDS: Final = 60.0


class Chores:
    def __init__(self, store: JobStore, *, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._store = store
        self._clock = clock
        self._due = asyncio.Event()
        self._is_told = False

    def heard(self, due_seconds: float) -> None:
        """A heartbeat says when the next chore is due."""
        if due_seconds <= 0:
            self._due.set()

    async def run(self) -> None:
        """Do what is due, until cancelled. A refusal leaves it to the next beat."""
        again_seconds: float | None = None
        while True:
            await self._clock.wait(self._due, again_seconds)
            self._due.clear()
            again_seconds = await self._do()

    async def _do(self) -> float | None:
        """Seconds until there is more to do; None: until a beat says so."""
        try:
            answer = await self._store.do_translation_chores()
        except errors.StoreError as error:
            if not self._is_told:  # once per incident
                logger.warning("Chores not done; the next heartbeats try again", error=type(error).__name__)
            self._is_told = True
            return None
        self._is_told = False
        _tell(answer)
        again_ms = answer.get("again_ms")
        return again_ms / 1000 if again_ms is not None and again_ms <= SOON_SECONDS * 1000 else None


def _tell(answer: dict[str, Any]) -> None:
    for queue in answer.get("queues") or []:
        if queue.get("error"):
            logger.warning("Queue could not be read", queue=queue["queue"], reason=queue["error"])
        elif queue.get("read"):
            logger.info("Messages taken from a queue", **{k: queue[k] for k in ("queue", "taken", "refused", "left")})
    if answer.get("purged"):
        logger.info("Old jobs deleted", jobs=answer["purged"])
