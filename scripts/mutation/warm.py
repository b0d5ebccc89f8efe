"""
One database for all tests, emptied after each, with connections that stay open from one child to the next.

Nearly all of a test's time goes into the copy of its database and into connections that have to plan everything anew.
The rule: what emptying cannot take back (a test that makes or drops something, or never comes to its end) makes the
database *dirty*, and another one is made; by the parent too, whom a file tells.
"""

from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.rows import dict_row

from scripts.mutation import copies
from tests.support.database import Row
from worker.devstack.postgres import Cluster

_SESSIONS: Final = 3

# What stands in a new project is kept beside. Every CREATE, ALTER, DROP and GRANT is counted, rolled back or not.
_PREPARED: Final = """
create schema mutation;
grant usage on schema mutation to public;
create sequence mutation.changes;
create function mutation.count_change() returns event_trigger language plpgsql security definer set search_path = ''
as $$ begin perform nextval('mutation.changes'); end $$;
create event trigger mutation_change on ddl_command_end execute function mutation.count_change();
create event trigger mutation_drop on sql_drop execute function mutation.count_change();
select nextval('mutation.changes');
"""
_TABLES: Final = """
select format('%I.%I', n.nspname, c.relname) as name,
  (select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
   where attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = '') as columns
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relpersistence <> 't'
  and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'mutation')
"""
_SEQUENCES: Final = """
select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'S' and n.nspname <> 'mutation'
"""

Connection = psycopg.Connection[Row]


def make_ready(admin_url: str) -> None:
    """Give a project's database what it needs to be emptied."""
    with psycopg.connect(admin_url, autocommit=True, row_factory=dict_row) as connection:
        tables, sequences = connection.execute(_TABLES).fetchall(), connection.execute(_SEQUENCES).fetchall()
        connection.execute(_PREPARED)
        steps = [f"delete from {table['name']};" for table in tables]
        for nth, table in enumerate(tables):
            name, columns = table["name"], table["columns"]
            if connection.execute(f"select from {name} limit 1".encode()).rowcount:
                connection.execute(f"create table mutation.kept_{nth} as table {name}".encode())
                source = f"select {columns} from mutation.kept_{nth}"
                steps.append(f"insert into {name} ({columns}) overriding system value {source};")
        for sequence in (one["name"] for one in sequences):
            (at,) = connection.execute(f"select last_value, is_called from {sequence}".encode()).fetchall()
            steps.append(f"perform setval('{sequence}', {at['last_value']}, {at['is_called']});")
        body = "\n".join(steps)
        connection.execute(
            f"""create function mutation.empty() returns void language plpgsql set search_path = pg_catalog
                as $empty$ begin {body} end $empty$""".encode()
        )


class Warm:
    """A copy of the prepared database *source*; a file *mark* stands while it is dirty."""

    def __init__(self, cluster: Cluster, source: str, mark: Path) -> None:
        self._mark = mark
        self.name = mark.name
        self.url = cluster.url("postgres", self.name)
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            copies.drop(connection, self.name)
            copies.copy(connection, self.name, source)
        self._admin = _connected(cluster.url(database=self.name), autocommit=True)
        self._admin.execute("set session_replication_role = replica")  # neither triggers nor foreign keys
        self.owner = _connected(self.url, autocommit=True)
        self.sessions = [_connected(self.url, autocommit=False) for _ in range(_SESSIONS)]
        self._changes = self._count_changes()
        mark.unlink(missing_ok=True)

    @property
    def is_dirty(self) -> bool:
        return self._mark.exists()

    def close(self) -> None:
        for connection in (self._admin, self.owner, *self.sessions):
            connection.close()

    def define(self, statement: str) -> None:
        """Put a function in place of the one that stands. Raises psycopg.Error, and the old one stands."""
        self.owner.execute(statement.encode())
        self._changes = self._count_changes()

    def take(self) -> None:
        """For one test."""
        self._mark.touch()

    def empty(self) -> None:
        """After the test: as new, unless it is dirty."""
        connections = (self.owner, *self.sessions)
        if any(one.closed or one.info.transaction_status != pq.TransactionStatus.IDLE for one in connections):
            return
        try:
            self.owner.execute("reset all; reset role; discard temp")
            self._admin.execute("select mutation.empty()")
        except psycopg.Error:
            return
        if self._count_changes() == self._changes:
            self._mark.unlink()

    def _count_changes(self) -> Any:
        return self._admin.execute("select last_value from mutation.changes").fetchone()


def _connected(url: str, *, autocommit: bool) -> Connection:
    # Without prepared statements: a child would make them, and the next would not know.
    return psycopg.connect(url, autocommit=autocommit, row_factory=dict_row, prepare_threshold=None)
