"""The alert rules and the dashboard, held against what a real worker's /metrics says and judged by promtool."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.deploy.operating import Numbers, operated
from tests.support.promtool import promtool
from worker.devstack.stack import Stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

FOLDER = Path(__file__).parents[2] / "scripts/monitoring"
RULES = FOLDER / "alerts.yml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())

_SELECTOR = re.compile(r"\b(worker_[a-z_]+)(\{[^}]*\})?")
_LABEL = re.compile(r"([a-z_]+)\s*(?:=~|!~|!=|=)")
_GROUPED = re.compile(r"\bby \(([^)]*)\)")
# What Prometheus adds to every series of a target, and what a histogram has in its buckets.
_GIVEN = {"job", "instance", "le"}


def panels() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def expressions() -> list[str]:
    return [rule["expr"] for rule in ALERTS.values()] + [expr for _, expr in panels()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def numbers(stack: Stack) -> Numbers:
    """What a worker says that has done a job in which each kind of thing happened."""
    fail = {"fr": {"class": "content_blocked"}, "de": {"times": 1, "class": "internal"}}
    async with operated(stack) as worker:
        user = worker.project.user(credits=100)
        await worker.done(user, "es", "fr", "de", p_options={"simulate": {"fail": fail}})
        await worker.done(user, "es")
        worker.worker.counters.unheard["changes"] += 1
        return await worker.numbers()


def declared(numbers: Numbers) -> set[str]:
    """The series names that the page may have, by its TYPE lines."""
    names: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", numbers.text, re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


async def test_every_name_in_a_rule_or_a_panel_is_one_that_the_worker_tells(numbers: Numbers) -> None:
    named = {name for expr in expressions() for name, _ in _SELECTOR.findall(expr)}

    assert len(named) > 25
    assert named - declared(numbers) == set()


async def test_every_label_in_a_rule_or_a_panel_is_one_that_its_number_has(numbers: Numbers) -> None:
    has: dict[str, set[str]] = {}
    for name, labels in numbers.samples:
        has.setdefault(name, set()).update(label for label, _ in labels)
    for expr in expressions():
        selectors = _SELECTOR.findall(expr)
        for name, matchers in selectors:
            if name in has:  # a counter without an event has no sample yet
                assert set(_LABEL.findall(matchers)) - _GIVEN <= has[name], expr
        grouped = {label.strip() for labels in _GROUPED.findall(expr) for label in labels.split(",")} - _GIVEN
        assert grouped <= set().union(*(has.get(name, grouped) for name, _ in selectors)), expr


async def test_promtool_finds_the_page_well_formed(numbers: Numbers) -> None:
    found = promtool("check", "metrics", text=numbers.text)

    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


async def test_promtool_accepts_the_rules_and_the_expressions_of_every_panel(tmp_path: Path) -> None:
    filled = [expr.replace("$job", ".*") for _, expr in panels()]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(filled)]
    path = tmp_path / "panels.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    for file in (RULES, path):
        found = promtool("check", "rules", file)
        assert found.returncode == 0, found.stdout + found.stderr


async def test_the_dashboard_has_no_two_panels_in_one_place_and_no_panel_without_words() -> None:
    shown = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert all(panel["description"].endswith(".") for panel in shown)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


# Each alert: series that fire it (given each minute), series that do not, the labels it then has, and when to look.
STEADY = "x60"
FAILED, COMPLETED = (f'worker_queue_ended_in_an_hour{{status="{status}"}}' for status in ("failed", "completed"))
LANGUAGE = [f'worker_language_seconds_{part}{{language="es"}}' for part in ("sum", "count")]
LAG = [f'worker_loop_lag_seconds_bucket{{instance="a",le="{bound}"}}' for bound in ("1.0", "+Inf")]
CASES: dict[str, tuple[dict[str, str], dict[str, str], dict[str, str]]] = {
    "TranslationWorkersGone": ({"up": "0"}, {"worker_ready": "1"}, {}),
    "TranslationWorkerNotReady": ({"worker_ready": "0"}, {"worker_ready": "1"}, {}),
    "TranslationRealtimeDown": (
        {'worker_mode{mode="polling"}': "1"},
        {'worker_mode{mode="polling"}': "0"},
        {"mode": "polling"},
    ),
    "TranslationJobsPending": (
        {"worker_queue_oldest_waiting_seconds": "301"},
        {"worker_queue_oldest_waiting_seconds": "299"},
        {},
    ),
    "TranslationFailureRate": ({FAILED: "2", COMPLETED: "10"}, {FAILED: "2", COMPLETED: "18"}, {}),
    "TranslationQueueDepth": (
        {'worker_queue_jobs{status="pending"}': "21"},
        {'worker_queue_jobs{status="pending"}': "20"},
        {},
    ),
    "TranslationSlowLanguage": (
        {LANGUAGE[0]: "0+121", LANGUAGE[1]: "0+1"},
        {LANGUAGE[0]: "0+119", LANGUAGE[1]: "0+1"},
        {"language": "es"},
    ),
    "TranslationJobsStuck": ({"worker_queue_stuck": "1"}, {"worker_queue_stuck": "0"}, {}),
    "TranslationQuotaExhausted": (
        {'worker_provider_open{provider="deepl",reason="quota_exhausted"}': "1"},
        {'worker_provider_open{provider="deepl",reason="overloaded"}': "1"},
        {"provider": "deepl", "reason": "quota_exhausted"},
    ),
    "TranslationResultsUnrecorded": ({"worker_recorder_lag_seconds": "61"}, {"worker_recorder_lag_seconds": "59"}, {}),
    "TranslationLoopBlocked": (
        {LAG[0]: "0+59", LAG[1]: "0+60"},
        {LAG[0]: "0+60", LAG[1]: "0+60"},
        {"instance": "a"},
    ),
}


async def test_every_alert_has_its_case() -> None:
    assert set(CASES) == set(ALERTS)


@pytest.mark.parametrize("alert", CASES)
async def test_an_alert_fires_once_it_has_lasted_and_stays_silent_otherwise(alert: str, tmp_path: Path) -> None:
    firing, quiet, labels = CASES[alert]
    rule = ALERTS[alert]
    fired = {"exp_labels": {**rule["labels"], **labels}, "exp_annotations": rule["annotations"]}
    tests = [_case(alert, firing, [fired]), _case(alert, quiet, [])]
    if "for" in rule:
        tests.append(_case(alert, firing, [], at="0m"))
    path = tmp_path / "case.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    found = promtool("test", "rules", path)

    assert found.returncode == 0, found.stdout + found.stderr


async def test_few_failures_wake_nobody(tmp_path: Path) -> None:
    path = tmp_path / "case.yml"
    quiet = _case("TranslationFailureRate", {FAILED: "5", COMPLETED: "4"}, [])
    path.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [quiet]}))

    assert promtool("test", "rules", path).returncode == 0


def _case(alert: str, series: dict[str, str], expected: list[dict[str, Any]], at: str = "45m") -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": _values(value)} for name, value in series.items()],
        "alert_rule_test": [{"alertname": alert, "eval_time": at, "exp_alerts": expected}],
    }


def _values(value: str) -> str:
    return value + STEADY if "+" in value else f"{value}+0{STEADY}"
