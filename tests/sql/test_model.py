"""Random histories of every procedure agree with a model of the promises, after every single call."""

import os
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.sql.ground import FIXED
from tests.sql.histories import STEPS, History
from tests.support.database import Database

# `scripts/model` sets these; a failure names the one history that shows it.
TOTAL = int(os.environ.get("MODEL_STEPS", "2000"))
SEED = os.environ.get("MODEL_SEED", "1")
ONE = os.environ.get("MODEL_HISTORY")

Call = Callable[..., Any]


def test_every_history_goes_as_the_model_says(db: Database) -> None:
    db.run(FIXED.format(database=db.value("select current_database()")))
    with db.caller() as call:
        for number in [ONE] if ONE else range(max(1, TOTAL // STEPS)):
            failure = attempt(db, call, f"{SEED}/{number}", range(STEPS))
            if failure and ONE:
                failure = explain(db, call, f"{SEED}/{number}")
            if failure:
                pytest.fail(f"{failure}\n\nscripts/model --seed {SEED} --history {number} shows the shortest way there")


def attempt(db: Database, call: Call, seed: str, steps: Sequence[int]) -> str:
    """What went wrong, with what led to it; empty when nothing did."""
    history = History(db, call, seed)
    try:
        history.run(steps)
    except Exception as error:  # whatever it was, it is told with what led to it
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "\n".join([*history.trace[-12:], f"--> {where.name}: {where.line}", str(error)])
    return ""


def explain(db: Database, call: Call, seed: str) -> str:
    steps = shrink(lambda fewer: bool(attempt(db, call, seed, fewer)), list(range(STEPS)))
    return attempt(db, call, seed, steps)


def shrink(fails: Callable[[list[int]], bool], steps: list[int]) -> list[int]:
    """The steps without which it would not fail: ever smaller pieces are left out."""
    size = len(steps) // 2
    while size:
        for start in range(len(steps) - size, -1, -size):
            fewer = steps[:start] + steps[start + size :]
            if fails(fewer):
                steps = fewer
        size //= 2
    return steps
