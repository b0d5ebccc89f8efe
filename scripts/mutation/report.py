"""
scripts/mutation.json: what became of each mutant that was tried.

By file and unit: the print of the unit's code, how many mutants it has, and their numbers (in the order of the code, as
`0-4 7`) by ending. A survivor stands there in full, with a person's word `why` nobody needs to notice it, or what is
missing. What was found out about a unit is dropped as soon as its code is another.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
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
    for unit in (unit for units in report.values() for unit in units.values()):
        unit |= {ending: _unpacked(unit[ending]) for ending in _NUMBERED}
    return report


def write(report: Report) -> None:
    """Units that anything is known of."""
    known = {
        file: {
            name: unit | {ending: _packed(unit[ending]) for ending in _NUMBERED}
            for name, unit in units.items()
            if any(unit[ending] for ending in (*_NUMBERED, "survived"))
        }
        for file, units in report.items()
    }
    PATH.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def _packed(numbers: Sequence[int]) -> str:
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][-1] == number - 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return " ".join("-".join(map(str, span)) for span in spans)


def _unpacked(spans: str) -> list[int]:
    bounds = [[int(bound) for bound in span.split("-")] for span in spans.split()]
    return [number for bound in bounds for number in range(bound[0], bound[-1] + 1)]


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


def untried(report: Report, files: Iterable[str]) -> list[Mutant]:
    return [
        mutant
        for file in files
        for mutant, place in found.places(file).items()
        if not any(place.number in report[file][place.unit][ending] for ending in _SETTLED)
        and str(place.number) not in report[file][place.unit]["survived"]
    ]


def add(report: Report, lines: Iterable[str]) -> None:
    """Verdicts as the benches wrote them; not those about code that has changed since."""
    mutants = {place: mutant for file in found.FILES for mutant, place in found.places(file).items()}
    for verdict in map(json.loads, lines):
        place = found.Place(verdict["file"], verdict["unit"], verdict["print"], verdict["number"])
        if place in mutants:
            _settle(report[place.file][place.unit], place.number, mutants[place], verdict["ending"])


def _settle(unit: dict[str, Any], number: int, mutant: Mutant, ending: str) -> None:
    """The last word wins."""
    for other in _NUMBERED:
        unit[other] = [one for one in unit[other] if one != number]
    unit["survived"].pop(str(number), None)
    if ending == trials.SURVIVED:
        unit["survived"][str(number)] = {**mutant.described((ROOT / mutant.file).read_text()), "why": ""}
    else:
        unit[ending].append(number)


def score(units: Iterable[Mapping[str, Any]]) -> tuple[int, int, int]:
    """Noticed, settled (without the invalid), and how many there are (more of them may turn out invalid)."""
    units = list(units)
    noticed = sum(len(unit[trials.KILLED]) + len(unit[trials.TIMED_OUT]) for unit in units)
    survived = sum(len(unit["survived"]) for unit in units)
    return noticed, noticed + survived, sum(unit["mutants"] - len(unit[trials.INVALID]) for unit in units)


def forget_unexplained(report: Report) -> None:
    """Survivors without a word why: a test may notice them by now."""
    for units in report.values():
        for unit in units.values():
            unit["survived"] = {number: one for number, one in unit["survived"].items() if one["why"]}
