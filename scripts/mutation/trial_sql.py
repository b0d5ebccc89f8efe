"""
SQL mutants: the changed function stands in the tests' database in place of the other.

What is no function (a table, an index) may not be put in place of what stands: for such a mutant the project is made
anew, once.
"""

import asyncio
import contextlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import psycopg
import pytest
from psycopg.rows import dict_row

from scripts import sessions
from scripts.mutation import copies, in_sql
from scripts.mutation.mutants import ROOT, SQL_FILES, SQL_TEST_LEFT_OUT, SQL_TESTS, Mutant
from scripts.mutation.rounds import NoMutant, Workbench
from scripts.mutation.warm import Warm, make_ready
from tests.support import database
from worker.devstack import platform, postgres

_TEMPLATE: Final = "template_project"
_ORIGINAL: Final = "original"
_CHANGED: Final = "changed"
_WARM: Final = "warm"
_WARM_IN_CHILD: Final = "warm_in_child"
_OURS: Final = [_ORIGINAL, _CHANGED, _WARM, "postgres"]

# A test waits for no call as long as this; a mutant that loops for ever does.
_LIMIT: Final = "statement_timeout = '10s'"
_NAME: Final = re.compile(r"(?:public|translation_private)\.\w+")
_SERVER_SETTINGS: Final = (_LIMIT, "track_functions = 'all'", "autovacuum = off", "synchronous_commit = off")


