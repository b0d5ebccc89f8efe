"""
Tests that are collected once, and run again and again in processes forked from this one: all to learn of, or some for
each mutant.

The rule: a test notices a mutant when it fails twice, the second time with three times the time. What failed once only,
on a busy machine, has told nothing.
"""

import abc
import contextlib
import faulthandler
import json
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from scripts.mutation import trials
from scripts.mutation.known import Known
from scripts.mutation.mutants import Mutant, places

_LEARNING_SECONDS: Final = 3600.0
_ENDED_BY_A_LIMIT: Final = ("Timeout (>", "due to statement timeout")

Learned = list[dict[str, Any]]


class NoMutant(Exception):
    """It cannot be made."""


class Workbench(abc.ABC):
    """How mutants of one language are made, and how one sees what a test calls."""

    tests: Sequence[str]
    """Files and folders."""

    @abc.abstractmethod
    def opened(self, session: pytest.Session) -> contextlib.AbstractContextManager[None]:
        """In the parent, around all rounds."""

    @abc.abstractmethod
    def prepare(self, mutant: Mutant) -> None:
        """In the parent, before its round. Raises NoMutant."""

    @abc.abstractmethod
    def change(self, mutant: Mutant) -> None:
        """In the child, which ends with the mutant."""

    @abc.abstractmethod
    def watched(self) -> contextlib.AbstractContextManager[set[str]]:
        """In the child, around one test: the units it calls, all there once it has ended."""


class _Watch:
    """A plugin: runs a test, and tells how it went."""

    def __init__(self) -> None:
        self.failure = ""
        self.seconds = 0.0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds += report.duration
        if report.failed:
            self.failure = str(report.longrepr) or "failed"

    def run(self, item: pytest.Item, following: pytest.Item | None) -> bool:
        """Whether it failed. *following* keeps the fixtures that it shares with *item*."""
        self.failure, self.seconds = "", 0.0
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except Exception as error:  # a recursion without end, say, which pytest itself fails to report
            self.failure = repr(error)
        return bool(self.failure)


class _InPlaceOfTheLoop:
    """A plugin: once the tests are collected, *work* does with them what it likes."""

    def __init__(self, bench: Workbench, work: Callable[[Sequence[pytest.Item]], None]) -> None:
        self._bench = bench
        self._work = work

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        try:
            with self._bench.opened(session):
                self._work(session.items)
        except Exception:
            traceback.print_exc()  # what pytest says of it, nobody sees
            raise
        return True


def _with_tests(bench: Workbench, work: Callable[[Sequence[pytest.Item]], None]) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        # Without the plugin that takes faulthandler back whenever a test fails.
        options = ("-q", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--timeout=30")
        pytest.main([*options, *bench.tests], plugins=[_InPlaceOfTheLoop(bench, work)])


def learn(bench: Workbench, path: Path, nth: int, of: int) -> None:
    """Run every *of*th test, from the *nth* on, without any change; what there is to know of it goes to *path*."""

    def work(items: Sequence[pytest.Item]) -> None:
        learned: Learned = trials.in_a_child(lambda: _learned(bench, items[nth::of]), _LEARNING_SECONDS) or []
        path.write_text("".join(json.dumps(line) + "\n" for line in learned))

    _with_tests(bench, work)


def _learned(bench: Workbench, items: Sequence[pytest.Item]) -> Learned:
    watch = _Watch()
    items[0].config.pluginmanager.register(watch)
    learned = []
    for number, item in enumerate(items):
        with bench.watched() as called:
            failed = watch.run(item, items[number + 1] if number + 1 < len(items) else None)
        learned.append(
            {"name": item.nodeid, "failed": failed, "seconds": round(watch.seconds, 3), "calls": sorted(called)}
        )
    return learned


def try_out(bench: Workbench, mutants: Iterable[Mutant], known: Known, results: trials.Results, until: float) -> None:
    """A round for each of *mutants*, until the time *until* of the monotonic clock."""

    def work(items: Sequence[pytest.Item]) -> None:
        for mutant in mutants:
            if time.monotonic() > until:
                return
            since = time.monotonic()
            chosen = {item: known.limit_seconds(item) for item in known.chosen(items, mutant)}
            ending, by = _ending(bench, chosen, mutant)
            if by:
                known.noticed(mutant, by)
            results.add(places(mutant.file)[mutant], trials.Verdict(ending, by, time.monotonic() - since))

    _with_tests(bench, work)


def _ending(bench: Workbench, chosen: Mapping[pytest.Item, float], mutant: Mutant) -> tuple[str, str]:
    """How *mutant* ends when it meets *chosen*, each with its limit in seconds; and the test that noticed it."""
    try:
        bench.prepare(mutant)
    except NoMutant:
        return trials.INVALID, ""
    if not chosen:
        return trials.SURVIVED, ""  # nobody calls it
    answer: list[str] | None = trials.in_a_child(lambda: _round(bench, chosen, mutant))
    return (trials.TIMED_OUT, "") if answer is None else (answer[0], answer[1])


def _round(bench: Workbench, chosen: Mapping[pytest.Item, float], mutant: Mutant) -> tuple[str, str]:
    bench.change(mutant)
    items = list(chosen)
    watch = _Watch()
    items[0].config.pluginmanager.register(watch)
    until = time.monotonic() + trials.PATIENCE_SECONDS
    for number, item in enumerate(items):
        if time.monotonic() > until:
            return trials.UNSETTLED, ""
        following = items[number + 1] if number + 1 < len(items) else None
        if _fails(watch, item, following, chosen[item]) and _fails(watch, item, following, 3 * chosen[item]):
            by_a_limit = any(words in watch.failure for words in _ENDED_BY_A_LIMIT)
            return trials.TIMED_OUT if by_a_limit else trials.KILLED, item.nodeid
    return trials.SURVIVED, ""


def _fails(watch: _Watch, item: pytest.Item, following: pytest.Item | None, limit_seconds: float) -> bool:
    item.add_marker(pytest.mark.timeout(limit_seconds), append=False)
    # Where not even the limit ends it, or its fixtures do not: the whole process.
    faulthandler.dump_traceback_later(4 * limit_seconds, exit=True)
    return watch.run(item, following)
