"""
Broadcasts: messages to everybody on a topic, from clients, over HTTP, and from the database.

A row in `realtime.messages` is a message: its trigger wakes this module at commit, and the row is what is sent. Who may
read or write a private topic is asked of the policies on that table by trying it as the user, in a transaction that is
rolled back. A private and a public topic of the same name are two topics.
"""

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loguru import logger

from worker.devstack.audience import as_identity
from worker.devstack.faults import Faults
from worker.devstack.keys import Identity
from worker.devstack.pipeline import Disconnected, Pool, PoolExhausted, Refused, Statement

NOTIFY_CHANNEL = "devstack_broadcast"

_RETRY_SECONDS = 0.2


@dataclass(frozen=True)
class Message:
    """A broadcast on its way; *body* is the frame's whole payload as JSON text, or raw bytes."""

    topic: str  # without `realtime:`
    private: bool
    event: str
    body: str | bytes


def message(topic: str, private: bool, event: str, body: Any, message_id: str | None = None) -> Message:
    """A message with *body*, a JSON value or bytes."""
    if isinstance(body, bytes):
        return Message(topic, private, event, body)
    meta = {"meta": {"id": message_id}} if message_id else {}
    text = json.dumps({"type": "broadcast", "event": event, "payload": body, **meta})
    return Message(topic, private, event, text)


class DatabaseRoad:
    """
    Sends what is written to `realtime.messages`.

    Args:
        delay_ms: held back so long, in order; a hosted server's median is 46, here it is about one without.
    """

    def __init__(self, pool: Pool, send: Callable[[Message], None], faults: Faults, *, delay_ms: float = 0) -> None:
        self._pool = pool
        self._send = send
        self._faults = faults
        self._delay_seconds = delay_ms / 1000
        self._announced: list[str] = []
        self._news = asyncio.Event()
        self._told = 0

    def announced(self, message_id: str) -> None:
        """A message was committed."""
        self._announced.append(message_id)
        self._news.set()

    async def run(self) -> None:
        """Fetch and send until cancelled; whatever was announced meanwhile is fetched together."""
        loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            self._news.clear()
            ids, self._announced = self._announced, []
            try:
                messages = await self._fetch(ids)
            except (Disconnected, PoolExhausted, Refused) as error:
                # What was committed is told all the same, once the database can be asked for it.
                logger.warning("Broadcasts wait for the database", error=str(error))
                self._announced = [*ids, *self._announced]
                self._news.set()
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for message in messages:
                if self._is_lost(message):
                    continue
                for _ in range(self._faults.repeat_events):
                    if self._delay_seconds:
                        loop.call_later(self._delay_seconds, self._send, message)
                    else:
                        self._send(message)

    def _is_lost(self, message: Message) -> bool:
        """On order."""
        self._told += 1
        faults = self._faults
        every = faults.drop_broadcast_every
        muted = faults.mute_broadcasts or faults.mute_event == message.event
        return muted or bool(every and self._told % every == 0)

    async def _fetch(self, ids: Sequence[str]) -> list[Message]:
        async with self._pool.connection() as connection:
            (rows,) = await connection.run(Statement(_MESSAGES, ["{" + ",".join(ids) + "}"]))
        return [
            Message(rows.text(n, 0) or "", rows.get(n, 1) == b"t", rows.text(n, 2) or "", rows.text(n, 3) or "{}")
            for n in range(len(rows))
        ]


async def may_read(pool: Pool, identity: Identity, topic: str) -> bool:
    """Whether a message on private *topic* would be visible to *identity*."""
    message_id = str(uuid.uuid4())
    return await _try(
        pool,
        Statement(_INSERT_ID, [message_id, topic]),
        as_identity(identity),
        _on_topic(topic),
        Statement("select from realtime.messages where id = $1 and topic = $2", [message_id, topic]),
    )


async def may_write(pool: Pool, identity: Identity, topic: str) -> bool:
    """Whether *identity* may put a message on private *topic*."""
    return await _try(pool, as_identity(identity), _on_topic(topic), Statement(_INSERT, [topic]))


async def _try(pool: Pool, *statements: Statement) -> bool:
    """Whether the last statement is allowed and has a row to show; nothing of it stays."""
    async with pool.connection() as connection:
        try:
            answers = await connection.run(Statement("begin"), *statements)
            return answers[-1].affected > 0
        except Refused:
            return False
        finally:
            if connection.is_usable:
                await connection.run(Statement("rollback"))


def _on_topic(topic: str) -> Statement:
    return Statement("select set_config('realtime.topic', $1, true)", [topic])


_INSERT_ID = "insert into realtime.messages (id, topic, extension) values ($1, $2, 'broadcast')"
_INSERT = "insert into realtime.messages (topic, extension) values ($1, 'broadcast')"

_MESSAGES = """
select topic, private, event, json_build_object(
  'type', 'broadcast', 'event', event, 'payload', payload, 'meta', json_build_object('id', m.id))
from unnest($1::uuid[]) with ordinality as announced (id, nr)
join realtime.messages m using (id)
order by nr
"""
