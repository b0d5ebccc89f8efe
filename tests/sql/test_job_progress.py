"""What a worker tells of a job it holds: what is written of it, and what is not."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Row, outcomes

Record = Callable[..., list[str]]

JOB = """
select progress, progress_message as message, round(extract(epoch from eta_at - updated_at) * 1000)::bigint as eta_ms
from public.translation_jobs where id = %s
"""
ITEM = """
select i.status, i.chunks_done as done, i.chunks_total as total, i.progress, i.started_at = j.updated_at as began_now,
  round(extract(epoch from i.eta_at - j.updated_at) * 1000)::bigint as eta_ms, i.xmin::text as version
from public.translation_job_items i join public.translation_jobs j on j.id = i.job_id
where i.job_id = %s and i.item = %s
"""


@pytest.fixture
def held(create: Create, claim: Claim) -> Row:
    create("es", "fr")
    return claim()[0]


def tell(db: Database, held: Row, *items: Row, worker: str = "w1", **entry: Any) -> None:
    report = {"job_id": held["job_id"], "token": held["token"], **entry, "items": list(items)}
    db.rpc("record_translation_results", p_worker_id=worker, p_results=[report])


def job(db: Database, held: Row) -> Row:
    (row,) = db.run(JOB, held["job_id"])
    return row


def item(db: Database, held: Row, name: str = "es") -> Row:
    (row,) = db.run(ITEM, held["job_id"], name)
    return row


def progressed(db: Database, held: Row) -> Any:
    return db.value("select progressed from public.translation_job_claims where job_id = %s", held["job_id"])


# The job


@pytest.mark.parametrize(("told", "seen"), [(40, 40), (0, 0), (-10, 0), (99, 99), (100, 99), (1000, 99)])
def test_a_job_that_runs_is_between_nothing_and_nearly_done(db: Database, held: Row, told: int, seen: int) -> None:
    tell(db, held, progress=told)

    assert job(db, held)["progress"] == seen


def test_news_without_a_number_keeps_the_last_one(db: Database, held: Row) -> None:
    tell(db, held, progress=40, message="Half", eta_ms=5000)
    tell(db, held)

    assert job(db, held) == {"progress": 40, "message": None, "eta_ms": None}


def test_the_message_is_cut_and_the_end_is_within_a_week(db: Database, held: Row) -> None:
    tell(db, held, message="x" * 300, eta_ms=1500)
    assert (job(db, held)["message"], job(db, held)["eta_ms"]) == ("x" * 200, 1500)
    tell(db, held, eta_ms=10**12)

    assert job(db, held)["eta_ms"] == 604_800_000


@pytest.mark.parametrize(("told", "seen"), [(21, 60), (150, 99), (-10, 50)])
def test_what_had_ended_before_counts_as_done_and_what_ends_in_this_run_as_the_worker_says(
    db: Database, create: Create, claim: Claim, record: Record, told: int, seen: int
) -> None:
    create("es", "fr", "de", "it")
    create("es")
    first, other = claim(limit=2)
    record(
        outcomes(other, "completed")
        + outcomes(first, "completed", ["es"])
        + outcomes(first, "failed", ["fr"])
        + outcomes(first, "retry", ["de", "it"], retry_after_ms=1000)
    )
    db.forward("2 seconds")
    (again,) = claim()
    record(outcomes(again, "completed", ["de"]))
    tell(db, again, progress=told)

    assert job(db, again)["progress"] == seen


def test_an_item_that_has_begun_counts_as_open(db: Database, held: Row) -> None:
    tell(db, held, {"item": "es", "chunks_done": 1, "chunks_total": 4})
    tell(db, held, progress=20)

    assert job(db, held)["progress"] == 20


@pytest.mark.parametrize("false_first", [True, False])
@pytest.mark.parametrize("token", ["none", "theirs"])
def test_a_false_word_beside_a_true_one_is_not_believed(
    db: Database, create: Create, claim: Claim, held: Row, token: str, false_first: bool
) -> None:
    create("es")
    (other,) = claim()
    items = [{"item": "es", "chunks_done": 3, "chunks_total": 4, "progress": 75}]
    true = {"job_id": held["job_id"], "token": held["token"], "progress": 40}
    false = {**true, "token": 0 if token == "none" else other["token"], "progress": 90, "items": items}
    entries = [false, true] if false_first else [true, false]
    db.rpc("record_translation_results", p_worker_id="w1", p_results=entries)

    assert (job(db, held)["progress"], item(db, held)["status"]) == (40, "pending")


def test_only_who_holds_the_job_is_believed(db: Database, create: Create, claim: Claim, held: Row) -> None:
    create("es")
    (theirs,) = claim("w2")
    tell(db, held | {"token": 0}, {"item": "es", "chunks_done": 1, "chunks_total": 2, "progress": 50}, progress=40)
    tell(db, held, {"item": "es", "chunks_done": 1, "chunks_total": 2, "progress": 50}, progress=40, worker="w2")
    tell(db, held | {"token": theirs["token"]}, {"item": "es", "chunks_done": 1, "chunks_total": 2}, progress=40)

    assert (job(db, held)["progress"], item(db, held)["status"], progressed(db, held)) == (0, "pending", False)
    assert (job(db, theirs)["progress"], item(db, theirs)["status"]) == (0, "pending")


def test_news_of_two_jobs_are_told_apart(db: Database, create: Create, claim: Claim, held: Row) -> None:
    create("es")
    (other,) = claim()
    entries = [
        {"job_id": one["job_id"], "token": one["token"], "progress": percent, "message": str(percent), "items": [
            {"item": "es", "chunks_done": percent, "chunks_total": 100, "progress": percent}]}
        for one, percent in ((held, 40), (other, 60))
    ]  # fmt: skip
    db.rpc("record_translation_results", p_worker_id="w1", p_results=entries)

    assert [(job(db, one)["progress"], job(db, one)["message"]) for one in (held, other)] == [(40, "40"), (60, "60")]
    assert [item(db, one)["done"] for one in (held, other)] == [40, 60]
    assert item(db, held, "fr")["status"] == "pending"


def test_a_row_that_somebody_has_locked_is_not_waited_for(
    db: Database, create: Create, claim: Claim, held: Row
) -> None:
    create("es")
    (free,) = claim()
    with db.session() as session:
        session.run("select from public.translation_jobs where id = %s for no key update", held["job_id"])
        entries = [{"job_id": one["job_id"], "token": one["token"], "progress": 40} for one in (held, free)]
        items = [{"item": "es", "chunks_done": 1, "chunks_total": 2}]
        db.rpc("record_translation_results", p_worker_id="w1", p_results=[one | {"items": items} for one in entries])

    assert [job(db, one)["progress"] for one in (held, free)] == [0, 40]
    assert [item(db, one)["status"] for one in (held, free)] == ["pending", "processing"]


@pytest.mark.parametrize(
    ("changes", "worker"), [({}, "w1"), ({"token": 0}, "w1"), ({}, "w2"), ({"token": "theirs"}, "w1")], ids=str
)
def test_news_locks_the_job_it_is_about_if_it_is_believed_and_no_other(
    db: Database, create: Create, claim: Claim, held: Row, changes: Row, worker: str
) -> None:
    create("es")
    (theirs,) = claim()
    entry = {"job_id": held["job_id"], "token": held["token"], "progress": 40}
    entry |= {"token": theirs["token"]} if changes.get("token") == "theirs" else changes
    with db.session() as teller, db.session() as other:
        teller.rpc("record_translation_results", p_worker_id=worker, p_results=[entry])
        free = other.run("select id::text from public.translation_jobs for no key update skip locked")

    believed = not changes and worker == "w1"
    expected = {theirs["job_id"]} if believed else {theirs["job_id"], held["job_id"]}
    assert {row["id"] for row in free} == expected


@pytest.mark.parametrize("first", ["news", "result"])
def test_news_and_a_result_of_one_job_travel_together(db: Database, held: Row, first: str) -> None:
    news = {"job_id": held["job_id"], "token": held["token"], "progress": 40, "message": "Half"}
    entries = [news, *outcomes(held, "completed", ["fr"])]
    ordered = entries if first == "news" else entries[::-1]
    db.rpc("record_translation_results", p_worker_id="w1", p_results=ordered)

    assert (job(db, held)["progress"], job(db, held)["message"]) == (40, "Half")


# Its items


def test_an_item_begins_with_the_first_news_of_it(db: Database, held: Row) -> None:
    tell(db, held, {"item": "es", "chunks_done": 1, "chunks_total": 4, "progress": 25, "eta_ms": 3000})
    begun = item(db, held)
    del begun["version"]
    assert begun == {
        **{"status": "processing", "done": 1, "total": 4, "progress": 25, "began_now": True, "eta_ms": 3000},
    }
    db.forward("1 minute")
    tell(db, held, {"item": "es", "chunks_done": 2, "chunks_total": 4, "progress": 50})

    assert (item(db, held)["began_now"], item(db, held)["done"], item(db, held)["eta_ms"]) == (False, 2, None)


def test_what_is_left_out_stays(db: Database, held: Row) -> None:
    tell(db, held, {"item": "es", "chunks_done": 1, "chunks_total": 4, "progress": 25})
    tell(db, held, {"item": "es", "progress": 30})
    assert (item(db, held)["done"], item(db, held)["total"], item(db, held)["progress"]) == (1, 4, 30)
    tell(db, held, {"item": "es", "chunks_done": 2, "chunks_total": 5})

    assert (item(db, held)["done"], item(db, held)["total"], item(db, held)["progress"]) == (2, 5, 30)


@pytest.mark.parametrize(("eta_ms", "seen"), [(1500, 1500), (10**12, 604_800_000)])
def test_the_end_of_an_item_is_within_a_week(db: Database, held: Row, eta_ms: int, seen: int) -> None:
    tell(db, held, {"item": "es", "chunks_done": 1, "chunks_total": 4, "eta_ms": eta_ms})

    assert item(db, held)["eta_ms"] == seen


@pytest.mark.parametrize("change", [{"chunks_done": 2}, {"chunks_total": 5}, {"progress": 26}], ids=str)
def test_only_news_is_written(db: Database, held: Row, change: Row) -> None:
    said = {"item": "es", "chunks_done": 1, "chunks_total": 4, "progress": 25}
    tell(db, held, said)
    before = item(db, held)["version"]
    tell(db, held, said)
    assert item(db, held)["version"] == before
    tell(db, held, said | change)

    assert item(db, held)["version"] != before


def test_news_that_a_record_has_overtaken_reopens_nothing(db: Database, held: Row, record: Record) -> None:
    record(outcomes(held, "retry", ["es"], retry_after_ms=60_000))
    late = {"chunks_done": 3, "chunks_total": 4, "progress": 75}
    tell(db, held, {"item": "es", **late}, {"item": "fr", **late})

    assert (item(db, held)["status"], item(db, held)["progress"]) == ("pending", 0)
    assert (item(db, held, "fr")["status"], item(db, held, "fr")["progress"]) == ("processing", 75)


def test_news_of_an_item_that_had_ended_in_an_earlier_run_changes_nothing(
    db: Database, claim: Claim, held: Row, record: Record
) -> None:
    record(outcomes(held, "completed", ["es"]) + outcomes(held, "retry", ["fr"], retry_after_ms=1000))
    db.forward("2 seconds")
    (again,) = claim()
    tell(db, again, {"item": "es", "chunks_done": 1, "chunks_total": 4, "progress": 25})

    assert (item(db, again)["status"], item(db, again)["progress"]) == ("completed", 100)
    assert progressed(db, again) is False


@pytest.mark.parametrize(("done", "counts"), [(0, False), (1, True)])
def test_a_try_has_done_something_once_a_part_is_done(db: Database, held: Row, done: int, counts: bool) -> None:
    tell(db, held, {"item": "es", "chunks_done": done, "chunks_total": 4})

    assert progressed(db, held) is counts


def test_a_try_that_has_done_something_is_noted_once_and_for_itself(
    db: Database, create: Create, claim: Claim, held: Row
) -> None:
    create("es")
    (other,) = claim()
    tell(db, held, {"item": "es", "chunks_done": 1, "chunks_total": 4})
    version = "select xmin::text from public.translation_job_claims where job_id = %s"
    before = db.value(version, held["job_id"])
    tell(db, held, {"item": "es", "chunks_done": 2, "chunks_total": 4})

    assert db.value(version, held["job_id"]) == before
    assert (progressed(db, held), progressed(db, other)) == (True, False)
