"""
What is told of a row change, and to whom: every answer comes from Postgres.

Values are typed and turned into JSON by a cast to their column's type. Whether somebody may see a row is asked by
selecting it by primary key as that role with those claims, so a table with a policy nobody here ever saw is filtered
right. The rule: no policy, grant or type is interpreted in Python.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.devstack.filters import Query, quote
from worker.devstack.keys import Identity
from worker.devstack.pgoutput import Change, Column, Relation, Row
from worker.devstack.pipeline import Connection, Pool, Refused, Rows, Statement

_RECORD_BYTES_MAX = 1024 * 1024
_SMALL_VALUE_BYTES = 64  # what is still told of a row that is too large

Filter = Sequence[tuple[str, str]]  # column and test, as in a query string; all must hold


@dataclass
class Described:
    """A change in JSON: what Postgres makes of its values, its table, and the filters asked about."""

    change: Change
    types: Mapping[str, str]
    key: Sequence[str]
    has_policies: bool
    record: dict[str, str] = field(default_factory=dict)  # column to JSON text
    old_record: dict[str, str] = field(default_factory=dict)
    passed: set[Filter] = field(default_factory=set)
    is_too_large: bool = False

    @property
    def whole(self) -> Row:
        """The row the change is about."""
        return (self.change.new if self.change.new is not None else self.change.old) or {}


@dataclass(frozen=True)
class View:
    """What one role may know of a change; no columns at all when it may not even select the key."""

    is_visible: bool
    columns: frozenset[str]


class Audience:
    """Asks Postgres, over a pool of superuser connections that step down to the role in question."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._types: dict[tuple[int, int], tuple[str, str]] = {}  # how to cast to it, what the client calls it

    async def describe(self, changes: Sequence[Change], filters: Sequence[Iterable[Filter]]) -> list[Described]:
        """*changes* in JSON, each with those of its *filters* that it passes. Rows of dropped tables are left out."""
        async with self._pool.connection() as connection:
            await self._learn_types(connection, changes)
            relations = {change.relation.oid: change.relation for change in changes}
            facts = await connection.run(*(Statement(_FACTS, [str(oid)]) for oid in relations))
            known = {oid: rows for oid, rows in zip(relations, facts, strict=True) if len(rows)}
            questions = [
                self._ask(self._start(change, known[change.relation.oid]), list(asked))
                for change, asked in zip(changes, filters, strict=True)
                if change.relation.oid in known
            ]
            answers = iter(await connection.run(*(s for question in questions for s in question.statements)))
            return [question.answered(answers) for question in questions]

    async def views(self, identity: Identity, described: Sequence[Described]) -> list[View]:
        """What *identity* may know of each."""
        oids = list({one.change.relation.oid for one in described})
        async with self._pool.connection() as connection:
            statements = [Statement(_SELECTABLE, [str(oid)]) for oid in oids]
            _, *answers = await connection.transact(as_identity(identity), *statements)
            selectable = {
                oid: frozenset(json.loads(rows.get(0, 0) or b"[]")) for oid, rows in zip(oids, answers, strict=True)
            }
            columns = [selectable[one.change.relation.oid] for one in described]
            looks = [self._look(one) if _must_look(one, c) else None for one, c in zip(described, columns, strict=True)]
            seen = iter(await self._seen(connection, identity, [look for look in looks if look is not None]))
        return [
            View(look is None or next(seen), c if c.issuperset(one.key) and one.key else frozenset())
            for one, c, look in zip(described, columns, looks, strict=True)
        ]

    # Steps

    async def _learn_types(self, connection: Connection, changes: Sequence[Change]) -> None:
        columns = {(c.type_oid, c.type_modifier) for change in changes for c in change.relation.columns}
        unknown = list(columns - self._types.keys())
        if not unknown:
            return
        answers = await connection.run(*(Statement(_TYPE, [str(oid), str(modifier)]) for oid, modifier in unknown))
        for asked, rows in zip(unknown, answers, strict=True):
            self._types[asked] = (rows.text(0, 0) or "text", rows.text(0, 1) or "text")

    def _start(self, change: Change, facts: Rows) -> Described:
        types = {c.name: self._types[c.type_oid, c.type_modifier][1] for c in change.relation.columns}
        return Described(change, types, json.loads(facts.get(0, 1) or b"[]"), facts.get(0, 0) == b"t")

    def _ask(self, one: Described, filters: list[Filter]) -> "_Question":
        change = one.change
        row = one.whole
        one.is_too_large = sum(len(value or b"") for value in row.values()) > _RECORD_BYTES_MAX
        if one.is_too_large:
            row = {name: value for name, value in row.items() if len(value or b"") <= _SMALL_VALUE_BYTES}
        answerable = [f for f in filters if all(column in row for column, _ in f)]
        old = change.old if change.new is not None else None
        statements = [self._values(change.relation, row, answerable)]
        if old is not None:
            statements.append(self._values(change.relation, old, []))
        return _Question(one, list(row), answerable, list(old or ()), statements)

    def _values(self, relation: Relation, row: Row, filters: Sequence[Filter]) -> Statement:
        """One row of JSON values, then whether it passes each filter."""
        columns = [column for column in relation.columns if column.name in row]
        query = Query("r", [row[column.name] for column in columns])
        given = [f"${n}::{self._cast(column)} as {quote(column.name)}" for n, column in enumerate(columns, 1)]
        asked = [self._json(column) for column in columns]
        for filter_ in filters:
            query.conditions.clear()
            query.read(filter_)
            asked.append(f"coalesce({' and '.join(query.conditions)}, false)")
        return Statement(f"select {', '.join(asked)} from (select {', '.join(given)}) as r", query.values)

    def _cast(self, column: Column) -> str:
        return self._types[column.type_oid, column.type_modifier][0]

    def _json(self, column: Column) -> str:
        name = f"r.{quote(column.name)}"
        # Binary values travel as bare hex; everything else as Postgres has it.
        return f"to_jsonb(encode({name}, 'hex'))" if self._cast(column) == "bytea" else f"to_jsonb({name})"

    def _look(self, one: Described) -> Statement:
        """Whether the row is there for whoever asks."""
        relation = one.change.relation
        casts = {column.name: self._cast(column) for column in relation.columns}
        test = " and ".join(f"t.{quote(name)} = ${n}::{casts[name]}" for n, name in enumerate(one.key, 1))
        table = f"{quote(relation.schema)}.{quote(relation.table)}"
        return Statement(f"select exists (select from {table} as t where {test})", [one.whole[k] for k in one.key])

    async def _seen(self, connection: Connection, identity: Identity, looks: list[Statement]) -> list[bool]:
        try:
            _, *answers = await connection.transact(as_identity(identity), *looks)
            return [rows.get(0, 0) == b"t" for rows in answers]
        except Refused:  # a policy that fails shows nothing of its row, and all of the others
            if len(looks) == 1:
                return [False]
            return [seen for look in looks for seen in await self._seen(connection, identity, [look])]


