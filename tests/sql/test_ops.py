"""What the operator view reads and does: rollups that count each job once, failures by fault, acts with a name."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Claim, Create
from tests.sql.test_plans import COUNTS, FLUSH
from tests.support.database import Database, Refused, Row, outcomes
from worker.devstack.postgres import Cluster

Record = Callable[..., list[str]]

OPERATOR = "00000000-0000-0000-0000-0000000000aa"

# Jobs that ended, *count* of them, one each *every* before *until*; every twentieth failed in part.
ENDED = """
set session_replication_role = replica;
insert into public.translation_jobs (id, user_id, job_type, status, content, content_chars, target_languages,
  created_at, ready_at, started_at, deadline_at, completed_at, failed_items, error, revision)
select md5('{name} ' || n)::uuid, md5('user ' || n % 100)::uuid, 'translation', 'completed', '"Hello"', 100,
  array['es', 'fr'], ended - interval '5 s', ended - interval '5 s', ended - interval '4 s', ended + interval '1 day',
  ended,
  (n % 20 = 0)::int, case when n % 20 = 0 then '{{"class": "overloaded", "message": "No."}}'::jsonb end, 1
from generate_series(1, {count}) as n
cross join lateral (select {until} - interval '{every}' * (n - 1) as ended) as e;
insert into public.translation_job_items (job_id, item, position, user_id, status, error, completed_at)
select j.id, i.item, i.n, j.user_id, case when i.n = 1 and j.failed_items > 0 then 'failed' else 'completed' end,
  case when i.n = 1 and j.failed_items > 0
    then jsonb_build_object('class', 'overloaded', 'message', 'Status 503 for request ' || j.seq) end, j.completed_at
from public.translation_jobs j cross join lateral unnest(j.target_languages) with ordinality as i (item, n)
where j.id in (select md5('{name} ' || n)::uuid from generate_series(1, {count}) as n);
set session_replication_role = default;
"""


def fill(
    db: Database, count: int, *, every: str = "0 s", until: str = "now() - interval '1 minute'", name: str = "a"
) -> None:
    with psycopg.connect(db.admin_url, autocommit=True) as admin:
        admin.execute(ENDED.format(count=count, every=every, until=until, name=name).encode())


def roll_up(db: Database) -> int:
    """As a worker's beat does."""
    with db.session() as session:
        (row,) = session.run("select translation_private.roll_up(translation_private.clock()) as jobs")
    return int(row["jobs"])


def roll_up_all(db: Database) -> int:
    jobs = 0
    while more := roll_up(db):
        jobs += more
    return jobs


def hours(db: Database) -> dict[str, int]:
    rows = db.run("select status, sum(jobs)::int as jobs from public.translation_stats_hours group by status")
    return {row["status"]: row["jobs"] for row in rows}


def beat(db: Database) -> None:
    db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report={"job_types": ["translation"]})


@pytest.fixture
def failed(db: Database, create: Create, claim: Claim, record: Record) -> Callable[..., str]:
    """A job whose items failed with *message*."""

    def make(message: str = "No.", error_class: str = "overloaded", *languages: str, **more: Any) -> str:
        row = create(*(languages or ("es",)), **more)
        record(outcomes(claim()[0], "failed", error={"class": error_class, "message": message}))
        return str(row["id"])

    return make


# Rollups


