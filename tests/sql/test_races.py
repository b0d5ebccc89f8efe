"""What happens at the same moment: real connections, held by barriers and open transactions, never by sleeps."""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Refused, Row, Session, claiming, outcomes

Job = Callable[[str], Row]
Call = Callable[[Session], Any]


def waits(db: Database) -> bool:
    """Whether some connection to this database is waiting for a lock."""
    found: bool = db.value(
        "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')"
    )
    return found


def collide(db: Database, first: tuple[str | None, Call], second: tuple[str | None, Call]) -> tuple[Any, Any]:
    """
    Run two calls so that they truly meet: the second starts while the first has not committed, and is waited for
    until it waits for the first one's lock or has answered. Each is (who, call); answers may be refusals.
    """
    with ThreadPoolExecutor(1) as pool:

        def run() -> Any:
            with db.session(second[0]) as session:
                return second[1](session)

        with db.session(first[0]) as session:
            one = _answer(lambda: first[1](session))
            two: Future[Any] = pool.submit(lambda: _answer(run))
            while not (two.done() or waits(db)):
                pass
        return one, two.result(timeout=20)


def _answer(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Refused as refused:
        return refused


@pytest.fixture
def running(create: Create, claim: Claim) -> Row:
    """A job of two languages that worker w1 holds."""
    create("es", "fr")
    return claim()[0]


def record(job: Row, outcome: str = "completed") -> Call:
    return lambda session: session.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(job, outcome))


def cancel(job: Row) -> Call:
    return lambda session: session.rpc("cancel_translation_job", p_job_id=job["job_id"])


def beat(job: Row) -> Call:
    report = {"job_types": ["translation"], "leases": [{"job_id": job["job_id"], "token": job["token"]}]}
    return lambda session: session.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)


def test_cancel_against_record_whoever_commits_first_wins(db: Database, user: str, running: Row, job: Job) -> None:
    cancelled, recorded = collide(db, (user, cancel(running)), (None, record(running)))

    assert cancelled["status"] == "cancelled"
    assert [answer["answer"] for answer in recorded] == ["cancelled", "cancelled"]
    assert job(running["job_id"])["credits_refunded"] == 20
    db.check_money()


def test_record_against_cancel_whoever_commits_first_wins(db: Database, user: str, running: Row, job: Job) -> None:
    recorded, cancelled = collide(db, (None, record(running)), (user, cancel(running)))

    assert [answer["answer"] for answer in recorded] == ["recorded", "recorded"]
    assert cancelled["status"] == job(running["job_id"])["status"] == "completed"
    db.check_money()


def test_a_late_record_against_a_rescue_changes_nothing(db: Database, running: Row, job: Job) -> None:
    db.forward("31 seconds")
    rescued, recorded = collide(db, (None, lambda s: s.rpc("rescue_translation_jobs")), (None, record(running)))

    assert rescued == 1
    assert [answer["answer"] for answer in recorded] == ["lost", "lost"]
    assert job(running["job_id"])["status"] == "pending"
    db.check_money()


def test_a_rescue_leaves_alone_what_is_being_recorded(db: Database, running: Row, job: Job) -> None:
    db.forward("31 seconds")
    recorded, rescued = collide(db, (None, record(running)), (None, lambda s: s.rpc("rescue_translation_jobs")))

    assert rescued == 0
    assert [answer["answer"] for answer in recorded] == ["recorded", "recorded"]
    assert job(running["job_id"])["status"] == "completed"


def test_a_heartbeat_does_not_wait_for_a_cancel_and_hears_of_it_next_time(
    db: Database, user: str, running: Row
) -> None:
    _, first = collide(db, (user, cancel(running)), (None, beat(running)))
    with db.session() as session:
        second = beat(running)(session)

    assert first["cancelled"] == []
    assert second["cancelled"] == [running["job_id"]]


def test_two_retries_at_once_make_one_job(db: Database, user: str, running: Row) -> None:
    with db.session() as session:
        record(running, "failed")(session)
    retry: Call = lambda session: session.rpc("retry_translation_job", p_job_id=running["job_id"])  # noqa: E731

    first, second = collide(db, (user, retry), (user, retry))

    assert first["id"] == second["id"]
    assert db.value("select count(*) from public.translation_jobs") == 2
    db.check_money()


