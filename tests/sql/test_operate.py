"""What an owner does with a queue: look, put back, clear out, and take it away again."""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.conftest import EXAMPLE, INSTALL, ROOT
from tests.sql.conftest import Claim, Create
from tests.sql.test_install import dump
from tests.support.database import Database, Refused, Row, outcomes
from worker.devstack import platform
from worker.devstack.postgres import Cluster

Record = Callable[..., list[str]]
Job = Callable[[str], Row]

QUESTIONS = re.findall(r"-- (\d+\. [^\n]+)\n(.*?;)\n", (ROOT / "sql/inspect.sql").read_text(), re.DOTALL)


@pytest.mark.parametrize(("title", "query"), QUESTIONS, ids=[title for title, _ in QUESTIONS])
def test_every_question_of_the_inspection_has_an_answer(
    db: Database, user: str, create: Create, claim: Claim, record: Record, title: str, query: str
) -> None:
    create("es", "fr", title="Card")
    create("de", run_at=db.value("select (now() + interval '1 hour')::text"))
    done = claim(limit=1)[0]
    record(outcomes(done, "completed", ["es"]) + outcomes(done, "failed", ["fr"]))
    create("it")
    claim("w2")
    db.rpc("heartbeat_translation_worker", p_worker_id="w2", p_report={"job_types": ["translation"]})
    create("pt")
    db.run("update public.translation_job_claims set lease_until = now() - interval '1 second' where true")
    query = query.replace("a.job_id = '00000000-0000-0000-0000-000000000000'", f"a.job_id = '{done['job_id']}'")
    query = query.replace("'00000000-0000-0000-0000-000000000000'", f"'{user}'")

    rows = db.run(query)

    assert bool(rows) == (not title.startswith("10."))
    if title.startswith("9."):
        assert (rows[0]["difference"], rows[0]["used"], rows[0]["refunded"]) == (0, 10, 10)