@dataclass
class _Question:
    """What is asked about one change's values, and where the answers go."""

    one: Described
    names: list[str]
    filters: list[Filter]
    old_names: list[str]
    statements: list[Statement]

    def answered(self, answers: Iterator[Rows]) -> Described:
        one = self.one
        rows = next(answers)
        record = _texts(rows, self.names)
        one.passed = {f for n, f in enumerate(self.filters, len(self.names)) if rows.get(0, n) == b"t"}
        if one.change.new is None:
            of_key = one.has_policies  # all that is told of a row that nobody can be asked about any more
            one.old_record = {name: record[name] for name in record if name in one.key or not of_key}
            return one
        one.record = record
        if self.old_names:
            one.old_record = _texts(next(answers), self.old_names)
        else:
            one.old_record = {name: record[name] for name in one.key if name in record}
        return one


def _texts(rows: Rows, names: Sequence[str]) -> dict[str, str]:
    return {name: rows.text(0, n) or "null" for n, name in enumerate(names)}


def _must_look(one: Described, columns: frozenset[str]) -> bool:
    """Deleted rows are told to everybody, as are those of tables without policies."""
    return one.has_policies and one.change.kind != "DELETE" and bool(one.key) and columns.issuperset(one.key)


def as_identity(identity: Identity) -> Statement:
    """
    Step down to *identity* for the rest of the transaction: to a role that the REST side may act as, or to `anon`.

    These connections are the superuser's, who may become anybody, whatever role a token was signed for.
    """
    return Statement(_STEP_DOWN, [identity.claims_json, identity.role])


