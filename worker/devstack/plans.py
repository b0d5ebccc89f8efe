"""
REST requests as one SQL statement each: a function call, a read, or a write.

Postgres binds the arguments (one `json_to_record`) and builds the JSON, so numbers, times and nested values come out
exactly as the real gateway sends them. Every statement answers one row: body, rows in it, rows in total, and the
response headers and status that a function may have set.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from worker.devstack.catalog import EXPOSED_SCHEMA, Argument, Catalog, Function, Table
from worker.devstack.filters import Query, array, literal, quote, split
from worker.devstack.pipeline import Value
from worker.devstack.refusals import Refusal

MAX_ROWS = 1000
_SCHEMA = quote(EXPOSED_SCHEMA)

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Wanted:
    """What the request's headers ask of the answer."""

    single: bool = False  # exactly one row, as an object
    strip_nulls: bool = False
    count: bool = False
    body: bool = True
    merge_duplicates: bool = False
    ignore_duplicates: bool = False
    missing_default: bool = False


@dataclass(frozen=True)
class Plan:
    """One statement, and what the transaction around it and the reply after it need to know."""

    sql: str
    values: Sequence[Value] = ()
    read_only: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    offset: int = 0
    returns_void: bool = False
    is_table: bool = True  # rows, which can be asked for as one object


# Calling a function


def find_function(catalog: Catalog, name: str, given: frozenset[str], *, has_body: bool) -> Function:
    """The one function that takes these argument names. Types play no part, as in the real gateway."""
    candidates = catalog.functions.get(name, ())
    found = [f for f in candidates if not f.takes_body and f.accepts(given)]
    if not found and has_body:
        found = [f for f in candidates if f.takes_body]
    if len(found) == 1:
        return found[0]
    if found:
        raise Refusal(
            300,
            "PGRST203",
            f"Could not choose the best candidate function between: {', '.join(f.signature for f in found)}",
            hint="Try renaming the parameters or the function itself in the database so function overloading can be "
            "resolved",
        )
    names = ", ".join(sorted(given))
    parameters = f"with parameter{'s' if len(given) > 1 else ''} {names}" if given else "without parameters"
    unnamed = " or with a single unnamed json/jsonb parameter" if has_body else ""
    raise Refusal(
        404,
        "PGRST202",
        f"Could not find the function {EXPOSED_SCHEMA}.{name}{f'({names})' if given else f' {parameters}'} in the "
        "schema cache",
        f"Searched for the function {EXPOSED_SCHEMA}.{name} {parameters}{unnamed}, but no matches were found in the "
        "schema cache.",
    )


def call_by_body(catalog: Catalog, name: str, body: bytes, query: Pairs, wanted: Wanted) -> Plan:
    """`POST /rpc/name`: arguments are the keys of a JSON object."""
    arguments = parse_json(body or b"{}")
    given = frozenset(arguments) if isinstance(arguments, dict) else frozenset()
    function = find_function(catalog, name, given, has_body=True)
    call = f"{_SCHEMA}.{quote(name)}"
    values: list[Value] = [body or b"{}"]
    if function.takes_body:
        source = f"{call}($1::{function.arguments[0].type}) as r"
    elif given:
        used = [a for a in function.arguments if a.name in given]
        fields = ", ".join(f"{quote(a.name)} {a.type}" for a in used)
        passed = ", ".join(f"{_passed(a)} a.{quote(a.name)}" for a in used)
        source = f"json_to_record($1::json) as a({fields}), lateral {call}({passed}) as r"
    else:
        source, values = f"{call}() as r", []
    return _call(
        function, source, Query('"pgrst_call"', values).read(query), wanted, read_only=not function.is_volatile
    )


def call_by_query(catalog: Catalog, name: str, query: Sequence[tuple[str, str]], wanted: Wanted) -> Plan:
    """`GET /rpc/name?argument=value`: never writes."""
    known = {a.name for f in catalog.functions.get(name, ()) for a in f.arguments}
    given = frozenset(key for key, _ in query if key in known)
    function = find_function(catalog, name, given, has_body=False)
    used = [a for a in function.arguments if a.name in given]
    values = [[value for key, value in query if key == a.name] for a in used]
    texts = [array(several) if a.is_variadic else several[-1] for a, several in zip(used, values, strict=True)]
    passed = ", ".join(f"{_passed(a)} ${n}::{a.type}" for n, a in enumerate(used, 1))
    source = f"{_SCHEMA}.{quote(name)}({passed}) as r"
    read = Query('"pgrst_call"', list(texts)).read(query, skip=given)
    return _call(function, source, read, wanted, read_only=True)