class _Borrowed(postgres.Cluster):
    """The server of this process in the place of one that a test session would start for itself."""

    running: postgres.Cluster
    home: Path
    warm: Warm
    dirty: Final[list[Warm]] = []
    source = _ORIGINAL
    statement = ""
    taken_as: str | None = None
    """The name by which a test knows the warm database."""
    counted: "_Counted | None" = None

    def __init__(self, *_: Any, **__: Any) -> None:
        self.__dict__.update(self.running.__dict__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def url(self, user: str = postgres.ADMIN, database: str = "postgres") -> str:
        return super().url(user, self.warm.name if database == _Borrowed.taken_as else database)

    async def create_database(self, name: str, template: str | None = None) -> None:
        if name == _TEMPLATE:
            return
        if template == _TEMPLATE and _Borrowed.taken_as is None:
            if self.warm.is_dirty:
                self.dirty.append(self.warm)  # its connections may be the parent's too
                _Borrowed.warm = Warm(self.running, self.source, self.home / _WARM_IN_CHILD)
                if self.statement:
                    self.warm.define(self.statement)
            _Borrowed.taken_as = name
            self.warm.take()
            return
        with psycopg.connect(self.url(), autocommit=True) as connection:
            copies.copy(connection, name, self.source if template in (None, _TEMPLATE) else str(template))
        if self.statement:
            with psycopg.connect(self.url("postgres", name), autocommit=True) as connection:
                connection.execute(self.statement.encode())

    async def drop_database(self, name: str) -> None:
        """Others are left to the parent; but while learning there is none that waits for us."""
        if self.counted is not None:
            self.counted.look(name)
        if name == _Borrowed.taken_as:
            self.warm.empty()
            _Borrowed.taken_as = None
        elif self.counted is not None:
            with psycopg.connect(self.url(), autocommit=True) as connection:
                copies.drop(connection, name)


_SOURCES: Final = """
select p.pronamespace::regnamespace || '.' || p.proname as name, p.prosrc as source from pg_catalog.pg_proc p
where p.pronamespace in ('public'::regnamespace, 'translation_private'::regnamespace)
union all
select t.tgrelid::regclass::text, string_agg(t.tgfoid::regproc::text, ' ') from pg_catalog.pg_trigger t
where not t.tgisinternal group by 1
"""


class _Counted:
    """
    Which functions are called in the databases of the tests.

    Postgres counts calls that come to their end. Of one that is refused, everything counts that it may have called.
    """

    def __init__(self, cluster: _Borrowed) -> None:
        self._cluster = cluster
        with psycopg.connect(cluster.url(database=_ORIGINAL)) as connection:
            connection.execute("set search_path = ''")
            sources = connection.execute(_SOURCES).fetchall()
        self._named = {name: set(_NAME.findall(source)) for name, source in sources}
        self._counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.called: set[str] = set()

    def refused(self, text: str) -> None:
        waiting = set(_NAME.findall(text))
        while waiting:
            name = waiting.pop()
            if name not in self.called:
                self.called.add(name)
                waiting |= self._named.get(name, set())

    def look(self, name: str) -> None:
        url = self._cluster.url(database=name)
        with psycopg.connect(url, autocommit=True) as connection:
            if name != _Borrowed.taken_as:
                sessions.wait_until_alone(connection, looks=20)
            rows = connection.execute(
                "select schemaname || '.' || funcname, sum(calls) from pg_catalog.pg_stat_user_functions group by 1"
            )
            counts = Counter({function: int(calls) for function, calls in rows.fetchall()})
        self.called |= set(counts - self._counts[url])
        self._counts[url] = counts


class _Database(database.Database):
    """A test's database whose connections stay open from one session to the next."""

    def __init__(self, url: str, admin_url: str) -> None:
        self.url = url
        self.admin_url = admin_url
        self._signatures = {}
        self._is_warm = url == _Borrowed.warm.url
        if self._is_warm:
            self._connection, self._idle = _Borrowed.warm.owner, [*_Borrowed.warm.sessions]
        else:
            self._connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
            self._idle = []

    def close(self) -> None:
        for connection in (self._connection, *self._idle):
            if _Borrowed.counted is not None:
                connection.execute("select pg_catalog.pg_stat_force_next_flush()")
                connection.commit()
            if not self._is_warm or connection not in (_Borrowed.warm.owner, *_Borrowed.warm.sessions):
                connection.close()

    def run(self, statement: str, *params: Any) -> list[database.Row]:
        try:
            return super().run(statement, *params)
        except Exception:
            if _Borrowed.counted is not None:
                _Borrowed.counted.refused(statement)
            raise

    @contextlib.contextmanager
    def session(self, as_: str | None = None) -> Iterator[database.Session]:
        connection = self._idle.pop(0) if self._idle else psycopg.connect(self.url, row_factory=dict_row)
        try:
            with connection.transaction():
                database._become(connection, as_)
                yield database.Session(connection, self)
        finally:
            if not connection.closed:
                self._idle.insert(0, connection)


class Bench(Workbench):
    def __init__(self, home: Path) -> None:
        self.tests = [f"--deselect={SQL_TEST_LEFT_OUT}", *(f"tests/sql/{name}.py" for name in SQL_TESTS)]
        self._home = home
        self._texts = {file: (ROOT / file).read_text() for file in SQL_FILES}
        self._standing: str | None = None
        """What stands in the warm database in place of the original of `_instead_of`."""
        self._instead_of = ""

    @contextlib.contextmanager
    def opened(self, session: pytest.Session) -> Iterator[None]:
        plugins = session.config.pluginmanager.get_plugins()
        self._conftest = next(one for one in plugins if hasattr(one, "TEST_CLOCK"))
        with (
            postgres.Cluster(self._home / "postgres") as cluster,
            psycopg.connect(cluster.url(), autocommit=True) as self._admin,
        ):
            for setting in _SERVER_SETTINGS:
                self._admin.execute(f"alter system set {setting}".encode())
            self._admin.execute("select pg_reload_conf()")
            self._cluster = cluster
            self._drop_leftovers()
            self._make_project(_ORIGINAL, self._conftest.INSTALL)
            _Borrowed.running, _Borrowed.home = cluster, self._home
            self._warm_up(_ORIGINAL)
            yield
            _Borrowed.warm.close()

    def _warm_up(self, source: str) -> None:
        if hasattr(_Borrowed, "warm"):
            _Borrowed.warm.close()
        _Borrowed.warm = Warm(self._cluster, source, self._home / _WARM)
        _Borrowed.source, self._instead_of = source, ""

    def _make_project(self, name: str, install: str) -> None:
        async def make() -> None:
            await self._cluster.create_database(name)
            await platform.install(self._cluster, name)
            for script in (install, self._conftest.EXAMPLE, self._conftest.CHORE, self._conftest.TEST_CLOCK):
                await platform.apply_sql(self._cluster, name, script)

        copies.drop(self._admin, name)
        asyncio.run(make())
        make_ready(self._cluster.url(database=name))

    def prepare(self, mutant: Mutant) -> None:
        self._drop_leftovers()
        if _Borrowed.warm.is_dirty or _Borrowed.source != _ORIGINAL:
            self._warm_up(_ORIGINAL)
        if self._instead_of:
            _Borrowed.warm.define(self._instead_of)
        original = self._texts[mutant.file]
        changed = mutant.applied(original)
        _Borrowed.statement = in_sql.statement(changed, mutant.unit) or ""
        self._instead_of = in_sql.statement(original, mutant.unit) or ""
        try:
            if _Borrowed.statement:
                _Borrowed.warm.define(_Borrowed.statement)
            else:
                assert original.strip() in self._conftest.INSTALL, f"{mutant.file} is newer: run scripts/build-sql"
                self._make_project(_CHANGED, self._conftest.INSTALL.replace(original.strip(), changed.strip()))
                self._warm_up(_CHANGED)
        except psycopg.Error as error:
            raise NoMutant(str(error)) from error

    def _drop_leftovers(self) -> None:
        for name in _databases(self._admin):
            copies.drop(self._admin, name)

    def change(self, mutant: Mutant) -> None:
        self._borrow()

    def _borrow(self) -> None:
        async def nothing(*_: Any, **__: Any) -> None:
            """The template stands."""

        platform.install = nothing
        platform.apply_sql = _only_elsewhere(platform.apply_sql)
        self._conftest.Cluster = _Borrowed
        self._conftest.Database = _Database

    def _count(self) -> None:
        self._borrow()
        counted = _Borrowed.counted = _Counted(_Borrowed())
        run, rpc = database.Session.run, database.Session.rpc

        def run_and_tell(self: database.Session, statement: str, *params: Any) -> list[database.Row]:
            try:
                return run(self, statement, *params)
            except Exception:
                counted.refused(statement)
                raise

        def rpc_and_tell(self: database.Session, function: str, **params: Any) -> Any:
            try:
                return rpc(self, function, **params)
            except Exception:
                counted.refused(f"public.{function}")
                raise

        database.Session.run = run_and_tell  # type: ignore[method-assign]
        database.Session.rpc = rpc_and_tell  # type: ignore[method-assign]

    @contextlib.contextmanager
    def watched(self) -> Iterator[set[str]]:
        if _Borrowed.counted is None:
            self._count()
        assert _Borrowed.counted is not None
        called: set[str] = set()
        yield called
        with psycopg.connect(self._cluster.url()) as connection:
            for name in set(_databases(connection)) - {_WARM_IN_CHILD}:
                _Borrowed.counted.look(name)
        called |= _Borrowed.counted.called
        _Borrowed.counted.called.clear()


def _databases(connection: psycopg.Connection[Any]) -> list[str]:
    """Those that tests made."""
    found = connection.execute(
        "select datname from pg_catalog.pg_database where not datistemplate and datname <> all (%s)", [_OURS]
    )
    return [name for (name,) in found.fetchall()]


def _only_elsewhere(apply_sql: Any) -> Any:
    async def apply(cluster: Any, name: str, script: str) -> None:
        if name != _TEMPLATE:
            await apply_sql(cluster, name, script)

    return apply
