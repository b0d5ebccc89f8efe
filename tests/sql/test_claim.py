"""Who gets which job: exclusively, fairly, and the same again when an answer was lost."""

import threading
import uuid
from collections.abc import Callable
from datetime import datetime

import pytest

from tests.sql.conftest import Claim, Create, Sent
from tests.support.database import Database, Row, claiming, outcomes

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
    db.rpc("enqueue_translation_job", p_job_type="chore", p_content={})

    assert claim() == []
    assert len(claim(job_types=["translation", "chore"])) == 1


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
    call = claiming()
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


def test_a_released_job_starts_next_though_other_kinds_are_far_ahead(
    db: Database, create: Create, claim: Claim
) -> None:
    db.price(0)
    rows = [create("es") for _ in range(4)]
    held = claim()[0]
    for _ in range(9):
        db.rpc("enqueue_translation_job", p_job_type="chore", p_content={})
        claim(job_types=["chore"])
    db.rpc("release_translation_jobs", p_worker_id="w1", p_leases=[{"job_id": held["job_id"], "token": held["token"]}])

    assert claim()[0]["job_id"] == held["job_id"] == rows[0]["id"]


@pytest.mark.parametrize(("limit", "told"), [(2, []), (1, [{"job_id": None, "jobs": 1, "due_in_ms": 0}])])
def test_a_claim_that_makes_more_jobs_ready_than_it_takes_tells_the_others(
    db: Database, create: Create, claim: Claim, sent: Sent, limit: int, told: list[Row]
) -> None:
    in_a_minute = db.value("select (translation_private.clock() + interval '1 minute')::text")
    for _ in range(2):
        create("es", run_at=in_a_minute)
    db.forward("1 minute")
    before = len(sent("ready"))

    assert len(claim(limit=limit)) == limit
    assert sent("ready")[before:] == told


# Floors: what a claim tells the next one


@pytest.fixture
def queue(db: Database, create: Create) -> list[Row]:
    """Thirty waiting jobs of one user, one turn each."""
    db.price(0)
    return [create("es", content="Hello") for _ in range(30)]


def floored(db: Database, claim: Claim) -> Row:
    """Claim jobs one by one until the answer allows the next claim to begin behind what is gone."""
    floor = None
    for _ in range(10):
        floor = dict(claim(floor=floor)[0]["floor"])
        if floor["safe"]:
            return floor
        db.forward("2 seconds")  # in which every transaction of that time ends
    raise AssertionError("no floor was ever found safe")


def move_below(db: Database, row: Row) -> None:
    """By hand, to where nothing waits any more."""
    db.run("update public.translation_jobs set turn = 1 where id = %s", row["id"])


def test_a_full_claim_looks_below_its_floor_once_it_is_not_to_be_trusted(
    db: Database, queue: list[Row], claim: Claim
) -> None:
    floor = floored(db, claim)
    move_below(db, queue[-1])

    assert queue[-1]["id"] not in ids(claim(limit=5, floor=floor))
    db.forward("30 seconds")
    assert ids(claim(floor=floor)) == [queue[-1]["id"]]


@pytest.mark.parametrize(("look_seconds", "least"), [(0, 1), (0.2, 4), (2, 30)])
def test_floors_are_trusted_for_a_second_and_for_longer_where_a_look_without_them_takes_long(
    db: Database, queue: list[Row], claim: Claim, look_seconds: float, least: float
) -> None:
    """Behind a million dead rows it may take a tenth of a second, in every worker."""
    db.run(f"""
        alter function translation_private.pick(text[], int, jsonb, jsonb) rename to looked;
        create function translation_private.pick(text[], int, jsonb, jsonb)
        returns table (place tid, lane text, turn bigint) language sql as $$
          select looked.* from pg_sleep({look_seconds}), translation_private.looked($1, $2, $3, $4)
        $$""")
    now = db.run("select translation_private.clock() as at")[0]["at"]

    until = datetime.fromisoformat(claim()[0]["floor"]["until"])

    assert least <= (until - now).total_seconds() <= 30.1


def test_a_claim_that_comes_back_short_looks_below_its_floor_at_once(
    db: Database, queue: list[Row], claim: Claim
) -> None:
    floor = floored(db, claim)
    move_below(db, queue[-1])

    assert queue[-1]["id"] in ids(claim(limit=40, floor=floor))


