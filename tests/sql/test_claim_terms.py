"""Job types that want less or longer than the others: their limits and leases, in the one call that claims."""

from collections import Counter

from tests.sql.conftest import Claim
from tests.support.database import Database, Row

LONG = {"lease_ms": 120_000}


def enqueue(db: Database, job_type: str, count: int, priority: int = 5) -> list[str]:
    return [
        db.rpc("enqueue_translation_job", p_job_type=job_type, p_content={}, p_priority=priority)["id"]
        for _ in range(count)
    ]


def kinds(db: Database, *names: str) -> None:
    for name in names:
        db.run("insert into public.translation_job_types (name) values (%s)", name)


def types(jobs: list[Row]) -> Counter[str]:
    return Counter(job["job_type"] for job in jobs)


def test_of_a_limited_type_no_more_are_claimed_than_asked_for(db: Database, claim: Claim) -> None:
    kinds(db, "narrow", "wide")
    enqueue(db, "narrow", 4)
    enqueue(db, "wide", 4)

    jobs = claim(limit=6, job_types=["narrow", "wide"], terms={"narrow": {"limit": 1}})

    assert types(jobs) == {"narrow": 1, "wide": 4}


def test_a_limit_counts_over_all_priorities(db: Database, claim: Claim) -> None:
    kinds(db, "narrow")
    first, second = (enqueue(db, "narrow", 2, priority) for priority in (9, 2))

    jobs = claim(limit=10, job_types=["narrow"], terms={"narrow": {"limit": 3}})

    assert [job["job_id"] for job in jobs] == [*first, second[0]]


def test_a_limit_of_nothing_brings_nothing(db: Database, claim: Claim) -> None:
    kinds(db, "narrow", "wide")
    enqueue(db, "narrow", 1, 9)
    enqueue(db, "wide", 1)

    assert types(claim(limit=5, job_types=["narrow", "wide"], terms={"narrow": {"limit": 0}})) == {"wide": 1}


def test_a_limited_type_keeps_its_place_in_front(db: Database, claim: Claim) -> None:
    """What is limited does not wait behind what is not."""
    kinds(db, "narrow", "wide")
    enqueue(db, "wide", 3)
    enqueue(db, "narrow", 3, 8)

    jobs = claim(limit=2, job_types=["narrow", "wide"], terms={"narrow": {"limit": 1}})

    assert [job["job_type"] for job in jobs] == ["narrow", "wide"]


def test_the_next_claim_brings_what_a_limit_left(db: Database, claim: Claim) -> None:
    kinds(db, "narrow")
    ids = enqueue(db, "narrow", 3)
    taken = []
    floor = None
    for _ in range(3):
        (job,) = claim(limit=5, job_types=["narrow"], terms={"narrow": {"limit": 1}}, floor=floor)
        taken.append(job["job_id"])
        floor = job["floor"]

    assert taken == ids


def test_a_type_has_the_lease_it_asks_for_and_keeps_it_when_it_is_renewed(db: Database, claim: Claim) -> None:
    kinds(db, "slow", "quick")
    enqueue(db, "slow", 1)
    enqueue(db, "quick", 1)

    jobs = claim(limit=2, job_types=["slow", "quick"], terms={"slow": LONG})
    assert {job["job_type"]: job["lease_ms"] for job in jobs} == {"slow": 120_000, "quick": 30_000}

    db.forward("10 seconds")
    leases = [
        {"job_id": job["job_id"], "token": job["token"]} | (LONG if job["job_type"] == "slow" else {}) for job in jobs
    ]
    db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report={"leases": leases, "lease_ms": 30_000})
    db.forward("40 seconds")
    answer = db.rpc("heartbeat_translation_worker", p_worker_id="w2", p_report={"job_types": ["slow", "quick"]})

    assert answer["rescued"] == 1
    held = db.run("select job_type, status from public.translation_jobs")
    assert {row["job_type"]: row["status"] for row in held} == {"slow": "processing", "quick": "pending"}


def test_a_heartbeat_names_the_handlers_whose_types_are_not_there(db: Database) -> None:
    report = {"handlers": ["translation", "thumbnail"]}

    assert db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)["unknown_types"] == ["thumbnail"]
    assert db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report={})["unknown_types"] is None


def test_an_alert_names_the_types_that_wait_and_those_nobody_has_a_handler_for(db: Database) -> None:
    kinds(db, "thumbnail", "wide")
    enqueue(db, "thumbnail", 1)
    enqueue(db, "wide", 1)
    db.forward("6 minutes")
    report = {"mode": "realtime", "stats": {"handlers": ["translation", "wide"]}}
    db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)

    (found,) = [row for row in db.rpc("translation_alerts") if row["alert"] == "jobs_pending"]

    assert found["message"] == (
        "Jobs have waited for up to 360 s: thumbnail (no running worker has a handler for it), wide."
    )
