"""How jobs end that nobody runs: cancelled by their user, with a parent, with a user; and what repeats them."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Claim, Create, Sent
from tests.support.database import Database, Refused, Row, outcomes

Record = Callable[..., list[str]]

JOB = """
select status, failed_items as failed, credits_consumed as consumed, credits_refunded as refunded, progress, error,
  completed_at = updated_at as completed_now, cancelled_at = updated_at as cancelled_now
from public.translation_jobs where id = %s
"""
ITEM = """
select status, credits, error, retry_at, completed_at is not null as ended from public.translation_job_items
where job_id = %s and item = %s
"""
LEDGER = """
select item, kind, amount from public.translation_credit_ledger
where job_id = %s and kind in ('consume', 'refund') order by item, kind
"""
OOPS = {"class": "internal", "message": "It did not work."}
NOT_COMPLETED = {"class": "bad_request", "message": "A job it waited for did not complete."}


def job(db: Database, row: Row) -> Row:
    (found,) = db.run(JOB, row["id"])
    return found


def statuses(db: Database, *rows: Row) -> list[str]:
    return [job(db, row)["status"] for row in rows]


def item(db: Database, row: Row, name: str) -> Row:
    (found,) = db.run(ITEM, row["id"], name)
    return found


def cancel(db: Database, row: Row, as_: str | None = None) -> Row:
    answer: Row = db.rpc("cancel_translation_job", as_, p_job_id=row["id"])
    return answer


def retry(db: Database, row: Row, as_: str | None = None) -> Row:
    answer: Row = db.rpc("retry_translation_job", as_, p_job_id=row["id"])
    return answer


# Cancelled


def test_a_cancelled_job_keeps_what_was_done_and_gives_back_the_rest(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es", "fr", "de", "it")
    (held,) = claim()
    begun = [{"item": "it", "chunks_done": 1, "chunks_total": 2}]
    record([{"job_id": held["job_id"], "token": held["token"], "items": begun}])
    record(
        outcomes(held, "completed", ["es"])
        + outcomes(held, "failed", ["fr"])
        + outcomes(held, "retry", ["de"], retry_after_ms=60_000)
    )
    answer = cancel(db, row, user)

    ended = {"retry_at": None, "ended": True}
    assert [item(db, row, name) for name in ("es", "fr", "de", "it")] == [
        {"status": "completed", "credits": 10, "error": None, **ended},
        {"status": "failed", "credits": 0, "error": OOPS, **ended},
        {"status": "cancelled", "credits": 0, "error": OOPS, **ended},
        {"status": "cancelled", "credits": 0, "error": None, **ended},
    ]
    assert job(db, row) == {
        **{"status": "cancelled", "failed": 1, "consumed": 10, "refunded": 30, "progress": 0, "error": OOPS},
        **{"completed_now": True, "cancelled_now": True},
    }
    assert [tuple(moved.values()) for moved in db.run(LEDGER, row["id"])] == [
        ("de", "refund", 10),
        ("es", "consume", 10),
        ("fr", "refund", 10),
        ("it", "refund", 10),
    ]
    assert (answer["status"], answer["content"], answer["id"]) == ("cancelled", None, row["id"])
    db.check_money()


@pytest.mark.parametrize("price", [0, 1])
def test_a_cancel_gives_back_what_there_is_to_give_back(db: Database, create: Create, price: int) -> None:
    db.price(price)
    row = create("es")
    cancel(db, row)

    assert db.run(LEDGER, row["id"]) == [{"item": "es", "kind": "refund", "amount": 1}][:price]


def test_only_who_runs_a_job_is_told_of_its_cancel(
    db: Database, user: str, create: Create, claim: Claim, sent: Sent
) -> None:
    running, waiting = create("es"), create("fr")
    claim()
    cancel(db, waiting, user)
    assert sent("cancelled") == []
    cancel(db, running, user)

    assert sent("cancelled") == [{"job_id": running["id"]}]
    cancel(db, running, user)
    assert len(sent("cancelled")) == 1


def test_a_cancel_touches_no_other_job(db: Database, user: str, create: Create, claim: Claim) -> None:
    row, other = create("es"), create("es")
    claim(limit=2)
    cancel(db, row, user)

    assert statuses(db, row, other) == ["cancelled", "processing"]
    assert item(db, other, "es")["status"] == "pending"
    assert db.run("select job_id::text from public.translation_job_claims") == [{"job_id": other["id"]}]
    assert db.value("select balance from public.translation_credits where user_id = %s", user) == 90


@pytest.mark.parametrize("call", ["cancel_translation_job", "retry_translation_job"])
def test_a_job_of_somebody_else_is_not_there(db: Database, user: str, create: Create, call: str) -> None:
    row = create("es")
    stranger = db.user()
    for as_, job_id in ((stranger, row["id"]), (user, "00000000-0000-0000-0000-000000000001")):
        with pytest.raises(Refused) as refusal:
            db.rpc(call, as_, p_job_id=job_id)
        assert (refusal.value.code, refusal.value.word) == ("PT404", "job_not_found")
    with pytest.raises(Refused, match="job_not_found"):
        db.rpc(call, p_job_id="00000000-0000-0000-0000-000000000001")

    assert statuses(db, row) == ["pending"]


def test_a_cancel_locks_all_that_waits_for_the_job_before_anything_else(
    db: Database, user: str, create: Create
) -> None:
    parent, other = create("es"), create("it")
    child = create("fr", after=[parent["id"], other["id"]], options={"after_failure": "run"})
    with db.session() as session, db.session(user) as canceller:
        session.run("select from public.translation_jobs where id = %s for no key update", child["id"])
        canceller.run("set local lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            canceller.rpc("cancel_translation_job", p_job_id=parent["id"])


def test_a_cancel_locks_the_job_and_what_waits_for_it_and_nothing_else(db: Database, user: str, create: Create) -> None:
    parent, other = create("es"), create("it")
    child = create("fr", after=[parent["id"]])
    stranger = create("de", after=[other["id"]])
    with db.session(user) as canceller, db.session() as session:
        canceller.rpc("cancel_translation_job", p_job_id=parent["id"])
        free = session.run("select id::text from public.translation_jobs for no key update skip locked")

    assert {row["id"] for row in free} == {other["id"], stranger["id"]}
    assert statuses(db, child) == ["cancelled"]


# With a parent


def test_a_child_whose_parent_failed_is_cancelled_with_all_that_waits_for_it(
    db: Database, create: Create, claim: Claim, record: Record, sent: Sent
) -> None:
    parent = create("es")
    child = create("fr", after=[parent["id"]])
    grandchild = create("de", after=[child["id"]])
    stranger = create("it", after=[create("pl")["id"]])
    before = len(sent("ready"))
    record(outcomes(claim()[0], "failed"))

    assert statuses(db, parent, child, grandchild, stranger) == ["failed", "cancelled", "cancelled", "blocked"]
    assert job(db, child) == {
        **{"status": "cancelled", "failed": 0, "consumed": 0, "refunded": 10, "progress": 0},
        **{"error": NOT_COMPLETED, "completed_now": True, "cancelled_now": True},
    }
    assert item(db, grandchild, "de")["error"] == NOT_COMPLETED
    assert sent("ready")[before:] == []
    db.check_money()


def test_a_child_waits_for_all_its_parents_and_starts_with_the_last(
    db: Database, user: str, create: Create, claim: Claim, record: Record, sent: Sent
) -> None:
    parents = [create("es"), create("fr")]
    child = create("de", after=[parent["id"] for parent in parents])
    db.forward("1 hour")
    record(outcomes(claim()[0], "completed"))
    assert statuses(db, child) == ["blocked"]
    before = len(sent("ready"))
    record(outcomes(claim()[0], "completed"))

    (started,) = db.run(
        """select status, turn is not null as has_turn, ready_at = updated_at as ready_now,
             deadline_at = updated_at + interval '24 hours' as has_a_day from public.translation_jobs where id = %s""",
        child["id"],
    )
    assert started == {"status": "pending", "has_turn": True, "ready_now": True, "has_a_day": True}
    assert sent("ready")[before:] == [{"job_id": child["id"], "jobs": 1, "due_in_ms": 0}]


def test_a_child_that_is_for_later_is_scheduled_when_its_parents_are_done(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    parent = create("es")
    later = db.value("select (now() + interval '1 hour')::text")
    child = create("fr", after=[parent["id"]], run_at=later)
    record(outcomes(claim()[0], "completed"))

    (row,) = db.run(
        """select status, turn, deadline_at = run_at + interval '24 hours' as has_a_day
           from public.translation_jobs where id = %s""",
        child["id"],
    )
    assert row == {"status": "scheduled", "turn": None, "has_a_day": True}


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
@pytest.mark.parametrize(("edge", "status"), [("cancel", "cancelled"), ("run", "pending")])
def test_an_edge_says_what_a_parent_that_did_not_complete_means(
    db: Database, create: Create, claim: Claim, record: Record, ending: str, edge: str, status: str
) -> None:
    parent = create("es")
    child = create("fr", after=[parent["id"]], options={"after_failure": edge})
    if ending == "failed":
        record(outcomes(claim()[0], "failed"))
    else:
        cancel(db, parent)

    assert statuses(db, child) == [status]


def test_one_parent_that_failed_is_enough_and_the_child_does_not_wait_for_the_others(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    parents = [create("es"), create("fr"), create("it")]
    child = create("de", after=[parent["id"] for parent in parents])
    record(outcomes(claim()[0], "completed"))
    record(outcomes(claim()[0], "failed"))

    assert statuses(db, child) == ["cancelled"]


def test_two_children_of_one_parent_are_announced_once(
    db: Database, create: Create, claim: Claim, record: Record, sent: Sent
) -> None:
    parent = create("es")
    children = [create("fr", after=[parent["id"]]) for _ in range(2)]
    before = len(sent("ready"))
    record(outcomes(claim()[0], "completed"))

    assert statuses(db, *children) == ["pending", "pending"]
    (told,) = sent("ready")[before:]
    assert (told["jobs"], told["due_in_ms"]) == (2, 0)


# With a parent that is deleted


def delete(db: Database, *rows: Row) -> None:
    db.run("delete from public.translation_jobs where id = any (%s::uuid[])", [row["id"] for row in rows])


@pytest.mark.parametrize(("edge", "status"), [("cancel", "cancelled"), ("run", "pending")])
def test_a_parent_that_is_deleted_before_its_end_did_not_complete(
    db: Database, user: str, create: Create, edge: str, status: str
) -> None:
    parent = create("es")
    child = create("fr", after=[parent["id"]], options={"after_failure": edge})
    grandchild = create("de", after=[child["id"]])
    other = create("it", after=[create("pl")["id"]], options={"after_failure": edge})
    delete(db, parent)

    assert statuses(db, child, other) == [status, "blocked"]
    assert statuses(db, grandchild) == ["cancelled" if edge == "cancel" else "blocked"]
    if edge == "cancel":
        assert item(db, child, "fr")["error"] == NOT_COMPLETED
    assert job(db, child)["refunded"] == (10 if edge == "cancel" else 0)


def test_what_waits_for_a_parent_that_is_deleted_is_locked_before_anything_else(db: Database, create: Create) -> None:
    parent, other = create("es"), create("it")
    child = create("fr", after=[parent["id"], other["id"]], options={"after_failure": "run"})
    db.run("set lock_timeout = '100ms'")
    with db.session() as session:
        session.run("select from public.translation_jobs where id = %s for no key update", child["id"])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            delete(db, parent)


def test_a_child_that_may_run_anyway_waits_for_its_other_parents(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    done, running, deleted = create("es"), create("it"), create("pl")
    record(outcomes(claim()[0], "completed"))
    claim()
    parents = [row["id"] for row in (done, running, deleted)]
    waits = create("fr", after=parents, options={"after_failure": "run"})
    starts = create("de", after=[done["id"], deleted["id"]], options={"after_failure": "run"})
    delete(db, deleted)

    assert statuses(db, waits, starts) == ["blocked", "pending"]
    delete(db, running)
    assert statuses(db, waits) == ["pending"]


def test_a_parent_that_is_deleted_after_its_end_changes_nothing(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    parent, other = create("es"), create("it")
    child = create("fr", after=[parent["id"], other["id"]])
    record(outcomes(claim()[0], "completed"))
    delete(db, parent)

    assert statuses(db, child) == ["blocked"]


def test_children_that_ended_are_not_ended_again_with_their_parent(db: Database, create: Create) -> None:
    parent = create("es")
    child = create("fr", after=[parent["id"]])
    cancel(db, child)
    (before,) = db.run("select xmin::text from public.translation_jobs where id = %s", child["id"])
    delete(db, parent)

    assert db.run("select xmin::text from public.translation_jobs where id = %s", child["id"]) == [before]


# Repeated


def test_what_repeats_a_job_is_like_it_for_what_did_not_complete(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    said = {"content_kind": "markdown", "source_language": "en", "correlation_id": "trace-7", "subject": "card:1"}
    row = create("es", "fr", "de", title="Card", metadata={"n": 1}, options={"formality": "more"}, priority=4, **said)
    (held,) = claim()
    record(outcomes(held, "completed", ["fr"]) + outcomes(held, "failed", ["es"]))
    cancel(db, row, user)
    again = retry(db, row, user)

    assert {name: again[name] for name in said} == said
    assert (again["title"], again["metadata"], again["options"]) == ("Card", {"n": 1}, {"formality": "more"})
    assert (again["target_languages"], again["credits_reserved"], again["content"]) == (["es", "de"], 20, None)
    assert (again["retry_of"], again["user_id"], again["job_type"]) == (row["id"], user, "translation")
    assert db.value("select content from public.translation_jobs where id = %s", again["id"]) == "Hello world"
    assert retry(db, row, user)["id"] == again["id"]
    assert retry(db, row)["id"] == again["id"]
    assert retry(db, row)["content"] is None


@pytest.mark.parametrize("by", ["user", "operator"])
def test_an_operators_repetition_keeps_the_priority_and_a_users_begins_anew(
    db: Database, user: str, create: Create, by: str
) -> None:
    usual = create("es")["priority"]
    row = create("es")
    db.run("update public.translation_jobs set priority = 9 where id = %s", row["id"])
    cancel(db, row)

    assert retry(db, row, user if by == "user" else None)["priority"] == (usual if by == "user" else 9)


@pytest.mark.parametrize("ending", ["completed", "failed", "cancelled"])
def test_a_job_is_repeated_once_it_has_ended_and_not_well(
    db: Database, user: str, create: Create, claim: Claim, record: Record, ending: str
) -> None:
    row = create("es", "fr")
    with pytest.raises(Refused) as refusal:
        retry(db, row, user)
    assert (refusal.value.code, refusal.value.word) == ("PT409", "job_not_finished")
    (held,) = claim()
    if ending == "cancelled":
        cancel(db, row)
    else:
        record(outcomes(held, ending, ["es"]) + outcomes(held, "failed", ["fr"]))

    assert statuses(db, row) == [ending]
    assert retry(db, row, user)["target_languages"] == (["fr"] if ending == "completed" else ["es", "fr"])


def test_a_job_that_went_well_is_not_repeated(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    row, failed = create("es"), create("fr")
    record(outcomes(claim()[0], "completed"))
    record(outcomes(claim()[0], "failed"))
    with pytest.raises(Refused) as refusal:
        retry(db, row, user)

    assert (refusal.value.code, refusal.value.word) == ("PT409", "nothing_to_retry")
    assert statuses(db, failed) == ["failed"]


def edges(db: Database, row: Row) -> list[tuple[str, str | None, str]]:
    found = db.run(
        """select parent_id::text, name, after_failure from public.translation_job_dependencies
           where child_id = %s order by name, parent_id""",
        row["id"],
    )
    return [(one["parent_id"], one["name"], one["after_failure"]) for one in found]


def test_what_repeats_a_child_waits_for_what_repeats_its_parents(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    good, bad, worse = create("es"), create("fr"), create("de")
    child = create(
        "it",
        after=[row["id"] for row in (good, bad, worse)],
        options={"formality": "more", "after_failure": {worse["id"]: "run"}},
    )
    held = {one["job_id"]: one for one in claim(limit=3)}
    record(outcomes(held[good["id"]], "completed"))
    for row in (worse, bad):
        record(outcomes(held[row["id"]], "failed"))
    first = retry(db, bad, user)
    cancel(db, first)
    second = retry(db, first, user)
    other = retry(db, worse, user)
    again = retry(db, child, user)

    assert again["status"] == "blocked"
    expected = [(good["id"], None, "cancel"), (second["id"], None, "cancel"), (other["id"], None, "run")]
    assert sorted(edges(db, again)) == sorted(expected)
    assert again["options"] == {"formality": "more", "after_failure": {other["id"]: "run"}}


def test_a_parent_that_completed_is_waited_for_even_where_somebody_repeated_a_part_of_it(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    parent = create("es", "fr")
    child = create("it", after=[parent["id"]])
    cancel(db, child)
    (held,) = claim()
    record(outcomes(held, "completed", ["es"]) + outcomes(held, "failed", ["fr"]))
    retry(db, parent, user)
    again = retry(db, child, user)

    assert (again["status"], edges(db, again)) == ("pending", [(parent["id"], None, "cancel")])


def cancelled_after_two_users(db: Database, user: str, create: Create) -> tuple[Row, Row, Row]:
    """A cancelled job of *user* that waited for one of the user and one of somebody else: it, and these two."""
    other = db.user(credits=100)
    mine, theirs = create("es"), create("fr", as_=other)
    enqueue: dict[str, Any] = {"p_job_type": "translation", "p_content": "Next", "p_items": ["fr"], "p_user_id": user}
    row = db.rpc("enqueue_translation_job", **enqueue, p_after=[mine["id"], theirs["id"]])
    cancel(db, row)
    return row, mine, theirs


def test_a_user_repeats_with_his_own_parents_only(db: Database, user: str, create: Create) -> None:
    row, mine, _ = cancelled_after_two_users(db, user, create)

    assert edges(db, retry(db, row, user)) == [(mine["id"], None, "cancel")]


def test_an_operator_repeats_with_all_parents(db: Database, user: str, create: Create) -> None:
    row, mine, theirs = cancelled_after_two_users(db, user, create)

    assert {edge[0] for edge in edges(db, retry(db, row))} == {mine["id"], theirs["id"]}
