"""What stands in the rows of a job, its items, its attempts and the ledger once outcomes were recorded."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Claim, Create, Sent
from tests.support.database import Database, Refused, Row, outcomes

Record = Callable[..., list[str]]

ITEM = """
select status, attempts, recorded_token, result, warnings, error, credits, chunks_done, chunks_total, progress,
  round(extract(epoch from retry_at - j_now.now) * 1000)::bigint as retry_ms,
  round(extract(epoch from j_now.now - started_at) * 1000)::bigint as began_ms_ago,
  completed_at = j_now.now as completed_now
from public.translation_job_items i, (select updated_at as now from public.translation_jobs where id = %s) as j_now
where i.job_id = %s and i.item = %s
"""
JOB = """
select status, attempts, failed_items, credits_consumed as consumed, credits_refunded as refunded, progress,
  progress_message as message, eta_at, error, worker_id, completed_at = updated_at as completed_now,
  cancelled_at = updated_at as cancelled_now, round(extract(epoch from run_at - updated_at) * 1000)::bigint as run_ms
from public.translation_jobs where id = %s
"""
ATTEMPT = """
select a.outcome, a.error, a.ended_at = j.updated_at as ended_now
from public.translation_job_attempts a join public.translation_jobs j on j.id = a.job_id
where a.job_id = %s order by a.token
"""
LEDGER = """
select item, kind, amount from public.translation_credit_ledger
where job_id = %s and kind in ('consume', 'refund') order by item, kind
"""
OOPS = {"class": "internal", "message": "It did not work."}


def item(db: Database, job_id: str, name: str) -> Row:
    (row,) = db.run(ITEM, job_id, job_id, name)
    return row


def job(db: Database, job_id: str) -> Row:
    (row,) = db.run(JOB, job_id)
    return row


def moved(db: Database, job_id: str) -> list[tuple[str, str, int]]:
    return [(row["item"], row["kind"], row["amount"]) for row in db.run(LEDGER, job_id)]


def tell(db: Database, held: Row, *items: Row, **entry: Any) -> None:
    """Progress of a job that w1 holds."""
    report = {"job_id": held["job_id"], "token": held["token"], **entry, "items": list(items)}
    db.rpc("record_translation_results", p_worker_id="w1", p_results=[report])


# One item


def test_a_completed_item_is_written_with_what_it_cost(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    create("es")
    (held,) = claim()
    tell(db, held, {"item": "es", "chunks_done": 1, "chunks_total": 3}, progress=30, message="Soon", eta_ms=5000)
    result = {"content": "Hola", "provider": "test"}
    counts: Row = {"billed_chars": 5, "total_chars": 11, "elapsed_ms": 1500, "chunks_done": 3, "chunks_total": 4}
    record(outcomes(held, "completed", result=result, error=OOPS, warnings=[{"code": "digits"}], **counts))

    written = item(db, held["job_id"], "es")
    del written["began_ms_ago"]
    assert written == {
        **{"status": "completed", "attempts": 1, "recorded_token": held["token"], "result": result, "error": None},
        **{"warnings": [{"code": "digits"}], "credits": 5, "chunks_done": 3, "chunks_total": 4, "progress": 100},
        **{"retry_ms": None, "completed_now": True},
    }
    ended = job(db, held["job_id"])
    del ended["run_ms"]
    assert ended == {
        **{"status": "completed", "attempts": 1, "failed_items": 0, "consumed": 5, "refunded": 5, "progress": 100},
        **{"message": None, "eta_at": None, "error": None, "worker_id": "w1"},
        **{"completed_now": True, "cancelled_now": None},
    }
    assert moved(db, held["job_id"]) == [("es", "consume", 5), ("es", "refund", 5)]
    assert db.run(ATTEMPT, held["job_id"]) == [{"outcome": "completed", "error": None, "ended_now": True}]
    assert db.value("select count(*) from public.translation_job_claims") == 0
    db.check_money()


def test_a_failed_item_is_written_with_why_and_given_back(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    create("es")
    (held,) = claim()
    tell(db, held, {"item": "es", "chunks_done": 1, "chunks_total": 2, "progress": 50}, progress=50)
    record(outcomes(held, "failed"))

    written = item(db, held["job_id"], "es")
    del written["began_ms_ago"]
    assert written == {
        **{"status": "failed", "attempts": 1, "recorded_token": held["token"], "result": None, "error": OOPS},
        **{"warnings": [], "credits": 0, "chunks_done": 1, "chunks_total": 2, "progress": 50},
        **{"retry_ms": None, "completed_now": True},
    }
    ended = job(db, held["job_id"])
    assert (ended["status"], ended["failed_items"], ended["error"]) == ("failed", 1, OOPS)
    assert (ended["consumed"], ended["refunded"], ended["progress"]) == (0, 10, 50)
    assert moved(db, held["job_id"]) == [("es", "refund", 10)]
    assert db.run(ATTEMPT, held["job_id"]) == [{"outcome": "failed", "error": OOPS, "ended_now": True}]
    db.check_money()


def test_an_item_that_is_tried_again_stays_open_and_reserved(
    db: Database, create: Create, claim: Claim, record: Record, sent: Sent
) -> None:
    create("es")
    (held,) = claim()
    begun = {"item": "es", "chunks_done": 1, "chunks_total": 2, "progress": 50}
    tell(db, held, begun, progress=50, message="Half", eta_ms=5000)
    before = len(sent("ready"))
    record(outcomes(held, "retry", retry_after_ms=5000, result={"content": "not yet"}))

    written = item(db, held["job_id"], "es")
    del written["began_ms_ago"]
    assert written == {
        **{"status": "pending", "attempts": 1, "recorded_token": held["token"], "result": None, "error": OOPS},
        **{"warnings": [], "credits": 10, "chunks_done": 1, "chunks_total": 2, "progress": 0},
        **{"retry_ms": 5000, "completed_now": None},
    }
    assert job(db, held["job_id"]) == {
        **{"status": "retrying", "attempts": 1, "failed_items": 0, "consumed": 0, "refunded": 0, "progress": 50},
        **{"message": None, "eta_at": None, "error": OOPS, "worker_id": None, "run_ms": 5000},
        **{"completed_now": None, "cancelled_now": None},
    }
    assert moved(db, held["job_id"]) == []
    assert db.run(ATTEMPT, held["job_id"]) == [{"outcome": "retrying", "error": OOPS, "ended_now": True}]
    assert db.value("select count(*) from public.translation_job_claims") == 0
    assert sent("ready")[before:] == [{"job_id": held["job_id"], "jobs": 1, "due_in_ms": 5000}]


@pytest.mark.parametrize(
    ("elapsed_ms", "began_ms_ago"), [(1500, 1500), (0, 0), (-5, 0), (None, 0), (10**9, 86_400_000)], ids=str
)
def test_an_item_began_as_long_ago_as_it_took(
    db: Database, create: Create, claim: Claim, record: Record, elapsed_ms: int | None, began_ms_ago: int
) -> None:
    create("es")
    (held,) = claim()
    record(outcomes(held, "completed", elapsed_ms=elapsed_ms))

    assert item(db, held["job_id"], "es")["began_ms_ago"] == began_ms_ago


def test_an_item_that_was_seen_to_begin_keeps_that(db: Database, create: Create, claim: Claim, record: Record) -> None:
    create("es")
    (held,) = claim()
    tell(db, held, {"item": "es", "chunks_done": 0, "chunks_total": 2})
    db.forward("1 hour")
    db.rpc(
        "heartbeat_translation_worker",
        p_worker_id="w1",
        p_report={"leases": [{"job_id": held["job_id"], "token": held["token"]}]},
    )
    record(outcomes(held, "completed", elapsed_ms=5))

    assert item(db, held["job_id"], "es")["began_ms_ago"] >= 3_600_000


@pytest.mark.parametrize(
    ("counts", "cost"),
    [
        ({}, 10),
        ({"billed_chars": 0}, 0),
        ({"billed_chars": 1}, 10),
        ({"total_chars": 0, "billed_chars": 0}, 0),
        ({"total_chars": 0, "billed_chars": 7}, 10),
        ({"total_chars": -1}, 10),
        ({"total_chars": 7}, 10),
        ({"total_chars": 7, "billed_chars": 0}, 0),
        ({"total_chars": 1, "billed_chars": 0}, 0),
        ({"total_chars": 1, "billed_chars": 1}, 10),
        ({"total_chars": 100, "billed_chars": 1}, 1),
        ({"total_chars": 100, "billed_chars": 10}, 1),
        ({"total_chars": 100, "billed_chars": 11}, 2),
        ({"total_chars": 100, "billed_chars": 1000}, 10),
        ({"total_chars": 100, "billed_chars": -5}, 0),
    ],
    ids=str,
)
def test_an_item_costs_its_billed_share_rounded_up(
    db: Database, create: Create, claim: Claim, record: Record, counts: Row, cost: int
) -> None:
    create("es")
    (held,) = claim()
    record(outcomes(held, "completed", **counts))

    expected = [("es", "consume", cost), ("es", "refund", 10 - cost)]
    assert moved(db, held["job_id"]) == [row for row in expected if row[2]]
    assert (job(db, held["job_id"])["consumed"], job(db, held["job_id"])["refunded"]) == (cost, 10 - cost)
    db.check_money()


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_what_costs_nothing_moves_nothing(
    db: Database, create: Create, claim: Claim, record: Record, outcome: str
) -> None:
    db.price(0)
    create("es")
    (held,) = claim()
    record(outcomes(held, outcome))

    assert moved(db, held["job_id"]) == []


# When it is tried again


@pytest.mark.parametrize(
    ("attempts", "window_ms"), [(0, 1000), (1, 2000), (5, 32_000), (8, 256_000), (9, 300_000), (18, 300_000)]
)
def test_a_failed_try_waits_somewhere_in_a_window_that_doubles_up_to_five_minutes(
    db: Database, create: Create, claim: Claim, record: Record, attempts: int, window_ms: int
) -> None:
    """Of forty waits one is in each half: it is anywhere else once in a million million."""
    languages = [f"l{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(40)]
    db.run("update public.translation_job_types set max_attempts = 20 where name = 'translation'")
    row = create(*languages, as_=None)
    db.run("update public.translation_job_items set attempts = %s", attempts)
    record(outcomes(claim()[0], "retry"))

    written = db.run(
        """select round(extract(epoch from i.retry_at - j.updated_at) * 1000)::bigint as ms, i.attempts
           from public.translation_job_items i join public.translation_jobs j on j.id = i.job_id"""
    )
    waits = [one["ms"] for one in written]
    assert 0 <= min(waits) < window_ms / 2 < max(waits) <= window_ms
    assert job(db, row["id"])["run_ms"] == min(waits)
    assert [one["attempts"] for one in written] == [attempts + 1] * 40


@pytest.mark.parametrize(
    ("outcome", "asked_ms", "waits_ms"),
    [
        ("throttled", None, 15_000),
        ("throttled", 0, 1000),
        ("throttled", 40_000, 40_000),
        ("throttled", 90_000_000, 86_400_000),
        ("retry", 40_000, 40_000),
        ("retry", 90_000_000, 86_400_000),
    ],
)
def test_a_provider_says_how_long_to_wait_a_day_at_most(
    db: Database, create: Create, claim: Claim, record: Record, outcome: str, asked_ms: int | None, waits_ms: int
) -> None:
    row = create("es")
    db.run("update public.translation_jobs set deadline_at = deadline_at + interval '1 week'")
    more: Row = {} if asked_ms is None else {"retry_after_ms": asked_ms}
    record(outcomes(claim()[0], outcome, **more))

    assert item(db, row["id"], "es")["retry_ms"] == waits_ms
    assert (item(db, row["id"], "es")["attempts"], job(db, row["id"])["attempts"]) == ((outcome == "retry"),) * 2


@pytest.mark.parametrize(("asked_ms", "status"), [(3_000_000, "pending"), (4_000_000, "failed")])
def test_throttling_that_outlasts_the_deadline_is_the_end(
    db: Database, create: Create, claim: Claim, record: Record, asked_ms: int, status: str
) -> None:
    row = create("es")
    db.run("update public.translation_jobs set deadline_at = translation_private.clock() + interval '1 hour'")
    record(outcomes(claim()[0], "throttled", retry_after_ms=asked_ms))

    assert (item(db, row["id"], "es")["status"], item(db, row["id"], "es")["attempts"]) == (status, 0)


def test_the_last_try_that_is_allowed_is_the_end(db: Database, create: Create, claim: Claim, record: Record) -> None:
    db.run("update public.translation_job_types set max_attempts = 2 where name = 'translation'")
    row = create("es")
    seen = []
    for _ in range(2):
        record(outcomes(claim()[0], "retry"))
        seen.append((job(db, row["id"])["status"], job(db, row["id"])["attempts"]))
        db.forward("1 minute")

    assert seen == [("retrying", 1), ("failed", 2)]


def test_an_item_whose_time_has_not_come_is_waited_for(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es", "fr")
    (held,) = claim()
    record(
        outcomes(held, "retry", ["es"], retry_after_ms=10_000) + outcomes(held, "retry", ["fr"], retry_after_ms=60_000)
    )
    assert job(db, row["id"])["run_ms"] == 10_000
    db.forward("11 seconds")
    (again,) = claim()
    assert [one["item"] for one in again["items"]] == ["es"]
    record(outcomes(again, "completed", ["es"]))

    waiting = job(db, row["id"])
    assert (waiting["status"], waiting["worker_id"]) == ("retrying", None)
    assert 40_000 < waiting["run_ms"] < 50_000
    assert db.value("select count(*) from public.translation_job_claims") == 0


# Several items


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_when_a_job_was_due_is_no_other_once_it_runs(
    db: Database, create: Create, claim: Claim, record: Record, outcome: str
) -> None:
    due = "select run_at from public.translation_jobs where id = %s"
    row = create("es", "fr")
    record(outcomes(claim()[0], "retry", retry_after_ms=1000))
    before = db.value(due, row["id"])
    db.forward("1 minute")
    (held,) = claim()
    record(outcomes(held, outcome, ["es"]))
    assert db.value(due, row["id"]) == before
    record(outcomes(held, outcome, ["fr"]))

    assert (job(db, row["id"])["status"], db.value(due, row["id"])) == (outcome, before)


def test_with_one_item_left_the_job_says_what_it_said(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    create("es", "fr")
    (held,) = claim()
    tell(db, held, {"item": "fr", "chunks_done": 1, "chunks_total": 2}, message="Soon", eta_ms=5000)
    before = job(db, held["job_id"])
    record(outcomes(held, "completed", ["es"]))

    after = job(db, held["job_id"])
    assert {name for name in after if after[name] != before[name]} == {"attempts", "consumed"}
    assert after["eta_at"] is not None


def test_while_items_of_the_claim_are_open_the_job_goes_on(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es", "fr", "de")
    (held,) = claim()
    tell(db, held, {"item": "fr", "chunks_done": 1, "chunks_total": 3}, progress=30, message="Soon", eta_ms=5000)
    before = job(db, row["id"])
    record(outcomes(held, "completed", ["es"]) + outcomes(held, "retry", ["de"], retry_after_ms=1000))

    after = job(db, row["id"])
    changed = {name for name in after if after[name] != before[name]}
    assert changed - {"run_ms"} == {"attempts", "consumed", "error"}
    assert (after["status"], after["message"], after["worker_id"]) == ("processing", "Soon", "w1")
    assert after["eta_at"] == before["eta_at"] is not None
    assert [one["outcome"] for one in db.run(ATTEMPT, row["id"])] == [None]
    record(outcomes(held, "completed", ["fr"]))
    assert job(db, row["id"])["status"] == "retrying"


@pytest.mark.parametrize(
    ("es", "fr", "status", "failed", "consumed", "progress"),
    [
        ("completed", "completed", "completed", 0, 20, 100),
        ("completed", "failed", "completed", 1, 10, 100),
        ("failed", "failed", "failed", 2, 0, 0),
    ],
)
def test_a_job_ends_as_its_items_did(
    db: Database,
    create: Create,
    claim: Claim,
    record: Record,
    es: str,
    fr: str,
    status: str,
    failed: int,
    consumed: int,
    progress: int,
) -> None:
    row = create("es", "fr")
    (held,) = claim()
    record(outcomes(held, es, ["es"]) + outcomes(held, fr, ["fr"]))

    ended = job(db, row["id"])
    assert (ended["status"], ended["failed_items"], ended["progress"]) == (status, failed, progress)
    assert (ended["consumed"], ended["refunded"]) == (consumed, 20 - consumed)


def test_the_error_of_a_job_is_that_of_the_first_item_that_failed(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es", "fr", "de", "it")
    (held,) = claim()
    said = {name: {"class": "internal", "message": name} for name in ("es", "fr", "de")}
    record(
        [
            *outcomes(held, "retry", ["es"], error=said["es"], retry_after_ms=1000),
            *outcomes(held, "failed", ["de"], error=said["de"]),
            *outcomes(held, "failed", ["fr"], error=said["fr"]),
        ]
    )

    assert job(db, row["id"])["error"] == said["fr"]


def test_tries_of_a_job_are_those_of_the_item_that_needed_most(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es", "fr")
    record(outcomes(claim()[0], "retry"))
    db.forward("1 minute")
    (held,) = claim()
    record(outcomes(held, "retry", ["es"]) + outcomes(held, "throttled", ["fr"]))

    assert job(db, row["id"])["attempts"] == 2


def test_jobs_of_one_call_end_each_for_itself(db: Database, create: Create, claim: Claim, sent: Sent) -> None:
    rows = [create("es") for _ in range(4)]
    held = claim(limit=4)
    before = len(sent("ready"))
    entries = [
        *outcomes(held[0], "completed"),
        *outcomes(held[1], "failed"),
        *outcomes(held[2], "retry", retry_after_ms=9000),
        *outcomes(held[3], "retry", retry_after_ms=5000),
    ]
    answers = db.rpc("record_translation_results", p_worker_id="w1", p_results=entries)

    statuses = ["completed", "failed", "retrying", "retrying"]
    assert [(one["job_id"], one["item"], one["answer"], one["job_status"]) for one in answers] == [
        (row["id"], "es", "recorded", status) for row, status in zip(rows, statuses, strict=True)
    ]
    assert [job(db, row["id"])["status"] for row in rows] == statuses
    (announced,) = sent("ready")[before:]
    assert (announced["jobs"], announced["due_in_ms"]) == (2, 5000)
    assert announced["job_id"] in {rows[2]["id"], rows[3]["id"]}
    assert db.value("select count(*) from public.translation_job_claims") == 0


def test_a_job_that_ends_does_not_make_another_due(
    db: Database, create: Create, claim: Claim, record: Record, sent: Sent
) -> None:
    row = create("es")
    record(outcomes(claim()[0], "retry"))
    db.forward("1 minute")
    create("es")
    fresh, again = sorted(claim(limit=2), key=lambda held: held["job_id"] == row["id"])
    before = len(sent("ready"))
    record(outcomes(again, "completed") + outcomes(fresh, "retry", retry_after_ms=5000))

    assert sent("ready")[before:] == [{"job_id": fresh["job_id"], "jobs": 1, "due_in_ms": 5000}]


def test_other_jobs_and_other_tries_are_left_alone(db: Database, create: Create, claim: Claim, record: Record) -> None:
    row, other = create("es"), create("es")
    (first,) = claim()
    record(outcomes(first, "retry", retry_after_ms=1000))
    db.forward("2 seconds")
    held = {one["job_id"]: one for one in claim(limit=2)}
    record(outcomes(held[row["id"]], "completed"))

    assert [one["outcome"] for one in db.run(ATTEMPT, row["id"])] == ["retrying", "completed"]
    assert job(db, other["id"])["status"] == "processing"
    assert item(db, other["id"], "es")["status"] == "pending"
    assert db.run("select job_id::text from public.translation_job_claims") == [{"job_id": other["id"]}]
    assert [one["outcome"] for one in db.run(ATTEMPT, other["id"])] == [None]


# Answers


def answers(db: Database, *entries: Row, worker: str = "w1") -> list[tuple[str, str | None]]:
    said = db.rpc("record_translation_results", p_worker_id=worker, p_results=list(entries))
    return [(one["answer"], one["job_status"]) for one in said]


def test_a_record_locks_all_that_waits_for_its_jobs_before_anything_else(
    db: Database, create: Create, claim: Claim
) -> None:
    parent, other = create("es"), create("it")
    child = create("fr", after=[parent["id"], other["id"]])
    (held,) = claim()
    with db.session() as session, db.session() as recorder:
        session.run("select from public.translation_jobs where id = %s for no key update", child["id"])
        recorder.run("set local lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            recorder.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(held, "retry"))


def test_every_item_is_answered_in_the_order_of_the_call(db: Database, create: Create, claim: Claim) -> None:
    for _ in range(2):
        create("es", "fr")
    one, two = claim(limit=2)
    unknown = {"job_id": "00000000-0000-0000-0000-000000000001", "token": 1, "item": "es", "outcome": "completed"}
    (es,), (fr,) = outcomes(one, "completed", ["es"]), outcomes(one, "completed", ["fr"])
    (other,) = outcomes(two, "completed", ["fr"])

    assert answers(db, fr, unknown, other, es, fr) == [
        ("recorded", "completed"),
        ("lost", None),
        ("recorded", "processing"),
        ("recorded", "completed"),
        ("already", "completed"),
    ]
    assert answers(db, es, other) == [("already", "completed"), ("already", "processing")]
    assert moved(db, one["job_id"]) == [("es", "consume", 10), ("fr", "consume", 10)]
    db.check_money()


def test_only_who_holds_the_job_records(db: Database, user: str, create: Create, claim: Claim) -> None:
    row = create("es", "fr")
    create("es")
    held, other = claim(limit=2)
    (entry,) = outcomes(held, "completed", ["es"])

    assert answers(db, entry | {"token": 0}) == [("lost", "processing")]
    assert answers(db, entry | {"token": other["token"]}) == [("lost", "processing")]
    assert answers(db, entry, worker="w2") == [("lost", "processing")]
    assert answers(db, entry | {"item": "nothing"}) == [("lost", "processing")]
    assert item(db, row["id"], "es")["status"] == "pending"
    assert answers(db, entry) == [("recorded", "processing")]
    db.rpc("cancel_translation_job", user, p_job_id=row["id"])
    assert answers(db, entry, *outcomes(held, "completed", ["fr"])) == [
        ("already", "cancelled"),
        ("cancelled", "cancelled"),
    ]
    assert item(db, row["id"], "fr")["status"] == "cancelled"


def test_a_try_that_was_recorded_is_not_counted_again_while_the_job_goes_on(
    db: Database, create: Create, claim: Claim
) -> None:
    create("es", "fr")
    (held,) = claim()
    (entry,) = outcomes(held, "retry", ["es"], retry_after_ms=1000)

    assert answers(db, entry) == [("recorded", "processing")]
    assert answers(db, entry) == [("already", "processing")]
    assert item(db, held["job_id"], "es")["attempts"] == 1


def test_what_was_recorded_in_an_earlier_try_is_not_recorded_again(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    create("es", "fr")
    (held,) = claim()
    record(outcomes(held, "completed", ["es"]) + outcomes(held, "retry", ["fr"], retry_after_ms=1000))
    db.forward("2 seconds")
    (again,) = claim()
    (es,) = outcomes(again, "failed", ["es"])

    assert answers(db, es) == [("lost", "processing")]
    assert item(db, again["job_id"], "es")["status"] == "completed"


def test_a_call_without_entries_answers_nothing(db: Database) -> None:
    assert db.rpc("record_translation_results", p_worker_id="w1", p_results=[]) == []


GOOD = {"job_id": "00000000-0000-0000-0000-000000000001", "token": 1, "item": "es", "outcome": "completed"}


@pytest.mark.parametrize(
    "results",
    [
        None,
        [GOOD, GOOD | {"outcome": "done"}],
        {},
        [{"token": 1, "item": "es", "outcome": "completed"}],
        [{"job_id": "00000000-0000-0000-0000-000000000001", "item": "es", "outcome": "completed"}],
        [{"job_id": "00000000-0000-0000-0000-000000000001", "token": 1, "item": "es"}],
        [{"job_id": "00000000-0000-0000-0000-000000000001", "token": 1, "item": "es", "outcome": "done"}],
    ],
    ids=str,
)
def test_a_call_that_says_too_little_is_refused_whole(db: Database, results: Any) -> None:
    with pytest.raises(Refused) as refusal:
        db.rpc("record_translation_results", p_worker_id="w1", p_results=results)

    assert (refusal.value.code, refusal.value.word) == ("PT422", "results_malformed")


@pytest.mark.parametrize("outcome", ["completed", "failed", "retry", "throttled"])
def test_five_hundred_entries_are_one_call(db: Database, outcome: str) -> None:
    entry = {"job_id": "00000000-0000-0000-0000-000000000001", "token": 1, "item": "es", "outcome": outcome}

    assert answers(db, *[entry] * 500) == [("lost", None)] * 500


def test_a_call_of_eight_megabytes_is_refused(db: Database) -> None:
    entry = {"job_id": "00000000-0000-0000-0000-000000000001", "token": 1, "item": "es", "outcome": "completed"}
    assert answers(db, entry | {"result": "x" * 8_000_000}) == [("lost", None)]
    with pytest.raises(Refused, match="results_malformed"):
        answers(db, entry | {"result": "x" * 8_388_608})


def test_results_and_progress_travel_together(db: Database, create: Create, claim: Claim) -> None:
    for _ in range(2):
        create("es")
    one, two = claim(limit=2)
    news = {"job_id": two["job_id"], "token": two["token"], "progress": 40}

    assert answers(db, news, *outcomes(one, "completed"), news) == [("recorded", "completed")]
    assert (job(db, two["job_id"])["status"], job(db, two["job_id"])["progress"]) == ("processing", 40)


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_job_that_has_ended_is_left_as_it_is_when_it_is_settled_again(
    db: Database, user: str, create: Create, claim: Claim, record: Record, end: str
) -> None:
    """The callers look first whether a job has ended; whoever forgets it ends nothing twice."""
    row = create("es")
    if end == "cancelled":
        db.rpc("cancel_translation_job", user, p_job_id=row["id"])
    else:
        record(outcomes(claim()[0], end, error=OOPS if end == "failed" else None))
    before = db.run("select * from public.translation_jobs where id = %s", row["id"])

    ended = db.value("select translation_private.settle_rows(array[%s::uuid], translation_private.clock())", row["id"])

    assert ended is None
    assert before[0]["status"] == end
    assert db.run("select * from public.translation_jobs where id = %s", row["id"]) == before
