"""
The life of a job, with the money beside it. A test named `test_event_…` is a row of the table of events:
created, claimed, all items terminal, worth a retry, throttled, released, lease over, cancelled, retried,
parents terminal, user deleted.
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Refused, Row, outcomes

Record = Callable[..., list[str]]
Job = Callable[[str], Row]


def money(job: Row) -> tuple[int, int, int]:
    return job["credits_reserved"], job["credits_consumed"], job["credits_refunded"]


@pytest.mark.parametrize("state", ["pending", "scheduled", "blocked"])
def test_event_created_makes_items_reserves_and_stamps_a_turn_if_it_may_start(
    db: Database, user: str, create: Create, job: Job, state: str
) -> None:
    later = db.value("select (now() + interval '1 hour')::text")
    after = [create("it")["id"]] if state == "blocked" else None

    row = create("es", "fr", run_at=later if state == "scheduled" else None, after=after)

    made = job(row["id"])
    assert (made["status"], money(made)) == (state, (20, 0, 0))
    assert {name: (item["status"], item["price"]) for name, item in made["items"].items()} == {
        "es": ("pending", 10),
        "fr": ("pending", 10),
    }
    turn = db.value("select turn from public.translation_jobs where id = %s", row["id"])
    assert (turn is not None) == (state == "pending")


def test_event_claimed_holds_the_job_by_a_fresh_token_and_repeated_returns_the_same(
    db: Database, create: Create, claim: Claim, job: Job
) -> None:
    row, other = create("es"), create("fr")
    call = "00000000-0000-0000-0000-000000000001"

    first = claim(claim_id=call)[0]
    again = claim(claim_id=call)[0]
    second = claim()[0]

    assert (first["job_id"], second["job_id"]) == (row["id"], other["id"])
    assert again["token"] == first["token"] < second["token"]
    assert db.run("select worker_id, token from public.translation_job_claims order by token") == [
        {"worker_id": "w1", "token": first["token"]},
        {"worker_id": "w1", "token": second["token"]},
    ]
    claimed = job(row["id"])
    assert (claimed["status"], claimed["deliveries"], claimed["attempts"]) == ("processing", 1, 0)


def test_event_all_items_terminal_completes_the_job(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es", "fr")
    held = claim()[0]

    assert record(outcomes(held, "completed", ["es"])) == ["recorded"]
    assert job(row["id"])["status"] == "processing"
    assert record(outcomes(held, "completed", ["fr"])) == ["recorded"]

    ended = job(row["id"])
    assert (ended["status"], ended["failed_items"], ended["progress"], money(ended)) == (
        "completed",
        0,
        100,
        (20, 20, 0),
    )
    assert db.value("select count(*) from public.translation_job_claims") == 0
    assert db.value("select outcome from public.translation_job_attempts") == "completed"
    db.check_money()


def test_event_all_items_terminal_completes_a_partly_failed_job_that_says_so(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es", "fr", "de", "it", "pt")
    held = claim()[0]
    record(outcomes(held, "completed", ["es", "fr", "de"]) + outcomes(held, "failed", ["it", "pt"]))

    ended = job(row["id"])
    assert (ended["status"], ended["failed_items"], money(ended)) == ("completed", 2, (50, 30, 20))
    assert ended["error"] == {"class": "internal", "message": "It did not work."}
    db.check_money()


def test_event_all_items_terminal_fails_a_job_of_failures_that_costs_nothing(
    db: Database, user: str, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es", "fr")
    record(outcomes(claim()[0], "failed"))

    ended = job(row["id"])
    assert (ended["status"], ended["failed_items"], money(ended)) == ("failed", 2, (20, 0, 20))
    assert db.rpc("get_translation_credits", user) == {"balance": 100, "reserved": 0}
    db.check_money()


def test_event_worth_a_retry_twice_and_then_a_success_shows_three_tries(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es", "fr")
    held = claim()[0]
    record(outcomes(held, "completed", ["fr"]) + outcomes(held, "retry", ["es"]))
    assert job(row["id"])["status"] == "retrying"
    # From the moment of the settlement: by now the wait itself may be over.
    wait = db.value("select run_at - updated_at from public.translation_jobs").total_seconds()
    assert 0 <= wait <= 1, "full jitter: anywhere within its window"

    db.forward("10 minutes")
    again = claim()[0]
    assert [item["item"] for item in again["items"]] == ["es"]
    record(outcomes(again, "retry"))
    db.forward("10 minutes")
    record(outcomes(claim()[0], "completed"))

    ended = job(row["id"])
    assert (ended["status"], ended["attempts"], money(ended)) == ("completed", 3, (20, 20, 0))
    assert (ended["items"]["es"]["attempts"], ended["items"]["fr"]["attempts"]) == (3, 1)
    db.check_money()


def test_event_worth_a_retry_until_the_last_try_then_fails_and_is_refunded(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es")
    for _ in range(3):
        record(outcomes(claim()[0], "retry"))
        db.forward("10 minutes")

    ended = job(row["id"])
    assert (ended["status"], ended["attempts"], money(ended)) == ("failed", 3, (10, 0, 10))
    assert claim() == []
    db.check_money()


def test_event_throttled_counts_nothing_and_keeps_the_pace_of_the_provider(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es")
    for _ in range(5):
        record(outcomes(claim()[0], "throttled", retry_after_ms=60_000))
        waiting = job(row["id"])
        assert (waiting["status"], waiting["attempts"]) == ("retrying", 0)
        db.forward("59 seconds")
        assert claim() == []
        db.forward("2 seconds")

    record(outcomes(claim()[0], "completed"))
    assert job(row["id"])["status"] == "completed"


def test_event_throttled_ends_at_the_deadline_with_a_refund(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es")
    held = claim()[0]
    db.forward("23 hours 59 minutes")
    record(outcomes(held, "throttled", retry_after_ms=120_000))

    ended = job(row["id"])
    assert (ended["status"], money(ended)) == ("failed", (10, 0, 10))
    db.check_money()


def test_event_throttled_item_waits_its_own_time_while_its_sisters_go_on(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es", "fr")
    held = claim()[0]
    record(
        outcomes(held, "throttled", ["es"], retry_after_ms=3_600_000)
        + outcomes(held, "throttled", ["fr"], retry_after_ms=5_000)
    )
    db.forward("6 seconds")

    again = claim()[0]
    assert [item["item"] for item in again["items"]] == ["fr"]
    record(outcomes(again, "completed"))

    assert job(row["id"])["status"] == "retrying"
    db.forward("1 hour")
    assert [item["item"] for item in claim()[0]["items"]] == ["es"]


def test_event_released_is_pending_uncounted_and_first(db: Database, create: Create, claim: Claim, job: Job) -> None:
    row = create("es")
    create("fr")
    held = claim()[0]

    assert db.rpc("release_translation_jobs", p_worker_id="w1", p_leases=[held]) == 1

    freed = job(row["id"])
    assert (freed["status"], freed["attempts"], freed["lost_count"], freed["worker_id"]) == ("pending", 0, 0, None)
    assert claim("w2")[0]["job_id"] == row["id"]


def test_event_lease_over_gives_the_job_to_another_worker(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es")
    stale = claim("w1")[0]
    db.forward("31 seconds")

    assert db.rpc("rescue_translation_jobs") == 1
    fresh = claim("w2")[0]

    assert fresh["job_id"] == row["id"]
    assert fresh["token"] > stale["token"]
    assert record(outcomes(stale, "completed"), "w1") == ["lost"]
    assert record(outcomes(fresh, "completed"), "w2") == ["recorded"]
    assert job(row["id"])["lost_count"] == 1
    db.check_money()


def test_a_worker_that_still_names_a_job_it_lost_does_not_keep_it_from_being_rescued(
    db: Database, create: Create, claim: Claim
) -> None:
    create("es")
    stale = claim("w1")[0]
    db.forward("31 seconds")
    db.rpc("rescue_translation_jobs")
    claim("w2")
    db.forward("31 seconds")
    report = {"job_types": ["translation"], "leases": [{"job_id": stale["job_id"], "token": stale["token"]}]}

    answer = db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)

    assert (answer["rescued"], answer["lost"]) == (1, [stale["job_id"]])


def test_a_late_heartbeat_keeps_what_nobody_else_has_taken(db: Database, create: Create, claim: Claim) -> None:
    create("es")
    held = claim()[0]
    db.forward("40 seconds")
    report = {"job_types": ["translation"], "leases": [{"job_id": held["job_id"], "token": held["token"]}]}

    answer = db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)

    assert (answer["rescued"], answer["lost"]) == (0, [])


def test_a_renewed_lease_is_not_rescued(db: Database, create: Create, claim: Claim) -> None:
    create("es")
    held = claim()[0]
    report = {
        "job_types": ["translation"],
        "leases": [{"job_id": held["job_id"], "token": held["token"]}],
        "lease_ms": 30_000,
    }
    for _ in range(3):
        db.forward("20 seconds")
        answer = db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)
        assert (answer["lost"], answer["rescued"]) == ([], 0)


def test_event_lease_over_three_times_with_nothing_done_fails_and_refunds(
    db: Database, create: Create, claim: Claim, job: Job
) -> None:
    row = create("es", "fr")
    for _ in range(3):
        assert len(claim()) == 1
        db.forward("31 seconds")
        db.rpc("rescue_translation_jobs")

    ended = job(row["id"])
    assert (ended["status"], ended["lost_count"], money(ended)) == ("failed", 3, (20, 0, 20))
    assert ended["error"]["class"] == "internal"
    db.check_money()


def test_event_lease_over_with_progress_is_not_held_against_the_job(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es", "fr")
    record(outcomes(claim()[0], "completed", ["es"]))
    db.forward("31 seconds")
    db.rpc("rescue_translation_jobs")

    assert job(row["id"])["lost_count"] == 0
    assert [item["item"] for item in claim()[0]["items"]] == ["fr"]


@pytest.mark.parametrize("state", ["pending", "scheduled", "processing", "retrying", "blocked"])
def test_event_cancelled_is_final_at_once_and_refunds_what_is_unfinished(
    db: Database, user: str, create: Create, claim: Claim, record: Record, job: Job, state: str
) -> None:
    later = db.value("select (now() + interval '1 hour')::text")
    parent = create("it") if state == "blocked" else None
    row = create("es", "fr", run_at=later if state == "scheduled" else None, after=[parent["id"]] if parent else None)
    held = claim()[0] if state in ("processing", "retrying") else None
    if state == "retrying" and held:
        record(outcomes(held, "completed", ["es"]) + outcomes(held, "retry", ["fr"]))
    assert job(row["id"])["status"] == state

    answer = db.rpc("cancel_translation_job", user, p_job_id=row["id"])

    assert answer["status"] == "cancelled"
    assert money(answer) == ((20, 10, 10) if state == "retrying" else (20, 0, 20))
    assert db.value("select count(*) from public.translation_job_claims where job_id = %s", row["id"]) == 0
    if held and state == "processing":
        assert record(outcomes(held, "completed")) == ["cancelled", "cancelled"]
    assert db.rpc("cancel_translation_job", user, p_job_id=row["id"])["updated_at"] == answer["updated_at"]
    db.check_money()


def test_event_cancelled_keeps_a_finished_item_paid(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es", "fr", "de")
    record(outcomes(claim()[0], "completed", ["es"]))

    assert money(db.rpc("cancel_translation_job", user, p_job_id=row["id"])) == (30, 10, 20)
    assert db.rpc("get_translation_result", user, p_job_id=row["id"], p_item="es")["content"] == "…"
    db.check_money()


def test_event_cancelled_after_the_end_returns_it_unchanged(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es")
    record(outcomes(claim()[0], "completed"))

    assert db.rpc("cancel_translation_job", user, p_job_id=row["id"])["status"] == "completed"


def test_event_retried_is_one_new_job_for_what_did_not_complete(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es", "fr", "de")
    held = claim()[0]
    record(outcomes(held, "completed", ["es"]) + outcomes(held, "failed", ["fr", "de"]))

    first = db.rpc("retry_translation_job", user, p_job_id=row["id"])
    second = db.rpc("retry_translation_job", user, p_job_id=row["id"])

    assert first["id"] == second["id"] != row["id"]
    assert (first["retry_of"], first["target_languages"], first["credits_reserved"]) == (row["id"], ["fr", "de"], 20)
    db.check_money()


def test_event_retried_is_refused_for_a_running_or_a_complete_job(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es")
    with pytest.raises(Refused, match="job_not_finished"):
        db.rpc("retry_translation_job", user, p_job_id=row["id"])

    record(outcomes(claim()[0], "completed"))
    with pytest.raises(Refused, match="nothing_to_retry"):
        db.rpc("retry_translation_job", user, p_job_id=row["id"])


def test_event_parents_terminal_all_completed_starts_the_child(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    parents = [create("es"), create("fr")]
    child = create("de", after=[parent["id"] for parent in parents])
    assert child["status"] == "blocked"

    record(outcomes(claim()[0], "completed"))
    assert job(child["id"])["status"] == "blocked"
    record(outcomes(claim()[0], "completed"))

    assert job(child["id"])["status"] == "pending"
    assert claim()[0]["job_id"] == child["id"]


def test_event_parents_terminal_one_failed_cancels_and_refunds_descendants(
    db: Database, user: str, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    parent = create("es")
    child = create("fr", after=[parent["id"]])
    grandchild = create("de", after=[child["id"]])

    record(outcomes(claim()[0], "failed"))

    assert [job(row["id"])["status"] for row in (parent, child, grandchild)] == ["failed", "cancelled", "cancelled"]
    assert db.rpc("get_translation_credits", user) == {"balance": 100, "reserved": 0}
    db.check_money()


def test_event_parents_terminal_an_edge_may_say_run_anyway(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    parent = create("es")
    child = create("fr", after=[parent["id"]])
    db.run("update public.translation_job_dependencies set after_failure = 'run'")

    record(outcomes(claim()[0], "failed"))

    assert job(child["id"])["status"] == "pending"


def test_a_job_whose_parents_user_is_deleted_does_not_wait_for_ever(
    db: Database, user: str, create: Create, job: Job
) -> None:
    other = db.user(credits=100)
    enqueue: dict[str, Any] = {"p_job_type": "translation", "p_content": "Next", "p_items": ["fr"], "p_user_id": user}
    parents = [create("es", as_=other)["id"], create("es", as_=other)["id"]]
    cancelled = db.rpc("enqueue_translation_job", **enqueue, p_after=parents[:1])
    anyway = db.rpc("enqueue_translation_job", **enqueue, p_after=parents)
    db.run("update public.translation_job_dependencies set after_failure = 'run' where child_id = %s", anyway["id"])

    db.run("delete from auth.users where id = %s", other)

    assert job(cancelled["id"])["status"] == "cancelled"
    assert job(anyway["id"])["status"] == "pending"
    assert db.rpc("get_translation_credits", user) == {"balance": 90, "reserved": 10}
    db.check_money()


def test_a_parent_that_completed_may_be_deleted_without_harm_to_its_child(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    done = create("es")
    record(outcomes(claim()[0], "completed"))
    running = create("es")
    child = create("fr", after=[done["id"], running["id"]])

    db.run("delete from public.translation_jobs where id = %s", done["id"])
    assert job(child["id"])["status"] == "blocked"
    record(outcomes(claim()[0], "completed"))

    assert job(child["id"])["status"] == "pending"


def test_event_user_deleted_in_mid_job_takes_everything_but_the_ledger(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    term = {"p_source_language": "en", "p_target_language": "de", "p_term": "Inn", "p_do_not_translate": True}
    db.rpc("set_translation_term", user, **term)
    create("es")
    held = claim()[0]
    name = {"p_worker_id": "w1", "p_job_id": held["job_id"], "p_token": held["token"]}
    segments = [{"key": "a" * 64, "target": "Hola"}]
    assert db.rpc("remember_translation_memory", **name, p_item="es", p_segments=segments) == 1

    db.run("delete from auth.users where id = %s", user)

    assert record(outcomes(held, "completed")) == ["lost"]
    assert db.rpc("remember_translation_memory", **name, p_item="es", p_segments=segments) == -1
    for table in ("jobs", "job_items", "job_claims", "job_attempts", "memory", "glossary"):
        assert db.value(f"select count(*) from public.translation_{table}") == 0, table
    assert db.value("select count(*) from public.translation_credit_ledger where user_id = %s", user) == 2
