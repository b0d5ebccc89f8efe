"""Refusals that the other tests do not meet on their way: each with its status, its word, and nothing left behind."""

import uuid
from typing import Any

import pytest

from tests.sql.conftest import Create
from tests.support.database import Database, Refused

SOME_ID = "00000000-0000-0000-0000-00000000dead"
CLAIM = {"p_limit": 1, "p_lease_ms": 30_000, "p_job_types": ["translation"]}
CHORE = {"p_job_type": "chore", "p_content": {}}


def refusal(db: Database, function: str, as_: str | None = None, **params: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as refused:
        db.rpc(function, as_, **params)
    return refused.value.code, refused.value.word


@pytest.mark.parametrize(
    ("function", "params", "expected"),
    [
        ("claim_translation_jobs", {**CLAIM, "p_worker_id": None, "p_claim_id": SOME_ID}, ("PT422", "claim_malformed")),
        ("claim_translation_jobs", {**CLAIM, "p_worker_id": "w1", "p_claim_id": None}, ("PT422", "claim_malformed")),
        ("heartbeat_translation_worker", {"p_worker_id": "", "p_report": {}}, ("PT422", "heartbeat_malformed")),
        ("heartbeat_translation_worker", {"p_worker_id": "w1", "p_report": []}, ("PT422", "heartbeat_malformed")),
        ("grant_translation_credits", {"p_user_id": SOME_ID, "p_amount": 0}, ("PT422", "amount_out_of_range")),
        ("grant_translation_credits", {"p_user_id": None, "p_amount": 1}, ("PT422", "amount_out_of_range")),
        ("start_translation_probe", {"p_probe": "chore"}, ("PT422", "probe_malformed")),
        ("end_translation_probe", {"p_probe": None}, ("PT422", "probe_malformed")),
        ("enqueue_translation_job", {**CHORE, "p_items": ["a", "a"]}, ("PT422", "items_invalid")),
        ("enqueue_translation_job", {**CHORE, "p_items": []}, ("PT422", "items_invalid")),
        ("get_translation_attempts", {"p_job_id": SOME_ID}, ("PT404", "job_not_found")),
        ("get_translation_movements", {"p_job_id": SOME_ID}, ("PT404", "job_not_found")),
        (
            "set_translation_term",
            {"p_source_language": "en", "p_target_language": "es", "p_term": "lamp", "p_translation": "lámpara"},
            ("PT401", "sign_in_required"),
        ),
    ],
)
def test_a_call_of_the_server_that_makes_no_sense_is_refused(
    db: Database, function: str, params: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert refusal(db, function, **params) == expected
    assert db.value("select count(*) from public.translation_jobs") == 0
    assert db.value("select count(*) from public.translation_workers") == 0


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"options": {"note": "x" * 65_536}}, ("PT413", "option_too_large")),
        ({"options": {"do_not_translate": "lamp"}}, ("PT422", "option_invalid")),
        ({"options": {"simulate": []}}, ("PT422", "option_invalid")),
        ({"after": [str(uuid.UUID(int=n)) for n in range(1001)]}, ("PT422", "parents_too_many")),
    ],
)
def test_a_job_of_a_user_that_makes_no_sense_is_refused(
    db: Database, create: Create, params: dict[str, Any], expected: tuple[str, str]
) -> None:
    with pytest.raises(Refused) as refused:
        create("es", **params)

    assert (refused.value.code, refused.value.word) == expected
    assert db.value("select count(*) from public.translation_jobs") == 0


def test_a_kind_of_job_that_users_may_not_make_is_unknown_to_them(db: Database, create: Create) -> None:
    db.run("update public.translation_job_types set user_may_enqueue = false where name = 'translation'")
    with pytest.raises(Refused) as refused:
        create("es")

    assert (refused.value.code, refused.value.word) == ("PT422", "job_type_unknown")


def test_a_term_of_a_language_that_is_none_is_refused(db: Database, user: str) -> None:
    term = {"p_target_language": "es", "p_term": "lamp", "p_translation": "lámpara"}

    assert refusal(db, "set_translation_term", user, p_source_language="no language", **term) == (
        "PT422",
        "language_invalid",
    )


def test_the_result_of_a_language_that_is_not_finished_is_refused(db: Database, create: Create, user: str) -> None:
    call = {"p_job_id": create("es")["id"], "p_item": "es"}

    assert refusal(db, "get_translation_result", user, **call) == ("PT409", "item_not_finished")


def test_a_typed_row_starts_at_the_beginning(db: Database) -> None:
    with pytest.raises(Exception, match="leave status at its default"):
        db.run(
            """insert into public.translation_jobs (job_type, content, status)
               values ('translation', '"Hello"', 'completed')"""
        )