def test_a_heartbeat_counts_what_has_ended(
    db: Database, create: Create, claim: Claim, record: Record, user: str
) -> None:
    create("es", "fr", content="Ten chars.")
    record(outcomes(claim()[0], "completed"))
    create("es", "fr")
    job = claim()[0]
    record(outcomes(job, "completed", ["es"]) + outcomes(job, "failed", ["fr"]))
    create("es")
    record(outcomes(claim()[0], "failed"))
    db.rpc("cancel_translation_job", user, p_job_id=create("es")["id"])
    beat(db)
    assert hours(db) == {}, "younger than ten seconds: its transaction may not be the last of its time"
    db.forward("11 seconds")
    beat(db)
    beat(db)

    assert hours(db) == {"completed": 1, "partly": 1, "failed": 1, "cancelled": 1}
    (done,) = db.run("select * from public.translation_stats_hours where status = 'completed'")
    assert (done["chars"], done["credits_consumed"], done["credits_refunded"]) == (20, 20, 0)
    (partly,) = db.run("select * from public.translation_stats_hours where status = 'partly'")
    assert (partly["chars"], partly["credits_consumed"], partly["credits_refunded"]) == (11, 10, 10)


@pytest.mark.parametrize("every", ["0 s", "1 ms", "100 ms"])
def test_each_job_is_counted_once_however_many_ended_together(db: Database, every: str) -> None:
    fill(db, 4_500, every=every)

    assert roll_up_all(db) == 4_500
    assert hours(db) == {"completed": 4_275, "partly": 225}
    steps = db.run(
        "select step_seconds, sum(amount)::int as n from translation_private.series where measure = 'ended' group by 1"
    )
    assert {row["step_seconds"]: row["n"] for row in steps} == {60: 4_500, 600: 4_500, 3600: 4_500}


def test_two_beats_at_once_count_nothing_twice_and_wait_for_nothing(db: Database) -> None:
    fill(db, 100)
    with db.session() as first:
        first.run("select translation_private.roll_up(translation_private.clock())")

        assert roll_up(db) == 0
    assert roll_up(db) == 0
    assert sum(hours(db).values()) == 100


def test_what_ends_later_is_added_to_its_hour(db: Database) -> None:
    hour = db.value("select date_trunc('hour', now())::text")
    for name, minute in (("a", 1), ("b", 2)):
        db.run(
            "update translation_private.rolled_up set until = %s::timestamptz + interval '1 minute' * %s",
            hour,
            minute - 1,
        )
        db.run("update translation_private.test_clock set ahead = '2 hours'")
        fill(db, 10, until=f"timestamptz '{hour}' + interval '{minute} minutes'", name=name)
        roll_up_all(db)

    assert [row["jobs"] for row in db.run("select jobs from public.translation_stats_hours")] == [20]


def test_the_counts_stay_when_the_jobs_go(db: Database) -> None:
    fill(db, 50)
    roll_up_all(db)
    db.forward("91 days")
    assert db.rpc("purge_translation_jobs") == 50

    assert sum(hours(db).values()) == 50


def test_a_probe_is_no_job(db: Database) -> None:
    name = "translation_probe_0123456789abcdef"
    job = db.rpc("start_translation_probe", p_probe=name)
    db.rpc("cancel_translation_job", p_job_id=job)
    db.forward("11 seconds")
    roll_up_all(db)

    assert hours(db) == {}


def test_where_nothing_happens_nothing_is_written(db: Database) -> None:
    state = "select xmin::text || ctid::text from translation_private.rolled_up"
    before = db.value(state)
    for _ in range(3):
        db.forward("61 seconds")
        beat(db)

    assert db.value(state) == before
    assert db.value("select count(*) from translation_private.series") == 0


def test_the_longest_queue_of_a_minute_is_noted(db: Database, create: Create, claim: Claim) -> None:
    for _ in range(3):
        create("es")
    claim()
    beat(db)
    depth = "select label, amount from translation_private.series where measure = 'depth' and step_seconds = 3600"

    assert {row["label"]: row["amount"] for row in db.run(depth)} == {"pending": 2, "processing": 1}


def test_what_the_plots_no_longer_show_is_dropped(db: Database) -> None:
    fill(db, 10)
    roll_up_all(db)
    kept = """select array_agg(distinct step_seconds order by step_seconds) as steps
              from translation_private.series where measure = 'ended'"""
    seen = []
    for pause in ("1 minute", "3 hours", "3 days", "9 days"):
        db.forward(pause)
        roll_up(db)
        seen.append(db.value(kept))

    assert seen == [[60, 600, 3600], [600, 3600], [3600], None]
    assert sum(hours(db).values()) == 10


