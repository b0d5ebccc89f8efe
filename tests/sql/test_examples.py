"""Examples that start jobs and wake workers; pg_cron, pg_net, webhooks and the Vault are stand-ins."""

import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.conftest import ROOT
from tests.sql import extensions
from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Row

SECRETS = {"translation_worker_url": "https://worker.test", "translation_internal_key": "a long random word"}
WEBHOOKS = """
create schema supabase_functions;
create function supabase_functions.http_request() returns trigger language plpgsql security definer as $$
begin
  perform net.http_post(tg_argv[0], jsonb_build_object('type', tg_op, 'table', tg_table_name, 'schema', tg_table_schema,
    'record', to_jsonb(new), 'old_record', null), tg_argv[3]::jsonb, tg_argv[2]::jsonb, tg_argv[4]::int);
  return new;
end $$;
grant usage on schema supabase_functions to postgres;
"""


@pytest.fixture
def platform(db: Database) -> None:
    extensions.install(db, SECRETS)
    with psycopg.connect(db.admin_url, autocommit=True) as admin:
        admin.execute(WEBHOOKS)


@pytest.fixture
def turn(db: Database, platform: None) -> Callable[[], list[Row]]:
    """One turn of pg_cron: what pg_net was given."""
    fields = "url, body, headers, timeout"
    return extensions.turns(db, "scale_to_zero.sql", fields, name="translation-wake", schedule="10 seconds")


def beat(db: Database, mode: str) -> None:
    db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report={"mode": mode, "slots": 1, "running": 0})


def test_the_worker_is_called_only_when_something_waits(
    db: Database, create: Create, claim: Claim, turn: Callable[[], list[Row]]
) -> None:
    silent = turn()
    create("es")
    (call,) = turn()
    claim()
    while_claimed = turn()

    assert (silent, while_claimed) == ([], [])
    assert call == {
        "url": "https://worker.test/api/internal/process",
        "body": {"max_jobs": 100, "max_seconds": 50},
        "headers": {"Content-Type": "application/json", "Authorization": "Bearer a long random word"},
        "timeout": 80_000,
    }


def test_the_worker_is_not_called_while_one_is_at_work(
    db: Database, create: Create, turn: Callable[[], list[Row]]
) -> None:
    create("es")
    seen = []
    for mode in ("polling", "stopping"):
        beat(db, mode)
        seen.append(len(turn()))
    beat(db, "realtime")
    seen.append(len(turn()))
    db.forward("1 minute")  # it died
    seen.append(len(turn()))

    assert seen == [0, 1, 0, 1]


def test_work_that_becomes_due_and_work_that_was_lost_wake_it_too(
    db: Database, create: Create, claim: Claim, turn: Callable[[], list[Row]]
) -> None:
    run_at = db.value("select translation_private.clock() + interval '1 hour'").isoformat()
    create("es", run_at=run_at)
    early = len(turn())
    db.forward("61 minutes")
    due = len(turn())
    beat(db, "stopping")  # which made it pending
    claim()
    held = len(turn())
    db.forward("31 seconds")
    lost = len(turn())

    assert (early, due, held, lost) == (0, 1, 0, 1)


def test_a_row_that_is_written_makes_its_job_in_the_same_transaction(db: Database) -> None:
    for _ in range(2):
        db.run((ROOT / "sql/examples/database_webhook.sql").read_text())
    notice = db.value("insert into public.notices (body) values ('The ferry leaves at noon.') returning id")
    db.run("update public.notices set body = body where true")
    db.run("update public.notices set body = 'The ferry leaves at one.' where true")
    with pytest.raises(psycopg.errors.CheckViolation):
        db.run("insert into public.notices (body) values (' ')")
    rows = db.run("select subject, content, priority, target_languages from public.translation_jobs order by seq")

    texts = ["The ferry leaves at noon.", "The ferry leaves at one."]
    assert rows == [
        {"subject": f"notice:{notice}", "content": text, "priority": 6, "target_languages": ["es", "fr"]}
        for text in texts
    ]


def test_a_database_webhook_sends_what_the_worker_is_told_to_read(db: Database, platform: None) -> None:
    example = (ROOT / "sql/examples/database_webhook.sql").read_text()
    db.run(example)
    (second,) = re.findall(r"/\*(.*?)\*/", example, re.DOTALL)
    db.run(second)
    db.run("insert into public.notices (body) values ('The ferry leaves at noon.')")
    (sent,) = db.run("select url, body, headers from net.sent")
    address, _, query = sent["url"].partition("?")
    said: dict[str, Any] = dict(part.split("=") for part in query.split("&"))

    assert address.endswith("/api/internal/jobs")
    assert sent["headers"]["Authorization"].startswith("Bearer ")
    assert (said["content"], sent["body"]["record"]["body"]) == ("/record/body", "The ferry leaves at noon.")
    job = db.rpc("run_translation_trigger", p_name=said["trigger"], p_content=sent["body"]["record"]["body"])
    assert (job["status"], job["priority"]) == ("pending", 6)
