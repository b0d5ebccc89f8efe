"""Leases that ran out: who takes the job back, and what is written of it."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Row, outcomes

Job = Callable[[str], Row]
Record = Callable[..., list[str]]

RESCUE = "select translation_private.rescue_job(%s, translation_private.clock())"
ATTEMPTS = """select token, outcome, ended_at is not null as ended from public.translation_job_attempts
              where job_id = %s order by token"""


def rescue(db: Database, **arguments: Any) -> int:
    count: int = db.rpc("rescue_translation_jobs", **arguments)
    return count


def lose(db: Database, claim: Claim, **more: Any) -> Row:
    """Claim a job and let its lease run out."""
    (held,) = claim(**more)
    db.forward("31 seconds")
    rescue(db)
    return held


def test_an_attempt_that_was_lost_says_so_and_the_ones_before_stay(db: Database, create: Create, claim: Claim) -> None:
    row, other = create("es"), create("fr")
    first = lose(db, claim)
    claim("w2", limit=2)
    db.forward("31 seconds")
    assert rescue(db) == 2

    first_try, second_try = db.run(ATTEMPTS, row["id"])
    assert first_try == {"token": first["token"], "outcome": "lost", "ended": True}
    assert (second_try["outcome"], second_try["ended"]) == ("lost", True)
    assert [one["outcome"] for one in db.run(ATTEMPTS, other["id"])] == ["lost"]
    ends = "select count(distinct ended_at) from public.translation_job_attempts where job_id = %s"
    assert db.value(ends, row["id"]) == 2, "each when it was lost"


def test_a_lease_that_is_not_over_is_nobody_elses(db: Database, create: Create, claim: Claim, job: Job) -> None:
    row, other = create("es"), create("es")
    claim(lease_ms=60_000)
    claim("w2")
    db.forward("31 seconds")

    assert db.value(RESCUE, row["id"]) is False
    assert rescue(db) == 1
    assert (job(row["id"])["status"], job(other["id"])["status"]) == ("processing", "pending")


def test_a_job_that_nobody_holds_is_not_rescued(db: Database, create: Create) -> None:
    assert db.value(RESCUE, create("es")["id"]) is False


def test_what_ran_out_first_is_rescued_first(db: Database, create: Create, claim: Claim, job: Job) -> None:
    late, early = create("es"), create("es")
    claim(lease_ms=20_000)
    claim(lease_ms=10_000)
    db.forward("31 seconds")

    assert rescue(db, p_limit=1) == 1
    assert (job(late["id"])["status"], job(early["id"])["status"]) == ("processing", "pending")


@pytest.mark.parametrize(("limit", "count"), [(None, 20), (0, 1), (-5, 1), (21, 21)])
def test_how_many_are_rescued_at_once(
    db: Database, create: Create, claim: Claim, limit: int | None, count: int
) -> None:
    for _ in range(22):
        create("es", as_=None)
    claim(limit=22)
    db.forward("31 seconds")

    assert rescue(db, p_limit=limit) == count


def test_without_a_number_twenty_are_rescued(db: Database, create: Create, claim: Claim) -> None:
    for _ in range(21):
        create("es", as_=None)
    claim(limit=21)
    db.forward("31 seconds")

    assert [rescue(db), rescue(db)] == [20, 1]


def test_a_job_that_somebody_is_changing_is_left_for_the_next_time(db: Database, create: Create, claim: Claim) -> None:
    row = create("es")
    claim()
    create("it", after=[create("fr")["id"]])
    db.forward("31 seconds")
    with db.session() as session:
        session.run("select from public.translation_jobs where id = %s for no key update", row["id"])
        assert rescue(db) == 0

    assert rescue(db) == 1


def test_a_parent_is_rescued_with_its_children_locked(db: Database, user: str, create: Create, claim: Claim) -> None:
    parent = create("es")
    child = create("fr", after=[parent["id"]])
    claim()
    db.forward("31 seconds")
    with db.session() as session, db.session() as rescuer:
        session.run("select from public.translation_jobs where id = %s for no key update", child["id"])
        rescuer.run("set local lock_timeout = '100ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            rescuer.run(RESCUE, parent["id"])


def test_a_job_is_lost_for_good_the_third_time_nothing_was_done(
    db: Database, create: Create, claim: Claim, job: Job
) -> None:
    row = create("es", "fr")
    for lost in (1, 2):
        lose(db, claim)
        assert (job(row["id"])["status"], job(row["id"])["lost_count"]) == ("pending", lost)
    lose(db, claim)

    ended = job(row["id"])
    assert (ended["status"], ended["lost_count"], ended["credits_refunded"]) == ("failed", 3, 20)
    assert {item["status"] for item in ended["items"].values()} == {"failed"}
    assert ended["error"] == {
        "class": "internal",
        "message": "Three workers in a row stopped while working on this job.",
    }


def test_a_try_in_which_something_was_done_is_not_counted_as_lost(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row, other = create("es", "fr"), create("es")
    lose(db, claim)
    (held,) = claim()
    progress = {"job_id": held["job_id"], "token": held["token"], "progress": 50}
    items = [{"item": "es", "chunks_done": 1, "chunks_total": 2}]
    db.rpc("record_translation_results", p_worker_id="w1", p_results=[{**progress, "items": items}])
    claim("w2")
    db.forward("31 seconds")
    rescue(db)
    assert (job(row["id"])["lost_count"], job(other["id"])["lost_count"]) == (1, 1)

    (held,) = [one for one in claim(limit=2) if one["job_id"] == row["id"]]
    record(outcomes(held, "completed", ["es"]))
    db.forward("31 seconds")
    rescue(db)
    assert (job(row["id"])["lost_count"], job(other["id"])["lost_count"]) == (1, 2)


def test_an_item_that_was_done_before_does_not_excuse_the_next_try(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es", "fr")
    record(outcomes(claim()[0], "completed", ["es"]))
    db.forward("31 seconds")
    rescue(db)
    lose(db, claim)

    assert job(row["id"])["lost_count"] == 1


def test_one_that_cannot_be_rescued_holds_up_no_other(db: Database, create: Create, claim: Claim, job: Job) -> None:
    bad, good = create("es"), create("es")
    claim(limit=2)
    db.forward("31 seconds")
    db.run(
        f"""create function public.refuse_it() returns trigger language plpgsql as $$ begin raise 'no'; end $$;
            create trigger refuse_it before update on public.translation_jobs for each row
            when (old.id = '{bad["id"]}') execute function public.refuse_it();"""
    )

    assert rescue(db) == 1
    assert (job(bad["id"])["status"], job(good["id"])["status"]) == ("processing", "pending")
