"""What travels: rows in, outcomes out, and the table of what follows an error."""

import dataclasses
import json
from typing import Any

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


def test_what_a_claimed_row_leaves_out_has_its_default() -> None:
    row = {
        **{"job_id": "j", "token": 1, "seq": 2, "job_type": "translation"},
        **{"lease_ms": 30_000, "item_timeout_ms": 60_000, "items": [{"item": "es"}]},
    }

    assert dataclasses.asdict(models.Job.from_row(row)) == {
        **{"id": "j", "token": 1, "seq": 2, "job_type": "translation", "user_id": None, "subject": None, "title": None},
        **{"metadata": {}, "content_kind": "text", "content": None, "content_inline": True, "content_chars": 0},
        **{"source_language": None, "options": {}, "priority": 0, "correlation_id": None, "lease_seconds": 30.0},
        **{"max_attempts": 1, "item_timeout_seconds": 60.0, "deadline_seconds": 0.0, "found_by": "poll", "found_ms": 0},
        **{"items": ({"name": "es", "attempts": 0, "chars": 0},), "floor": None},
    }


def test_what_a_claimed_row_says_is_kept() -> None:
    said = {
        **{"user_id": "u", "subject": "card:42", "title": "Card", "metadata": {"n": 1}, "content_kind": "json"},
        **{"content": {"a": "b"}, "content_inline": False, "content_chars": 7, "source_language": "en"},
        **{"options": {"formality": "more"}, "priority": 9, "correlation_id": "c", "max_attempts": 5},
        **{"found_by": "timer", "found_ms": 12, "floor": {"safe": {}}},
    }
    job = models.Job.from_row(
        factories.claim_row(**said)
        | {"items": [{"item": "es", "attempts": 2, "chars": 16}, {"item": "fr", "chars": 3}]}
    )

    assert {name: getattr(job, name) for name in said} == said
    assert job.items == (models.Item("es", 2, 16), models.Item("fr", 0, 3))


def test_an_attempt_is_counted_from_one_by_the_item_that_needed_most() -> None:
    items = [{"item": name, "attempts": tries} for name, tries in (("es", 0), ("fr", 2), ("de", 1))]

    assert factories.job("es").attempt == 1
    assert models.Job.from_row(factories.claim_row() | {"items": items}).attempt == 3
    assert models.Job.from_row(factories.claim_row() | {"items": []}).attempt == 1


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


def test_an_item_that_may_come_back_at_any_time_says_no_pace() -> None:
    entry = models.outcome_entry(JOB, "fr", NotCompleted(Disposition.RETRY, "internal", "It broke."))

    assert "retry_after_ms" not in entry
    assert entry["elapsed_ms"] == 0


def test_what_did_not_complete_speaks_for_its_provider_unless_it_says_otherwise() -> None:
    assert NotCompleted(Disposition.THROTTLED, "auth", "No.").speaks_for_provider


def test_a_plain_result_is_real_and_has_no_parts() -> None:
    assert models.outcome_entry(JOB, "es", Completed(models.ItemResult("Hola", "test"))) | {
        "job_id": "",
        "token": 0,
    } == {
        **{"job_id": "", "token": 0, "item": "es", "elapsed_ms": 0, "outcome": "completed", "warnings": []},
        **{"chunks_done": 0, "chunks_total": 0},
        "result": {
            **{"content": "Hola", "provider": "test", "simulated": False, "cached_chars": 0},
            "source_language": None,
        },
    }


def test_a_provider_that_refuses_everybody_is_given_time_by_what_it_refuses_for() -> None:
    assert models.RETRY_AFTER_SECONDS == {"rate_limited": 15.0, "quota_exhausted": 300.0, "auth": 60.0}


@pytest.mark.parametrize(
    ("said", "is_large", "content"),
    [
        ({"result": {"content": {"words": 7}}, "has_more": False}, False, {"words": 7}),
        ({"result": None, "has_more": True}, True, None),
        ({}, False, None),
    ],
    ids=["small", "large", "none"],
)
def test_an_item_of_a_parent_has_its_content_unless_that_is_too_large(
    said: dict[str, Any], is_large: bool, content: Any
) -> None:
    row = {
        **{"id": "p", "seq": 1, "name": "words", "job_type": "transcribe", "title": "Words", "subject": "film:1"},
        **{"status": "completed", "items": [{"item": "run", "status": "completed", "error": None, **said}]},
    }

    item = models.ParentItem("completed", content, is_large, None)
    assert models.Parent.from_row(row) == models.Parent(
        "p", "words", "transcribe", "Words", "film:1", "completed", {"run": item}
    )


@pytest.mark.parametrize("flags", [{}, {"do_not_translate": True, "case_sensitive": True}], ids=["plain", "kept"])
def test_a_term_is_translated_in_any_case_unless_it_says_otherwise(flags: dict[str, bool]) -> None:
    row = {"source_language": "en", "target_language": "es", "term": "Lamp", "translation": "Farol", **flags}

    assert models.GlossaryTerm.from_row(row) == models.GlossaryTerm(
        "en", "es", "Lamp", "Farol", do_not_translate=bool(flags), case_sensitive=bool(flags)
    )


def test_only_recorded_and_already_mean_that_the_job_is_still_ours() -> None:
    held = {answer for answer in ("recorded", "already", "cancelled", "lost") if models.Answer(answer, None).still_held}

    assert held == {"recorded", "already"}
