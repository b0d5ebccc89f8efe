"""
The row changes in what Postgres's own output plugin writes (protocol version 1).

Parsing only. A value is its text, NULL is `None`, and a column whose large value did not change is left out.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Row = dict[str, bytes | None]


@dataclass(frozen=True)
class Column:
    name: str
    type_oid: int
    type_modifier: int


@dataclass(frozen=True)
class Relation:
    oid: int
    schema: str
    table: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Change:
    """One changed row. *old* is the replica identity, and only there when it changed or the row is gone."""

    kind: str  # INSERT, UPDATE or DELETE
    relation: Relation
    committed_at: datetime
    new: Row | None
    old: Row | None


def changes(messages: Iterable[bytes], wanted: Callable[[str, Relation], bool]) -> Iterator[Change]:
    """
    The changes in the messages of whole transactions, in order of commit.

    Only those that are *wanted*, by kind and table: reading a row's columns is most of the work, and a busy queue
    changes many rows that nobody listens to.
    """
    relations: dict[int, Relation] = {}
    committed_at = _EPOCH
    for message in messages:
        reader = _Reader(message)
        match reader.take(1):
            case b"B":
                reader.integer("q")
                committed_at = _EPOCH + timedelta(microseconds=reader.integer("q"))
            case b"R":
                relation = reader.relation()
                relations[relation.oid] = relation
            case b"I" | b"U" | b"D" as kind:
                relation = relations[reader.integer("i")]
                if wanted(_KINDS[kind], relation):
                    old, new = reader.rows(relation)
                    yield Change(_KINDS[kind], relation, committed_at, new, old)


_KINDS = {b"I": "INSERT", b"U": "UPDATE", b"D": "DELETE"}


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def integer(self, form: str) -> int:
        value: int = struct.unpack(f">{form}", self.take(struct.calcsize(form)))[0]
        return value

    def string(self) -> str:
        end = self._data.index(0, self._at)
        text = self._data[self._at : end].decode()
        self._at = end + 1
        return text

    def relation(self) -> Relation:
        oid, schema, table = self.integer("i"), self.string(), self.string()
        self.take(1)  # replica identity
        return Relation(oid, schema, table, tuple(self._column() for _ in range(self.integer("h"))))

    def _column(self) -> Column:
        self.take(1)  # part of the identity
        return Column(self.string(), self.integer("I"), self.integer("i"))

    def rows(self, relation: Relation) -> tuple[Row | None, Row | None]:
        old: Row | None = None
        new: Row | None = None
        while self._at < len(self._data):
            match self.take(1):
                case b"N":
                    new = self._row(relation)
                case b"K":  # the identity alone; the other columns are NULL here and mean nothing
                    old = {name: value for name, value in self._row(relation).items() if value is not None}
                case b"O":
                    old = self._row(relation)
        return old, new

    def _row(self, relation: Relation) -> Row:
        row: Row = {}
        for column in relation.columns[: self.integer("h")]:
            match self.take(1):
                case b"n":
                    row[column.name] = None
                case b"t":
                    row[column.name] = self.take(self.integer("i"))
        return row