def test_a_child_created_while_its_parent_ends_is_not_forgotten(
    db: Database, user: str, running: Row, job: Job
) -> None:
    request = {"p_content": "Next", "p_target_languages": ["de"], "p_after": [running["job_id"]]}

    _, child = collide(
        db, (None, record(running)), (user, lambda session: session.rpc("create_translation_job", **request))
    )

    assert job(child["id"])["status"] == "pending"


def test_a_parent_that_ends_while_its_child_is_created_lets_it_go(
    db: Database, user: str, running: Row, job: Job
) -> None:
    request = {"p_content": "Next", "p_target_languages": ["de"], "p_after": [running["job_id"]]}

    child, _ = collide(
        db, (user, lambda session: session.rpc("create_translation_job", **request)), (None, record(running))
    )

    assert child["status"] == "blocked"
    assert job(child["id"])["status"] == "pending"


def test_two_creates_that_only_one_balance_can_pay_for(db: Database, running: Row) -> None:
    poor = db.user(credits=10)
    create: Call = lambda session: session.rpc("create_translation_job", p_content="One", p_target_languages=["es"])  # noqa: E731

    first, second = collide(db, (poor, create), (poor, create))

    assert first["status"] == "pending"
    assert isinstance(second, Refused)
    assert second.word == "credits_short"
    db.check_money()


