"""
scripts/mutation.json: what became of each mutant that was tried.

By file and unit: the print of the unit's code, how many mutants it has, and their numbers (in the order of the code) by
ending. A survivor stands there in full, with a person's word `why` nobody needs to notice it, or what is missing.
What was found out about a unit is dropped as soon as its code is another.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from scripts.mutation import mutants as found
from scripts.mutation import trials
from scripts.mutation.mutants import ROOT, Mutant

PATH: Final = ROOT / "scripts/mutation.json"

Report = dict[str, dict[str, dict[str, Any]]]

_NUMBERED: Final = (trials.KILLED, trials.TIMED_OUT, trials.INVALID, trials.UNSETTLED)
_SETTLED: Final = (trials.KILLED, trials.TIMED_OUT, trials.INVALID)


def read() -> Report:
    report: Report = json.loads(PATH.read_text()) if PATH.exists() else {}
    return report


def write(report: Report) -> None:
    """Units that anything is known of."""
    known = {
        file: {name: unit for name, unit in units.items() if any(unit[ending] for ending in (*_NUMBERED, "survived"))}
        for file, units in report.items()
    }
    PATH.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def stale(report: Report) -> list[str]:
    """`file unit` for whatever the report tells of code that is not there (any more)."""
    return [
        f"{file} {name}"
        for file, units in report.items()
        for name, unit in units.items()
        if _prints(file).get(name) != unit["print"]
    ]


def current(report: Report) -> Report:
    """Without what is stale, and with a place for every unit there is."""
    fresh: Report = {}
    for file in found.FILES:
        counts = found.counted(found.of(file)[1])
        fresh[file] = {}
        for name, code in _prints(file).items():
            before = report.get(file, {}).get(name, {})
            kept = before if before.get("print") == code else {}
            empty = {
                "print": code,
                "mutants": counts.get(name, 0),
                **{ending: [] for ending in _NUMBERED},
                "survived": {},
            }
            fresh[file][name] = {**empty, **kept}
    return fresh


def _prints(file: str) -> Mapping[str, str]:
    return {unit.name: unit.print for unit in found.of(file)[0]}


def numbered(file: str) -> Iterator[tuple[Mutant, str, int]]:
    """Mutants of *file*, each with its unit and its number in it."""
    counts: dict[str, int] = {}
    for mutant in found.of(file)[1]:
        number = counts.get(mutant.unit, 0)
        counts[mutant.unit] = number + 1
        yield mutant, mutant.unit, number


def untried(report: Report, files: Iterable[str]) -> list[Mutant]:
    return [
        mutant
        for file in files
        for mutant, unit, number in numbered(file)
        if not any(number in report[file][unit][ending] for ending in _SETTLED)
        and str(number) not in report[file][unit]["survived"]
    ]


def add(report: Report, lines: Iterable[str]) -> None:
    """Verdicts as the benches wrote them."""
    numbers = {mutant: (unit, number) for file in found.FILES for mutant, unit, number in numbered(file)}
    for line in lines:
        verdict = json.loads(line)
        mutant = Mutant(*verdict["mutant"])
        unit, number = numbers[mutant]
        place = report[mutant.file][unit]
        place[trials.UNSETTLED] = [one for one in place[trials.UNSETTLED] if one != number]
        if verdict["ending"] == trials.SURVIVED:
            text = (ROOT / mutant.file).read_text()
            place["survived"][str(number)] = {**mutant.described(text), "why": ""}
        elif number not in place[verdict["ending"]]:
            place[verdict["ending"]] = sorted([*place[verdict["ending"]], number])


def score(units: Iterable[Mapping[str, Any]]) -> tuple[int, int, int]:
    """Noticed, settled (without the invalid), and how many there are (more of them may turn out invalid)."""
    units = list(units)
    noticed = sum(len(unit[trials.KILLED]) + len(unit[trials.TIMED_OUT]) for unit in units)
    survived = sum(len(unit["survived"]) for unit in units)
    return noticed, noticed + survived, sum(unit["mutants"] - len(unit[trials.INVALID]) for unit in units)


def merge(homes: Iterable[Path], report: Report) -> None:
    for home in homes:
        results = home / "results"
        if results.exists():
            add(report, results.read_text().splitlines())