def test_the_overview_is_one_readable_row_a_job_and_only_ones_own(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    create("es", "fr", title="Card 42")
    record(outcomes(claim()[0], "completed", ["es"], warnings=[{"code": "digits", "message": "Digits differ."}]))

    with db.session(user) as session:
        (row,) = session.run("select * from public.translation_jobs_overview")
    with db.session(db.user()) as session:
        assert session.run("select * from public.translation_jobs_overview") == []

    assert (row["job"], row["languages"]) == ("Card 42", "es done (1 warnings), fr pending")
    assert row["credits"] == "20 = 10 used + 0 back + 10 open"


def test_a_list_is_filtered_and_paged_newest_first(
    db: Database, user: str, create: Create, claim: Claim, record: Record
) -> None:
    rows = [create("es", subject=f"card:{n % 2}") for n in range(6)]
    record(outcomes(claim()[0], "failed"))
    record(outcomes(claim()[0], "completed"))
    db.rpc("enqueue_translation_job", p_job_type="chore", p_content={}, p_user_id=user)
    order = [row["id"] for row in reversed(rows)]

    def ids(**filters: Any) -> list[str]:
        return [
            row["id"] for row in db.rpc("list_translation_jobs", user, **filters) if row["job_type"] == "translation"
        ]

    assert ids() == order
    assert ids(p_status=["failed"]) == [rows[0]["id"]]
    assert ids(p_status=["failed", "completed"]) == [rows[1]["id"], rows[0]["id"]]
    assert ids(p_status=[]) == []
    assert ids(p_subject="card:1") == order[::2]
    assert ids(p_job_type="chore") == []
    assert ids(p_since=rows[4]["created_at"]) == order[:2]
    assert ids(p_limit=3)[:2] == order[:2]
    assert ids(p_before_seq=rows[2]["seq"]) == [rows[1]["id"], rows[0]["id"]]
    assert ids(p_subject="' or true --") == []
    assert all(row["content"] is None for row in db.rpc("list_translation_jobs", user))


def test_a_batch_makes_all_its_jobs_and_one_message(db: Database, user: str) -> None:
    jobs = [
        {"p_job_type": "translation", "p_content": f"Text {n}", "p_items": ["es"], "p_user_id": user} for n in range(5)
    ]

    rows = db.rpc("enqueue_translation_jobs", p_jobs=[*jobs, {"p_job_type": "chore", "p_content": {}}])

    assert [row["credits_reserved"] for row in rows] == [10, 10, 10, 10, 10, 0]
    with psycopg.connect(db.admin_url) as admin:
        sent = admin.execute("select payload from realtime.messages where event = 'ready'").fetchall()
    assert [payload["jobs"] for (payload,) in sent] == [6]
    db.check_money()


def test_a_batch_for_later_is_announced_with_its_first_due_time(db: Database) -> None:
    def job(**more: Any) -> Row:
        return {"p_job_type": "translation", "p_content": "Text", "p_items": ["es"], **more}

    soon, later = (
        db.value(f"select (translation_private.clock() + interval '{wait}')::text") for wait in ("10 seconds", "1 hour")
    )
    db.rpc("enqueue_translation_jobs", p_jobs=[job(p_run_at=later), job(p_run_at=soon)])

    with psycopg.connect(db.admin_url) as admin:
        sent = admin.execute("select payload from realtime.messages where event = 'ready'").fetchall()
    assert [payload["jobs"] for (payload,) in sent] == [2]
    assert sent[0][0]["due_in_ms"] == 10_000


def test_a_batch_with_one_bad_job_makes_none(db: Database, user: str) -> None:
    good = {"p_job_type": "translation", "p_content": "Text", "p_items": ["es"], "p_user_id": user}

    with pytest.raises(Refused, match="language_invalid"):
        db.rpc("enqueue_translation_jobs", p_jobs=[good, good | {"p_items": ["?"]}])
    malformed: list[Any] = [[], {}, None, [good] * 501]
    for wrong in malformed:
        with pytest.raises(Refused, match="jobs_malformed"):
            db.rpc("enqueue_translation_jobs", p_jobs=wrong)

    assert db.value("select count(*) from public.translation_jobs") == 0


def test_a_repeated_batch_with_keys_makes_nothing_twice(db: Database, user: str) -> None:
    jobs = [
        {
            "p_job_type": "translation",
            "p_content": "Text",
            "p_items": ["es"],
            "p_user_id": user,
            "p_idempotency_key": str(n),
        }
        for n in range(3)
    ]

    first = db.rpc("enqueue_translation_jobs", p_jobs=jobs)
    second = db.rpc("enqueue_translation_jobs", p_jobs=jobs)

    assert {row["id"] for row in first} == {row["id"] for row in second}
    assert db.rpc("get_translation_credits", user)["balance"] == 70


def test_a_requeued_job_runs_now_wherever_it_was(
    db: Database, create: Create, claim: Claim, record: Record, job: Job
) -> None:
    scheduled = create("es", run_at=db.value("select (now() + interval '1 hour')::text"))
    retrying, running = create("es"), create("es")
    record(outcomes(claim()[0], "throttled", retry_after_ms=3_600_000))
    stale = claim()[0]
    ended = create("es")
    record(outcomes(claim()[0], "completed"))
    everything = [row["id"] for row in (scheduled, retrying, running, ended)]

    assert db.rpc("requeue_translation_jobs", p_job_ids=everything) == 3

    assert {row["job_id"] for row in claim("w2", limit=9)} == {scheduled["id"], retrying["id"], running["id"]}
    assert record(outcomes(stale, "completed")) == ["lost"]
    assert job(ended["id"])["status"] == "completed"
    assert job(retrying["id"])["attempts"] == 0


def test_a_purge_takes_what_ended_long_ago_and_leaves_the_ledger(
    db: Database, create: Create, claim: Claim, record: Record, user: str
) -> None:
    old = create("es")
    record(outcomes(claim()[0], "completed"))
    parent = create("es")
    record(outcomes(claim()[0], "completed"))
    child = create("fr", after=[parent["id"]])
    db.forward("91 days")
    young = create("es")
    db.rpc("cancel_translation_job", user, p_job_id=young["id"])

    assert db.rpc("purge_translation_jobs", p_days=0) == 0
    assert db.rpc("purge_translation_jobs") == 1

    left = {str(row["id"]) for row in db.run("select id from public.translation_jobs")}
    assert left == {parent["id"], child["id"], young["id"]}
    assert db.value("select count(*) from public.translation_credit_ledger where job_id = %s", old["id"]) == 2


def test_a_purge_is_bounded(db: Database, create: Create, user: str) -> None:
    db.run("update public.translation_job_types set creates_per_minute = 100000, price = 0")
    for _ in range(4):
        db.rpc("cancel_translation_job", user, p_job_id=create("es")["id"])
    db.forward("91 days")

    assert [db.rpc("purge_translation_jobs", p_limit=3) for _ in range(3)] == [3, 1, 0]


def test_the_queue_in_numbers(db: Database, create: Create, claim: Claim, record: Record) -> None:
    create("es")
    record(outcomes(claim()[0], "completed"))
    create("es")
    claim()
    create("es")
    db.forward("31 seconds")
    db.rpc("heartbeat_translation_worker", p_worker_id="w2", p_report={"mode": "polling"})
    create("de")

    stats = db.rpc("translation_queue_stats")

    assert stats["live"] == {"pending": 3}
    assert stats["waiting_by_type"] == {"translation": 3, "chore": 0, "http": 0, "sql_functions": 0}
    assert stats["ended_in_an_hour"] == {"completed": 1}
    assert stats["oldest_waiting_ms"] >= 31_000
    assert (stats["claims"], stats["stuck"], stats["workers"]) == (0, 0, {"polling": 1})


def test_the_self_check_says_what_is_installed_and_notices_what_changed(db: Database) -> None:
    before = db.rpc("translation_self_check")
    db.run(
        """alter table public.translation_memory disable row level security;
           grant delete on public.translation_jobs to anon;
           grant execute on function public.rescue_translation_jobs(int) to authenticated;
           alter publication supabase_realtime drop table public.translation_workers;
           alter table public.translation_jobs disable trigger translation_jobs_announce;
           create or replace function public.get_translation_credits() returns jsonb
             language sql stable set search_path = '' as $$ select null::jsonb $$"""
    )
    after = db.rpc("translation_self_check")

    assert (before["schema_version"], before["role"], before["realtime_send"]) == (1, "service_role", True)
    assert before["tables"]["translation_jobs"]["may"] == {
        "authenticated": ["select"],
        "service_role": ["select", "insert", "update", "delete"],
    }
    changed_tables = {name for name, table in after["tables"].items() if table != before["tables"][name]}
    changed_functions = {name for name, function in after["functions"].items() if function != before["functions"][name]}
    assert changed_tables == {"translation_memory", "translation_jobs", "translation_workers"}
    assert {name.removeprefix("public.") for name in changed_functions} == {
        "rescue_translation_jobs(integer)",
        "get_translation_credits()",
    }


def test_a_user_keeps_a_glossary_of_his_own(db: Database, user: str) -> None:
    term = {"p_source_language": "EN", "p_target_language": "de", "p_term": "Ferry House", "p_do_not_translate": True}
    first = db.rpc("set_translation_term", user, **term)
    again = db.rpc("set_translation_term", user, **term | {"p_translation": "Fährhaus", "p_do_not_translate": False})

    with db.session(user) as session:
        (row,) = session.run("select source_language, translation, do_not_translate from public.translation_glossary")
    assert first == again
    assert row == {"source_language": "en", "translation": "Fährhaus", "do_not_translate": False}
    with pytest.raises(Refused, match="term_not_found"):
        db.rpc("delete_translation_term", db.user(), p_id=first)
    with pytest.raises(Refused, match="term_invalid"):
        db.rpc("set_translation_term", user, **term | {"p_do_not_translate": False})
    db.rpc("delete_translation_term", user, p_id=first)
    assert db.value("select count(*) from public.translation_glossary") == 0


CRON = """
create schema cron;
create table cron.job (jobid bigint generated always as identity, jobname text unique, schedule text, command text);
create function cron.schedule(job_name text, schedule text, command text) returns bigint language sql as $$
  insert into cron.job (jobname, schedule, command) values (job_name, schedule, command)
  on conflict (jobname) do update set schedule = excluded.schedule, command = excluded.command returning jobid $$;
create function cron.unschedule(job_name text) returns boolean language sql as $$
  delete from cron.job where jobname = job_name returning true $$;
grant usage on schema cron to postgres;
grant select, insert, update, delete on cron.job to postgres;
insert into pg_catalog.pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
values (987654, 'pg_cron', 10, 'cron'::regnamespace, false, '1.6');
"""


def test_schedules_are_made_once_where_cron_is_and_do_what_they_say(
    db: Database, create: Create, claim: Claim, job: Job
) -> None:
    """Against a stand-in with the signatures of pg_cron."""
    with psycopg.connect(db.admin_url, autocommit=True) as admin:
        admin.execute("set allow_system_table_mods = on")
        admin.execute(CRON)
    db.run(INSTALL)
    db.run("update cron.job set schedule = '*/5 * * * *' where jobname = 'translation-rescue'")
    db.run(INSTALL)
    schedules = {row["jobname"]: row for row in db.run("select * from cron.job")}

    assert {name: row["schedule"] for name, row in schedules.items()} == {
        "translation-rescue": "*/5 * * * *",
        "translation-purge": "* 3 * * *",
    }
    row = create("es")
    claim()
    db.run("update public.translation_job_claims set lease_until = now() - interval '1 second' where true")
    db.run(schedules["translation-purge"]["command"])
    db.run(schedules["translation-rescue"]["command"])
    assert job(row["id"])["status"] == "pending"

    db.run(
        (ROOT / "sql/uninstall.sql")
        .read_text()
        .replace("begin;", "begin; drop trigger fill_museum_card on public.translation_job_items;")
    )
    assert db.run("select * from cron.job") == []


async def test_uninstalling_leaves_the_project_as_it_was(cluster: Cluster) -> None:
    name = "uninstall"
    await cluster.create_database(name)
    await platform.install(cluster, name)
    before = await asyncio.to_thread(dump, cluster, name)
    for script in (INSTALL, INSTALL, (ROOT / "sql/uninstall.sql").read_text()):
        await platform.apply_sql(cluster, name, script)

    assert await asyncio.to_thread(dump, cluster, name) == before
    await cluster.drop_database(name)


def test_uninstalling_stops_at_an_owners_object_and_removes_nothing(db: Database, create: Create) -> None:
    create("es")

    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        db.run(
            "create view public.mine as select id from public.translation_jobs; "
            + (ROOT / "sql/uninstall.sql").read_text()
        )
    db.run("rollback")

    assert db.value("select count(*) from public.translation_jobs") == 1


def test_a_result_with_a_nul_never_reaches_a_function(db: Database, create: Create, claim: Claim) -> None:
    create("es")
    held = claim()[0]
    entries: list[dict[str, Any]] = outcomes(held, "completed", result={"content": "a\u0000b"})

    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        db.rpc("record_translation_results", p_worker_id="w1", p_results=entries)

    assert db.value("select count(*) from public.translation_job_claims") == 1
    assert "\\u0000" in json.dumps(entries)


def test_the_example_applies_twice(db: Database) -> None:
    db.run(EXAMPLE)
    db.run(EXAMPLE)


def test_recurring_work_is_one_job_a_period_however_often_it_is_run(db: Database) -> None:
    """The example, against a stand-in with the signatures of pg_cron."""
    with psycopg.connect(db.admin_url, autocommit=True) as admin:
        admin.execute("set allow_system_table_mods = on")
        admin.execute(CRON)
    db.run((ROOT / "sql/examples/recurring.sql").read_text())
    (row,) = db.run("select schedule, command from cron.job where jobname = 'nightly-notice'")

    for _ in range(3):
        db.run(row["command"])

    assert row["schedule"] == "30 3 * * *"
    assert db.run("select subject, status from public.translation_jobs") == [
        {"subject": "notice:ferry", "status": "pending"}
    ]