def test_five_thousand_mixed_calls_at_once_never_deadlock_and_always_add_up(db: Database) -> None:
    calls, threads = 5000, 8
    db.price(3)
    db.run("update public.translation_job_types set creates_per_minute = 100000, max_waiting_per_user = 1000000")
    with psycopg.connect(db.admin_url, autocommit=True) as admin:
        admin.execute(f"alter database {admin.info.dbname} set deadlock_timeout = '10ms'")
    users = [db.user(credits=100_000) for _ in range(3)]
    failures: list[BaseException] = []

    world = World(users)

    def work(seed: int) -> None:
        mixer = Mixer(random.Random(seed), world, f"w{seed}")
        try:
            with db.caller() as call:
                for _ in range(calls // threads):
                    mixer.step(call)
        except BaseException as error:
            failures.append(error)

    crowd = [threading.Thread(target=work, args=[seed]) for seed in range(threads)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(timeout=120)

    assert failures == []
    assert db.value("select deadlocks from pg_stat_database where datname = current_database()") == 0
    db.check_money()


class World:
    """What all callers share, so that they get into each other's way: jobs, and claims current and stale."""

    def __init__(self, users: list[str]) -> None:
        self.users = users
        self.jobs: list[tuple[str, str]] = []
        self.claims: list[Row] = []


class Mixer:
    """One of many callers, who does whatever comes to mind; a worker's calls may well be another worker's, replayed."""

    def __init__(self, dice: random.Random, world: World, worker: str) -> None:
        self._dice = dice
        self._world = world
        self._worker = worker
        self._steps = [self._create, self._create, self._child, self._claim, self._record, self._record, self._beat,
                       self._cancel, self._retry, self._release, self._rescue, self._requeue, self._remember,
                       self._batch]  # fmt: skip

    def step(self, call: Callable[..., Any]) -> None:
        with contextlib.suppress(Refused):
            self._dice.choice(self._steps)(call)

    def _create(self, call: Callable[..., Any], parents: list[str] | None = None, user: str | None = None) -> None:
        user = user or self._dice.choice(self._world.users)
        job = call("create_translation_job", user, p_content="Text", p_target_languages=["es", "fr"], p_after=parents)
        self._world.jobs.append((job["id"], user))

    def _child(self, call: Callable[..., Any]) -> None:
        user = self._dice.choice(self._world.users)
        own = [job for job, owner in self._world.jobs[-30:] if owner == user]
        self._create(call, self._dice.sample(own, min(2, len(own))), user)

    def _claim(self, call: Callable[..., Any]) -> None:
        lease = self._dice.choice([1_000, 30_000])  # the shorter ones run out
        rows = call("claim_translation_jobs", None, **claiming(self._worker, 4, lease_ms=lease))
        self._world.claims += [row | {"worker": self._worker} for row in rows]

    def _some_claims(self) -> tuple[str, list[Row]]:
        """A worker's claims, newest first choice: several callers act for the same worker at once."""
        recent = self._world.claims[-24:]
        if not recent:
            return self._worker, []
        worker = self._dice.choice(recent)["worker"]
        mine = [claim for claim in recent if claim["worker"] == worker]
        return worker, self._dice.sample(mine, len(mine))

    def _record(self, call: Callable[..., Any]) -> None:
        worker, claims = self._some_claims()
        outcome = self._dice.choice(["completed", "failed", "retry", "throttled"])
        entries = [entry for claim in claims for entry in outcomes(claim, outcome)]
        call("record_translation_results", None, p_worker_id=worker, p_results=entries)

    def _beat(self, call: Callable[..., Any]) -> None:
        worker, claims = self._some_claims()
        leases = [{"job_id": claim["job_id"], "token": claim["token"]} for claim in claims]
        progress = [lease | {"progress": 5, "items": [{"item": "es", "chunks_done": 1}]} for lease in leases]
        report = {"job_types": ["translation"], "leases": leases, "progress": progress}
        call("heartbeat_translation_worker", None, p_worker_id=worker, p_report=report)

    def _release(self, call: Callable[..., Any]) -> None:
        worker, claims = self._some_claims()
        call("release_translation_jobs", None, p_worker_id=worker, p_leases=claims[:3])

    def _cancel(self, call: Callable[..., Any]) -> None:
        job, owner = self._dice.choice(self._world.jobs[-40:] or [("", "")])
        if job:
            call("cancel_translation_job", owner, p_job_id=job)

    def _retry(self, call: Callable[..., Any]) -> None:
        job, owner = self._dice.choice(self._world.jobs[-40:] or [("", "")])
        if job:
            call("retry_translation_job", owner, p_job_id=job)

    def _rescue(self, call: Callable[..., Any]) -> None:
        call("rescue_translation_jobs", None)

    def _requeue(self, call: Callable[..., Any]) -> None:
        jobs = [job for job, _ in self._world.jobs[-40:]]
        call("requeue_translation_jobs", None, p_job_ids=self._dice.sample(jobs, min(3, len(jobs))))

    def _remember(self, call: Callable[..., Any]) -> None:
        worker, claims = self._some_claims()
        segments = [{"key": f"{n:064}", "target": "…"} for n in self._dice.sample(range(9), 3)]
        for claim in claims[:1]:
            name = {"p_worker_id": worker, "p_job_id": claim["job_id"], "p_token": claim["token"]}
            call("remember_translation_memory", None, **name, p_item="es", p_segments=segments)

    def _batch(self, call: Callable[..., Any]) -> None:
        users = [self._dice.choice(self._world.users) for _ in range(3)]
        job = {"p_job_type": "translation", "p_content": "Text", "p_items": ["es", "fr"]}
        rows = call("enqueue_translation_jobs", None, p_jobs=[job | {"p_user_id": user} for user in users])
        self._world.jobs += [(row["id"], row["user_id"]) for row in rows]


def test_a_batch_that_waits_for_a_user_holds_nobodys_balance(db: Database) -> None:
    db.price(1)
    first, second = sorted(db.user(credits=10) for _ in range(2))
    job = db.rpc("create_translation_job", first, p_content="Text", p_target_languages=["es"])
    entry = {"p_job_type": "translation", "p_content": "Text", "p_items": ["es"]}
    batch = [entry | {"p_user_id": user} for user in (first, second)]
    waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    with psycopg.connect(db.admin_url) as other, db.caller() as call:
        other.execute("select pg_advisory_xact_lock(hashtextextended('translation ' || %s, 0))", [second])
        waiting = threading.Thread(target=call, args=["enqueue_translation_jobs", None], kwargs={"p_jobs": batch})
        waiting.start()
        deadline = time.monotonic() + 30
        while not db.value(waits):
            assert time.monotonic() < deadline, "the batch waits"
        with psycopg.connect(db.admin_url, autocommit=True) as cancelling:
            cancelling.execute("set lock_timeout = '10s'")
            cancelling.execute("select public.cancel_translation_job(%s)", [job["id"]])
        other.rollback()
        waiting.join(timeout=30)

    assert db.value("select count(*) from public.translation_jobs where status = 'pending'") == 2
    db.check_money()
