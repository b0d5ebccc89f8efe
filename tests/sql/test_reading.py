"""What screens and streams read: only one's own, no more than changed, and within bounds."""

import uuid
from typing import Any

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, outcomes


def watch(db: Database, as_: str | None, *users: str, **more: Any) -> dict[str, Any]:
    answer: dict[str, Any] = db.rpc("watch_translation_users", as_, p_user_ids=list(users), **more)
    return answer


def test_a_user_who_watches_another_sees_nothing(db: Database, create: Create, user: str) -> None:
    job = create("es")["id"]
    stranger = db.user(credits=7)
    answer = watch(db, stranger, user, stranger, p_job_ids=[job], p_changed_within_ms=600_000)

    assert (answer["jobs"], answer["quiet"]) == ([], [])
    assert answer["credits"][user] == {"balance": 0, "reserved": 0}
    assert answer["credits"][stranger] == {"balance": 7, "reserved": 0}
    assert db.rpc("watch_translation_jobs", stranger, p_job_ids=[job]) == []
    for call in ("get_translation_attempts", "get_translation_movements"):
        assert refused(db, call, stranger, job) == refused(db, call, stranger, str(uuid.uuid4()))


def refused(db: Database, call: str, as_: str, job_id: str) -> str:
    try:
        db.rpc(call, as_, p_job_id=job_id)
    except Exception as refusal:
        return str(refusal)
    raise AssertionError("not refused")


def test_what_did_not_change_is_named_and_not_shown(db: Database, create: Create, user: str) -> None:
    old = create("es")["id"]
    db.forward("1 minute")
    new = create("fr")["id"]
    answer = watch(db, None, user, p_changed_within_ms=10_000)

    assert [job["id"] for job in answer["jobs"]] == [new]
    assert answer["quiet"] == [old]
    assert answer["credits"] == {user: {"balance": 80, "reserved": 20}}
    db.forward("1 hour")
    everything = watch(db, None, user)
    assert ({job["id"] for job in everything["jobs"]}, everything["quiet"]) == ({old, new}, [])


def test_an_ending_is_seen_for_as_long_as_is_asked(db: Database, create: Create, claim: Claim, user: str) -> None:
    job_id = create("es")["id"]
    (job,) = claim()
    db.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(job, "completed"))
    db.forward("4 seconds")

    assert [job["id"] for job in watch(db, None, user, p_changed_within_ms=5000)["jobs"]] == [job_id]
    assert watch(db, None, user, p_changed_within_ms=3000)["jobs"] == []
    assert watch(db, None, user)["jobs"] == []


def test_the_end_of_a_job_that_is_asked_for_is_seen_whenever_it_was(
    db: Database, create: Create, claim: Claim, user: str
) -> None:
    """What ends a job is dated when it begins, and may have to wait before it ends."""
    ended, open_still = create("es")["id"], create("fr")["id"]
    (job,) = claim()
    db.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(job, "completed"))
    db.forward("1 hour")
    answer = watch(db, None, user, p_job_ids=[ended, open_still], p_changed_within_ms=3000)

    assert ([job["id"] for job in answer["jobs"]], answer["quiet"]) == ([ended], [open_still])


def test_a_deleted_job_is_in_no_answer(db: Database, create: Create, user: str) -> None:
    job_id = create("es")["id"]
    db.run("delete from public.translation_jobs where id = %s", job_id)
    answer = watch(db, None, user, p_job_ids=[job_id], p_changed_within_ms=5000)

    assert (answer["jobs"], answer["quiet"]) == ([], [])


def test_counts_stop_at_a_thousand_and_tell_partly_apart(db: Database, user: str) -> None:
    db.run(
        """insert into public.translation_jobs (user_id, subject, status, revision, content, failed_items)
           select %s, 'card:' || n %% 2, 'completed', 1, '"x"', (n <= 3)::int from generate_series(1, 1500) as n""",
        user,
    )
    everything = db.rpc("count_translation_jobs", user)["finished"]
    one = db.rpc("count_translation_jobs", user, p_subject="card:1")["finished"]

    assert everything["completed"] + everything["partly"] <= 1000
    assert (one["completed"], one["partly"]) == (748, 2)
    assert db.rpc("count_translation_jobs", db.user())["finished"]["completed"] == 0


def test_pages_before_a_time_find_what_is_there(db: Database, create: Create, user: str) -> None:
    early = create("es")["id"]
    db.forward("1 hour")
    late = create("fr")["id"]
    for job_id in (early, late):
        db.rpc("cancel_translation_job", user, p_job_id=job_id)
    waiting = create("de")["id"]
    middle = db.value("select (now() + interval '30 minutes')::text")

    def page(**filters: Any) -> list[str]:
        return [job["id"] for job in db.rpc("show_translation_jobs", user, **filters)]

    assert page(p_until=middle) == [early]
    assert page(p_since=middle) == [waiting, late]
    assert page(p_until=middle, p_status=["cancelled"], p_before_seq=1_000_000) == [early]
    assert page() == [waiting, late, early]
    assert page(p_limit=1) == [waiting]


def test_a_text_is_looked_for_as_it_is(db: Database, create: Create, user: str) -> None:
    job_id = create("es", title="50 % of a Ferry_timetable", subject="card:9", correlation_id="order one")["id"]
    create("fr", title="Another")

    def found(text: str) -> bool:
        return [job["id"] for job in db.rpc("show_translation_jobs", user, p_search=text)] == [job_id]

    assert all(map(found, ("ferry_", "50 %", "CARD:9", job_id[:8], "order one")))
    assert not any(map(found, ("f%y", "ferryx", "\\")))
