"""
SQL mutants: the changed part is applied to a copy of a project's database, and the tests get copies of that.

The tests are collected once, before the forks. Each run teaches how long a test takes and which functions it calls (by
the statistics of its database), so that a mutant meets the tests of its function only: first those that killed its
neighbours, then the quickest. A test that kills for the first time has to be green without any change.
"""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from scripts.mutation import trials
from scripts.mutation.mutants import ROOT, SQL_TESTS, Mutant
from worker.devstack import platform, postgres

_TEMPLATE = "template_project"
_ORIGINAL = "original"
_READABLE_SECONDS = 30


class _Borrowed(postgres.Cluster):
    """The server of this process in the place of one that a test session would start for itself."""

    running: postgres.Cluster
    called: "dict[str, set[str]] | None" = None
    test = ""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.__dict__.update(self.running.__dict__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def create_database(self, name: str, template: str | None = None) -> None:
        if name != _TEMPLATE:
            await super().create_database(name, template)

    async def drop_database(self, name: str) -> None:
        if self.called is not None:
            self.called.setdefault(self.test, set()).update(await asyncio.to_thread(_calls, self.url(database=name)))
        await super().drop_database(name)


def _calls(url: str) -> set[str]:
    """Functions that were called in a database, once everybody else has left it and told."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(20):
            others = connection.execute(
                "select from pg_catalog.pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            )
            if others.rowcount == 0:
                break
            time.sleep(0.01)
        rows = connection.execute("select schemaname || '.' || funcname from pg_catalog.pg_stat_user_functions")
        return {name for (name,) in rows.fetchall()}


class _Rounds:
    """A pytest plugin that runs the collected tests once for each mutant."""

    def __init__(self, mutants: Sequence[Mutant], home: Path, results: trials.Results, until: float) -> None:
        self._mutants = mutants
        self._home = home
        self._results = results
        self._until = until
        self._texts = {file: (ROOT / file).read_text() for file in {mutant.file for mutant in mutants}}
        self._killers: dict[str, Counter[str]] = defaultdict(Counter)
        self._sound: set[str] = set()
        self._red: set[str] = set()
        self._seconds: dict[str, float] = {}
        self._called: dict[str, set[str]] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        with postgres.Cluster(self._home) as cluster:
            _Borrowed.running = cluster
            postgres.Cluster = _Borrowed  # type: ignore[misc]
            conftest = next(one for one in session.config.pluginmanager.get_plugins() if hasattr(one, "TEST_CLOCK"))
            conftest.Cluster = _Borrowed
            asyncio.run(_prepare(cluster, conftest))
            for mutant in self._mutants:
                if time.monotonic() > self._until:
                    break
                self._results.add(self._try(session, cluster, conftest, mutant))
        return True

    def _try(self, session: pytest.Session, cluster: postgres.Cluster, conftest: Any, mutant: Mutant) -> trials.Verdict:
        since = time.monotonic()
        text = mutant.applied(self._texts[mutant.file])
        while True:
            try:
                asyncio.run(_apply(cluster, conftest, mutant.file, self._texts[mutant.file], text))
            except psycopg.Error as error:
                return trials.Verdict(mutant, trials.INVALID, type(error).__name__)
            items = self._chosen(session.items, mutant.unit)
            outcome = trials.in_a_child(lambda items=items: _run(session, items, trials.PATIENCE_SECONDS))  # type: ignore[misc]
            seconds = time.monotonic() - since
            if outcome is None:
                return trials.Verdict(mutant, trials.TIMED_OUT, seconds=seconds)
            self._learn(outcome)
            if not outcome["failed"]:
                ending = trials.SURVIVED if outcome["is_complete"] else trials.UNSETTLED
                return trials.Verdict(mutant, ending, seconds=seconds)
            killer = outcome["failed"][0]
            if self._is_sound(session, cluster, killer):
                self._killers[mutant.unit][killer] += 1
                return trials.Verdict(mutant, trials.KILLED, killer, seconds)

    def _is_sound(self, session: pytest.Session, cluster: postgres.Cluster, name: str) -> bool:
        """Whether a test is green without any change; one that is not is never asked again."""
        if name in self._sound:
            return True
        asyncio.run(_fresh(cluster, _ORIGINAL))
        items = [item for item in session.items if item.nodeid == name]
        outcome = trials.in_a_child(lambda: _run(session, items, None))
        if outcome is None or outcome["failed"]:
            print(f"Red without any change: {name}", flush=True)
            self._red.add(name)
            return False
        self._sound.add(name)
        return True

    def _learn(self, outcome: dict[str, Any]) -> None:
        for name, calls in outcome["called"].items():
            if name not in outcome["failed"]:
                self._called.setdefault(name, set()).update(calls)
                self._seconds[name] = outcome["seconds"][name]

    def _chosen(self, items: Iterable[pytest.Item], unit: str) -> list[pytest.Item]:
        """A function that no statistics name (the planner may have put it into its caller) meets every test."""
        items = [item for item in items if item.nodeid not in self._red]
        is_counted = any(unit in calls for calls in self._called.values())
        calling = [item for item in items if not is_counted or unit in self._called.get(item.nodeid, {unit})]
        killers = self._killers[unit]
        # A stable sort: what is not known yet comes in the order of the files, the most telling first.
        return sorted(calling, key=lambda item: (-killers[item.nodeid], self._seconds.get(item.nodeid, 0.0)))


async def _prepare(cluster: postgres.Cluster, conftest: Any) -> None:
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute("alter system set track_functions = 'all'")
        connection.execute("select pg_reload_conf()")
    await cluster.create_database(_ORIGINAL)
    await platform.install(cluster, _ORIGINAL)
    for script in (conftest.INSTALL, conftest.EXAMPLE, conftest.CHORE, conftest.TEST_CLOCK):
        await platform.apply_sql(cluster, _ORIGINAL, script)


async def _fresh(cluster: postgres.Cluster, template: str | None) -> None:
    """An empty place for the next mutant; what a killed one left behind is gone."""
    with psycopg.connect(cluster.url()) as connection:
        left = connection.execute("select datname from pg_catalog.pg_database where datname ~ '^test_'")
        names = [name for (name,) in left.fetchall()]
    for name in (*names, _TEMPLATE):
        await cluster.drop_database(name)
    await cluster.create_database(_TEMPLATE, template)


async def _apply(cluster: postgres.Cluster, conftest: Any, file: str, original: str, text: str) -> None:
    if "create table" in original or "do $do$" in original:  # what stands already would stay as it is
        await _fresh(cluster, None)
        await platform.install(cluster, _TEMPLATE)
        install = conftest.INSTALL.replace(original.strip(), text.strip())
        assert install != conftest.INSTALL, f"sql/install.sql is not made from {file}: run scripts/build-sql"
        for script in (install, conftest.EXAMPLE, conftest.CHORE, conftest.TEST_CLOCK):
            await platform.apply_sql(cluster, _TEMPLATE, script)
    else:
        await _fresh(cluster, _ORIGINAL)
        await platform.apply_sql(cluster, _TEMPLATE, text)


def _run(session: pytest.Session, items: Sequence[pytest.Item], patience_seconds: float | None) -> dict[str, Any]:
    """In the child: these tests, to the first failure or until patience ends; all of them when that is None."""

    async def nothing(*_: Any, **__: Any) -> None:
        """The template stands."""

    platform.install = nothing
    platform.apply_sql = _only_elsewhere(platform.apply_sql)
    _Borrowed.called = {}
    failed: list[str] = []
    seconds: dict[str, float] = defaultdict(float)
    until = time.monotonic() + patience_seconds if patience_seconds is not None else float("inf")

    class Watch:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            seconds[report.nodeid] += report.duration
            if report.failed:
                failed.append(report.nodeid)

    session.config.pluginmanager.register(Watch())
    is_complete = True
    for number, item in enumerate(items):
        if time.monotonic() > until:
            is_complete = False
            break
        _Borrowed.test = item.nodeid
        following = items[number + 1] if number + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if failed and patience_seconds is not None:
            break
    called = {name: sorted(calls) for name, calls in _Borrowed.called.items()}
    return {"failed": failed, "seconds": seconds, "called": called, "is_complete": is_complete}


def _only_elsewhere(apply_sql: Any) -> Any:
    async def apply(cluster: Any, database: str, script: str) -> None:
        if database != _TEMPLATE:
            await apply_sql(cluster, database, script)

    return apply


def run(mutants: Sequence[Mutant], home: Path, results: trials.Results, until: float) -> None:
    files = [f"tests/sql/{name}.py" for name in SQL_TESTS]
    rounds = _Rounds(mutants, home, results, until)
    with contextlib.suppress(KeyboardInterrupt):
        pytest.main(["-q", "-p", "no:cacheprovider", "--timeout=100", *files], plugins=[rounds])
