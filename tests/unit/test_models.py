"""What travels: rows in, outcomes out, and the table of what follows an error."""

import dataclasses
import json

import pytest

from tests.unit import factories
from worker import errors, models
from worker.models import Completed, Disposition, NotCompleted

JOB = factories.job("es", "fr")


def test_every_error_class_has_one_consequence() -> None:
    assert set(models.DISPOSITIONS) == errors.ERROR_CLASSES


@pytest.mark.parametrize(
    ("disposition", "classes"),
    [
        (Disposition.RETRY, {"overloaded", "internal"}),
        (Disposition.THROTTLED, {"rate_limited", "quota_exhausted", "auth"}),
        (Disposition.FAILED, {"bad_request", "unsupported_language", "content_blocked", "bad_output"}),
    ],
)
def test_trouble_of_ours_is_counted_of_the_account_waits_of_the_text_is_final(
    disposition: Disposition, classes: set[str]
) -> None:
    assert {name for name, found in models.DISPOSITIONS.items() if found is disposition} == classes


def test_a_claimed_row_becomes_a_job_with_durations_in_seconds() -> None:
    job = models.Job.from_row(factories.claim_row("es", "fr", item_timeout_ms=1500, deadline_ms=-2000, lease_ms=29_500))

    assert (job.item_timeout_seconds, job.deadline_seconds, job.lease_seconds) == (1.5, -2.0, 29.5)
    assert [item.name for item in job.items] == ["es", "fr"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.token = 7  # type: ignore[misc]


def test_a_large_content_is_left_out_of_a_claim() -> None:
    job = factories.job(content=None, content_inline=False, content_chars=90_000)

    assert (job.content, job.content_inline, job.content_chars) == (None, False, 90_000)


def test_a_completed_item_is_sent_with_what_it_cost() -> None:
    outcome = Completed(
        factories.result("Hola", billed_chars=3, total_chars=5, chunks=2, warnings=({"code": "x"},), cached_chars=2)
    )

    assert models.outcome_entry(JOB, "es", outcome, 1.5) == {
        "elapsed_ms": 1500,
        "job_id": JOB.id,
        "token": JOB.token,
        "item": "es",
        "outcome": "completed",
        "result": {
            "content": "Hola",
            "provider": "test",
            "simulated": False,
            "cached_chars": 2,
            "source_language": None,
        },
        "warnings": [{"code": "x"}],
        "chunks_done": 2,
        "chunks_total": 2,
        "billed_chars": 3,
        "total_chars": 5,
    }


def test_without_a_count_everything_is_billed() -> None:
    entry = models.outcome_entry(JOB, "es", Completed(factories.result()))

    assert "billed_chars" not in entry
    assert "total_chars" not in entry


@pytest.mark.parametrize("disposition", list(Disposition))
def test_an_item_that_did_not_complete_is_sent_with_its_class_and_pace(disposition: Disposition) -> None:
    entry = models.outcome_entry(JOB, "fr", NotCompleted(disposition, "rate_limited", "Too fast.", 2.5))

    assert entry["outcome"] == disposition.value
    assert entry["error"] == {"class": "rate_limited", "message": "Too fast."}
    assert entry["retry_after_ms"] == 2500
    json.dumps(entry)


def test_only_recorded_and_already_mean_that_the_job_is_still_ours() -> None:
    held = {answer for answer in ("recorded", "already", "cancelled", "lost") if models.Answer(answer, None).still_held}

    assert held == {"recorded", "already"}
