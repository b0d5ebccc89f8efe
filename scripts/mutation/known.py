"""
What is known of the tests: which functions each of them calls, how long it takes, and what it noticed before.

A mutant meets the tests that call its function, and of those first the ones that noticed a mutant nearby, then those
that noticed most: nearly every mutant ends with one of the first.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from scripts.mutation.mutants import Mutant

# What takes longer looks at a crowd or at chance; what it notices of a rule, a quick test should.
_SLOW_SECONDS: Final = 5.0


class Known:
    """From the files that `learn` wrote: one line of JSON a test."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._calls: dict[str, set[str]] = {}
        self._seconds: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._noticed: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for line in (line for file in files for line in file.read_text().splitlines()):
            test = json.loads(line)
            if test["failed"]:
                print(f"Red without any change, and not asked: {test['name']}", file=sys.stderr)
            elif test["seconds"] < _SLOW_SECONDS:
                self._calls[test["name"]] = set(test["calls"])
                self._seconds[test["name"]] = test["seconds"]

    def limit_seconds(self, item: pytest.Item) -> float:
        """What takes so much longer than it did does not end."""
        return 5.0 + 10 * self._seconds[item.nodeid]

    def noticed(self, mutant: Mutant, name: str) -> None:
        self._noticed[mutant.unit].append((mutant.start, name))
        self._counts[name] += 1

    def chosen(self, items: Sequence[pytest.Item], mutant: Mutant) -> list[pytest.Item]:
        """What is no function (`table x`, `index x`) meets every test."""
        by_name = {item.nodeid: item for item in items if item.nodeid in self._calls}
        is_function = " " not in mutant.unit
        calling = [name for name in by_name if not is_function or mutant.unit in self._calls[name]]
        nearby = dict.fromkeys(self._nearby(mutant))
        # A stable sort: where nothing tells them apart, they come in the order of the files, the most telling first.
        rest = sorted((name for name in calling if name not in nearby), key=lambda name: -self._counts[name])
        return [by_name[name] for name in (*nearby, *rest) if name in by_name]

    def _nearby(self, mutant: Mutant) -> Iterator[str]:
        """The nearest first, each the better the more mutants it noticed."""
        noticed = self._noticed[mutant.unit]
        counts: dict[str, int] = defaultdict(int)
        for _, name in noticed:
            counts[name] += 1
        for _, name in sorted(noticed, key=lambda one: abs(one[0] - mutant.start) / counts[one[1]]):
            yield name
