"""
What a mutant is, and which files have them.

A file falls into units (functions, tables), each with a print of its code that neither comments nor layout change: what
was found out about a unit holds for as long as its print does.
"""

import functools
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

# For what stands outside of functions: the quickest and most telling tests of each, and what comes after them.
PYTHON_TESTS: Final = {
    "worker/recorder.py": ("tests/unit/test_recorder.py",),
    "worker/runner.py": ("tests/unit/test_runner.py", "tests/unit/test_own_runs.py"),
    "worker/heartbeat.py": ("tests/unit/test_heartbeat.py",),
    "worker/claimer.py": ("tests/unit/test_claimer.py", "tests/unit/test_own_runs.py"),
    "worker/models.py": ("tests/unit/test_models.py", "tests/unit/test_runner.py", "tests/unit/test_recorder.py"),
}
PYTHON_TESTS_MORE: Final = ("tests/unit",)

SQL_FILES: Final = ("sql/04_credits.sql", "sql/07_record.sql", "sql/08_finish.sql", "sql/09_rescue.sql")
# The most telling of tests/sql. The others would notice a few more, and take most of the time of each that survives.
SQL_TESTS: Final = (
    *("test_credits", "test_settling", "test_record", "test_job_progress", "test_item_progress", "test_ends"),
    *("test_heartbeat", "test_rescue", "test_memory", "test_life", "test_chains", "test_claim_terms", "test_bounds"),
)

# Looks at plans, which the remains of other tests can change.
SQL_TEST_LEFT_OUT: Final = "tests/sql/test_chains.py::test_a_family_is_found_without_reading_other_families"

FILES: Final = (*SQL_FILES, *PYTHON_TESTS)


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of a file; *code* is what its print is made of."""

    name: str
    code: str

    @property
    def print(self) -> str:
        return hashlib.sha256(self.code.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """*new* in place of the characters from *start* to *end* of *file*, which belong to *unit*."""

    file: str
    start: int
    end: int
    new: str
    unit: str

    def applied(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.end :]

    def described(self, text: str) -> dict[str, str | int]:
        """For the report: where it stands, the line, and what became of what."""
        begin = text.rfind("\n", 0, self.start) + 1
        line = text[begin : text.find("\n", self.start)].strip()
        old = " ".join(text[self.start : self.end].split())
        return {"line": text.count("\n", 0, self.start) + 1, "code": line, "old": old, "new": self.new}


@dataclass(frozen=True, slots=True)
class Place:
    """A mutant by its number in its unit, and the unit by its print: holds for as long as the unit's code does."""

    file: str
    unit: str
    print: str
    number: int


@functools.cache
def of(file: str) -> tuple[Sequence[Unit], Sequence[Mutant]]:
    """Units and mutants of *file*, in its order and the same on every machine."""
    from scripts.mutation import in_python, in_sql

    text = (ROOT / file).read_text()
    units, mutants = in_sql.read(file, text) if file.endswith(".sql") else in_python.read(file, text)
    return units, sorted(set(mutants))


@functools.cache
def places(file: str) -> Mapping[Mutant, Place]:
    """Every mutant of *file* with its place, in the file's order."""
    units, mutants = of(file)
    prints = {unit.name: unit.print for unit in units}
    counts: Counter[str] = Counter()
    found = {}
    for mutant in mutants:
        found[mutant] = Place(file, mutant.unit, prints[mutant.unit], counts[mutant.unit])
        counts[mutant.unit] += 1
    return found


def is_sql(file: str) -> bool:
    return file.endswith(".sql")


def counted(mutants: Iterable[Mutant]) -> Counter[str]:
    return Counter(mutant.unit for mutant in mutants)
