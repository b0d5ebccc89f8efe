"""What all sockets of the Realtime endpoint share: services, and the register of who listens to which topic."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Protocol

from worker.devstack.broadcasts import Message
from worker.devstack.changes import ChangeFeed
from worker.devstack.faults import Faults
from worker.devstack.keys import Keys
from worker.devstack.pipeline import Pool


class Hearer(Protocol):
    """Somebody on a topic."""

    def hear(self, message: Message) -> None: ...


@dataclass
class Hub:
    keys: Keys
    pool: Pool  # superuser connections
    feed: ChangeFeed
    faults: Faults
    refusal_seconds: float = 0.0  # the pause before a refused join is answered; the hosted server's is 5
    database_road_open: asyncio.Event = field(default_factory=asyncio.Event)
    _hearers: dict[tuple[str, bool], set[Hearer]] = field(default_factory=lambda: defaultdict(set))

    def enter(self, topic: str, private: bool, hearer: Hearer) -> None:
        self._hearers[topic, private].add(hearer)

    def leave(self, topic: str, private: bool, hearer: Hearer) -> None:
        self._hearers[topic, private].discard(hearer)
        if not self._hearers[topic, private]:
            del self._hearers[topic, private]

    def send(self, message: Message, *, but: Hearer | None = None) -> None:
        """Tell everybody on the message's topic, except *but*."""
        for hearer in list(self._hearers.get((message.topic, message.private), ())):
            if hearer is not but:
                hearer.hear(message)
