"""
The eight promises of the database, each by its number. What a promise means in detail stands in the files beside this.
"""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import psycopg
import pytest
from loguru import logger

from tests.security.permissions import PERMISSIONS
from tests.sql.conftest import Claim, Create
from tests.sql.test_plans import CROWD, USERS
from tests.sql.test_security import OURS
from tests.support.database import Database, Refused, Row, claiming, outcomes
from worker import errors, models
from worker.devstack.postgres import Cluster
from worker.recorder import Recorder
from worker.store import JobStore

Record = Callable[..., list[str]]
Job = Callable[[str], Row]

TABLES = [
    "jobs", "job_items", "job_dependencies", "job_claims", "job_attempts", "memory", "glossary", "credits",
    "credit_ledger", "languages",
]  # fmt: skip


def everything(db: Database) -> dict[str, Any]:
    """All rows of all tables, but those of workers: they say who called, not what was done."""
    rows = "select coalesce(jsonb_agg(t order by t::text), '[]') from public.translation_{} as t"
    return {table: db.value(rows.format(table)) for table in TABLES}


def lease(job: Row) -> Row:
    return {"job_id": job["job_id"], "token": job["token"]}


# 1


def test_promise_1_two_workers_never_hold_the_same_job_however_they_ask(
    db: Database, create: Create, claim: Claim
) -> None:
    """Claims, rescues and releases at the same time: at no moment are there two open tries of one job."""
    db.price(0)
    for _ in range(24):
        create("es")
    barrier = threading.Barrier(4)
    failures: list[BaseException] = []

    def work(worker: str) -> None:
        try:
            barrier.wait(timeout=10)
            for turn in range(12):
                held = claim(worker, limit=3)
                db.rpc("rescue_translation_jobs")
                if turn % 2:
                    db.rpc("release_translation_jobs", p_worker_id=worker, p_leases=[lease(job) for job in held])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=[f"w{n}"]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert failures == []
    tries = db.run("select job_id, token from public.translation_job_attempts where ended_at is null order by token")
    assert tries == db.run("select job_id, token from public.translation_job_claims order by token")
    assert len({row["job_id"] for row in tries}) == len(tries) == 24


def test_promise_1_priority_is_first_then_fair_turns_then_the_order_of_creation(
    db: Database, user: str, create: Create, claim: Claim
) -> None:
    db.price(0)
    other = db.user()
    with pytest.raises(Refused, match="priority_out_of_range"):
        create("es", priority=6)
    low = create("es", priority=4)
    pile = [create("es")["id"] for _ in range(6)]
    few = [create("es", as_=other)["id"] for _ in range(2)]
    lane = db.rpc("enqueue_translation_job", p_job_type="translation", p_content="Now", p_items=["es"], p_priority=9)

    order = [claim()[0]["job_id"] for _ in range(10)]

    assert order[0] == lane["id"]
    assert order[-1] == low["id"]
    assert [job for job in order if job in pile] == pile
    assert [job for job in order if job in few] == few
    assert set(few) < set(order[1:6]), "two of another user wait for as many of the pile, not for all"


# 2

LATE: dict[str, Callable[[Row], tuple[str, Row]]] = {
    "result": lambda job: ("record_translation_results", {"p_results": outcomes(job, "completed")}),
    "progress": lambda job: (
        "record_translation_results",
        {"p_results": [lease(job) | {"progress": 90, "items": [{"item": "es", "chunks_done": 1, "chunks_total": 2}]}]},
    ),
    "renewal": lambda job: (
        "heartbeat_translation_worker",
        {"p_report": {"leases": [lease(job)], "progress": [lease(job) | {"progress": 90, "items": []}]}},
    ),
    "release": lambda job: ("release_translation_jobs", {"p_leases": [lease(job)]}),
    "memory": lambda job: (
        "remember_translation_memory",
        {
            "p_job_id": job["job_id"],
            "p_token": job["token"],
            "p_item": "es",
            "p_segments": [{"key": "a" * 64, "target": "Hola"}],
        },
    ),
}


@pytest.mark.parametrize("write", LATE)
@pytest.mark.parametrize("who", ["it holds the job again", "another holds the job now", "it never held the job"])
def test_promise_2_a_write_without_the_token_of_its_claim_changes_nothing_money_included(
    db: Database, create: Create, claim: Claim, write: str, who: str
) -> None:
    create("es", "fr")
    stale = claim("w1")[0]
    db.forward("31 seconds")
    db.rpc("rescue_translation_jobs")
    (fresh,) = claim("w2" if who == "another holds the job now" else "w1")
    assert fresh["job_id"] == stale["job_id"]
    before = everything(db)

    function, arguments = LATE[write](fresh if who == "it never held the job" else stale)
    db.rpc(function, p_worker_id="w3" if who == "it never held the job" else "w1", **arguments)

    assert everything(db) == before


