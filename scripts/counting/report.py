"""
scripts/coverage.json: what the tests took of each module of worker/ and of each SQL function, when it was counted.

Each entry has the print of its code, which neither comments nor layout change, and pairs of *taken* and *of how many*.
An entry speaks of the code that is here for as long as its print does.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from scripts.counting import counts
from scripts.mutation import in_python, in_sql

ROOT: Final = Path(__file__).parents[2]
PATH: Final = ROOT / "scripts/coverage.json"

Entries = dict[str, dict[str, Any]]
Report = dict[str, Entries]


def read() -> Report:
    report: Report = json.loads(PATH.read_text()) if PATH.exists() else {"python": {}, "sql": {}}
    return report


def write(report: Report) -> None:
    """One entry a line, so that a change shows what it is about."""
    kinds = []
    for kind, entries in report.items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(entries.items()))
        kinds.append(f" {json.dumps(kind)}: {{\n{lines}\n }}")
    PATH.write_text("{\n" + ",\n".join(kinds) + "\n}\n")


def modules() -> dict[str, str]:
    """Prints of all modules, by path."""
    return {
        str(path.relative_to(ROOT)): _joined(in_python.read(path.name, path.read_text())[0])
        for path in sorted((ROOT / "worker").rglob("*.py"))
    }


def functions() -> dict[str, str]:
    """Prints of all SQL functions, by name with schema."""
    return {
        unit.name: unit.print
        for path in sorted((ROOT / "sql").glob("[0-9]*.sql"))
        for unit in in_sql.read(path.name, path.read_text())[0]
        if "." in unit.name
    }


def _joined(units: Iterable[Any]) -> str:
    return hashlib.sha256("\n".join(unit.code for unit in units).encode()).hexdigest()[:16]


def stale(entries: Entries, prints: Mapping[str, str]) -> list[str]:
    """What was not counted as it is now: changed, new, or gone."""
    known = {name: entry["print"] for name, entry in entries.items()}
    return sorted(name for name in {*known, *prints} if known.get(name) != prints.get(name))


def of_python(answer: Mapping[str, Any], names: Iterable[str]) -> Entries:
    """From what `coverage json` says, of the modules called *names*."""
    prints = modules()
    entries: Entries = {}
    for name in set(names) & set(answer["files"]):
        summary = answer["files"][name]["summary"]
        entries[name] = {
            "print": prints[name],
            "lines": [summary["covered_lines"], summary["num_statements"]],
            "branches": [summary["covered_branches"], summary["num_branches"]],
        }
    return entries


def of_sql(found: counts.Functions) -> Entries:
    prints = functions()
    entries: Entries = {}
    for name, one in found.items():
        branches = one.branches()
        entries[name] = {"print": prints[name], "branches": [sum(branches.values()), len(branches)]}
        if one.language == "plpgsql":
            ran = sum(1 for statement in one.statements if one.begun(statement))
            entries[name]["statements"] = [ran, len(one.statements)]
    return entries


def total(entries: Iterable[Mapping[str, Any]], what: str) -> tuple[int, int]:
    """Taken, and of how many, over all *entries* that have *what*."""
    pairs = [entry[what] for entry in entries if what in entry]
    return sum(taken for taken, _ in pairs), sum(of for _, of in pairs)