def _passed(argument: Argument) -> str:
    return f"{'variadic ' if argument.is_variadic else ''}{quote(argument.name)} :="


def _call(function: Function, source: str, query: Query, wanted: Wanted, *, read_only: bool) -> Plan:
    settings = dict(function.settings)
    if function.returns_row:
        call = f"with pgrst_call as (select r.* from {source}) "
        rows = f"select {query.columns} from pgrst_call{query.where}{query.order}{_page(query)}"
        as_object = replace(wanted, single=wanted.single or not function.returns_set)
        sql = call + _answer(rows, as_object, total=f"select count(*) from pgrst_call{query.where}")
    else:
        sql = f"with pgrst_call as (select r as v from {source}) "
        sql += (
            _scalars(query) if function.returns_set else _SCALAR.format("''" if function.returns_void else "to_json(v)")
        )
    return Plan(
        sql,
        query.values,
        read_only,
        settings,
        query.offset,
        returns_void=function.returns_void and not function.returns_set,
        is_table=function.returns_row,
    )


_REPORT = "nullif(current_setting('response.headers', true), ''), nullif(current_setting('response.status', true), '')"
_SCALAR = f"select coalesce({{}}::text, 'null'), 1, null, {_REPORT} from pgrst_call"


def _scalars(query: Query) -> str:
    rows = f"select v from pgrst_call{_page(query)}"
    return f"select coalesce(json_agg(v), '[]')::text, count(*), null, {_REPORT} from ({rows}) as page"


# Tables


def find_table(catalog: Catalog, name: str) -> Table:
    """Raises `Refusal` (404) for a table that is not there."""
    table = catalog.tables.get(name)
    if table is None:
        raise Refusal(404, "PGRST205", f"Could not find the table '{EXPOSED_SCHEMA}.{name}' in the schema cache")
    return table


def read_table(table: Table, query: Pairs, wanted: Wanted) -> Plan:
    """`GET /table`."""
    name = _qualified(table)
    read = Query(name).read(query)
    rows = f"select {read.columns} from {name}{read.where}{read.order}{_page(read)}"
    total = f"select count(*) from {name}{read.where}"
    return Plan(_answer(rows, wanted, total=total), read.values, read_only=True, offset=read.offset)


def insert_rows(table: Table, body: bytes, query: Sequence[tuple[str, str]], wanted: Wanted) -> Plan:
    """`POST /table`: insert, or upsert when duplicates are to be merged or ignored."""
    rows = _rows(body)
    if not rows:
        return Plan(_answer("select where false", wanted, total="select 0"))
    columns = _body_columns(table, rows, query)
    name = _qualified(table)
    returning = Query(name, [body]).read(query)
    names = ", ".join(quote(column) for column in columns)
    if columns:
        target = f"insert into {name} ({names}) select {names} from {_record_set(table, rows, columns, wanted)}"
    else:
        target = f"insert into {name} default values"
        returning.values.clear()
    target += _on_conflict(table, columns, dict(query).get("on_conflict"), wanted)
    return Plan(_written(target, returning, wanted), returning.values)


def update_rows(table: Table, body: bytes, query: Sequence[tuple[str, str]], wanted: Wanted) -> Plan:
    """`PATCH /table`. Without a filter it is refused, as pg_safeupdate does on the platform."""
    rows = _rows(body)
    columns = _body_columns(table, rows[:1], query)
    if not columns:
        return Plan(_answer("select where false", wanted, total="select 0"))
    name = _qualified(table)
    read = Query(name, [body]).read(query)
    _require_filter(read, "UPDATE")
    fields = ", ".join(f"{quote(column)} {table.columns[column]}" for column in columns)
    assigned = ", ".join(f"{quote(column)} = pgrst_body.{quote(column)}" for column in columns)
    one = "$1::json" if isinstance(parse_json(body), dict) else "$1::json -> 0"
    target = f"update {name} set {assigned} from json_to_record({one}) as pgrst_body({fields}){read.where}"
    return Plan(_written(target, read, wanted), read.values)


