"""
Python mutants of functions: in the child, the function gets the code of the changed text.

Nothing is imported again, so that everybody who holds the function has the mutant too.
"""

import contextlib
import importlib
import inspect
import sys
import threading
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

from scripts.mutation.mutants import PYTHON_TESTS, PYTHON_TESTS_MORE, ROOT, Mutant
from scripts.mutation.rounds import Workbench


class Bench(Workbench):
    tests = PYTHON_TESTS_MORE

    def __init__(self) -> None:
        self._texts = {file: (ROOT / file).read_text() for file in PYTHON_TESTS}
        self._functions: dict[tuple[str, str], FunctionType] = {}
        self._units: dict[CodeType, str] = {}
        self._code: CodeType | None = None

    @contextlib.contextmanager
    def opened(self, session: pytest.Session) -> Iterator[None]:
        for file in PYTHON_TESTS:
            for unit, function in _functions(file):
                self._functions[file, unit] = function
                self._units |= dict.fromkeys(_all_code(function.__code__), unit)
        yield

    def prepare(self, mutant: Mutant) -> None:
        self._code = _code_of(mutant.unit, mutant.file, mutant.applied(self._texts[mutant.file]))

    def change(self, mutant: Mutant) -> None:
        assert self._code is not None
        self._functions[mutant.file, mutant.unit].__code__ = self._code

    @contextlib.contextmanager
    def watched(self) -> Iterator[set[str]]:
        called: set[str] = set()

        def note(frame: FrameType, event: str, argument: Any) -> None:
            if event == "call" and (unit := self._units.get(frame.f_code)):
                called.add(unit)

        threading.setprofile(note)
        sys.setprofile(note)
        try:
            yield called
        finally:
            sys.setprofile(None)
            threading.setprofile(None)


def _functions(file: str) -> Iterator[tuple[str, FunctionType]]:
    """Functions of a module and of its classes, as its units are called."""
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    for owner in (module, *(one for _, one in inspect.getmembers(module, inspect.isclass))):
        if owner is module or owner.__module__ == module.__name__:
            for thing in vars(owner).values():
                function = _function(thing)
                if function is not None and function.__module__ == module.__name__:
                    yield function.__qualname__, function


def _function(thing: Any) -> FunctionType | None:
    """What a property, a class method or a decorator stands before."""
    inner = inspect.unwrap(getattr(thing, "fget", None) or getattr(thing, "__func__", thing))
    return inner if isinstance(inner, FunctionType) else None


def in_a_function(mutant: Mutant) -> bool:
    """Whether a function's code tells *mutant*: not a constant of the module, nor a default of an argument."""
    text = (ROOT / mutant.file).read_text()
    changed = _code_of(mutant.unit, mutant.file, mutant.applied(text))
    return changed is not None and changed != _code_of(mutant.unit, mutant.file, text)


def _code_of(unit: str, file: str, text: str) -> CodeType | None:
    module = compile(text, str(ROOT / file), "exec")
    return next((code for code in _all_code(module) if code.co_qualname == unit), None)


def _all_code(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_code(constant)
