"""docs/testing.md is whole: every scenario has its section, every section its parts, every result its SQL."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.acceptance.scenarios import guide

SCENARIOS = ("1", "2", "3", "4A", "4B", "5A", "5B", "6", "7A", "7B", "7C")
PARTS = ["Do.", "Expect.", "Proof.", "If not.", "Ours."]
TESTS = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))


def test_every_scenario_has_a_section_in_order_and_there_are_no_others() -> None:
    assert [name for name in guide.sections() if re.match(r"\d", name)] == list(SCENARIOS)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_says_what_to_do_what_to_expect_and_what_came_of_it_here(scenario: str) -> None:
    text = guide.sections()[scenario]

    assert re.findall(r"^\*\*([A-Z].*?\.)\*\*", text, re.MULTILINE) == PARTS
    assert re.search(r"^\*\*Ours\.\*\* \d{4}-\d\d-\d\d: \S", text, re.MULTILINE)
    assert re.search(r"\*\*Proof\.\*\*.*?```sql\n", text, re.DOTALL)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_is_followed_by_a_test(scenario: str) -> None:
    assert f'follow("{scenario}")' in TESTS
    assert f"test_scenario_{scenario.lower()}_" in TESTS


@pytest.mark.parametrize("section", guide.sections())
def test_every_result_stands_below_its_sql(section: str) -> None:
    languages = [block.language for block in guide.blocks(section)]

    assert set(languages) <= {"sh", "sql", "text"}
    assert all(before == "sql" for before, after in pairwise(languages) if after == "text")
