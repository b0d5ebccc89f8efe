"""One call for a whole worker: what a heartbeat keeps of it, does for everybody, and answers."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.sql.conftest import Claim, Create, Sent
from tests.support.database import Database, Refused, Row, outcomes

Job = Callable[[str], Row]
Record = Callable[..., list[str]]


def beat(db: Database, worker: str = "w1", **report: Any) -> Row:
    answer: Row = db.rpc("heartbeat_translation_worker", p_worker_id=worker, p_report=report)
    return answer


def lease(held: Row, **changes: Any) -> Row:
    return {"job_id": held["job_id"], "token": held["token"], **changes}


def left(db: Database) -> dict[str, int]:
    """Seconds left of each lease."""
    rows = db.run(
        """select job_id::text, round(extract(epoch from lease_until - translation_private.clock()))::int as seconds
           from public.translation_job_claims"""
    )
    return {row["job_id"]: row["seconds"] for row in rows}


# The worker's row


@pytest.mark.parametrize("worker", ["", None])
def test_a_heartbeat_has_a_name(db: Database, worker: str | None) -> None:
    with pytest.raises(Refused) as refusal:
        db.rpc("heartbeat_translation_worker", p_worker_id=worker, p_report={})

    assert (refusal.value.code, refusal.value.word) == ("PT422", "heartbeat_malformed")


@pytest.mark.parametrize("report", [None, [], "mode"])
def test_a_report_is_an_object(db: Database, report: Any) -> None:
    with pytest.raises(Refused, match="heartbeat_malformed"):
        db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)


WORKER = """
select mode, version, slots, running, stats, round(extract(epoch from last_seen_at - started_at))::int as age,
  round(extract(epoch from last_seen_at - mode_since) * 1000)::int as mode_ms
