"""Who may do what in SQL: the catalog holds what `permissions.toml` says, all of it and nothing else."""

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.conftest import INSTALL
from tests.security.permissions import COMMANDS, INNER, PERMISSIONS, ROLES, Table
from tests.security.project import Project
from tests.support import pasted
from tests.support.database import Database
from worker.devstack.postgres import Cluster

SCHEMAS = ["public", INNER]
BY_COLUMN = ("select", "insert", "update", "references")
BY_TABLE = (*COMMANDS, "truncate", "references", "trigger")
MAINTAIN_SINCE = 170_000


@pytest.fixture(scope="module", params=[False, True], ids=["new grants", "old grants"])
def installed(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Database]:
    """The script, applied twice to a project with new or old default grants."""
    with (
        pasted.twice(cluster, INSTALL, "grants", legacy_grants=request.param) as name,
        contextlib.closing(Database(cluster.url("postgres", name), cluster.url(database=name))) as database,
    ):
        yield database


def test_schemas_are_used_by_those_who_are_named_and_nobody_creates_in_them(installed: Database) -> None:
    rows = installed.run(
        """select n as schema, r as role, has_schema_privilege(r, n, 'usage') as usage,
             has_schema_privilege(r, n, 'create') as creates
           from unnest(%s::text[]) as n, unnest(%s::text[]) as r""",
        SCHEMAS,
        list(ROLES),
    )

    for row in rows:
        assert row["usage"] == (row["role"] in PERMISSIONS.schemas[row["schema"]]), row
        assert not row["creates"], row


def test_every_table_and_every_column_is_open_to_whom_the_page_names(installed: Database) -> None:
    maintain = (
        ["maintain"] if installed.value("select current_setting('server_version_num')::int") >= MAINTAIN_SINCE else []
    )
    rows = installed.run(
        """select n.nspname as schema, c.relname as name, r as role,
             array(select x from unnest(%s::text[]) as x where has_table_privilege(r, c.oid, x)) as whole,
             (select jsonb_object_agg(a.attname, array(
                select x from unnest(%s::text[]) as x where has_column_privilege(r, c.oid, a.attnum, x)))
              from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
           from pg_class c join pg_namespace n on n.oid = c.relnamespace, unnest(%s::text[]) as r
           where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname = any (%s)""",
        [*BY_TABLE, *maintain],
        list(BY_COLUMN),
        list(ROLES),
        SCHEMAS,
    )

    assert {(row["schema"], row["name"]) for row in rows} == PERMISSIONS.tables.keys()
    for row in rows:
        table = PERMISSIONS.tables[row["schema"], row["name"]]
        whole = {c for c in BY_TABLE if c in COMMANDS and table.may(row["role"], c)}
        if row["role"] == "authenticated" and set(table.columns) != row["columns"].keys():
            whole = set()
            assert set(table.columns) <= row["columns"].keys()
        assert set(row["whole"]) == whole, row
        for column, may in row["columns"].items():
            allowed = {c for c in BY_COLUMN if c in COMMANDS and table.may_column(row["role"], c, column)}
            assert set(may) == allowed, (row["name"], row["role"], column)


def test_every_sequence_is_open_to_whom_the_page_names(installed: Database) -> None:
    rows = installed.run(
        """select n.nspname as schema, c.relname as name, r as role, array(
             select x from unnest(array['usage', 'select', 'update']) as x where has_sequence_privilege(r, c.oid, x)
           ) as may
           from pg_class c join pg_namespace n on n.oid = c.relnamespace, unnest(%s::text[]) as r
           where c.relkind = 'S' and n.nspname = any (%s)""",
        list(ROLES),
        SCHEMAS,
    )

    assert PERMISSIONS.sequences.keys() <= {(row["schema"], row["name"]) for row in rows}
    for row in rows:
        named = PERMISSIONS.sequences.get((row["schema"], row["name"]), frozenset())
        assert set(row["may"]) == (named if row["role"] == "service_role" else set()), row


def test_every_function_is_called_by_whom_the_page_names(installed: Database) -> None:
    rows = installed.run(
        """select n.nspname as schema, p.proname as name, p.prorettype = 'trigger'::regtype as is_trigger,
             array(select r from unnest(%s::text[]) as r where has_function_privilege(r, p.oid, 'execute')) as may
           from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname = any (%s)""",
        list(ROLES),
        SCHEMAS,
    )

    known = PERMISSIONS.users_call["public"] | PERMISSIONS.service_calls
    assert {row["name"] for row in rows if row["schema"] == "public"} == known
    assert PERMISSIONS.users_call[INNER] <= {row["name"] for row in rows if row["schema"] == INNER}
    for row in rows:
        expected = set() if row["is_trigger"] else {"service_role"}
        if row["name"] in PERMISSIONS.users_call[row["schema"]]:
            expected |= {"authenticated"}
        assert set(row["may"]) == expected, row