def test_a_plot_has_every_measure_on_one_axis(db: Database) -> None:
    db.run("update public.translation_job_types set price = 0")
    fill(db, 200, every="1 s", until="now() - interval '30 seconds'")
    beat(db)
    series = db.rpc("translation_series", p_range="hour")
    measures = series["measures"]

    assert set(measures) == {"ended", "error", "chars", "wait", "run"}
    assert {len(values) for labels in measures.values() for values in labels.values()} == {60}
    assert sum(measures["ended"]["completed"]) + sum(measures["ended"]["partly"]) == 200
    assert sum(measures["error"]["overloaded"]) == 10
    for label in ("p50", "p95", "p99"):
        waits = [ms for ms in measures["wait"][label] if ms is not None]
        runs = [ms for ms in measures["run"][label] if ms is not None]
        assert 900 <= min(waits) <= max(waits) <= 1_110, "a second, right to a tenth"
        assert 3_600 <= min(runs) <= max(runs) <= 4_440, "four seconds, right to a tenth"
    with pytest.raises(Refused, match="range_unknown"):
        db.rpc("translation_series", p_range="year")


def test_the_plots_need_no_worker_to_be_up_to_date(db: Database) -> None:
    fill(db, 20)

    assert sum(db.rpc("translation_series")["measures"]["ended"]["completed"]) == 19


# Failures


SAME = [
    ("Status 503 for request 1234.", "Status 500 for request 7."),
    ('The text "Good morning" is refused.', 'The text "Bonjour" is refused.'),
    ("No answer from https://a.example/v1?x=1 in time.", "No answer from http://b.example:80/ in time."),
    ("Job 7f3a9c11-0d52-4a1b-8a55-3d6b1a2c9e10 is gone.", "Job 00000000-0000-0000-0000-000000000001 is gone."),
    ("Waited 1.5 s.", "Waited 12 s."),
]


def test_messages_of_one_fault_are_one(db: Database) -> None:
    normal = "select translation_private.failure_text(%s)"
    for one, other in SAME:
        assert db.value(normal, one) == db.value(normal, other)
    assert db.value(normal, "Something else happened.") == "Something else happened."
    assert len(db.value(normal, "word " * 500)) == 200
    assert db.value(normal, None) == ""


def test_failures_are_grouped_by_class_and_message(db: Database, failed: Callable[..., str]) -> None:
    for number in range(3):
        failed(f"Status 503 for request {number}.", "overloaded", "es", "fr")
    failed("Status 503 for request 9.", "internal")
    last = failed("Refused.", "content_blocked")
    found = db.rpc("list_translation_failures")
    groups = {(group["class"], group["items"], group["jobs"], group["retriable"]) for group in found["groups"]}

    assert groups == {("overloaded", 6, 3, 3), ("internal", 1, 1, 1), ("content_blocked", 1, 1, 1)}
    first = found["groups"][0]
    assert (first["message"], first["sample"]) == ("Status <n> for request <n>.", "Status 503 for request 2.")
    assert (sorted(first["names"]), first["users"], sum(first["course"])) == (["es", "fr"], 1, 6)
    assert next(g["sample_job"] for g in found["groups"] if g["class"] == "content_blocked") == last
    assert len({group["signature"] for group in found["groups"]}) == 3


def test_only_the_latest_thousand_of_a_day_are_looked_at(db: Database, failed: Callable[..., str]) -> None:
    failed("An old one.")
    db.forward("25 hours")
    assert db.rpc("list_translation_failures")["groups"] == []
    fill(db, 24_000, every="1 s", until="translation_private.clock() - interval '1 minute'")
    found = db.rpc("list_translation_failures")

    assert found["items"] == 1000
    assert [group["items"] for group in found["groups"]] == [1000]