# 3


def test_promise_3_an_item_is_charged_and_refunded_once_whatever_is_repeated_and_reordered(
    db: Database, user: str, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    row = create("es", "fr", "de", "it")
    held = claim()[0]
    calls = [
        outcomes(held, "completed", ["es"], billed_chars=5, total_chars=10),
        outcomes(held, "failed", ["fr"]),
        outcomes(held, "throttled", ["de"]),
    ]
    for entries in [*calls, *reversed(calls), [entry for call in calls for entry in call] * 2]:
        record(entries)
        open_items = [item for item in job(row["id"])["items"].values() if item["status"] in ("pending", "processing")]
        sums = job(row["id"])
        settled = sums["credits_consumed"] + sums["credits_refunded"]
        assert sums["credits_reserved"] == settled + sum(item["price"] for item in open_items)
        db.check_money()

    for _ in range(3):
        db.rpc("cancel_translation_job", user, p_job_id=row["id"])
        record([entry for call in calls for entry in call])

    ended = job(row["id"])
    assert (ended["credits_reserved"], ended["credits_consumed"], ended["credits_refunded"]) == (40, 5, 35)
    assert db.rpc("get_translation_credits", user) == {"balance": 95, "reserved": 0}
    moved = db.run("select item, kind from public.translation_credit_ledger where job_id = %s", row["id"])
    assert len(moved) == len({(line["item"], line["kind"]) for line in moved}) == 9
    db.check_money()


def test_promise_3_the_free_translation_attack_is_paid_for(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    """
    A text whose last paragraph always fails is refunded as a whole, but its other paragraphs are remembered. Asking
    again without that paragraph finds all of them: the provider is not paid again, the user pays all the same.
    """
    keys = [letter * 64 for letter in "abcd"]

    def ask(paragraphs: list[str], outcome: str) -> list[bool]:
        create("es", content="\n\n".join(paragraphs))
        held = claim()[0]
        name = {"p_worker_id": "w1", "p_job_id": held["job_id"], "p_token": held["token"]}
        known = db.rpc("recall_translation_memory", **name, p_target_language="es", p_keys=paragraphs)
        done = [{"key": key, "target": "…"} for key in paragraphs if key != keys[-1]]
        db.rpc("remember_translation_memory", **name, p_item="es", p_segments=done)
        billed = len(paragraphs) - sum(hit["free"] for hit in known)
        record(outcomes(held, outcome, billed_chars=billed, total_chars=len(paragraphs)))
        return [hit["free"] for hit in known]

    def balance() -> int:
        return int(db.rpc("get_translation_credits", user)["balance"])

    assert (ask(keys, "failed"), balance()) == ([], 100)
    assert (ask(keys[:3], "completed"), balance()) == ([False] * 3, 90)
    assert (ask(keys[:3], "completed"), balance()) == ([True] * 3, 90)
    db.check_money()


# 4


class Direct(JobStore):
    """The worker's store, without the REST server between."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def record_translation_results(self, entries: Sequence[Mapping[str, Any]]) -> list[Row]:
        try:
            answers: list[Row] = self._db.rpc(
                "record_translation_results", p_worker_id="w1", p_results=[dict(entry) for entry in entries]
            )
        except psycopg.Error as error:
            raise errors.StoreRefused(error.sqlstate or "", "", "") from error
        return answers


async def test_promise_4_one_bad_job_never_holds_up_others(
    db: Database, user: str, create: Create, claim: Claim, job: Job
) -> None:
    """A batch that is refused is halved until the culprit stands alone; that job fails, refunded, and is shouted of."""
    db.run(
        """create function public.angry() returns trigger language plpgsql set search_path = ''
           as $$ begin raise exception 'No.'; end $$;
           create trigger angry after update of result on public.translation_job_items for each row
           when (new.result ->> 'content' = 'poison') execute function public.angry()"""
    )
    rows = [create("es") for _ in range(7)]
    held = {held.id: held for held in map(models.Job.from_row, claim(limit=7))}
    bad = rows[4]["id"]
    shouted: list[str] = []
    sink = logger.add(lambda message: shouted.append(message.record["message"]), level="ERROR")

    recorder = Recorder(Direct(db))
    run = asyncio.create_task(recorder.run())
    for row in rows:
        result = models.ItemResult(content="poison" if row["id"] == bad else "Texto", provider="test")
        recorder.hand_in(held[row["id"]], "es", models.Completed(result))
    await asyncio.wait_for(recorder.settled(), 20)
    run.cancel()
    logger.remove(sink)

    assert {row["id"]: job(row["id"])["status"] for row in rows} == {
        row["id"]: "failed" if row["id"] == bad else "completed" for row in rows
    }
    ended = job(bad)
    assert (ended["error"]["class"], ended["credits_consumed"], ended["credits_refunded"]) == ("internal", 0, 10)
    assert len(shouted) == 1
    db.check_money()


# 5 and 8, where there is a crowd


@pytest.fixture(scope="module")
def crowd(cluster: Cluster, template: str) -> Iterator[Database]:
    """A project to be filled."""
    asyncio.run(cluster.create_database("promises", template))
    db = Database(cluster.url("postgres", "promises"), cluster.url(database="promises"))
    yield db
    db.close()
    asyncio.run(cluster.drop_database("promises"))


FEW = USERS + CROWD.format(first=30_001, last=31_000)  # a thousand that wait
ALL = USERS + CROWD.format(first=1, last=80_000)  # 50 000 that wait beside 20 000 ended and 10 000 for later


def fill(db: Database, script: str) -> None:
    with psycopg.connect(db.admin_url, autocommit=True) as admin:
        admin.execute("truncate public.translation_jobs, public.translation_credits, auth.users cascade")
        admin.execute(script)
        admin.execute("vacuum analyze")


def blocks_of_a_claim(db: Database) -> int:
    """Shared blocks that a claim of ten touches, once plans and caches are warm."""
    statement = """explain (analyze, buffers, costs off, timing off, summary off, format json)
      select * from public.claim_translation_jobs('w1', 10, 30000, array['translation'], gen_random_uuid())"""
    seen = []
    with db.session() as session:
        for _ in range(8):
            ((plan,),) = [row.values() for row in session.run(statement)]
            seen.append(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])
        session.run("rollback")
    return int(median(seen[3:]))


def test_promise_5_a_claim_is_as_cheap_beside_a_crowd(crowd: Database) -> None:
    """A coarse bound that no noise breaks; `scripts/bench claim` has the real one, at a million. More in test_plans."""
    fill(crowd, FEW)
    few = blocks_of_a_claim(crowd)
    fill(crowd, ALL)

    assert blocks_of_a_claim(crowd) <= 1.5 * few


def test_promise_8_every_write_in_a_function_has_a_where(db: Database) -> None:
    """The API's login preloads a guard that refuses an UPDATE or DELETE without one."""
    for row in db.run(f"select p.proname, p.prosrc from pg_proc p where {OURS}"):
        source = re.sub(r"--.*|'[^']*'", "", row["prosrc"])
        for statement in re.split(r";", source):
            for write in re.finditer(r"\b(update\s+public|delete\s+from)\b", statement):
                assert "where" in statement[write.start() :], (row["proname"], statement)


def test_promise_8_no_answer_is_longer_than_a_thousand_rows_or_takes_two_seconds(crowd: Database) -> None:
    """The REST server would cut a longer answer off without a word. A claim of 500 is the longest call there is."""
    if crowd.value("select count(*) from public.translation_jobs") < 80_000:
        fill(crowd, ALL)
    user = str(crowd.value("select md5('user 7')::uuid"))
    jobs = [str(row["id"]) for row in crowd.run("select id from public.translation_jobs limit 3000")]
    beat = {"mode": "realtime", "job_types": ["translation", "chore"]}
    calls: list[tuple[str, str | None, Row]] = [
        ("create_translation_job", user, {"p_content": "Hello", "p_target_languages": ["es"]}),
        ("list_translation_jobs", user, {"p_limit": 100_000}),
        ("list_translation_jobs", None, {"p_limit": 100_000, "p_status": ["pending"]}),
        ("watch_translation_jobs", None, {"p_job_ids": jobs}),
        ("claim_translation_jobs", None, claiming(limit=100_000)),
        ("heartbeat_translation_worker", None, {"p_worker_id": "w1", "p_report": beat}),
        ("requeue_translation_jobs", None, {"p_job_ids": jobs[:100]}),
        ("rescue_translation_jobs", None, {"p_limit": 100_000}),
        ("purge_translation_jobs", None, {"p_days": 1}),
        ("translation_queue_stats", None, {}),
        ("translation_self_check", None, {}),
    ]  # fmt: skip
    for function, as_, params in calls:
        with crowd.session(as_) as session:
            session.run("set local statement_timeout = '2s'")
            answer = session.rpc(function, **params)
            assert not isinstance(answer, list) or len(answer) <= 1000, function


# 6


def test_promise_6_nobody_reads_or_touches_what_is_anothers(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    term = {"p_source_language": "en", "p_target_language": "de", "p_term": "Inn", "p_do_not_translate": True}
    number = db.rpc("set_translation_term", user, **term)
    row = create("es", "fr")
    create("de", after=[row["id"]])
    held = claim()[0]
    segments = [{"key": "a" * 64, "target": "Hola"}]
    name = {"p_worker_id": "w1", "p_job_id": held["job_id"], "p_token": held["token"]}
    db.rpc("remember_translation_memory", **name, p_item="es", p_segments=segments)
    record(outcomes(held, "completed", ["es"]))
    stranger = db.user()
    before = everything(db)

    with db.session(stranger) as session:
        own = [table for table in PERMISSIONS.exposed if table.rows == "own"]
        seen = {table.name: session.run(f"select {table.columns[0]} from public.{table.name}") for table in own}
    assert {table: rows for table, rows in seen.items() if rows} == {}
    assert db.rpc("list_translation_jobs", stranger) == []
    for call in ("get_translation_job", "get_translation_source", "cancel_translation_job", "retry_translation_job"):
        with pytest.raises(Refused, match="job_not_found"):
            db.rpc(call, stranger, p_job_id=row["id"])
    with pytest.raises(Refused, match="item_not_found"):
        db.rpc("get_translation_result", stranger, p_job_id=row["id"], p_item="es")
    with pytest.raises(Refused, match="term_not_found"):
        db.rpc("delete_translation_term", stranger, p_id=number)
    with pytest.raises(Refused, match="parent_not_found"):
        db.rpc("create_translation_job", stranger, p_content="x", p_target_languages=["es"], p_after=[row["id"]])
    assert everything(db) == before


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_promise_6_no_client_writes_a_table(db: Database, user: str, create: Create, claim: Claim, role: str) -> None:
    create("es")
    claim()
    before = everything(db)
    caller = "anon" if role == "anon" else user

    tables = db.run(
        """select c.oid::regclass::text as name, min(a.attname) as column from pg_class c
           join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and a.attidentity = ''
           where c.relnamespace = 'public'::regnamespace and c.relname like 'translation%' and c.relkind = 'r'
           group by c.oid"""
    )
    for table in tables:
        for write in ("insert into {name} default values", "update {name} set {column} = null", "delete from {name}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), db.session(caller) as session:
                session.run(write.format(**table))
    assert everything(db) == before


# 7


def test_promise_7_a_key_stands_for_one_request_in_every_state_until_the_purge(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    once: dict[str, Any] = {"idempotency_key": "click", "options": {"formality": "more"}}
    anyway = {"priority": 3, "correlation_id": "other", "run_at": "2000-01-01T00:00:00Z"}
    first = create("es", **once)
    seen = set()

    def again() -> None:
        row = create("es", **once | anyway)
        assert row["id"] == first["id"]
        seen.add(row["status"])

    again()
    held = claim()[0]
    again()
    record(outcomes(held, "retry"))
    again()
    db.forward("10 minutes")
    record(outcomes(claim()[0], "completed"))
    again()
    assert seen == {"pending", "processing", "retrying", "completed"}
    different: list[Row] = [{"content": "Other"}, {"content_kind": "markdown"}, {"options": {}}]
    for other in different:
        with pytest.raises(Refused, match="idempotency_conflict"):
            create("es", **once | other)
    with pytest.raises(Refused, match="idempotency_conflict"):
        create("es", "fr", **once)
    assert db.rpc("get_translation_credits", user)["balance"] == 90

    db.forward("91 days")
    assert db.rpc("purge_translation_jobs") == 1
    assert create("es", **once)["id"] != first["id"]


def test_promise_7_a_key_of_nobody_is_one_key_too(db: Database) -> None:
    jobs = [
        db.rpc("enqueue_translation_job", p_job_type="chore", p_content={}, p_idempotency_key="k") for _ in range(2)
    ]

    assert jobs[0]["id"] == jobs[1]["id"]


def test_promise_7_a_double_click_makes_one_job_and_reserves_once(db: Database, user: str) -> None:
    barrier = threading.Barrier(4)
    ids: list[str] = []

    def click() -> None:
        with db.session(user) as session:
            barrier.wait(timeout=10)
            job = session.rpc(
                "create_translation_job", p_content="Hello", p_target_languages=["es"], p_idempotency_key="double click"
            )
            ids.append(job["id"])

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)

    assert len(ids) == 4
    assert len(set(ids)) == 1
    assert db.rpc("get_translation_credits", user)["balance"] == 90
