"""How far each language is, as its owner sees it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Row, outcomes

Record = Callable[..., list[str]]
Job = Callable[[str], Row]


@pytest.fixture
def held(create: Create, claim: Claim) -> Row:
    create("es", "fr")
    return claim()[0]


def report(db: Database, held: Row, *items: Row) -> None:
    entry: dict[str, Any] = {"job_id": held["job_id"], "token": held["token"], "progress": 30, "items": list(items)}
    db.rpc("record_translation_results", p_worker_id="w1", p_results=[entry])


def es(progress: int | None, chunks_done: int = 1, **more: Any) -> Row:
    return {"item": "es", "chunks_done": chunks_done, "chunks_total": 4, "progress": progress, **more}


def test_a_language_has_its_own_percent_and_end(db: Database, held: Row, job: Job) -> None:
    report(db, held, es(64, eta_ms=30_000))
    items = job(held["job_id"])["items"]

    assert (items["es"]["progress"], items["es"]["status"]) == (64, "processing")
    assert items["es"]["eta_at"] > db.value("select to_jsonb(translation_private.clock())")
    assert (items["fr"]["progress"], items["fr"]["eta_at"]) == (0, None)


@pytest.mark.parametrize(("told", "seen"), [(-5, 0), (100, 99), (1000, 99)])
def test_only_a_completed_language_is_at_a_hundred(db: Database, held: Row, job: Job, told: Any, seen: int) -> None:
    report(db, held, es(told))

    assert job(held["job_id"])["items"]["es"]["progress"] == seen


def test_an_older_worker_that_counts_chunks_only_takes_nothing_back(db: Database, held: Row, job: Job) -> None:
    report(db, held, es(64))
    report(db, held, es(None, chunks_done=2))
    item = job(held["job_id"])["items"]["es"]

    assert (item["progress"], item["chunks_done"]) == (64, 2)


def test_a_language_that_is_tried_again_begins_again(db: Database, held: Row, job: Job, record: Record) -> None:
    report(db, held, es(64, eta_ms=30_000))
    record([*outcomes(held, "retry", ["es"]), *outcomes(held, "completed", ["fr"])])
    items = job(held["job_id"])["items"]

    assert (items["es"]["progress"], items["es"]["eta_at"]) == (0, None)
    assert items["fr"]["progress"] == 100


def test_a_job_given_back_promises_nothing(db: Database, held: Row, job: Job) -> None:
    report(db, held, es(64, eta_ms=30_000))
    db.rpc(
        "release_translation_jobs",
        p_worker_id="w1",
        p_leases=[{"job_id": held["job_id"], "token": held["token"]}],
    )

    assert job(held["job_id"])["items"]["es"]["eta_at"] is None
