"""
What the tests ran of each SQL function so far: a file that is added to, test by test and run by run.

A function whose source is another starts again with nothing.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from typing import Any

from scripts.counting import branches
from scripts.counting.branches import Count, Statement


@dataclass
class Function:
    """*calls* is for language `sql`, whose statements nobody counts."""

    language: str
    source: str
    statements: list[Statement] = field(default_factory=list)
    counts: dict[int, Count] = field(default_factory=dict)
    calls: int = 0

    def add(self, counts: Mapping[int, Count], calls: int = 0) -> None:
        for number, count in counts.items():
            self.counts[number] = self.counts.get(number, Count()) + count
        self.calls += calls

    def begun(self, statement: Statement) -> int:
        return self.counts.get(statement.number, Count()).begun

    def branches(self) -> dict[str, bool]:
        """Whether each was taken; one of language `sql` has none but its call."""
        if self.language == "plpgsql":
            return branches.taken(self.source, self.statements, self.counts)
        return {"called": self.calls > 0}


Functions = dict[str, Function]


def read(path: Path) -> Functions:
    """By name, with its schema; none if nothing was counted yet."""
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return {
        name: Function(
            one["language"],
            one["source"],
            [Statement(*fields) for fields in one["statements"]],
            {int(number): Count(*pair) for number, pair in one["counts"].items()},
            one["calls"],
        )
        for name, one in found.items()
    }


def write(path: Path, functions: Functions) -> None:
    rows = {
        name: {
            **asdict(one),
            "statements": [astuple(statement) for statement in one.statements],
            "counts": {number: astuple(count) for number, count in one.counts.items()},
        }
        for name, one in functions.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def joined(before: Functions, fresh: Functions) -> Functions:
    """*fresh*, with what was counted *before* of the functions that are still the same."""
    for name, one in fresh.items():
        known = before.get(name)
        if known is not None and known.source == one.source:
            one.add(known.counts, known.calls)
    return fresh


def add(functions: Functions, rows: Iterable[tuple[str, str, Mapping[int, Count], int]]) -> None:
    """Add `(name, source, counts, calls)` where *source* is the function's own, not what a test put in its place."""
    for name, source, counts, calls in rows:
        one = functions.get(name)
        if one is not None and one.source == source:
            one.add(counts, calls)
