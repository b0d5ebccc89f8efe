"""
`postgres_changes`: the publication's row changes, each told to those who may see the row.

As the real server does it: one temporary logical slot, polled by one task, consumed as it is read. The rule that
follows: a change is told at most once, nothing is kept for whoever was away, and a lost slot is a gap of which the
repeated `system` ok is the only sign.
"""

import asyncio
import json
import secrets
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loguru import logger

from worker.devstack import audience, pgoutput
from worker.devstack.audience import Audience, Described, View
from worker.devstack.faults import Faults
from worker.devstack.filters import Query, quote, split
from worker.devstack.keys import Identity
from worker.devstack.pgoutput import Change, Relation
from worker.devstack.pipeline import Connection, Disconnected, Pool, PoolExhausted, Refused, Statement
from worker.devstack.rate import Rate
from worker.devstack.refusals import Refusal

PUBLICATION = "supabase_realtime"

_BATCH_CHANGES = 100
_IDLE_FLOOR_SECONDS = 0.005
_RETRY_SECONDS = 0.5
_SLOT_SECONDS_MAX = 30


class CannotSubscribe(Exception):
    """The subscription makes no sense; the message is what the client is told."""


@dataclass(frozen=True)
class Binding:
    """One `postgres_changes` entry of a join."""

    event: str
    schema: str
    table: str
    filter: str
    select: tuple[str, ...]
    id: int

    @classmethod
    def read(cls, entry: dict[str, Any]) -> "Binding":
        select = entry.get("select")
        return cls(
            str(entry.get("event", "*")),
            str(entry.get("schema", "public")),
            str(entry.get("table") or "*"),
            str(entry.get("filter") or ""),
            tuple(select) if isinstance(select, list) else (),
            # Equal entries share an id and keep it over joins. Zero would mean "no id" to the clients.
            zlib.crc32(json.dumps(entry, sort_keys=True).encode()) % 0x7FFFFFF + 1,
        )

    def covers(self, kind: str, relation: Relation) -> bool:
        return (
            self.event in ("*", kind) and self.schema in ("*", relation.schema) and self.table in ("*", relation.table)
        )

    @property
    def conditions(self) -> audience.Filter:
        """The filter as columns and tests; a comma is AND."""
        pairs = (part.partition("=") for part in split(self.filter))
        return tuple((column, test) for column, _, test in pairs)

    def __str__(self) -> str:
        filters = f"[{self.filter}]" if self.filter else "[]"
        select = f"[{', '.join(self.select)}]" if self.select else "nil"
        return (
            f"[event: {self.event}, schema: {self.schema}, table: {self.table}, filters: {filters}, select: {select}]"
        )


@dataclass(eq=False)
class Subscriber:
    """A channel that listens: as whom, to what, and where what it hears goes."""

    identity: Identity
    bindings: Sequence[Binding]
    deliver: Callable[[str], None]  # an event's payload, JSON text
    resubscribed: Callable[[], None]  # there was a gap


