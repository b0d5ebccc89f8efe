"""Random histories of every procedure agree with a model of the promises, after every single call."""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.sql.callers import Callers
from tests.sql.ground import FIXED
from tests.sql.workers import Workers
from tests.support.database import Database

STEPS = 50  # of one history: enough for a job to be lost three times, few enough to read
TOTAL = int(os.environ.get("MODEL_STEPS", "2000"))

# The suite runs the same histories every time; `scripts/model` others, from its seed.
PROFILE = settings(
    derandomize="MODEL_STEPS" not in os.environ,
    max_examples=TOTAL // (STEPS - 15) + 1,  # a history may end early
    stateful_step_count=STEPS,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

# Called by the procedures, and the owner's to replace.
HOOKS = {"hold_translation_balance", "return_translation_balance"}

# What changes nothing that the model knows but by calling one of the others, and has a file of its own.
APART = {
    "do_translation_chores",  # test_retention
    "run_translation_trigger",  # test_triggers
    "take_translation_queue",  # test_intake
    "take_translation_alert_notices",  # test_alerts
    "settle_translation_alert_notices",  # test_alerts
    "translation_series",  # test_ops
    "operate_translation_jobs",  # test_ops
    "retry_translation_failures",  # test_ops
    "reveal_translation_source",  # test_ops
    "start_translation_trigger",  # tests/web/test_ops
}

# What the histories have to come to, or they would prove little.
REACHED = {"pending", "scheduled", "blocked", "processing", "retrying", "completed", "failed", "cancelled"}
REACHED |= {"recorded", "already", "lost"}


class Histories(Callers, Workers):
    """One history of a queue, its users and its workers."""


@pytest.mark.timeout(0)  # a failure takes minutes to become short
def test_every_history_of_every_procedure_goes_as_the_model_says(db: Database) -> None:
    db.run(FIXED.format(database=db.value("select current_database()")))
    with db.caller() as call:

        class History(Histories):
            def __init__(self) -> None:
                super().__init__(db, call)

        run_state_machine_as_test(History, settings=PROFILE)

    procedures = db.run(
        """select proname from pg_proc where pronamespace = 'public'::regnamespace
             and proname like '%translation%' and prorettype <> 'trigger'::regtype and provolatile = 'v'"""
    )
    assert {row["proname"] for row in procedures} <= Histories.asked | HOOKS | APART, (
        "whatever may write is in the histories"
    )
    assert Histories.reached >= REACHED
    assert Histories.steps >= TOTAL
