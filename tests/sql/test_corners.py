"""What seldom happens to a project: it is slow, a trigger of its owner fails, Realtime has no `send`."""

import psycopg
import pytest

from tests.sql.conftest import Claim, Create
from tests.support import pgmq
from tests.support.database import Database, outcomes
from tests.support.database import claim as claimed

OPERATOR = "00000000-0000-0000-0000-0000000000aa"
PROBE = "translation_probe_0123456789abcdef"

# A trigger of the owner that fails whenever a job called `broken` is written.
BROKEN = """
create function public.fail() returns trigger language plpgsql as
$$ begin if new.title = 'broken' then raise exception 'no'; end if; return new; end $$;
create trigger fails before {} on public.translation_jobs for each row execute function public.fail();
"""


def statuses(db: Database) -> dict[str, str]:
    return {row["title"]: row["status"] for row in db.run("select title, status from public.translation_jobs")}


def test_a_job_that_cannot_be_rescued_does_not_hold_up_the_others(db: Database, create: Create, claim: Claim) -> None:
    for title in ("broken", "sound"):
        create("es", title=title)
    claim(limit=2)
    db.run(BROKEN.format("update"))
    db.forward("1 minute")

    assert db.rpc("rescue_translation_jobs") == 1
    assert statuses(db) == {"broken": "processing", "sound": "pending"}


def test_a_job_that_cannot_be_retried_does_not_hold_up_the_others(db: Database, create: Create) -> None:
    jobs = [create("es", title=title)["id"] for title in ("broken", "sound")]
    for _ in jobs:
        db.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(claimed(db), "failed"))
    db.run(BROKEN.format("insert"))
    done = db.rpc("operate_translation_jobs", p_operator=OPERATOR, p_action="retry", p_job_ids=jobs)

    assert done == {"jobs": 1, "refused": {"internal": 1}}


def test_where_nothing_can_be_sent_a_job_is_made_all_the_same(db: Database, create: Create) -> None:
    with psycopg.connect(db.admin_url, autocommit=True) as admin:
        admin.execute("alter function realtime.send(jsonb, text, text, boolean) rename to send_no_more")

    assert create("es")["status"] == "pending"


def test_a_heartbeat_sends_a_beat_when_asked_to(db: Database) -> None:
    for probe in (False, True):
        db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report={"mode": "realtime", "probe": probe})
    with psycopg.connect(db.admin_url) as admin:
        sent = admin.execute("select payload ->> 'worker_id' from realtime.messages where event = 'beat'").fetchall()

    assert sent == [("w1",)]


def test_a_row_typed_for_later_waits_until_then(db: Database) -> None:
    db.run(
        """insert into public.translation_jobs (job_type, content, target_languages, run_at)
           values ('translation', '"Hello"', '{es}', now() + interval '1 hour')"""
    )

    assert db.run("select status, turn from public.translation_jobs") == [{"status": "scheduled", "turn": None}]


def test_a_queue_that_takes_long_is_left_before_the_call_is_cut_off(db: Database) -> None:
    """What is left is read again by the next call. The database takes its four seconds for the first message."""
    pgmq.install(db.admin_url)
    db.run(
        """select pgmq.create('cards');
           select pgmq.send('cards', '{"content": "Inn"}'), pgmq.send('cards', '{"content": "Ferry"}');
           insert into public.translation_queues (name, job_type, defaults)
           values ('cards', 'translation', '{"items": ["es"]}');
           create function public.dawdle() returns trigger language plpgsql as
           $$ begin perform pg_sleep(4); return new; end $$;
           create trigger dawdles before insert on public.translation_jobs
           for each row execute function public.dawdle()"""
    )
    answer = db.rpc("take_translation_queue", p_queue="cards")

    assert (answer["read"], answer["taken"], answer["left"]) == (2, 1, 1)
    assert db.value("select count(*) from pgmq.q_cards") == 1


def test_what_a_job_has_been_through_is_listed(db: Database, create: Create) -> None:
    made = create("es", "fr")
    entries = outcomes(claimed(db), "completed", billed_chars=11)
    db.rpc("record_translation_results", p_worker_id="w1", p_results=entries)
    tries = db.rpc("get_translation_attempts", p_job_id=made["id"])
    moved = db.rpc("get_translation_movements", p_job_id=made["id"])

    assert [one["outcome"] for one in tries] == ["completed"]
    assert [(line["item"], line["kind"], line["amount"]) for line in moved] == [
        ("es", "reserve", 10), ("fr", "reserve", 10), ("es", "consume", 10), ("fr", "consume", 10),
    ]  # fmt: skip


def test_the_job_of_a_key_is_found_for_its_user_its_trigger_or_nobody(db: Database, create: Create, user: str) -> None:
    of_user = create("es", idempotency_key="k")["id"]
    of_nobody = db.rpc(
        "enqueue_translation_job", p_job_type="chore", p_content={}, p_items=["a"], p_idempotency_key="k"
    )["id"]
    db.run(
        """insert into public.translation_triggers (name, kind, content, items)
           values ('nightly', 'cron', '"The lamp is lit."', array['es'])"""
    )
    started = db.rpc("start_translation_trigger", p_operator=OPERATOR, p_name="nightly", p_idempotency_key="k")

    def found(**params: str) -> str | None:
        return str(db.rpc("find_translation_job", p_idempotency_key="k", **params))

    assert [found(p_user_id=user), found(), found(p_trigger="nightly")] == [of_user, of_nobody, started["id"]]
    assert db.rpc("find_translation_job", p_idempotency_key="another") is None


def test_a_probe_goes_without_a_trace(db: Database) -> None:
    job_id = db.rpc("start_translation_probe", p_probe=PROBE)
    was_there = db.value("select job_type from public.translation_jobs where id = %s", job_id)
    for _ in range(2):
        db.rpc("end_translation_probe", p_probe=PROBE)

    assert was_there == PROBE
    assert db.value("select count(*) from public.translation_jobs") == 0
    assert db.value("select count(*) from public.translation_job_types where name = %s", PROBE) == 0


@pytest.mark.parametrize("pairs", [[], [["*", "es"], ["en", "fr"]]])
def test_the_languages_on_offer_are_listed(db: Database, user: str, pairs: list[list[str]]) -> None:
    report = {"mode": "realtime", "languages": pairs}
    db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)

    assert db.rpc("list_translation_languages", user) == pairs
