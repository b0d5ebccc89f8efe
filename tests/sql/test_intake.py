"""Messages of Supabase Queues become jobs, exactly one each. Against a stand-in with pgmq's signatures."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.conftest import INSTALL, ROOT
from tests.support import pgmq
from tests.support.database import Database, Refused, Row
from worker.devstack import platform
from worker.devstack.postgres import Cluster
from worker.verify.finding import Finding
from worker.verify.queues import queues

DEBIAN = Path("/usr/lib/postgresql/15/bin")
EXTENSION = Path("/usr/share/postgresql/15/extension/pgmq.control")
NOT_THERE = "registry: no package of pgmq for Debian's Postgres 15"


@pytest.fixture
def queue(db: Database) -> Database:
    """A project with a queue `cards`, whose messages become translations."""
    pgmq.install(db.admin_url)
    set_up(db)
    return db


def set_up(db: Database) -> None:
    db.run("select pgmq.create('cards')")
    db.run(
        """insert into public.translation_queues (name, job_type, defaults)
           values ('cards', 'translation', '{"items": ["es"], "priority": 3}')"""
    )


def send(db: Database, *messages: Any, name: str = "cards") -> list[int]:
    return [db.value("select pgmq.send(%s, %s::jsonb)", name, json.dumps(message)) for message in messages]


def take(db: Database, name: str = "cards", **more: Any) -> Row:
    answer: Row = db.rpc("take_translation_queue", p_queue=name, **more)
    return answer


def jobs(db: Database) -> list[Row]:
    return db.run(
        """select idempotency_key as key, content #>> '{}' as content, target_languages as items, priority, subject
           from public.translation_jobs order by seq"""
    )


def waiting(db: Database, name: str = "cards") -> int:
    count: int = db.value(f"select count(*) from pgmq.q_{name}")
    return count


def archived(db: Database, name: str = "cards") -> list[int]:
    return [row["msg_id"] for row in db.run(f"select msg_id from pgmq.a_{name} order by 1")]


def test_each_message_becomes_one_job_and_is_archived(queue: Database) -> None:
    sent = send(
        queue, {"content": "Inn", "subject": "card:1"}, {"content": "Urn", "items": ["de", "fr"], "priority": 9}
    )

    answer = take(queue)

    assert answer == {"queue": "cards", "read": 2, "taken": 2, "refused": 0, "left": 0, "more": False}
    assert jobs(queue) == [
        {"key": f"pgmq:cards:{sent[0]}", "content": "Inn", "items": ["es"], "priority": 3, "subject": "card:1"},
        {"key": f"pgmq:cards:{sent[1]}", "content": "Urn", "items": ["de", "fr"], "priority": 9, "subject": None},
    ]
    assert (waiting(queue), archived(queue)) == (0, sent)
    assert take(queue) == answer | {"read": 0, "taken": 0}
    with psycopg.connect(queue.admin_url) as admin:
        told = admin.execute("select payload from realtime.messages where event = 'ready'").fetchall()
    assert [payload["jobs"] for (payload,) in told] == [2]


def test_a_message_is_not_lost_when_the_call_is_and_makes_no_second_job(queue: Database) -> None:
    """The call's transaction is rolled back after everything was done: as when the connection is gone."""
    send(queue, {"content": "Inn"})
    with queue.session() as session:
        assert session.rpc("take_translation_queue", p_queue="cards")["taken"] == 1
        session.run("rollback")
    assert (jobs(queue), waiting(queue)) == ([], 1)

    assert take(queue)["taken"] == 1
    assert (len(jobs(queue)), waiting(queue)) == (1, 0)


def test_a_message_that_was_taken_before_its_archive_was_lost_makes_no_second_job(queue: Database) -> None:
    (number,) = send(queue, {"content": "Inn"})
    queue.rpc(
        "enqueue_translation_job",
        p_job_type="translation",
        p_content="Inn",
        p_items=["es"],
        p_priority=3,
        p_idempotency_key=f"pgmq:cards:{number}",
    )

    assert take(queue)["taken"] == 1
    assert len(jobs(queue)) == 1


