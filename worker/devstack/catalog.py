"""
What the REST gateway knows of the schema: functions by name, tables with their columns, settings of roles.

Read from the database in one go and kept until somebody says `notify pgrst`. It holds no permissions: those are
Postgres's to check, each time.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from worker.devstack.pipeline import Connection, Statement

EXPOSED_SCHEMA = "public"

_HOISTED = ("statement_timeout", "plan_filter.statement_cost_limit", "default_transaction_isolation")


@dataclass(frozen=True)
class Argument:
    name: str
    type: str
    required: bool
    is_variadic: bool


@dataclass(frozen=True)
class Function:
    """A function that can be called over HTTP."""

    name: str
    arguments: tuple[Argument, ...]
    returns: str  # a type name, for messages
    returns_void: bool
    returns_set: bool
    returns_row: bool  # a composite, a table, or OUT arguments: an object rather than a value
    is_volatile: bool
    settings: Mapping[str, str]  # those that hold for the whole transaction

    @property
    def signature(self) -> str:
        """As messages have it."""
        arguments = ", ".join(f"{argument.name} => {argument.type}" for argument in self.arguments)
        return f"{EXPOSED_SCHEMA}.{self.name}({arguments})"

    @property
    def takes_body(self) -> bool:
        """Exactly one unnamed JSON argument: the request body is its value."""
        return len(self.arguments) == 1 and not self.arguments[0].name

    def accepts(self, names: frozenset[str]) -> bool:
        known = {argument.name for argument in self.arguments}
        return names <= known and all(a.name in names for a in self.arguments if a.required)


@dataclass(frozen=True)
class Table:
    """A table or view: columns by name with their types, the key, and what an omitted column defaults to."""

    name: str
    columns: Mapping[str, str]
    key: Sequence[str]
    defaults: Mapping[str, str]


@dataclass(frozen=True)
class Catalog:
    functions: Mapping[str, Sequence[Function]] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    role_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


async def load(connection: Connection) -> Catalog:
    """Read the exposed schema. Needs a role that may look at the system catalogues, which any may."""
    functions, tables, roles = await connection.transact(
        Statement(_FUNCTIONS, [EXPOSED_SCHEMA]), Statement(_TABLES, [EXPOSED_SCHEMA]), Statement(_ROLES)
    )
    by_name: dict[str, list[Function]] = {}
    for row in json.loads(functions.get(0, 0) or b"[]"):
        by_name.setdefault(row["name"], []).append(_function(row))
    return Catalog(
        by_name,
        {row["name"]: Table(**row) for row in json.loads(tables.get(0, 0) or b"[]")},
        {row["name"]: _settings(row["settings"]) for row in json.loads(roles.get(0, 0) or b"[]")},
    )


def _function(row: dict[str, object]) -> Function:
    arguments = row.pop("arguments")
    settings = row.pop("settings")
    assert isinstance(arguments, list)
    assert isinstance(settings, list)
    hoisted = {name: value for name, value in _settings(settings).items() if name in _HOISTED}
    return Function(arguments=tuple(Argument(**a) for a in arguments), settings=hoisted, **row)  # type: ignore[arg-type]


def _settings(entries: list[str]) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in entries)
    return {name: value for name, _, value in pairs}


# Not exposed: procedures, aggregates, trigger functions, and functions with an unnamed argument among several.
_FUNCTIONS = """
with callable as (
  select * from pg_catalog.pg_proc p
  where p.pronamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
    and p.prokind = 'f' and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
), inputs as (
  select c.oid, c.pronargs - c.pronargdefaults as required, i.type, coalesce(c.proargnames[i.nr], '') as name,
         coalesce(c.proargmodes[i.nr] = 'v', false) as is_variadic,
         row_number() over (partition by c.oid order by i.nr) as position
  from callable c
  cross join lateral unnest(coalesce(c.proallargtypes, c.proargtypes::oid[])) with ordinality as i (type, nr)
  where coalesce(c.proargmodes[i.nr], 'i') in ('i', 'b', 'v')
), arguments as (
  select oid, count(*) as total, count(*) filter (where name = '') as unnamed,
         bool_and(type in ('json'::regtype, 'jsonb'::regtype)) as all_json,
         json_agg(json_build_object('name', name, 'type', format_type(type, null), 'required', position <= required,
                                    'is_variadic', is_variadic)
                  order by position) as list
  from inputs group by oid
)
select json_agg(json_build_object(
  'name', c.proname,
  'arguments', coalesce(a.list, '[]'),
  'returns', format_type(c.prorettype, null),
  'returns_void', c.prorettype = 'void'::regtype,
  'returns_set', c.proretset,
  'returns_row', coalesce(t.typtype = 'c' or base.typtype = 'c' or c.prorettype = 'record'::regtype
                          or c.proargmodes::text[] && '{t,b,o}', false),
  'is_volatile', c.provolatile = 'v',
  'settings', coalesce(to_json(c.proconfig), '[]')) order by c.oid)
from callable c
join pg_catalog.pg_type t on t.oid = c.prorettype
left join pg_catalog.pg_type base on base.oid = t.typbasetype
left join arguments a on a.oid = c.oid
where coalesce(a.unnamed, 0) = 0 or (a.total = 1 and a.all_json)
"""

_TABLES = """
select json_agg(json_build_object(
  'name', c.relname,
  'columns', (select json_object_agg(attname, format_type(atttypid, atttypmod) order by attnum)
              from pg_catalog.pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped),
  'key', coalesce((select json_agg(attname order by array_position(i.indkey::int2[], attnum))
                   from pg_catalog.pg_index i
                   join pg_catalog.pg_attribute on attrelid = i.indrelid and attnum = any (i.indkey)
                   where i.indrelid = c.oid and i.indisprimary), '[]'),
  'defaults', coalesce((select json_object_agg(a.attname, pg_get_expr(d.adbin, d.adrelid))
                        from pg_catalog.pg_attrdef d
                        join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
                        where d.adrelid = c.oid and a.attgenerated = ''), '{}')))
from pg_catalog.pg_class c
where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
  and c.relkind in ('r', 'p', 'v', 'm', 'f')
"""

_ROLES = """
select json_agg(json_build_object('name', rolname, 'settings', rolconfig))
from pg_catalog.pg_roles where rolconfig is not null
"""
