"""
One call for one text: what another item or job of this worker is having translated is waited for, not asked again.

Owns who is at it. Never holds a translation: whoever waited looks into the memory, where a text stands before its
flight is over, and takes the text on when it is not there. Nobody waits before having finished what is his own, so
two that wait for each other cannot be.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

Name = tuple[str | None, str]
"""Whose text it is, and its key in the memory."""


class Flights:
    """All texts this worker is having translated now, by owner and memory key."""

    def __init__(self) -> None:
        # An event only where somebody waits: a long document is thousands of flights.
        self._under_way: dict[Name, asyncio.Event | None] = {}

    @contextmanager
    def of(self, names: Iterable[Name]) -> "Iterator[Flight]":
        """Take on those of *names* that nobody has; what is not landed inside the block is up for others after it."""
        flight = Flight(self, names)
        try:
            yield flight
        finally:
            flight.land(list(flight.mine))

    def take(self, name: Name) -> bool:
        """Whether *name* is ours from now on: nobody else has it."""
        if name in self._under_way:
            return False
        self._under_way[name] = None
        return True

    def end(self, name: Name) -> None:
        if event := self._under_way.pop(name, None):
            event.set()

    async def ended(self, name: Name) -> None:
        """Wait until nobody is at *name*. Unbounded: whoever is at it has a time limit of its own."""
        if name not in self._under_way:
            return
        event = self._under_way[name] or asyncio.Event()
        self._under_way[name] = event
        await event.wait()


class Flight:
    """What one item has taken on (`mine`), and what others are at (`theirs`)."""

    def __init__(self, flights: Flights, names: Iterable[Name]) -> None:
        self._flights = flights
        self.mine: dict[Name, None] = {}
        self.theirs: list[Name] = []
        for name in names:
            if flights.take(name):
                self.mine[name] = None
            else:
                self.theirs.append(name)

    def land(self, names: Iterable[Name]) -> None:
        """*names*, of our own, are in the memory now or given up."""
        for name in names:
            self.mine.pop(name, None)
            self._flights.end(name)

    async def others_landed(self) -> None:
        for name in self.theirs:
            await self._flights.ended(name)
