"""
Which branches the tests take: of worker/ (`python`), and of the functions in sql/ (`sql`).

What was counted stays in .coverage and is added to, until `--fresh`. `report` writes scripts/coverage.json from it, and
only about code that has not changed since it was counted first. Both kinds of counting take about twice as long as the
tests without it.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.counting import counts, report
from scripts.counting.report import ROOT

HOME = ROOT / ".coverage"
DATA = HOME / "data"
TEXTS = HOME / "texts.json"
SQL_COUNTS = HOME / "sql.json"

PYTHON_TESTS = (
    *("tests/unit", "tests/text", "tests/translators", "tests/handlers", "tests/integration", "tests/stack"),
    *("tests/web", "tests/verify", "tests/security", "tests/acceptance", "tests/deploy", "tests/test_documented.py"),
    *("tests/conformance", "tests/sql/test_intake.py"),
)
# Without those that start servers of their own with other settings, or look at plans.
SQL_TESTS = ("tests/sql", "tests/security/test_grants.py")
SQL_LEFT_OUT = ("test_cron.py", "test_lints.py", "test_plans.py", "test_versions.py")

TOOL = (sys.executable, "-m", "coverage")
INI = "--rcfile=scripts/coverage.ini"
FORGET = "import sys, coverage; data = coverage.CoverageData(sys.argv[1]); data.read(); data.purge_files(sys.argv[2:])"
# A test that only waits is slower while it is counted.
PATIENT = ("--timeout", "300")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/coverage", description=__doc__)
    parser.add_argument("what", choices=("python", "sql", "report"))
    parser.add_argument("tests", nargs="*", help="files or folders (default: all that tell something)")
    parser.add_argument("--fresh", action="store_true", help="forget what was counted before")
    chosen = parser.parse_args()
    HOME.mkdir(exist_ok=True)
    if chosen.what == "python":
        _count_python(chosen.tests or PYTHON_TESTS, chosen.fresh)
    elif chosen.what == "sql":
        _count_sql(chosen.tests, chosen.fresh)
    else:
        _report()
    return 0


def _count_python(tests: Sequence[str], is_fresh: bool) -> None:
    """A folder at a time, so that one that hangs costs its own figures only."""
    if is_fresh:
        for path in (*HOME.glob("data*"), TEXTS):
            path.unlink(missing_ok=True)
    _note_texts()
    for folder in tests:
        print(f"\n=== {folder}", flush=True)
        # Red tests are shown and do not end it: some measure memory or time, which counting changes.
        command = [*TOOL, "run", INI, "-m", "pytest", "-q", *PATIENT, folder]
        if subprocess.run(["nice", "-n", "10", *command], cwd=ROOT).returncode != 0:
            print(f"NOT GREEN: {folder}")
    subprocess.run([*TOOL, "combine", INI, "--append", "--quiet"], cwd=ROOT, check=True)
    subprocess.run([*TOOL, "report", INI, "--ignore-errors"], cwd=ROOT, check=True)


def _count_sql(tests: Sequence[str], is_fresh: bool) -> None:
    if is_fresh:
        SQL_COUNTS.unlink(missing_ok=True)
    chosen = tests or (*SQL_TESTS, *(f"--ignore=tests/sql/{name}" for name in SQL_LEFT_OUT))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "scripts.counting.in_postgres", *PATIENT, *chosen]
    environment = {**os.environ, "POSTGRES": "15", "SQL_COUNTS": str(SQL_COUNTS)}
    if subprocess.run(["nice", "-n", "10", *command], cwd=ROOT, env=environment).returncode != 0:
        print("NOT GREEN")
    for name, one in counts.read(SQL_COUNTS).items():
        branches = one.branches()
        if missed := [branch for branch, was_taken in branches.items() if not was_taken]:
            print(f"{name}: {len(branches) - len(missed)} of {len(branches)}, not taken:", *missed, sep="\n  ")
    _show("sql", report.of_sql(counts.read(SQL_COUNTS)))


def _note_texts() -> None:
    """Remember what is counted. A file that has changed since has other lines: what was counted of it is forgotten."""
    now = _texts()
    changed = [name for name, text in _counted().items() if now.get(name) != text]
    if changed and DATA.exists():
        subprocess.run([sys.executable, "-c", FORGET, str(DATA), *changed], check=True)
    TEXTS.write_text(json.dumps(now))


def _counted() -> dict[str, str]:
    """Hashes of the files that counts are about."""
    found: dict[str, str] = json.loads(TEXTS.read_text()) if TEXTS.exists() else {}
    return found


def _texts() -> dict[str, str]:
    return {name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest() for name in report.modules()}


def _report() -> None:
    """Replace the entries of what was counted here; others stay as they are, or go with their code."""
    known = report.read()
    texts, counted = _texts(), _counted()
    unchanged = [name for name, text in counted.items() if texts.get(name) == text]
    fresh = {
        "python": report.of_python(_answer(), unchanged) if unchanged else {},
        "sql": report.of_sql(_unchanged(counts.read(SQL_COUNTS))),
    }
    for kind, prints in (("python", report.modules()), ("sql", report.functions())):
        entries = {**known[kind], **fresh[kind]}
        known[kind] = {name: entry for name, entry in entries.items() if name in prints}
        _show(kind, known[kind])
    report.write(known)


def _answer() -> dict[str, Any]:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run([*TOOL, "json", INI, "--quiet", "--ignore-errors", "-o", file.name], cwd=ROOT, check=True)
        answer: dict[str, Any] = json.loads(Path(file.name).read_text())
        return answer


def _unchanged(found: counts.Functions) -> counts.Functions:
    install, names = (ROOT / "sql/install.sql").read_text(), report.functions()
    return {name: one for name, one in found.items() if name in names and one.source in install}


def _show(kind: str, entries: report.Entries) -> None:
    for what in ("lines", "statements", "branches"):
        taken, of = report.total(entries.values(), what)
        if of:
            print(f"{kind:8} {what:10} {taken:5} of {of:5}, {100 * taken / of:.1f} %")


if __name__ == "__main__":
    sys.exit(main())
