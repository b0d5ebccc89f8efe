"""
Python mutants outside of functions: the child imports the changed text in place of the module.

It has to import the tests again too, so each costs seconds; there are few.
"""

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import time
from collections.abc import Generator, Sequence
from types import ModuleType
from typing import Any

import pytest

from scripts.mutation import trials
from scripts.mutation.mutants import PYTHON_TESTS, PYTHON_TESTS_MORE, ROOT, Mutant, places

# What every child would import again; nothing of the worker itself.
_HEAVY = ("aiohttp", "httpx", "loguru", "pydantic_settings", "psycopg", "supabase", "tenacity")

_IMPORT = "import"


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the module of one file with another text."""

    def __init__(self, file: str, text: str) -> None:
        self._name = file.removesuffix(".py").replace("/", ".")
        self._path = ROOT / file
        self._text = text

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self._path, loader=self) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._text, str(self._path), "exec"), module.__dict__)

    def get_source(self, name: str) -> str:
        return self._text


class _Watch:
    """Notes which test failed first."""

    def __init__(self) -> None:
        self.failed = ""
        self.is_complete = True
        self._until = time.monotonic() + trials.PATIENCE_SECONDS

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        if time.monotonic() > self._until:
            item.session.shouldstop = "patience"
            self.is_complete = False
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def run(mutants: Sequence[Mutant], results: trials.Results, until: float) -> None:
    for name in _HEAVY:
        importlib.import_module(name)
    assert not [name for name in sys.modules if name.partition(".")[0] == "worker"]
    texts = {file: (ROOT / file).read_text() for file in {mutant.file for mutant in mutants}}
    for mutant in mutants:
        if time.monotonic() > until:
            return
        since = time.monotonic()
        ending, by = _ending(mutant.file, mutant.applied(texts[mutant.file]))
        if ending == trials.KILLED and by != _IMPORT and not _is_green(mutant.file, texts[mutant.file], by):
            ending = trials.UNSETTLED  # the test is red without any change, too
        results.add(places(mutant.file)[mutant], trials.Verdict(ending, by, time.monotonic() - since))


@functools.cache
def _is_green(file: str, text: str, test: str) -> bool:
    answer = trials.in_a_child(lambda: _try(file, text, (test,)))
    return answer is not None and answer[0] == trials.SURVIVED


def _ending(file: str, text: str) -> tuple[str, str]:
    for tests in (PYTHON_TESTS[file], PYTHON_TESTS_MORE):
        answer = trials.in_a_child(lambda tests=tests: _try(file, text, tests))  # type: ignore[misc]
        if answer is None:
            return trials.TIMED_OUT, ""
        if answer[0] != trials.SURVIVED:
            return answer[0], answer[1]
    return trials.SURVIVED, ""


def _try(file: str, text: str, tests: Sequence[str]) -> tuple[str, str]:
    sys.meta_path.insert(0, _Changed(file, text))
    sys.dont_write_bytecode = True
    watch = _Watch()
    status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--timeout=30", *tests], plugins=[watch])
    if not watch.failed and status in (pytest.ExitCode.OK, pytest.ExitCode.INTERRUPTED):
        return (trials.SURVIVED if watch.is_complete else trials.UNSETTLED), ""
    # Tests that cannot even be collected tell that the module does not load.
    return trials.KILLED, watch.failed or _IMPORT
