"""Who gets which job: exclusively, fairly, and the same again when an answer was lost."""

import threading
import uuid
from collections.abc import Callable
from typing import Any

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Row, outcomes

Record = Callable[..., list[str]]


def ids(rows: list[Row]) -> list[str]:
    return [row.get("job_id") or row["id"] for row in rows]


def test_a_claim_hands_out_what_a_worker_needs(db: Database, user: str, create: Create, claim: Claim) -> None:
    row = create(
        "es",
        "fr",
        source_language="en",
        options={"formality": "more"},
        correlation_id="c-1",
        subject="card:1",
        metadata={"a": 1},
    )

    job = claim(found_by="broadcast")[0]

    assert {
        key: job[key] for key in ("job_id", "user_id", "content", "content_inline", "content_kind", "content_chars")
    } == {
        "job_id": row["id"],
        "user_id": user,
        "content": "Hello world",
        "content_inline": True,
        "content_kind": "text",
        "content_chars": 11,
    }
    assert (job["source_language"], job["options"], job["correlation_id"]) == ("en", {"formality": "more"}, "c-1")
    assert (job["max_attempts"], job["lease_ms"], job["found_by"]) == (3, 30_000, "broadcast")
    assert 0 <= job["found_ms"] < 60_000
    assert [item["item"] for item in job["items"]] == ["es", "fr"]
    assert db.value("select found_by from public.translation_jobs") == "broadcast"
    assert db.value("select found_ms from public.translation_job_attempts") == job["found_ms"]


def test_a_large_source_stays_behind_and_is_fetched(db: Database, create: Create, claim: Claim) -> None:
    create("es", content="x" * 9000)

    job = claim()[0]

    assert (job["content"], job["content_inline"]) == (None, False)
    assert db.rpc("get_translation_source", p_job_id=job["job_id"]) == "x" * 9000


def test_a_claim_with_nothing_waiting_is_an_empty_list(claim: Claim) -> None:
    assert claim() == []


def test_other_types_are_left_alone(db: Database, claim: Claim) -> None:
    db.rpc("enqueue_translation_job", p_job_type="http", p_content={})

    assert claim() == []
    assert len(claim(job_types=["translation", "http"])) == 1


def test_the_same_claim_repeated_returns_the_same_jobs(create: Create, claim: Claim, record: Record) -> None:
    for _ in range(4):
        create("es", content="Hello")
    call = str(uuid.uuid4())

    first = claim(limit=2, claim_id=call)
    second = claim(limit=2, claim_id=call)

    assert [(job["job_id"], job["token"]) for job in first] == [(job["job_id"], job["token"]) for job in second]
    record(outcomes(first[0], "completed"))
    assert ids(claim(limit=2, claim_id=call)) == ids(first[1:])


def test_a_claim_repeated_while_the_first_still_runs_returns_the_same_jobs(db: Database, create: Create) -> None:
    create("es")
    create("fr")
    call: dict[str, Any] = {
        "p_worker_id": "w1",
        "p_limit": 1,
        "p_lease_ms": 30_000,
        "p_job_types": ["translation"],
        "p_claim_id": str(uuid.uuid4()),
    }
    repeated: list[Row] = []
    with db.session() as first:
        claimed = first.rpc("claim_translation_jobs", **call)
        thread = threading.Thread(target=lambda: repeated.extend(db.rpc("claim_translation_jobs", **call)))
        thread.start()
    thread.join(timeout=20)

    assert ids(repeated) == ids(claimed)
    assert db.value("select count(*) from public.translation_job_claims") == 1


def test_workers_claiming_at_the_same_time_never_hold_the_same_job(db: Database, create: Create, claim: Claim) -> None:
    db.price(0)
    for _ in range(30):
        create("es")
    barrier = threading.Barrier(6)
    taken: list[list[str]] = []

    def work(worker: str) -> None:
        barrier.wait(timeout=10)
        mine: list[str] = []
        while found := claim(worker, limit=3):
            mine += ids(found)
        taken.append(mine)

    threads = [threading.Thread(target=work, args=[f"w{n}"]) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    everything = [job for mine in taken for job in mine]
    assert len(everything) == len(set(everything)) == 30


def test_a_claim_does_not_wait_for_a_locked_job(db: Database, create: Create, claim: Claim) -> None:
    first, second = create("es"), create("fr")
    with db.session() as other:
        other.run("select 1 from public.translation_jobs where id = %s for update", first["id"])

        assert ids(claim()) == [second["id"]]


def test_higher_priority_is_strictly_first(db: Database, user: str, create: Create, claim: Claim) -> None:
    low = create("es", priority=1)
    normal = create("es")
    urgent = db.rpc(
        "enqueue_translation_job",
        p_job_type="translation",
        p_content="Now",
        p_items=["es"],
        p_user_id=user,
        p_priority=10,
    )

    assert ids(claim(limit=3)) == ids([urgent, normal, low])


def test_one_users_jobs_of_equal_priority_start_in_order(db: Database, create: Create, claim: Claim) -> None:
    db.price(0)
    rows = [create("es", content="x" * size) for size in (5000, 1, 2000, 10)]

    assert [claim()[0]["job_id"] for _ in rows] == ids(rows)


def test_users_are_served_fairly_and_nobody_waits_behind_a_pile(db: Database, create: Create, claim: Claim) -> None:
    db.price(0)
    pile = [create("es") for _ in range(20)]
    other = create("es", as_=db.user())

    order = [claim()[0]["job_id"] for _ in range(3)]

    assert other["id"] in order[:2]
    assert order[0] == pile[0]["id"] or order[1] == pile[0]["id"]


def test_a_latecomer_does_not_overtake_because_he_has_no_history(db: Database, create: Create, claim: Claim) -> None:
    db.price(0)
    first_user = [create("es") for _ in range(10)]
    for _ in range(8):
        claim()
    late = [create("es", as_=user) for user in [db.user()] for _ in range(4)]

    order = [claim()[0]["job_id"] for _ in range(4)]

    assert set(order) == {first_user[8]["id"], first_user[9]["id"], late[0]["id"], late[1]["id"]}


def test_a_malformed_limit_claims_nothing(create: Create, claim: Claim) -> None:
    create("es")

    assert claim(limit=0) == []
    assert claim(limit=-5) == []
