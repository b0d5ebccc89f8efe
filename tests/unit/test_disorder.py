"""Trouble that is ordered from the local stack: what can be ordered, and of what kind it then is."""

import json
from typing import Any

import pytest

from worker.devstack import nonsense
from worker.devstack.faults import Faults


@pytest.mark.parametrize(
    ("order", "says"),
    [({"rest_status": "503"}, "rest_status takes a int"), ({"unheard_of": 1}, "There is no fault 'unheard_of'")],
)
def test_a_fault_that_is_none_or_has_another_value_is_refused(order: dict[str, Any], says: str) -> None:
    faults = Faults()
    with pytest.raises(ValueError, match=says):
        faults.order(**order)

    assert faults == Faults()


def test_nonsense_of_one_kind_is_of_that_kind_only() -> None:
    by_kind = {kind: nonsense.texts(kind, ["realtime:t"]) for kind in nonsense.KINDS}

    assert by_kind["json"] == list(nonsense.JSON)
    assert sorted(by_kind["all"]) == sorted(by_kind["json"] + by_kind["events"] + by_kind["fields"])
    assert all(json.loads(text)["payload"] == {} for text in by_kind["events"])
    assert by_kind["binary"] == by_kind["half"] == by_kind["utf8"] == []