def test_what_is_found_below_a_floor_ends_it(db: Database, queue: list[Row], claim: Claim) -> None:
    """Else one claim a second would be all that they get."""
    floor = floored(db, claim)
    for row in queue[-4:]:
        move_below(db, row)
    db.forward("30 seconds")

    taken = []
    for _ in range(4):
        job = claim(floor=floor)[0]
        floor = job["floor"]
        taken.append(job["job_id"])

    assert sorted(taken) == sorted(ids(queue[-4:]))


@pytest.mark.parametrize("back", ["released", "rescued"])
def test_a_job_that_comes_back_is_not_below_the_floor(db: Database, queue: list[Row], claim: Claim, back: str) -> None:
    held = claim(lease_ms=1000)[0]
    floor = floored(db, claim)
    if back == "released":
        leases = [{"job_id": held["job_id"], "token": held["token"]}]
        db.rpc("release_translation_jobs", p_worker_id="w1", p_leases=leases)
    else:
        db.rpc("rescue_translation_jobs")

    assert ids(claim(floor=floor)) == [held["job_id"]]


def test_other_types_and_priorities_have_floors_of_their_own(db: Database, queue: list[Row], claim: Claim) -> None:
    floor = floored(db, claim)
    urgent = db.rpc("enqueue_translation_job", p_job_type="translation", p_content="Now", p_items=["es"], p_priority=9)
    other = db.rpc("enqueue_translation_job", p_job_type="chore", p_content={}, p_priority=10)
    for row in (urgent, other):
        move_below(db, row)

    assert ids(claim(limit=2, job_types=["translation", "chore"], floor=floor)) == ids([other, urgent])


def test_no_floor_passes_a_create_that_commits_late(db: Database, queue: list[Row], claim: Claim) -> None:
    """Else its user's next job could start before it."""
    late_user = db.user()
    request = {"p_content": "Hello", "p_target_languages": ["es"]}
    floor, taken = None, []
    with db.session(late_user) as session:
        first = session.rpc("create_translation_job", **request)
        for _ in range(8):
            job = claim(floor=floor)[0]
            floor = job["floor"]
            taken.append(job["job_id"])
            db.forward("2 seconds")
        floor = claim(floor=floor)[0]["floor"]
    second = db.rpc("create_translation_job", late_user, **request)
    while second["id"] not in taken:
        job = claim(floor=floor)[0]
        floor = job.get("floor", floor)
        taken.append(job["job_id"])

    assert taken.index(first["id"]) < taken.index(second["id"])


def test_a_floor_is_never_far_behind_even_while_no_time_passes(db: Database, queue: list[Row], claim: Claim) -> None:
    """What lies between the two, every claim walks through while somebody holds an old snapshot."""
    floor = None
    for _ in range(20):
        floor = dict(claim(floor=floor)[0]["floor"])

    served = db.run("select last_value from translation_private.served_turn")[0]["last_value"]
    assert floor is not None
    assert served - 4 <= floor["safe"]["translation 5"] <= served


def test_no_floor_passes_a_job_that_comes_back_while_a_claim_is_open(
    db: Database, queue: list[Row], claim: Claim
) -> None:
    """It goes in front of what waits, and what an open claim takes still seems to wait."""
    held = claim()[0]
    back = [{"job_id": held["job_id"], "token": held["token"]}]
    with db.session() as returning:
        with db.session() as taking:
            taken = taking.rpc("claim_translation_jobs", **claiming(limit=3))
            returning.rpc("release_translation_jobs", p_worker_id="w1", p_leases=back)
        floor = taken[0]["floor"]
        for _ in range(6):
            db.forward("2 seconds")
            floor = claim(floor=floor)[0]["floor"]

    assert ids(claim(floor=floor)) == [held["job_id"]]


def test_whoever_has_a_turn_is_seen_to_be_in_progress(db: Database) -> None:
    """Else a floor might pass it before its job is written."""
    with db.session() as session:
        session.run("select translation_private.next_turn(null, 1)")
        running = session.run("select pg_current_xact_id_if_assigned() is not null as yes")

    assert running[0]["yes"]


def test_a_repeated_claim_leaves_the_floor_as_it_was(queue: list[Row], claim: Claim) -> None:
    call = str(uuid.uuid4())

    assert claim(claim_id=call)[0]["floor"]["next"]
    assert claim(claim_id=call)[0]["floor"] is None