# Lists


def test_the_workers_are_listed_with_what_they_hold(db: Database, create: Create, claim: Claim) -> None:
    row = create("es", title="Card")
    beat(db)
    claim("w1")
    db.rpc("heartbeat_translation_worker", p_worker_id="w2", p_report={"mode": "realtime"})
    workers = {one["id"]: one for one in db.rpc("list_translation_workers")}
    db.forward("2 minutes")

    assert [(job["id"], job["title"]) for job in workers["w1"]["jobs"]] == [(str(row["id"]), "Card")]
    assert 0 < workers["w1"]["jobs"][0]["lease_left_ms"] <= 30_000
    assert (workers["w2"]["mode"], workers["w2"]["jobs"], workers["w2"]["stale"]) == ("realtime", [], False)
    assert {one["stale"] for one in db.rpc("list_translation_workers")} == {True}


def test_what_ended_last_is_listed_with_its_durations(db: Database, failed: Callable[..., str]) -> None:
    jobs = []
    for _ in range(3):
        jobs.append(failed())
        db.forward("1 second")
    endings = db.rpc("list_translation_endings", p_limit=2)

    assert [one["id"] for one in endings] == jobs[:0:-1]
    assert all(one["ran_ms"] >= 0 and one["waited_ms"] >= 0 for one in endings)


def test_jobs_of_all_are_found_by_user_class_and_subject(
    db: Database, user: str, create: Create, failed: Callable[..., str]
) -> None:
    other = db.user(credits=100)
    first, second = failed("No.", "auth", subject="card:1"), failed("No.", subject="card:2")
    third = str(create("es", as_=other, subject="card:1")["id"])

    def found(**filters: Any) -> list[str]:
        rows = db.rpc("list_translation_jobs_of_all", **{f"p_{name}": value for name, value in filters.items()})
        return [row["id"] for row in rows]

    assert found() == [third, second, first]
    assert found(user_id=user) == [second, first]
    assert found(user_id=user, subject="card:1") == [first]
    assert found(user_id=user, search="CARD:2") == [second]
    assert found(subject="card:1") == [third, first]
    assert found(**{"class": "auth"}) == [first]
    assert found(**{"class": "auth"}, user_id=other) == []
    assert found(**{"class": "auth"}, subject="card:2") == []
    assert found(status=["failed"], limit=1) == [second]
    seq = db.value("select seq from public.translation_jobs where id = %s", second)
    assert found(before_seq=seq) == [first]
    assert found(**{"class": "overloaded"}, before_seq=seq) == []
    assert found(user_id=user, status=["pending"]) == []
    assert all("content" not in row for row in db.rpc("list_translation_jobs_of_all"))


# Acts


def act(db: Database, action: str, *jobs: str) -> Row:
    answer: Row = db.rpc("operate_translation_jobs", p_operator=OPERATOR, p_action=action, p_job_ids=list(jobs))
    return answer


def actions(db: Database) -> list[tuple[str, int]]:
    rows = db.run("select * from public.translation_operator_actions order by id")
    assert {str(row["operator_id"]) for row in rows} <= {OPERATOR}
    return [(row["action"], row["jobs"]) for row in rows]


