"""
A plugin of pytest that counts what its tests run of the SQL: `pytest -p scripts.counting.in_postgres`.

Every server of the run is Debian's Postgres 15 with the profiler in it. A database is read before it is dropped, and
what is left when its server stops. SQL_COUNTS names the file that the counts are added to.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from scripts import sessions
from scripts.counting import counts
from scripts.counting.branches import Count, Statement
from worker.devstack import platform, postgres

ROOT: Final = Path(__file__).parents[2]
DEBIAN: Final = Path("/usr/lib/postgresql/15/bin")
CHECKER: Final = Path("/usr/share/postgresql/15/extension/plpgsql_check.control")

SETTINGS: Final = {
    "shared_preload_libraries": "plpgsql,plpgsql_check",
    "plpgsql_check.profiler": "on",
    "track_functions": "all",
}
# Made when a database is read: the counting itself needs the library only.
EXTENSION: Final = """
create schema if not exists counting;
create extension if not exists plpgsql_check schema counting;
"""
_FUNCTIONS: Final = """
select n.nspname || '.' || p.proname, l.lanname, p.prosrc, p.oid
from pg_catalog.pg_proc p
join pg_catalog.pg_namespace n on n.oid = p.pronamespace and n.nspname in ('public', 'translation_private')
join pg_catalog.pg_language l on l.oid = p.prolang and l.lanname in ('sql', 'plpgsql')
order by 1
"""
_STATEMENTS: Final = """
select stmtid, parent_stmtid, coalesce(parent_note, ''), coalesce(lineno, 0), stmtname, exec_stmts, exec_stmts_err
from counting.plpgsql_profiler_function_statements_tb(%s::oid::regprocedure) order by 1
"""
_RUN: Final = f"""
select f.name, f.source, s.stmtid, s.exec_stmts, s.exec_stmts_err
from ({_FUNCTIONS}) as f (name, language, source, oid)
join counting.plpgsql_profiler_functions_all() a on a.funcoid::oid = f.oid
cross join lateral counting.plpgsql_profiler_function_statements_tb(f.oid::regprocedure) s
order by 1, 2
"""
_CALLED: Final = f"""
select f.name, f.source, t.calls from pg_catalog.pg_stat_user_functions t
join ({_FUNCTIONS}) as f (name, language, source, oid) on f.oid = t.funcid and f.language = 'sql'
"""
# Counts live in the server's memory, by the number of the database and the function, and there is only so much of it.
_FORGET: Final = "select counting.plpgsql_profiler_reset(funcoid) from counting.plpgsql_profiler_functions_all()"

_functions: counts.Functions = {}


def pytest_sessionstart() -> None:
    if not CHECKER.exists():
        raise pytest.UsageError("The profiler is in Debian's postgresql-15-plpgsql-check.")
    _put_the_profiler_in()
    _functions.update(counts.joined(counts.read(_path()), installed()))


def pytest_sessionfinish() -> None:
    counts.write(_path(), _functions)


def _path() -> Path:
    return Path(os.environ["SQL_COUNTS"])


def installed() -> counts.Functions:
    """The functions of sql/install.sql and their statements, with nothing counted."""
    with tempfile.TemporaryDirectory(prefix="counting-") as home:
        Path(home).chmod(0o755)  # Postgres runs as somebody else
        with postgres.Cluster(Path(home) / "layout") as cluster:
            asyncio.run(_install(cluster))
            return layout(cluster.url())


async def _install(cluster: postgres.Cluster) -> None:
    await platform.install(cluster)
    await platform.apply_sql(cluster, "postgres", (ROOT / "sql/install.sql").read_text())


def layout(url: str) -> counts.Functions:
    """The functions of a database, without counts. Raises KeyError when two of them have one name."""
    found: counts.Functions = {}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(EXTENSION)
        for name, language, source, oid in connection.execute(_FUNCTIONS).fetchall():
            if name in found:
                raise KeyError(name)
            found[name] = counts.Function(language, source)
            if language == "plpgsql":
                rows = connection.execute(_STATEMENTS, [oid]).fetchall()
                found[name].statements = [Statement(*row[:5]) for row in rows]
    return found


def read(url: str) -> Iterator[tuple[str, str, dict[int, Count], int]]:
    """What was run in a database, once everybody else has left it and told; and forget it."""
    with psycopg.connect(url, autocommit=True) as connection:
        sessions.wait_until_alone(connection, looks=50)
        connection.execute(EXTENSION)
        rows = connection.execute(_RUN).fetchall()
        for (name, source), group in groupby(rows, itemgetter(0, 1)):
            yield name, source, {number: Count(begun, raised) for _, _, number, begun, raised in group}, 0
        for name, source, calls in connection.execute(_CALLED).fetchall():
            yield name, source, {}, calls
        connection.execute(_FORGET)


def _put_the_profiler_in() -> None:
    postgres._SETTINGS |= SETTINGS
    make, drop, stop = postgres.Cluster.__init__, postgres.Cluster.drop_database, postgres.Cluster.stop

    def made(self: postgres.Cluster, data_dir: Path, **_: Any) -> None:
        make(self, data_dir, bin_dir=DEBIAN)

    async def drop_read(self: postgres.Cluster, name: str) -> None:
        if await self.has_database(name):
            await asyncio.to_thread(_note, self.url(database=name))
        await drop(self, name)

    def stop_read(self: postgres.Cluster) -> None:
        with suppress(psycopg.OperationalError):  # it has not started, or is gone
            for name in _databases(self):
                _note(self.url(database=name))
        stop(self)

    postgres.Cluster.__init__ = made  # type: ignore[method-assign]
    postgres.Cluster.drop_database = drop_read  # type: ignore[method-assign]
    postgres.Cluster.stop = stop_read  # type: ignore[method-assign]


def _note(url: str) -> None:
    counts.add(_functions, read(url))


def _databases(cluster: postgres.Cluster) -> list[str]:
    with psycopg.connect(cluster.url(), connect_timeout=5) as connection:
        rows = connection.execute("select datname from pg_catalog.pg_database where datallowconn and not datistemplate")
        return [name for (name,) in rows.fetchall()]