def test_what_cannot_become_a_job_is_archived_with_its_reason_and_holds_up_nobody(queue: Database) -> None:
    user = queue.user()
    bad: list[Any] = [
        "no object",
        None,
        {"content": "x", "colour": "red"},
        {"content": "x", "user_id": user},
        {"content": "x", "items": "es"},
        {"content": "x", "run_at": "tomorrow or so"},
        {"content": ""},
        {"content": "x", "items": ["?"]},
        {"content": "x" * 1_100_000},
        {"content": "x", "after": ["00000000-0000-0000-0000-00000000dead"]},
    ]
    sent = send(queue, {"content": "first"}, *bad, {"content": "last"})

    answer = take(queue)

    assert (answer["read"], answer["taken"], answer["refused"], answer["left"]) == (12, 2, 10, 0)
    assert [job["content"] for job in jobs(queue)] == ["first", "last"]
    assert (waiting(queue), archived(queue)) == (0, sent)
    refusals = queue.run("select msg_id, word, message from public.translation_queue_refusals order by msg_id")
    assert [row["msg_id"] for row in refusals] == sent[1:-1]
    assert [row["word"] for row in refusals] == [
        *["message_malformed"] * 6,
        "content_empty",
        "language_invalid",
        "content_too_large",
        "parent_not_found",
    ]
    assert refusals[2]["message"].startswith("colour is no field of a message: it may have content, items,")
    assert refusals[4]["message"] == "The database could not read it (22P02)."


def test_a_passing_trouble_leaves_the_message_for_later_but_not_for_ever(queue: Database) -> None:
    send(queue, {"content": "Inn"}, {"content": "Urn"})
    queue.run(
        """create function public.stumble() returns trigger language plpgsql as $$
           begin
             if new.content = '"Inn"' then raise exception using errcode = '55P03', message = 'locked'; end if;
             return new;
           end $$;
           create trigger stumble before insert on public.translation_jobs
             for each row execute function public.stumble()"""
    )

    answer = take(queue)
    assert (answer["taken"], answer["refused"], answer["left"], waiting(queue)) == (1, 0, 1, 1)
    assert take(queue)["read"] == 0, "hidden for a while"

    queue.run("update pgmq.q_cards set vt = now() - interval '1 second', read_ct = 19")
    assert take(queue)["refused"] == 1
    assert queue.run("select word, message from public.translation_queue_refusals") == [
        {"word": "message_malformed", "message": "The database could not read it (55P03)."}
    ]


def test_a_message_may_be_the_content_and_may_name_a_user_where_the_owner_says_so(queue: Database) -> None:
    user = queue.user(credits=10)
    queue.price(10)
    queue.run("insert into public.translation_job_types (name) values ('chore') on conflict do nothing")
    for name, columns in {
        "events": "'chore', 'content', '{}', false",
        "orders": "'translation', 'arguments', '{}', true",
    }.items():
        queue.run("select pgmq.create(%s)", name)
        queue.run(
            f"""insert into public.translation_queues (name, job_type, message_is, defaults, may_name_user)
                values ('{name}', {columns})"""
        )
    send(queue, {"card": 42}, ["a", "list"], name="events")
    order = {"content": "Inn", "items": ["es"], "user_id": user}
    send(queue, order, order, name="orders")

    assert take(queue, "events")["taken"] == 2
    answer = take(queue, "orders")

    assert (answer["taken"], answer["refused"]) == (1, 1), "the second one is not paid for"
    contents = queue.run("select content from public.translation_jobs where job_type = 'chore' order by seq")
    assert [row["content"] for row in contents] == [{"card": 42}, ["a", "list"]]
    assert queue.value("select word from public.translation_queue_refusals") == "credits_short"
    assert queue.rpc("get_translation_credits", user) == {"balance": 0, "reserved": 10}
    queue.check_money()