def test_a_group_is_retried_but_for_whom_it_is_refused(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    poor = db.user(credits=10)
    jobs = [str(create("es", as_=as_)["id"]) for as_ in (user, poor, user)]
    for _ in jobs:
        record(outcomes(claim()[0], "failed"))
    db.rpc("revoke_translation_credits", p_user_id=poor, p_amount=10)
    (group,) = db.rpc("list_translation_failures")["groups"]
    call = {"p_operator": OPERATOR, "p_signature": group["signature"]}

    first = db.rpc("retry_translation_failures", **call)
    again = db.rpc("retry_translation_failures", **call)

    assert first == {"jobs": 2, "refused": {"credits_short": 1}, "left": 1}
    assert again == {"jobs": 0, "refused": {"credits_short": 1}, "left": 1}
    assert db.value("select count(*) from public.translation_jobs where retry_of is not null") == 2
    assert actions(db) == [("retry_failures", 2), ("retry_failures", 0)]
    db.check_money()


def test_a_group_is_retried_a_hundred_at_a_time(db: Database) -> None:
    db.run("update public.translation_job_types set price = 0")
    fill(db, 2_400)
    db.run("insert into auth.users (id) select md5('user ' || n)::uuid from generate_series(0, 99) as n")
    (group,) = db.rpc("list_translation_failures")["groups"]
    call = {"p_operator": OPERATOR, "p_signature": group["signature"]}
    answers = [db.rpc("retry_translation_failures", **call, p_limit=1000) for _ in range(3)]

    assert [(answer["jobs"], answer["left"]) for answer in answers] == [(100, 20), (20, 0), (0, 0)]
    with pytest.raises(Refused, match="signature_unknown"):
        db.rpc("retry_translation_failures", p_operator=OPERATOR, p_signature="?")


def test_jobs_are_cancelled_together_with_their_refunds(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    other = db.user(credits=100)
    jobs = [str(create("es", "fr", as_=as_)["id"]) for as_ in (user, other, user)]
    running = claim()[0]
    record(outcomes(running, "completed", ["es"]))
    child = str(create("de", after=[jobs[1]], as_=other)["id"])

    assert act(db, "cancel", *jobs, str(uuid.uuid4())) == {"jobs": 3, "refused": {}}
    assert act(db, "cancel", *jobs)["jobs"] == 0
    states = {str(row["id"]): row["status"] for row in db.run("select id, status from public.translation_jobs")}
    assert states == dict.fromkeys([*jobs, child], "cancelled")
    assert record(outcomes(running, "completed", ["fr"])) == ["cancelled"]
    assert [db.rpc("get_translation_credits", one)["balance"] for one in (user, other)] == [90, 100]
    assert actions(db) == [("cancel", 3), ("cancel", 0)]
    db.check_money()


def test_a_running_job_that_an_operator_cancels_is_told_to_its_worker(
    db: Database, create: Create, claim: Claim
) -> None:
    job = str(create("es")["id"])
    claim()
    act(db, "cancel", job)

    with psycopg.connect(db.admin_url) as admin:
        told = admin.execute("select payload from realtime.messages where event = 'cancelled'").fetchall()
    assert [payload["job_id"] for (payload,) in told] == [job]


def test_jobs_are_requeued_and_retried_by_name(db: Database, create: Create, failed: Callable[..., str]) -> None:
    later = str(create("es", run_at=db.value("select (now() + interval '1 hour')::text"))["id"])

    assert act(db, "requeue", later, failed())["jobs"] == 1
    assert act(db, "retry", failed(), later) == {"jobs": 1, "refused": {"job_not_finished": 1}}
    assert actions(db) == [("requeue", 1), ("retry", 1)]


@pytest.mark.parametrize(
    ("action", "count", "word"),
    [("delete", 1, "action_unknown"), ("cancel", 0, "jobs_too_many"), ("cancel", 101, "jobs_too_many")],
)
def test_an_act_that_is_none_is_refused(db: Database, action: str, count: int, word: str) -> None:
    with pytest.raises(Refused, match=word):
        act(db, action, *(str(uuid.uuid4()) for _ in range(count)))

    assert actions(db) == []


def test_a_source_is_shown_to_an_operator_and_that_is_written_down(db: Database, create: Create) -> None:
    job = create("es", content="The ferry leaves at noon.")
    shown = db.rpc("reveal_translation_source", p_operator=OPERATOR, p_job_id=job["id"])
    with pytest.raises(Refused, match="job_not_found"):
        db.rpc("reveal_translation_source", p_operator=OPERATOR, p_job_id=str(uuid.uuid4()))

    assert shown == {"content": "The ferry leaves at noon.", "content_kind": "text"}
    assert actions(db) == [("reveal", 1)]
    (told,) = db.rpc("list_translation_operator_actions")
    assert (told["action"], told["target"], told["operator_id"]) == ("reveal", str(job["id"]), OPERATOR)


def test_what_operators_did_cannot_be_undone_through_the_api(db: Database, create: Create) -> None:
    db.rpc("reveal_translation_source", p_operator=OPERATOR, p_job_id=create("es")["id"])
    table = "public.translation_operator_actions"
    for statement in (f"delete from {table}", f"update {table} set jobs = 0"):
        with db.session() as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.run(statement)

    assert len(actions(db)) == 1


# Plans

JOBS, ITEMS = "translation_jobs", "translation_job_items"
# The most rows of a table that a look may read beside 50 000 jobs.
LOOKS: dict[str, tuple[dict[str, Any], int]] = {
    "list_translation_failures": ({}, 6_000),
    "list_translation_workers": ({}, 100),
    "list_translation_endings": ({}, 50),
    "list_translation_operator_actions": ({}, 50),
    "translation_series": ({"p_range": "week"}, 50),
    "list_translation_jobs_of_all": ({}, 3_000),
    "list_translation_jobs_of_all by user": ({"p_user_id": "user 7"}, 3_000),
    "list_translation_jobs_of_all by class": ({"p_class": "overloaded"}, 6_000),
    "list_translation_jobs_of_all by subject of a user": ({"p_user_id": "user 7", "p_subject": "card:1"}, 3_000),
}


@pytest.fixture(scope="module")
def crowd(cluster: Cluster, template: str) -> Iterator[Database]:
    """Forty thousand jobs that ended within a day, counted, and ten thousand that wait."""
    asyncio.run(cluster.create_database("ops_crowd", template))
    with ExitStack() as stack:
        stack.callback(lambda: asyncio.run(cluster.drop_database("ops_crowd")))
        db = Database(cluster.url("postgres", "ops_crowd"), cluster.url(database="ops_crowd"))
        stack.callback(db.close)
        db.run(FLUSH)
        fill(db, 40_000, every="2 s")
        fill(db, 10_000, name="b")
        with psycopg.connect(db.admin_url, autocommit=True) as admin:
            admin.execute(
                """set session_replication_role = replica;
                   update public.translation_jobs set status = 'pending', completed_at = null, turn = seq,
                     failed_items = 0 where id in (select md5('b ' || n)::uuid from generate_series(1, 10000) as n)"""
            )
            admin.execute("vacuum analyze")
        roll_up_all(db)
        yield db


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_reads_a_bounded_number_of_rows(crowd: Database, name: str) -> None:
    arguments, most = LOOKS[name]
    if "p_user_id" in arguments:
        arguments = {**arguments, "p_user_id": str(crowd.value("select md5(%s)::uuid", arguments["p_user_id"]))}
    with crowd.caller() as call:

        def counts() -> dict[str, Row]:
            call("flush_counts", None)
            return {row.pop("table"): row for row in crowd.run(COUNTS)}

        for _ in range(6):  # after five times a plan is kept
            call(name.split()[0], None, **arguments)
        before = counts()
        call(name.split()[0], None, **arguments)
        after = counts()

    for table in (JOBS, ITEMS):
        assert after[table]["scans"] == before[table]["scans"], f"{table} is read whole"
        assert after[table]["rows"] - before[table]["rows"] <= most, table


def test_a_step_of_the_rollups_is_bounded(crowd: Database) -> None:
    """Each is about 2000 jobs, read twice; how many fit into a beat is a matter of time."""
    crowd.run("update translation_private.rolled_up set until = until - interval '7 hours', depth = 'infinity'")
    with crowd.session() as session:
        (row,) = session.run("select translation_private.roll_up_some(translation_private.clock()) as jobs")

    assert row["jobs"] == 2_000