class ChangeFeed:
    """
    Tells subscribers what changes.

    Args:
        conninfo: of a superuser; the slot lives in a connection of its own.
        idle_ms: the pause after a poll that found nothing. The hosted server's is 500, so an isolated change is
            told after 0 to 500 ms.
    """

    def __init__(self, conninfo: str, pool: Pool, faults: Faults, *, idle_ms: float = 500) -> None:
        self._conninfo = conninfo
        self._pool = pool
        self._audience = Audience(pool)
        self._faults = faults
        self._idle_seconds = max(idle_ms / 1000, _IDLE_FLOOR_SECONDS)
        self._subscribers: set[Subscriber] = set()
        self._wanted = asyncio.Event()  # somebody subscribes
        self._live = asyncio.Event()  # the slot exists
        self._told = 0
        self._rate = Rate()

    async def subscribe(self, subscriber: Subscriber) -> None:
        """
        Tell *subscriber* every change from now on: what commits after this returns is told.

        Raises:
            CannotSubscribe: a table is not in the publication, or a filter does not make sense.
        """
        for binding in subscriber.bindings:
            await self._check(subscriber.identity, binding)
        await self._faults.over("capture_dead")
        self._subscribers.add(subscriber)
        self._wanted.set()
        await self._live.wait()

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)

    def tell_of_gap(self) -> None:
        """Repeat the `system` ok: something may have been missed."""
        for subscriber in list(self._subscribers):
            subscriber.resubscribed()

    async def run(self) -> None:
        """Poll until cancelled. Without a first subscriber there is no slot; after it the slot is kept."""
        await self._wanted.wait()
        is_repeat = False
        while True:
            try:
                connection = await Connection.open(self._conninfo)
                try:
                    await self._follow(connection, is_repeat=is_repeat)
                finally:
                    self._live.clear()
                    await connection.close()
            except (Disconnected, PoolExhausted, Refused) as error:
                logger.warning("Change capture lost its slot", error=str(error))
            is_repeat = True
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self, connection: Connection, *, is_repeat: bool) -> None:
        slot = f"devstack_{secrets.token_hex(6)}"
        # A slot waits for the transactions of its time; rather anew than for ever.
        await connection.run(Statement(f"set statement_timeout = '{_SLOT_SECONDS_MAX}s'", prepare=False))
        await connection.run(Statement(_MAKE_SLOT, [slot], prepare=False))
        (marks,) = await connection.run(Statement(_CAN_MARK))
        self._live.set()
        if is_repeat:
            self.tell_of_gap()
        while True:
            (rows,) = await connection.run(Statement(_POLL, [slot, str(_BATCH_CHANGES), PUBLICATION]))
            if not len(rows):
                await asyncio.sleep(self._idle_seconds)
                continue
            if len(marks):
                await connection.run(Statement(_MARK))
            messages = (bytes.fromhex((rows.text(n, 0) or "")[2:]) for n in range(len(rows)))
            await self._tell(list(pgoutput.changes(messages, self._is_wanted)))

    # Telling

    async def _tell(self, batch: Sequence[Change]) -> None:
        heard = [change for change in batch if not self._is_lost(change)]
        if not heard or self._is_over_rate(heard):
            return
        filters = [{binding.conditions for binding in self._bindings_for(c) if binding.filter} for c in heard]
        described = await self._audience.describe(heard, filters)
        views = {
            identity: await self._audience.views(identity, described)
            for identity in {subscriber.identity for subscriber in self._subscribers}
        }
        for n, one in enumerate(described):
            for subscriber in list(self._subscribers):
                if subscriber.identity in views:
                    self._tell_one(subscriber, one, views[subscriber.identity][n])

    def _tell_one(self, subscriber: Subscriber, one: Described, view: View) -> None:
        if not view.is_visible:
            return
        by_select: dict[tuple[str, ...], list[int]] = {}
        covering = (b for b in subscriber.bindings if b.covers(one.change.kind, one.change.relation))
        for binding in covering:
            if not binding.filter or binding.conditions in one.passed:
                by_select.setdefault(binding.select, []).append(binding.id)
        for select, ids in by_select.items():
            payload = audience.payload(one, view, select, ids, error=self._faults.change_error)
            for _ in range(self._faults.repeat_events):
                subscriber.deliver(payload)

    def _bindings_for(self, change: Change) -> list[Binding]:
        bindings = (binding for subscriber in self._subscribers for binding in subscriber.bindings)
        return [binding for binding in bindings if binding.covers(change.kind, change.relation)]

    def _is_wanted(self, kind: str, relation: Relation) -> bool:
        return any(b.covers(kind, relation) for subscriber in self._subscribers for b in subscriber.bindings)

    # Losing, on order

    def _is_lost(self, change: Change) -> bool:
        self._told += 1
        faults = self._faults
        every = faults.drop_change_every
        muted = faults.mute_changes or faults.capture_dead or faults.mute_table == change.relation.table
        return muted or bool(every and self._told % every == 0)

    def _is_over_rate(self, heard: Sequence[Change]) -> bool:
        """Whether the messages of the last ticks were too many; then this poll is thrown away, as the real server's."""
        if not self._faults.rate_limit:
            self._rate = Rate()
            return False
        if self._rate.per_second() > self._faults.rate_limit:
            return True
        self._rate.count(sum(len(self._bindings_for(change)) for change in heard))
        return False

    # Subscribing

    async def _check(self, identity: Identity, binding: Binding) -> None:
        async with self._pool.connection() as connection:
            (found,) = await connection.run(Statement(_PUBLISHED, [PUBLICATION, binding.schema, binding.table]))
            if not len(found):
                raise CannotSubscribe(
                    "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the "
                    f"given connect parameters: {binding}"
                )
            if binding.filter:
                await self._try_filter(connection, identity, binding)

    async def _try_filter(self, connection: Connection, identity: Identity, binding: Binding) -> None:
        """Postgres says whether the columns exist, may be selected, and the values fit."""
        try:
            query = Query("r").read(binding.conditions)
            table = f"{quote(binding.schema)}.{quote(binding.table)}"
            look = Statement(f"select from {table} as r{query.where} limit 0", query.values, prepare=False)
            await connection.transact(audience.as_identity(identity), look)
        except (Refused, Refusal) as error:
            raise CannotSubscribe(
                "Unable to subscribe to changes with given parameters. An exception happened so please check your "
                f"connect parameters: {binding}. Exception: {error.message}"
            ) from None


def invented(binding: Binding, record: dict[str, Any]) -> str:
    """An INSERT's payload for *binding*, of a row that nobody read from a log."""
    data = {
        "schema": binding.schema,
        "table": binding.table,
        "type": "INSERT",
        "columns": [{"name": name, "type": "text"} for name in record],
        "commit_timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "record": record,
        "errors": None,
    }
    return json.dumps({"ids": [binding.id], "data": data})


_MAKE_SLOT = "select from pg_catalog.pg_create_logical_replication_slot($1, 'pgoutput', true)"

_POLL = """
select data from pg_catalog.pg_logical_slot_get_binary_changes(
  $1, null, $2::int4, 'proto_version', '1', 'publication_names', $3)
"""

# Each poll reads the log from where the slot may restart, and that moves at such marks only. Postgres sets one every
# fifteen seconds; under load all polls between two of them would read the same megabytes again. Since Postgres 16.
_CAN_MARK = "select where to_regprocedure('pg_catalog.pg_log_standby_snapshot()') is not null"
_MARK = "select pg_catalog.pg_log_standby_snapshot()"

_PUBLISHED = """
select from pg_catalog.pg_publication_tables
where pubname = $1 and $2::text in ('*', schemaname::text) and $3::text in ('*', tablename::text) limit 1
"""