def payload(one: Described, view: View, select: Sequence[str], ids: Sequence[int], *, error: int = 0) -> str:
    """
    The event's payload, JSON text: what *view* allows of the columns asked for (all when *select* is empty).

    Args:
        error: on order, pretend that this is what was wrong with the row: 400, 401 or 413.
    """
    if error:
        one, view = _spoilt(one, view, error)
    relation = one.change.relation
    data = [
        f'"schema":{json.dumps(relation.schema)}',
        f'"table":{json.dumps(relation.table)}',
        f'"type":"{one.change.kind}"',
    ]
    wrong = _error(one, view)
    if wrong is not None and not one.is_too_large:
        data += ['"columns":[]', '"record":{}', '"commit_timestamp":null']
    else:
        told = [
            c.name for c in relation.columns if c.name in view.columns and (not select or c.name in {*select, *one.key})
        ]
        columns = [{"name": name, "type": one.types[name]} for name in told]
        committed_at = one.change.committed_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        data += [f'"columns":{json.dumps(columns)}', f'"commit_timestamp":"{committed_at}"']
        if one.change.kind != "DELETE":
            data.append(f'"record":{_object(one.record, told)}')
        if one.change.kind != "INSERT":
            data.append(f'"old_record":{_object(one.old_record, told)}')
    data.append(f'"errors":{json.dumps(wrong and [wrong])}')
    return f'{{"ids":{json.dumps(ids)},"data":{{{",".join(data)}}}}}'


def _spoilt(one: Described, view: View, error: int) -> tuple[Described, View]:
    if error == 413:
        small = {name: text for name, text in one.record.items() if len(text) <= _SMALL_VALUE_BYTES}
        return dataclasses.replace(one, is_too_large=True, record=small), view
    if error == 401:
        return one, View(view.is_visible, frozenset())
    return dataclasses.replace(one, key=()), view


def _error(one: Described, view: View) -> str | None:
    if not one.key:
        return "Error 400: Bad Request, no primary key"
    if not view.columns:
        return "Error 401: Unauthorized"
    return "Error 413: Payload Too Large" if one.is_too_large else None


def _object(values: Mapping[str, str], names: Sequence[str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{values[name]}" for name in names if name in values) + "}"


_STEP_DOWN = """
select set_config('request.jwt.claims', $1, true),
       set_config('role', coalesce((
         select rolname from pg_catalog.pg_roles
         where rolname = $2 and rolname <> 'authenticator' and pg_has_role('authenticator', oid, 'member')
       ), 'anon'), true)
"""

_TYPE = """
select format_type(t.oid, $2::int4), t.typname from pg_catalog.pg_type t where t.oid = $1::oid
"""

_FACTS = """
select c.relrowsecurity,
       (select json_agg(a.attname order by array_position(i.indkey::int2[], a.attnum))
        from pg_catalog.pg_index i
        join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
        where i.indrelid = c.oid and i.indisprimary)
from pg_catalog.pg_class c where c.oid = $1::oid
"""

_SELECTABLE = """
select json_agg(attname) from pg_catalog.pg_attribute
where attrelid = $1::oid and attnum > 0 and not attisdropped and has_column_privilege(attrelid, attnum, 'select')
"""