from public.translation_workers where id = %s
"""


def test_a_worker_that_says_nothing_is_starting(db: Database) -> None:
    beat(db)

    (row,) = db.run(WORKER, "w1")
    assert row == {
        **{"mode": "starting", "version": None, "slots": 0, "running": 0, "stats": {}},
        **{"age": 0, "mode_ms": 0},
    }


def test_a_worker_is_what_it_said_last_and_in_its_mode_since_that_began(db: Database) -> None:
    said: Row = {"mode": "realtime", "version": "1.2", "slots": 3, "running": 2, "stats": {"reconnects": 1}}
    beat(db, mode_ms=2500, **said)
    (first,) = db.run(WORKER, "w1")
    db.forward("10 seconds")
    beat(db, **said | {"version": "1.3", "slots": 4, "running": 0, "stats": {}}, mode_ms=1)
    (same,) = db.run(WORKER, "w1")
    db.forward("10 seconds")
    beat(db, mode="polling", mode_ms=1000)
    (other,) = db.run(WORKER, "w1")

    assert {name: first[name] for name in said} == said
    assert (first["mode_ms"], first["age"]) == (2500, 0)
    assert (same["version"], same["slots"], same["running"], same["stats"]) == ("1.3", 4, 0, {})
    assert same["age"] == 10
    assert abs(same["mode_ms"] - 12_500) < 1000, "the mode is the same one"
    assert (other["mode"], other["mode_ms"]) == ("polling", 1000)


def test_workers_are_counted_while_they_live_and_forgotten_after_a_day(db: Database) -> None:
    for name in ("a", "b", "c"):
        beat(db, name, mode="realtime")
    assert beat(db, "w1", mode="realtime")["workers"] == 4
    assert beat(db, "c", mode="stopping")["workers"] == 3
    db.forward("91 seconds")
    assert beat(db, "w1", mode="realtime")["workers"] == 1
    db.forward("23 hours 50 minutes")
    beat(db)
    assert db.value("select count(*) from public.translation_workers") == 4
    db.forward("10 minutes")
    beat(db)

    assert [row["id"] for row in db.run("select id from public.translation_workers")] == ["w1"]


def test_twenty_forgotten_workers_are_deleted_a_beat(db: Database) -> None:
    db.run(
        """insert into public.translation_workers
             (id, mode, mode_since, started_at, last_seen_at, slots, running, stats)
           select 'old ' || n, 'polling', old, old, old, 1, 0, '{}'
           from generate_series(1, 25) as n, (select now() - interval '2 days' as old) as long_ago"""
    )
    beat(db)

    assert db.value("select count(*) from public.translation_workers where id <> 'w1'") == 5


# Languages


def offered(db: Database) -> list[tuple[str, str, str]]:
    rows = db.run("select worker_id, source_language as s, target_language as t from public.translation_languages")
    return sorted((row["worker_id"], row["s"], row["t"]) for row in rows)


def test_what_a_worker_offers_is_replaced_by_what_it_says_next(db: Database) -> None:
    beat(db, languages=[["en", "es"], ["en", "fr"], ["en", "fr"], ["en", None], [None, "de"], ["it"]])
    beat(db, "w2", languages=[["en", "es"], ["*", "*"]])
    assert offered(db) == [("w1", "en", "es"), ("w1", "en", "fr"), ("w2", "*", "*"), ("w2", "en", "es")]
    beat(db, languages=[["en", "it"], ["de", "es"], [None, "fr"], ["en", None]])
    beat(db)  # nothing said is nothing changed
    assert offered(db) == [("w1", "de", "es"), ("w1", "en", "it"), ("w2", "*", "*"), ("w2", "en", "es")]
    beat(db, languages=[])

    assert offered(db) == [("w2", "*", "*"), ("w2", "en", "es")]


def test_what_a_worker_still_offers_is_not_written_again(db: Database) -> None:
    version = "select xmin::text from public.translation_languages where target_language = 'es'"
    beat(db, languages=[["en", "es"], ["en", "fr"]])
    before = db.value(version)
    beat(db, languages=[["en", "es"], [None, "de"], ["de", None]])

    assert (db.value(version), offered(db)) == (before, [("w1", "en", "es")])


def test_a_worker_that_stops_offers_nothing_any_more(db: Database) -> None:
    for worker in ("w1", "w2"):
        beat(db, worker, mode="realtime", languages=[["en", "es"]])
    beat(db, mode="stopping")

    assert offered(db) == [("w2", "en", "es")]


# Leases


def test_a_beat_renews_the_leases_it_names_and_holds(db: Database, create: Create, claim: Claim) -> None:
    for _ in range(4):
        create("es")
    named, slow, unnamed = claim(limit=3)
    (theirs,) = claim("w2")
    db.forward("10 seconds")
    leases = [lease(named), lease(slow, lease_ms=120_000), lease(unnamed, token=0), lease(theirs)]
    answer = beat(db, lease_ms=60_000, leases=leases)

    assert left(db) == {
        **{named["job_id"]: 60, slow["job_id"]: 120},
        **{unnamed["job_id"]: 20, theirs["job_id"]: 20},
    }
    assert sorted(answer["lost"]) == sorted([unnamed["job_id"], theirs["job_id"]])
    assert answer["cancelled"] == []


def test_a_lease_is_half_a_minute_unless_asked_otherwise(db: Database, create: Create, claim: Claim) -> None:
    create("es")
    (held,) = claim(lease_ms=300_000)
    beat(db, leases=[lease(held)])

    rest = """select extract(epoch from c.lease_until - w.last_seen_at)::float
              from public.translation_job_claims c join public.translation_workers w on w.id = c.worker_id"""
    assert db.value(rest) == 30.0


def test_a_token_is_good_for_its_own_job_only(db: Database, create: Create, claim: Claim) -> None:
    create("es")
    create("es")
    held, other = claim(limit=2)
    db.forward("10 seconds")
    mixed = [lease(held, token=other["token"]), lease(other, token=held["token"])]
    answer = beat(db, leases=mixed)

    assert sorted(answer["lost"]) == sorted([held["job_id"], other["job_id"]])
    assert set(left(db).values()) == {20}
    db.forward("21 seconds")
    assert beat(db, leases=mixed)["rescued"] == 2


def test_jobs_that_are_gone_are_told_as_lost_or_cancelled(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    for _ in range(3):
        create("es")
    lost, cancelled, done = claim(limit=3)
    db.rpc("cancel_translation_job", user, p_job_id=cancelled["job_id"])
    record(outcomes(done, "completed"))
    nobodys = {"job_id": "00000000-0000-0000-0000-000000000001", "token": 1}
    answer = beat(db, leases=[lease(lost, token=0), lease(cancelled), lease(done), nobodys])

    assert answer["cancelled"] == [cancelled["job_id"]]
    assert sorted(answer["lost"]) == sorted([lost["job_id"], done["job_id"], nobodys["job_id"]])


def test_only_late_leases_of_this_very_report_are_spared(db: Database, create: Create, claim: Claim, job: Job) -> None:
    for _ in range(4):
        create("es")
    late, stale, forgotten = claim(limit=3)
    (theirs,) = claim("w2")
    db.forward("31 seconds")
    answer = beat(db, leases=[lease(late), lease(stale, token=0), lease(theirs)])

    assert answer["rescued"] == 3
    assert {name: job(held["job_id"])["status"] for name, held in (("late", late), ("forgotten", forgotten))} == {
        "late": "processing",
        "forgotten": "pending",
    }
    assert left(db) == {late["job_id"]: 30}


def test_progress_travels_with_a_beat(db: Database, create: Create, claim: Claim, job: Job) -> None:
    create("es")
    (held,) = claim()
    beat(db, leases=[lease(held)], progress=[lease(held, progress=40, message="Half")])

    assert (job(held["job_id"])["progress"], job(held["job_id"])["progress_message"]) == (40, "Half")


# What it does for everybody, and answers


def test_a_due_job_is_made_ready_and_announced(db: Database, create: Create, job: Job, sent: Sent) -> None:
    later = db.value("select (now() + interval '1 hour')::text")
    row = create("es", run_at=later)
    db.forward("61 minutes")
    before = len(sent("ready"))
    assert beat(db, job_types=["chore"])["promoted"] == 0
    assert len(sent("ready")) == before
    answer = beat(db, job_types=["translation"])

    assert (answer["promoted"], job(row["id"])["status"]) == (1, "pending")
    assert sent("ready")[before:] == [{"job_id": None, "jobs": 1, "due_in_ms": 0}]


def test_waiting_work_is_told_to_who_takes_it(db: Database, create: Create, claim: Claim) -> None:
    assert beat(db, job_types=["translation"])["waiting"] is False
    create("es")

    assert beat(db, job_types=["chore", "translation"])["waiting"] is True
    assert beat(db, job_types=["chore"])["waiting"] is False
    assert beat(db)["waiting"] is False
    claim()
    assert beat(db, job_types=["translation"])["waiting"] is False


def test_the_next_due_job_is_told_to_who_takes_it(db: Database, create: Create, claim: Claim, record: Record) -> None:
    assert beat(db, job_types=["translation"])["next_due_ms"] is None
    for seconds in (90, 60):
        create("es", run_at=db.value("select (translation_private.clock() + make_interval(secs => %s))::text", seconds))

    assert 55_000 < beat(db, job_types=["chore", "translation"])["next_due_ms"] <= 60_000
    assert beat(db, job_types=["chore"])["next_due_ms"] is None
    in_a_while = db.value("select (translation_private.clock() + interval '2 minutes')::text")
    db.rpc("enqueue_translation_job", p_job_type="chore", p_content={}, p_items=["run"], p_run_at=in_a_while)
    assert 55_000 < beat(db, job_types=["chore", "translation"])["next_due_ms"] <= 60_000
    create("fr")
    record(outcomes(claim()[0], "throttled", retry_after_ms=20_000))
    assert 15_000 < beat(db, job_types=["translation"])["next_due_ms"] <= 20_000


def test_what_has_ended_is_not_due_again(db: Database, create: Create, claim: Claim, record: Record) -> None:
    create("es")
    record(outcomes(claim()[0], "retry"))
    db.forward("1 minute")
    record(outcomes(claim()[0], "completed"))

    assert beat(db, job_types=["translation"])["next_due_ms"] is None


def test_a_lease_that_is_over_and_was_not_rescued_yet_is_due_now(db: Database, create: Create, claim: Claim) -> None:
    for _ in range(21):
        create("es", as_=None)
    claim("w2", limit=21)
    db.forward("31 seconds")

    answer = beat(db)
    assert (answer["rescued"], answer["next_rescue_ms"]) == (20, 0)


def test_a_job_that_is_overdue_is_due_now(db: Database, create: Create) -> None:
    later = db.value("select (translation_private.clock() + interval '1 hour')::text")
    for _ in range(101):
        create("es", run_at=later, as_=None)
    db.forward("2 hours")

    assert beat(db, job_types=["translation"])["next_due_ms"] == 0


def test_the_first_lease_of_the_others_that_ends_is_told(db: Database, create: Create, claim: Claim) -> None:
    for _ in range(3):
        create("es")
    claim("w1", lease_ms=5000)
    assert beat(db, "w1")["next_rescue_ms"] is None
    claim("w2", lease_ms=50_000)
    claim("w3", lease_ms=20_000)

    assert 15_000 < beat(db, "w1")["next_rescue_ms"] <= 20_000
    assert 0 < beat(db, "w2")["next_rescue_ms"] <= 5000


def test_a_worker_hears_its_own_beat_if_it_asks_for_it(db: Database, sent: Sent) -> None:
    beat(db, probe=False)
    beat(db)
    assert sent("beat") == []
    beat(db, probe=True)

    assert sent("beat") == [{"worker_id": "w1"}]


# The operators' numbers


def test_a_beat_counts_what_has_ended_some_seconds_ago(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    create("es")
    record(outcomes(claim()[0], "completed"))
    ended_at = db.value("select completed_at from public.translation_jobs")
    for seconds in (9, 1):
        db.forward(f"{seconds} seconds")
        beat(db)
        counted = db.value("select until >= %s from translation_private.rolled_up", ended_at)
        assert counted is (seconds == 1)
