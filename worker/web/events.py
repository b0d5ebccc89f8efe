"""
Events as they travel to a browser, and the queue of one that listens.

A queue is bounded: whoever reads too slowly loses what is in it and is told to look again (`resync`), so a slow reader
costs 64 events of memory and nobody else any time.
"""

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

QUEUE_MAX: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    frame: bytes
    """As it is sent. One for all who get it."""
    number: int
    name: str
    job_id: str | None = None
    status: str | None = None
    as_of: datetime | None = None


def frame(name: str, data: bytes, *, event_id: str | None = None) -> bytes:
    """One event. *data* is JSON, so it has no line breaks."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {name}\ndata: ".encode() + data + b"\n\n"


def encoded(data: Any) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


class Listener:
    """One stream's end of a channel: all of a user's events, or those of one job."""

    def __init__(self, job_id: str | None) -> None:
        self.job_id = job_id
        self.closed = False
        """Whether the server is about to end."""
        self._queue: deque[Event] = deque()
        self._overflowed = False
        self._news = asyncio.Event()

    def tell(self, event: Event) -> None:
        if self.job_id is not None and event.job_id != self.job_id:
            return
        if len(self._queue) >= QUEUE_MAX:
            self.resync()
        elif not self._overflowed:
            self._queue.append(event)
            self._news.set()

    def resync(self) -> None:
        """Forget what waits: it will be read afresh."""
        self._queue.clear()
        self._overflowed = True
        self._news.set()

    def close(self) -> None:
        self.closed = True
        self._news.set()

    def take_resync(self) -> bool:
        """Whether events were lost; asked before the state is read afresh, so that none after it is missed."""
        overflowed, self._overflowed = self._overflowed, False
        return overflowed

    async def wait(self, seconds: float) -> None:
        """Until there is something to do, *seconds* at most."""
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._news.wait()
        except TimeoutError:
            pass

    def take(self) -> list[Event]:
        self._news.clear()
        events = list(self._queue)
        self._queue.clear()
        return events
