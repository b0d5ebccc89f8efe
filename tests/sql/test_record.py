"""What comes in through the one door, however often and however late."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Refused, Row, outcomes

Record = Callable[..., list[str]]
Job = Callable[[str], Row]


@pytest.mark.parametrize("outcome", ["completed", "failed", "retry", "throttled"])
def test_a_repeated_record_changes_nothing_and_answers_already(
    db: Database, create: Create, claim: Claim, record: Record, job: Job, outcome: str
) -> None:
    row = create("es", "fr")
    entries = outcomes(claim()[0], outcome)
    record(entries)
    before = job(row["id"])

    assert record(entries) == ["already", "already"]
    assert job(row["id"]) == before
    db.check_money()


def test_the_same_item_twice_in_one_call_counts_once(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es")
    entry = outcomes(claim()[0], "retry")[0]

    assert record([entry, entry]) == ["recorded", "already"]
    assert job(row["id"])["attempts"] == 1


def test_a_result_for_what_the_worker_does_not_hold_is_lost(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es")
    held = claim()[0]
    before = job(row["id"])

    assert record(outcomes(held | {"token": held["token"] - 1}, "completed")) == ["lost"]
    assert record(outcomes(held, "completed"), "another worker") == ["lost"]
    assert record(outcomes(held, "completed", ["ja"])) == ["lost"]
    assert record(outcomes(held | {"job_id": "00000000-0000-0000-0000-00000000dead"}, "completed")) == ["lost"] * 1
    assert job(row["id"]) == before
    db.check_money()


def test_a_late_record_after_the_next_claim_is_lost(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es")
    first = claim()[0]
    record(outcomes(first, "retry"))
    db.forward("10 minutes")
    second = claim()[0]
    assert record(outcomes(first, "retry")) == ["already"]

    record(outcomes(second, "retry"))

    assert record(outcomes(first, "completed")) == ["lost"]
    assert job(row["id"])["attempts"] == 2


@pytest.mark.parametrize(
    ("billed", "total", "charged"),
    [
        (100, 100, 10),
        (0, 100, 0),
        (1, 100, 1),
        (50, 100, 5),
        (51, 100, 6),
        (1000, 100, 10),
        (-5, 100, 0),
        (None, None, 10),
        (0, 0, 0),
    ],
)
def test_an_item_costs_its_price_times_the_billed_share_rounded_up(
    db: Database,
    create: Create,
    claim: Claim,
    record: Record,
    job: Job,
    billed: int | None,
    total: int | None,
    charged: int,
) -> None:
    row = create("es")
    record(outcomes(claim()[0], "completed", billed_chars=billed, total_chars=total))

    ended = job(row["id"])
    assert (ended["credits_consumed"], ended["credits_refunded"]) == (charged, 10 - charged)
    assert ended["items"]["es"]["credits"] == charged
    db.check_money()


def test_an_item_shows_how_long_its_worker_took(db: Database, create: Create, claim: Claim, record: Record) -> None:
    create("es", "fr")
    held = claim()[0]
    record(outcomes(held, "completed", ["es"], elapsed_ms=2500) + outcomes(held, "completed", ["fr"]))

    times = db.run(
        """select extract(epoch from completed_at - started_at)::float as seconds
           from public.translation_job_items order by item"""
    )
    assert [row["seconds"] for row in times] == [2.5, 0]


def test_results_of_many_jobs_settle_in_one_call(db: Database, create: Create, claim: Claim, record: Record) -> None:
    other = db.user(credits=100)
    for owner in (None, other, None, other):
        create("es", "fr", **({"as_": owner} if owner else {}))
    held = claim(limit=4)

    answers = record([entry for job in held for entry in outcomes(job, "completed")])

    assert answers == ["recorded"] * 8
    assert db.run("select distinct status from public.translation_jobs") == [{"status": "completed"}]
    db.check_money()


def test_progress_is_shown_and_never_believed_after_the_claim_is_gone(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es", "fr")
    held = claim()[0]
    entry = {
        "job_id": held["job_id"],
        "token": held["token"],
        "progress": 40,
        "message": "Translating",
        "eta_ms": 5000,
        "items": [{"item": "es", "chunks_done": 2, "chunks_total": 5}],
    }

    assert record([entry]) == []
    shown = job(row["id"])
    assert (shown["progress"], shown["progress_message"], shown["items"]["es"]["status"]) == (
        40,
        "Translating",
        "processing",
    )
    assert (shown["items"]["es"]["chunks_done"], shown["items"]["es"]["chunks_total"]) == (2, 5)
    assert shown["items"]["fr"]["status"] == "pending"

    record([entry | {"token": held["token"] - 1, "progress": 90}])
    assert job(row["id"])["progress"] == 40


def test_progress_of_a_retry_does_not_forget_the_items_that_are_done(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es", "fr", "de", "it")
    held = claim()[0]
    record(outcomes(held, "completed", ["es", "fr", "de"]) + outcomes(held, "retry", ["it"]))
    db.forward("10 minutes")
    again = claim()[0]

    record([{"job_id": again["job_id"], "token": again["token"], "progress": 20, "items": []}])

    assert job(row["id"])["progress"] == 80


@pytest.mark.parametrize(
    "results",
    [
        {},
        None,
        [{"item": "es"}],
        [{"job_id": "00000000-0000-0000-0000-000000000001", "token": 1, "item": "es", "outcome": "great"}],
    ],
)
def test_malformed_results_are_refused_whole(db: Database, results: Any) -> None:
    with pytest.raises(Refused, match="results_malformed"):
        db.rpc("record_translation_results", p_worker_id="w1", p_results=results)


def test_an_owners_table_is_filled_in_the_transaction_that_settles_a_language(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    card = db.value(
        "insert into public.museum_cards (user_id, card) values (%s, %s) returning id",
        user,
        json.dumps({"title": "Urn"}),
    )
    create("es", "fr", content={"title": "Urn"}, content_kind="json", subject=f"museum_card:{card}")
    held = claim()[0]

    record(outcomes(held, "completed", ["es"], result={"content": {"title": "Urna"}}))

    assert db.value("select translations from public.museum_cards") == {"es": {"title": "Urna"}}


def test_an_owners_trigger_that_raises_takes_the_whole_call_back(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    db.run(
        """create function public.angry() returns trigger language plpgsql set search_path = ''
           as $$ begin raise exception 'No.'; end $$;
           create trigger angry after update of status on public.translation_job_items for each row
           when (new.status = 'completed') execute function public.angry()"""
    )
    create("es", "fr")
    held = claim()[0]

    with pytest.raises(Exception, match="No"):
        record(outcomes(held, "completed"))

    assert db.value("select count(*) from public.translation_job_claims") == 1
    assert record(outcomes(held, "failed")) == ["recorded", "recorded"]
    db.check_money()


def test_memory_is_one_users_and_needs_the_claim(db: Database, create: Create, claim: Claim) -> None:
    key = "a" * 64
    create("es")
    create("es", as_=db.user(credits=100))
    mine, theirs = claim(limit=2)

    def remember(job: Row) -> int:
        kept: int = db.rpc(
            "remember_translation_memory",
            p_worker_id="w1",
            p_job_id=job["job_id"],
            p_token=job["token"],
            p_item="es",
            p_segments=[{"key": key, "target": "Hola"}],
        )
        return kept

    def recall(job: Row) -> list[Row]:
        hits: list[Row] = db.rpc(
            "recall_translation_memory",
            p_worker_id="w1",
            p_job_id=job["job_id"],
            p_token=job["token"],
            p_target_language="es",
            p_keys=[key],
        )
        return hits

    assert remember(mine) == 1
    assert recall(mine) == [{"key": key, "target": "Hola", "free": False}]
    assert recall(theirs) == []
    assert remember(mine | {"token": 0}) == -1
    assert recall(mine | {"token": 0}) == []
