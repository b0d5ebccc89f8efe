"""
What a mutant is, and which files have them.

A file falls into units (functions, tables), each with a print of its code that neither comments nor layout change: what
was found out about a unit holds for as long as its print does.
"""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

# The quickest and most telling tests of each; for what they let through, the second row.
PYTHON_TESTS: Final = {
    "worker/recorder.py": ("tests/unit/test_recorder.py",),
    "worker/runner.py": ("tests/unit/test_runner.py", "tests/unit/test_own_runs.py"),
    "worker/heartbeat.py": ("tests/unit/test_heartbeat.py",),
    "worker/claimer.py": ("tests/unit/test_claimer.py", "tests/unit/test_own_runs.py"),
    "worker/models.py": ("tests/unit/test_models.py", "tests/unit/test_runner.py", "tests/unit/test_recorder.py"),
}
PYTHON_TESTS_MORE: Final = ("tests/unit", "tests/handlers/test_testing.py")

SQL_FILES: Final = ("sql/04_credits.sql", "sql/07_record.sql", "sql/08_finish.sql", "sql/09_rescue.sql")
# The most telling first; without those that look at times and plans, which are red on a busy machine.
SQL_TESTS: Final = (
    "test_record", "test_life", "test_chains", "test_item_progress", "test_memory", "test_claim", "test_create",
    "test_reading", "test_errors_at_every_moment", "test_operate", "test_claim_terms", "test_promises", "test_races",
    "test_model",
)  # fmt: skip

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


@functools.cache
def of(file: str) -> tuple[Sequence[Unit], Sequence[Mutant]]:
    """Units and mutants of *file*, in its order and the same on every machine."""
    from scripts.mutation import in_python, in_sql

    text = (ROOT / file).read_text()
    units, mutants = in_sql.read(file, text) if file.endswith(".sql") else in_python.read(file, text)
    return units, sorted(set(mutants))


def is_sql(file: str) -> bool:
    return file.endswith(".sql")


def counted(mutants: Iterable[Mutant]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for mutant in mutants:
        counts[mutant.unit] = counts.get(mutant.unit, 0) + 1
    return counts
