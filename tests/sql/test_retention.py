"""How long jobs are kept, who deletes them, and what stays; and what else a worker does for the whole project."""

from collections.abc import Callable

from tests.sql.conftest import Claim, Create
from tests.support import pgmq
from tests.support.database import Database, Row, outcomes

Record = Callable[..., list[str]]


def many(db: Database, count: int, *, job_type: str = "old", days: int = 100, status: str = "completed") -> None:
    """Jobs that ended *days* ago."""
    db.run("insert into public.translation_job_types (name) values (%s) on conflict (name) do nothing", job_type)
    db.run(
        """insert into public.translation_jobs (job_type, status, revision, completed_at, cancelled_at)
           select %s, %s, 1, now() - make_interval(days => %s), null from generate_series(1, %s)""",
        job_type,
        status,
        days,
        count,
    )


def kept(db: Database) -> dict[str, int]:
    rows = db.run("select job_type, count(*)::int as jobs from public.translation_jobs group by 1")
    return {row["job_type"]: row["jobs"] for row in rows}


def chores(db: Database) -> Row:
    answer: Row = db.rpc("do_translation_chores")
    return answer


def beat(db: Database) -> int:
    answer: Row = db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report={"mode": "realtime"})
    ms: int = answer["chores_ms"]
    return ms


def test_each_kind_of_job_is_kept_as_long_as_its_row_says(db: Database) -> None:
    for job_type, days in {"quarter": 90, "week": 7, "for_ever": 0}.items():
        many(db, 2, job_type=job_type, days=8)
        many(db, 2, job_type=job_type, days=91)
        db.run("update public.translation_job_types set retention_days = %s where name = %s", days, job_type)

    assert db.value("select retention_days from public.translation_job_types where name = 'translation'") == 90
    assert [db.rpc("purge_translation_jobs") for _ in range(2)] == [6, 0]
    assert kept(db) == {"quarter": 2, "for_ever": 4}
    assert db.rpc("purge_translation_jobs", p_days=1) == 6, "whoever names the days means it"


def test_a_purge_by_state_leaves_the_others(db: Database) -> None:
    many(db, 1, job_type="good")
    many(db, 1, job_type="bad", status="failed")

    assert db.rpc("purge_translation_jobs", p_status=["completed", "pending", "nonsense"]) == 1
    assert kept(db) == {"bad": 1}


def test_what_a_living_job_waits_for_is_kept(db: Database, create: Create, claim: Claim, record: Record) -> None:
    first, second = create("es"), create("es")
    child = create("fr", after=[first["id"], second["id"]])
    record(outcomes(claim()[0], "completed"))
    db.forward("91 days")

    assert db.rpc("purge_translation_jobs") == 0
    db.rpc("cancel_translation_job", p_job_id=child["id"])
    assert db.rpc("purge_translation_jobs") == 1


def test_after_a_purge_the_ledger_the_balance_and_the_sums_are_what_they_were(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    for outcome in ("completed", "failed"):
        create("es", "fr")
        record(outcomes(claim()[0], outcome))
    ledger = "select kind, sum(amount)::int as sum from public.translation_credit_ledger group by 1 order by 1"
    before = db.run(ledger), db.rpc("get_translation_credits", user)
    db.forward("91 days")

    assert db.rpc("purge_translation_jobs") == 2

    assert (db.run(ledger), db.rpc("get_translation_credits", user)) == before
    assert before[1] == {"balance": 80, "reserved": 0}
    db.check_money()


def test_workers_clear_a_backlog_a_hundred_at_a_time_and_then_look_once_an_hour(db: Database) -> None:
    many(db, 250)
    db.forward("25 hours")
    assert beat(db) == 0

    cleared = []
    for _ in range(4):
        answer = chores(db)
        cleared.append((answer["purged"], answer["again_ms"]))
        db.forward("5 seconds")

    assert cleared[:3] == [(100, 5_000), (100, 5_000), (50, 3_600_000)]
    assert cleared[3][0] == 0
    assert beat(db) > 0
    assert kept(db) == {}


def test_a_chore_that_one_worker_does_is_not_waited_for_by_another(db: Database) -> None:
    many(db, 150)
    db.forward("25 hours")

    with db.session() as session:
        first = session.rpc("do_translation_chores")
        second = chores(db)

    assert (first["purged"], second["purged"]) == (100, 0)


def test_a_job_that_cannot_be_deleted_ends_no_heartbeat_and_is_tried_an_hour_later(db: Database) -> None:
    many(db, 1)
    db.run(
        """create function public.keep() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$;
           create trigger keep before delete on public.translation_jobs for each row execute function public.keep()"""
    )
    db.forward("25 hours")

    assert chores(db) == {"queues": [], "purged": 0, "again_ms": 3_600_000}
    assert kept(db) == {"old": 1}


def test_workers_look_into_queues_that_are_listed_for_them_and_into_no_others(db: Database) -> None:
    pgmq.install(db.admin_url)
    db.run("insert into public.translation_job_types (name) values ('event')")
    assert beat(db) > 0, "without a queue nothing is due"
    for name in ("events", "by_cron"):
        db.run("select pgmq.create(%s)", name)
        db.run("select pgmq.send(%s, '{\"n\": 1}')", name)
        db.run(
            "insert into public.translation_queues (name, job_type, message_is) values (%s, 'event', 'content')", name
        )
    db.run("insert into public.translation_queues (name, job_type) values ('missing', 'event')")
    db.run("update public.translation_queues set worker_seconds = case when name <> 'by_cron' then 3600 end")
    assert beat(db) == 0

    answer = chores(db)

    assert [(queue["queue"], queue.get("taken"), queue.get("error")) for queue in answer["queues"]] == [
        ("events", 1, None),
        ("missing", None, "pgmq has no queue missing: pgmq.create makes it."),
    ]
    assert answer["again_ms"] == 3_600_000
    assert chores(db)["queues"] == [], "not again before its time"
    db.forward("1 hour")
    assert [queue.get("read") for queue in chores(db)["queues"]] == [0, None]
    assert db.value("select count(*) from public.translation_jobs") == 1


def test_refusals_of_messages_are_kept_for_ninety_days(db: Database) -> None:
    db.run(
        """insert into public.translation_queue_refusals (queue, msg_id, word, refused_at)
           select 'cards', n, 'message_malformed', now() - interval '91 days' * (2 - n)
           from generate_series(1, 2) as n"""
    )
    db.forward("25 hours")

    chores(db)

    assert db.run("select msg_id from public.translation_queue_refusals") == [{"msg_id": 2}]


def test_a_purge_does_not_read_all_that_is_kept_for_ever(db: Database) -> None:
    many(db, 20_000, job_type="for_ever", days=400)
    many(db, 20_000, job_type="young", days=1)
    many(db, 100, job_type="old")
    db.run("update public.translation_job_types set retention_days = 0 where name = 'for_ever'")

    with db.session() as session:
        count = session.rpc("purge_translation_jobs")
        (read,) = session.run(
            """select seq_scan, idx_tup_fetch as rows from pg_stat_xact_user_tables
               where relname = 'translation_jobs'"""
        )

    assert (count, read["seq_scan"]) == (100, 0)
    assert read["rows"] < 10_000