def test_an_intake_is_bounded_and_says_that_there_is_more(queue: Database) -> None:
    send(queue, *({"content": f"Text {n}"} for n in range(5)))

    assert [(a["read"], a["more"]) for a in (take(queue, p_limit=3), take(queue, p_limit=3))] == [(3, True), (2, False)]


def test_only_listed_queues_that_exist_and_are_switched_on_are_read(queue: Database) -> None:
    queue.run("select pgmq.create('private')")
    send(queue, {"content": "x"}, name="private")
    queue.run("insert into public.translation_queues (name, job_type) values ('nowhere', 'translation')")
    for name in ("private", "nowhere"):
        with pytest.raises(Refused, match="queue_unknown") as refused:
            take(queue, name)
        assert refused.value.code == "PT404"
    send(queue, {"content": "x"})
    queue.run("update public.translation_queues set enabled = false where name = 'cards'")

    assert take(queue)["read"] == 0
    assert (waiting(queue), waiting(queue, "private")) == (1, 1)


def test_without_pgmq_the_refusal_says_where_to_switch_it_on(db: Database) -> None:
    db.run("insert into public.translation_queues (name, job_type) values ('cards', 'translation')")

    with pytest.raises(Refused, match=r"pgmq_missing: .* Integrations"):
        take(db)


def test_the_example_makes_a_job_of_its_message(queue: Database) -> None:
    queue.run((ROOT / "sql/examples/queue_intake.sql").read_text())

    assert take(queue, "notices")["taken"] == 1
    assert [(job["content"], job["items"], job["subject"]) for job in jobs(queue)] == [
        ("The ferry leaves at noon.", ["es", "fr"], "notice:7")
    ]


def test_two_readers_at_once_share_the_messages(queue: Database) -> None:
    send(queue, *({"content": f"Text {n}"} for n in range(4)))

    with queue.session() as session:
        first = session.rpc("take_translation_queue", p_queue="cards", p_limit=2)
        second = take(queue)

    assert (first["taken"], second["taken"], len(jobs(queue)), waiting(queue)) == (2, 2, 4, 0)


@pytest.mark.skipif(not EXTENSION.exists(), reason=NOT_THERE)
async def test_the_real_pgmq_is_read_and_archived_alike(tmp_path: Path) -> None:
    async with Cluster(tmp_path / "pgmq", bin_dir=DEBIAN) as cluster:
        await platform.install(cluster)
        with psycopg.connect(cluster.url(), autocommit=True) as admin:
            admin.execute("create extension pgmq")
            admin.execute("grant all on schema pgmq to postgres; grant all on all tables in schema pgmq to postgres")
            admin.execute("grant all on all functions in schema pgmq to postgres")
        await platform.apply_sql(cluster, "postgres", INSTALL)
        db = Database(cluster.url("postgres"), cluster.url())
        set_up(db)
        sent = send(db, {"content": "Inn"}, "no object")

        assert take(db) == {"queue": "cards", "read": 2, "taken": 1, "refused": 1, "left": 0, "more": False}
        assert (waiting(db), archived(db), take(db)["read"]) == (0, sent, 0)
        db.close()


def test_verify_names_what_keeps_a_queue_from_becoming_jobs(queue: Database) -> None:
    def found() -> Finding:
        return queues(queue.rpc("translation_self_check"))

    assert (found().ok, found().said) == (True, "cards")
    send(queue, "no object")
    take(queue)
    assert found().said == "1 messages of cards could not become jobs within a day"
    queue.run("delete from public.translation_queue_refusals")
    with psycopg.connect(queue.admin_url, autocommit=True) as admin:
        admin.execute("alter table pgmq.q_cards owner to supabase_admin; revoke all on pgmq.q_cards from postgres")
    assert found().said == "role postgres may not read cards"
    queue.run("update public.translation_queues set name = 'Nobody''s'")
    assert (found().ok, found().said) == (False, "pgmq has no queue Nobody's")
    assert "pgmq.create('Nobody''s')" in str(found().cure)
    queue.run("update public.translation_queues set enabled = false")
    assert (found().ok, found().said) == (None, "no queue of pgmq is listed in translation_queues")
