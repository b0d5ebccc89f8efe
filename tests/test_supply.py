"""
What the package stands on: pinned, hashed, licensed; and the committed report of `scripts/mutate` is about this code.

No network, no database: what needs those is a script (scripts/audit, scripts/oldest, scripts/mutate).
"""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts import licences
from scripts.mutation import mutants, report, trials

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/licences.md").read_text()
REQUIREMENTS = sorted((ROOT / "scripts/requirements").glob("*.txt"))


def project() -> dict[str, Any]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        about: dict[str, Any] = tomllib.load(file)["project"]
    return about


def direct() -> set[str]:
    return {re.split(r"[\[<>=!~; ]", line)[0].lower() for line in project()["dependencies"]}


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_is_one_version_with_its_hashes(path: Path) -> None:
    entries = re.split(r"\n(?=\S)", path.read_text().strip())

    assert entries
    loose = [
        entry.split(" ")[0]
        for entry in entries
        if not re.match(r"[\w.\[\],-]+==\S+ ", entry) or "--hash=sha256:" not in entry
    ]
    assert loose == []


def test_everything_the_package_imports_is_pinned_for_the_worker() -> None:
    assert direct() <= set(licences.pinned())


def test_every_dependency_says_its_oldest_version() -> None:
    assert [line for line in project()["dependencies"] if ">=" not in line] == []


def test_every_package_of_the_worker_is_listed_with_its_licence() -> None:
    assert licences.page() == PAGE, "run scripts/licences"


def test_every_licence_is_one_that_somebody_has_allowed() -> None:
    refused = {
        name: licences.licence(name) for name in licences.pinned() if not licences.is_allowed(licences.licence(name))
    }

    assert refused == {}


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [("MIT", True), ("GPL-3.0-only", False), ("MIT OR GPL-3.0-only", True), ("MIT AND GPL-3.0-only", False)],
)
def test_a_licence_is_allowed_when_each_of_its_parts_is(expression: str, allowed: bool) -> None:
    assert licences.is_allowed(expression) == allowed


def test_the_report_of_the_mutants_is_about_the_code_that_is_here() -> None:
    stale = report.stale(report.read())
    files = " ".join(dict.fromkeys(unit.split(" ")[0] for unit in stale))

    assert stale == [], f"try what has changed: scripts/mutate --minutes 10 {files} (or only drop it: --minutes 0)"


def test_every_mutant_that_nobody_noticed_has_a_word_why() -> None:
    survivors = {
        f"{file} {unit} {number}": survivor["why"]
        for file, units in report.read().items()
        for unit, found in units.items()
        for number, survivor in found["survived"].items()
    }

    assert [name for name, why in survivors.items() if not why] == []


def test_nine_of_ten_mutants_were_tried_and_nine_of_ten_of_those_were_noticed() -> None:
    everything = report.current(report.read())
    noticed, tried, there_are = report.score(unit for units in everything.values() for unit in units.values())

    assert tried / there_are >= 0.9, "try the others: scripts/mutate --minutes 10"
    assert noticed / tried >= 0.9


@pytest.mark.parametrize("file", mutants.FILES)
def test_every_mutant_changes_the_file_it_is_about(file: str) -> None:
    text = (ROOT / file).read_text()
    units, found = mutants.of(file)

    assert {mutant.unit for mutant in found} <= {unit.name for unit in units}
    assert [mutant for mutant in found if mutant.applied(text) == text] == []


@pytest.mark.parametrize("file", [file for file in mutants.FILES if not mutants.is_sql(file)])
def test_every_mutant_of_a_module_is_python(file: str) -> None:
    text = (ROOT / file).read_text()

    for mutant in mutants.of(file)[1]:
        compile(mutant.applied(text), file, "exec")


def test_comments_and_docstrings_do_not_make_a_verdict_stale() -> None:
    from scripts.mutation import in_python, in_sql

    head = "create function public.f() returns int"
    (plain,), _ = in_sql.read("a.sql", f"{head} language sql as $$ select 1 $$;")
    (noted,), _ = in_sql.read("a.sql", f"{head} -- why\nlanguage sql as $$ select  1 $$;")
    (other,), _ = in_sql.read("a.sql", f"{head} language sql as $$ select 2 $$;")
    texts = ("def f():\n    return 1", 'def f():\n    """Why."""\n    return 1  # so')
    python = [in_python.read("a.py", text)[0][0] for text in texts]

    assert plain.print == noted.print != other.print
    assert python[0].print == python[1].print


def test_numbers_of_mutants_are_written_as_spans() -> None:
    numbers = [0, 1, 2, 4, 7, 8]

    assert report._packed(numbers) == "0-2 4 7-8"
    assert report._unpacked("0-2 4 7-8") == numbers
    assert report._unpacked(report._packed([])) == []


def test_a_changed_function_takes_the_place_of_the_one_that_stands() -> None:
    from scripts.mutation import in_sql

    made = "function public.f() returns int language sql as $f$ select 1 $f$"

    assert in_sql.statement(f"do $do$ begin execute $sql$ create {made} $sql$; end $do$;", "public.f") == (
        f"create or replace {made}"
    )
    assert in_sql.statement("create table public.t (n int);", "table t") is None


@pytest.mark.parametrize("file", [file for file in mutants.FILES if not mutants.is_sql(file)])
def test_a_mutant_of_a_function_is_found_in_its_code(file: str) -> None:
    from scripts.mutation import trial_python

    outside = [one for one in mutants.of(file)[1] if not trial_python.in_a_function(one)]

    assert len(outside) < len(mutants.of(file)[1]) / 4


def test_a_process_that_hangs_or_breaks_is_told_from_one_that_answers() -> None:
    def breaks() -> None:
        raise ValueError("no")

    def hangs() -> None:
        while True:
            pass

    assert trials.in_a_child(lambda: [1, 2]) == [1, 2]
    assert trials.in_a_child(hangs, limit_seconds=0.2) is None
    with pytest.raises(RuntimeError, match="no"):
        trials.in_a_child(breaks)