def delete_rows(table: Table, query: Pairs, wanted: Wanted) -> Plan:
    """`DELETE /table`. Without a filter it is refused, as pg_safeupdate does on the platform."""
    name = _qualified(table)
    read = Query(name).read(query)
    _require_filter(read, "DELETE")
    return Plan(_written(f"delete from {name}{read.where}", read, wanted), read.values)


def parse_json(body: bytes) -> Any:
    """The body's value. Raises `Refusal` (400) when it is not JSON."""
    try:
        return json.loads(body)
    except ValueError:
        raise Refusal(400, "PGRST102", "Empty or invalid json") from None


def _qualified(table: Table) -> str:
    return f"{_SCHEMA}.{quote(table.name)}"


def _rows(body: bytes) -> list[dict[str, Any]]:
    value = parse_json(body)
    rows = value if isinstance(value, list) else [value]
    if not all(isinstance(row, dict) for row in rows):
        raise Refusal(400, "PGRST102", "All object keys must match")
    return rows


def _body_columns(table: Table, rows: list[dict[str, Any]], query: Pairs) -> list[str]:
    """The columns a write sets: those it names, else the keys that all rows must then share."""
    named = dict(query).get("columns")
    if named is not None:
        columns = [part.strip('"') for part in split(named)]
    else:
        columns = list(rows[0]) if rows else []
        if any(row.keys() != rows[0].keys() for row in rows):
            raise Refusal(400, "PGRST102", "All object keys must match")
    for column in columns:
        if column not in table.columns:
            raise Refusal(
                400, "PGRST204", f"Could not find the '{column}' column of '{table.name}' in the schema cache"
            )
    return columns


def _record_set(table: Table, rows: list[dict[str, Any]], columns: list[str], wanted: Wanted) -> str:
    fields = ", ".join(f"{quote(column)} {table.columns[column]}" for column in columns)
    body = "case json_typeof($1::json) when 'array' then $1::json else json_build_array($1::json) end"
    if wanted.missing_default and any(column not in row for row in rows for column in columns):
        defaults = ", ".join(f"{literal(c)}, {table.defaults[c]}" for c in columns if c in table.defaults)
        body = f"(select json_agg(jsonb_build_object({defaults}) || e::jsonb) from json_array_elements({body}) e)"
    return f"json_to_recordset({body}) as pgrst_body({fields})"


def _on_conflict(table: Table, columns: list[str], named: str | None, wanted: Wanted) -> str:
    if not (wanted.merge_duplicates or wanted.ignore_duplicates):
        return ""
    target = [part.strip('"') for part in split(named)] if named else list(table.key)
    if not target:
        return ""
    head = f" on conflict ({', '.join(quote(column) for column in target)}) do "
    if wanted.ignore_duplicates or not columns:
        return head + "nothing"
    return head + "update set " + ", ".join(f"{quote(c)} = excluded.{quote(c)}" for c in columns)


def _require_filter(query: Query, verb: str) -> None:
    if not query.conditions:
        raise Refusal(400, "21000", f"{verb} requires a WHERE clause")


def _written(target: str, query: Query, wanted: Wanted) -> str:
    # `returning 1` needs no SELECT privilege, as the real gateway has it.
    columns = query.columns if wanted.body or wanted.single else "1"
    answer = _answer("select * from written", wanted, total="select count(*) from written")
    return f"with written as ({target} returning {columns}) {answer}"


def _answer(rows: str, wanted: Wanted, *, total: str) -> str:
    body = "json_agg(page) -> 0" if wanted.single else "json_agg(page)"
    body = f"json_strip_nulls({body})" if wanted.strip_nulls else body
    body = f"coalesce({body}, '[]')::text" if wanted.body or wanted.single else "''"
    counted = f"({total})" if wanted.count else "null"
    return f"select {body}, count(*), {counted}, {_REPORT} from ({rows}) as page"


def _page(query: Query) -> str:
    limit = MAX_ROWS if query.limit is None else min(query.limit, MAX_ROWS)
    return f" limit {limit} offset {query.offset}"