def test_policies_only_let_users_read_and_only_their_own(installed: Database) -> None:
    rows = installed.run(
        """select schemaname, tablename, cmd, roles::text[] as roles, permissive, qual, with_check from pg_policies
           where schemaname = any (%s) or schemaname = 'realtime'""",
        SCHEMAS,
    )

    assert {row["tablename"] for row in rows} | {"translation_jobs_overview"} == {
        table.name for table in PERMISSIONS.tables.values() if table.rows
    }
    for row in rows:
        assert (row["schemaname"], row["cmd"], row["roles"]) == ("public", "SELECT", ["authenticated"])
        assert row["with_check"] is None
        table = PERMISSIONS.tables["public", row["tablename"]]
        assert ("auth.uid()" in row["qual"]) == (table.rows == "own"), row


def test_nothing_of_the_script_runs_with_its_owners_rights_but_behind_the_api(installed: Database) -> None:
    definers = installed.run(
        """select p.proname from pg_proc p
           where p.prosecdef and p.pronamespace = 'public'::regnamespace"""
    )
    views = installed.run(
        """select c.relname from pg_class c where c.relkind = 'v' and c.relnamespace = any (%s::regnamespace[])
             and not coalesce(c.reloptions, '{}') && array['security_invoker=true', 'security_invoker=on']""",
        SCHEMAS,
    )

    assert (definers, views) == ([], [])


# The same as it is felt: each statement tried in each role


def statements(table: Table) -> Iterator[tuple[str, str]]:
    """A statement for each command, of no effect where it is allowed."""
    name = f"{table.schema}.{table.name}"
    column = table.columns[0] if table.columns else "*"
    yield "select", f"select {column} from {name} limit 1"
    yield "insert", f"insert into {name} default values"
    yield "delete", f"delete from {name} where false"


def is_denied(project: Project, who: str, statement: str) -> bool:
    try:
        project.sql(who, statement)
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState):
        return True  # the latter: nobody writes to a view
    except psycopg.Error:
        return False  # let in, and then refused for what it said
    return False


@pytest.mark.parametrize("who", ["anon", "ada", "operator", "service"])
def test_each_statement_is_denied_or_not_as_the_page_says(filled: Project, who: str) -> None:
    role = filled.roles[who]
    for table in PERMISSIONS.tables.values():
        name = f"{table.schema}.{table.name}"
        for command, statement in statements(table):
            assert is_denied(filled, who, statement) != table.may(role, command), (role, statement)
        for column in filled.columns(table):
            statement = f"update {name} set {column} = default where false"
            assert is_denied(filled, who, statement) != table.may(role, "update"), (role, statement)
        for column in set(filled.columns(table)) - set(table.columns) if table.columns else ():
            statement = f"select {column} from {name} limit 1"
            assert is_denied(filled, who, statement) != table.may_column(role, "select", column), (role, statement)


def test_nobody_reaches_the_tables_of_the_platform_through_us(filled: Project) -> None:
    """No policy of ours lets a user write a broadcast, or see who else there is."""
    for who in ("anon", "ada", "operator"):
        assert is_denied(
            filled, who, "insert into realtime.messages (topic, extension) values ('translation_jobs', 'x')"
        )
        assert is_denied(filled, who, "select email from auth.users")
        assert filled.sql(who, "select 1 from realtime.messages") == []
        sent = "select realtime.send('{}', 'ready', 'translation_jobs', true)"
        filled.sql(who, sent)  # says so in a warning
    rows: list[Any] = filled.database.run("select from realtime.messages where payload - 'id' = '{}'")
    assert rows == []


@pytest.mark.parametrize("table", [t for t in PERMISSIONS.exposed if t.rows], ids=lambda table: table.name)
def test_users_see_their_own_rows_and_the_service_all(filled: Project, table: Table) -> None:
    key = ", ".join(table.columns)

    def seen(who: str) -> list[str]:
        return sorted(str(row) for row in filled.sql(who, f"select {key} from public.{table.name}"))

    ada, bob, everything = seen("ada"), seen("bob"), seen("service")

    assert ada
    assert seen("operator") == (everything if table.rows == "all" else [])
    if table.rows == "all":
        assert ada == bob == everything
    else:
        assert bob
        assert sorted(ada + bob) == everything
        assert filled.strangers(table.name, "ada", filled.sql("ada", f"select {key} from public.{table.name}")) == []
