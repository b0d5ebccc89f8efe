"""Each alert fires when its cause is there, says so with a cure, and is gone with it."""

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from tests.conftest import ROOT
from tests.sql import extensions
from tests.sql.conftest import Claim, Create
from tests.sql.test_plans import ALONE, COUNTS, FLUSH, HISTORY, LIVE, SMALL, USERS
from tests.support.database import Database, Refused, Row, outcomes
from worker import settings, signing
from worker.devstack.postgres import Cluster

Record = Callable[..., list[str]]
Job = Callable[[str], Row]
Beat = Callable[..., None]

SEVERITIES = {
    "realtime_down": "critical",
    "jobs_pending": "critical",
    "failure_rate": "critical",
    "queue_depth": "warning",
    "slow_languages": "warning",
    "ledger_difference": "critical",
    "stale_worker": "warning",
    "quota_exhausted": "warning",
}


def alerts(db: Database, **thresholds: Any) -> dict[str, Row]:
    """The alerts that are on, by name."""
    rows = db.rpc("translation_alerts", **{f"p_{name}": value for name, value in thresholds.items()})
    for row in rows:
        assert row["severity"] == SEVERITIES[row["alert"]]
        assert row["message"]
        assert row["cure"]
        assert row["value"] > row["threshold"]
    return {row["alert"]: row for row in rows}


@pytest.fixture
def beat(db: Database) -> Beat:
    """A heartbeat of a worker."""

    def send(worker: str = "w1", mode: str = "realtime") -> None:
        report = {"mode": mode, "mode_ms": 0, "job_types": ["translation"]}
        db.rpc("heartbeat_translation_worker", p_worker_id=worker, p_report=report)

    return send


def test_nothing_is_wrong_with_an_empty_project(db: Database) -> None:
    assert alerts(db) == {}


def test_realtime_that_is_not_heard_for_five_minutes_is_critical_until_it_is(db: Database, beat: Beat) -> None:
    beat("w1", "polling")
    beat("w2", "realtime")
    db.forward("299 seconds")
    for worker, mode in (("w1", "polling"), ("w2", "realtime")):
        beat(worker, mode)
    assert alerts(db) == {}

    db.forward("2 seconds")
    found = alerts(db)["realtime_down"]

    assert (found["value"], found["details"]) == (301, {"workers": ["w1"]})
    assert "realtime_down" not in alerts(db, realtime_down_seconds=302)
    beat("w1", "realtime")
    assert alerts(db) == {}


def test_a_worker_that_is_gone_is_not_said_to_poll(db: Database, beat: Beat) -> None:
    beat("w1", "polling")
    beat("w2")
    db.forward("400 seconds")
    beat("w2")

    assert set(alerts(db)) == {"stale_worker"}


def test_a_job_that_waits_for_five_minutes_is_critical_until_it_is_claimed(
    db: Database, create: Create, claim: Claim
) -> None:
    create("es")
    db.forward("300 seconds")
    assert alerts(db) == {}

    db.forward("1 second")
    found = alerts(db)["jobs_pending"]

    assert (found["value"], found["details"]) == (301, {"translation": 301})
    claim()
    assert alerts(db) == {}


def test_a_job_that_is_due_later_does_not_wait(db: Database, create: Create) -> None:
    create("es", run_at=db.value("select (translation_private.clock() + interval '1 hour')::text"))
    db.forward("20 minutes")

    assert alerts(db) == {}


def test_a_job_of_low_priority_is_not_hidden_by_those_before_it(db: Database, create: Create) -> None:
    create("es", priority=1)
    db.forward("301 seconds")
    for _ in range(3):
        create("es", priority=5)

    assert alerts(db)["jobs_pending"]["value"] == 301


def ended(create: Create, claim: Claim, record: Record, outcome: str, count: int, **more: Any) -> None:
    for _ in range(count):
        create("es", "fr")
        (job,) = claim()
        record(outcomes(job, "completed", ["es"]) + outcomes(job, outcome, ["fr"], **more))


def test_one_failure_in_nine_is_critical_and_one_in_ten_is_not(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    db.price(0)
    ended(create, claim, record, "failed", 1)
    ended(create, claim, record, "completed", 8)
    assert alerts(db) == {}, "too few to tell"

    found = alerts(db, failure_jobs=9)["failure_rate"]
    assert (found["value"], found["threshold"]) == (11.1, 10)
    assert found["details"] == {"jobs": 9, "failed": 1}

    ended(create, claim, record, "completed", 1)
    assert alerts(db) == {}, "10 % is not above 10 %"
    assert set(alerts(db, failure_percent=9.5)) == {"failure_rate"}
    db.forward("1 hour 1 second")
    assert alerts(db, failure_percent=0) == {}


def test_what_users_cancel_is_no_failure(db: Database, user: str, create: Create, claim: Claim, record: Record) -> None:
    db.price(0)
    ended(create, claim, record, "completed", 10)
    for _ in range(5):
        db.rpc("cancel_translation_job", user, p_job_id=create("es")["id"])

    assert alerts(db) == {}


def test_more_than_twenty_waiting_jobs_are_a_warning(db: Database, create: Create, claim: Claim) -> None:
    db.price(0)
    for _ in range(21):
        create("es")

    found = alerts(db)["queue_depth"]

    assert (found["value"], found["threshold"]) == (21, 20)
    assert found["details"] == {"translation": 21}
    assert alerts(db, queue_depth=21) == {}
    claim()
    assert alerts(db) == {}


def test_a_language_that_takes_two_minutes_on_average_is_a_warning(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    db.price(0)
    for seconds in (100, 121, 142):
        create("es", "fr")
        (job,) = claim()
        slow = outcomes(job, "completed", ["es"], elapsed_ms=seconds * 1000)
        record(slow + outcomes(job, "completed", ["fr"], elapsed_ms=1000))

    found = alerts(db)["slow_languages"]

    assert (found["value"], found["details"]) == (121, {"es": 121})
    assert alerts(db, average_seconds=121) == {}
    db.forward("1 hour 1 second")
    assert alerts(db) == {}


def test_two_slow_ones_prove_nothing(db: Database, create: Create, claim: Claim, record: Record) -> None:
    for _ in range(2):
        create("es")
        record(outcomes(claim()[0], "completed", elapsed_ms=600_000))

    assert alerts(db) == {}


def test_a_worker_that_falls_silent_is_a_warning_until_it_is_back_or_replaced(db: Database, beat: Beat) -> None:
    beat("w1")
    db.forward("90 seconds")
    found = alerts(db, stale_seconds=89)["stale_worker"]
    assert (found["value"], found["details"]) == (90, {"w1": 90})
    beat("w1")
    assert alerts(db) == {}

    db.forward("2 hours")
    assert set(alerts(db)) == {"stale_worker"}, "nobody has taken its place"
    beat("w2")
    assert alerts(db) == {}, "old news"


def test_a_worker_that_said_good_bye_is_not_missed(db: Database, beat: Beat) -> None:
    beat("w1")
    beat("w1", "stopping")
    db.forward("10 minutes")

    assert alerts(db) == {}


def as_owner(db: Database, statement: str, *values: Any) -> None:
    """Past the triggers that keep hands off."""
    with psycopg.connect(db.admin_url, autocommit=True) as admin:
        admin.execute("set session_replication_role = replica")
        admin.execute(statement.encode(), values)


def test_a_job_whose_sums_differ_from_the_ledger_is_critical(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es", "fr")
    record(outcomes(claim()[0], "completed", ["es"]))
    assert alerts(db) == {}

    as_owner(db, "update public.translation_credit_ledger set amount = 9 where kind = 'consume'")
    found = alerts(db)["ledger_difference"]

    assert (found["value"], found["details"]) == (1, {"jobs": [row["id"]], "users": []})
    as_owner(db, "update public.translation_credit_ledger set amount = 10 where kind = 'consume'")
    assert alerts(db) == {}


def test_a_balance_that_differs_from_the_ledger_is_critical(db: Database, user: str, create: Create) -> None:
    create("es")
    db.run("update public.translation_credits set balance = balance + 1 where user_id = %s", user)

    assert alerts(db)["ledger_difference"]["details"] == {"jobs": [], "users": [user]}

    db.run("update public.translation_credits set balance = balance - 1 where user_id = %s", user)
    assert alerts(db) == {}


def test_balances_that_the_owner_keeps_elsewhere_are_not_judged(db: Database, user: str, create: Create) -> None:
    db.run(
        """create or replace function public.hold_translation_balance(p_user_id uuid, p_amount int) returns boolean
           language sql set search_path = '' as $$ select true $$"""
    )
    create("es")

    assert alerts(db) == {}


def test_a_used_up_quota_is_a_warning_while_jobs_wait_for_it(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    row = create("es")
    error = {"class": "quota_exhausted", "message": "The quota is used up."}
    record(outcomes(claim()[0], "throttled", error=error, retry_after_ms=900_000))

    found = alerts(db)["quota_exhausted"]

    assert (found["value"], found["details"]) == (1, {"translation": 1})
    db.rpc("requeue_translation_jobs", p_job_ids=[row["id"]])
    record(outcomes(claim()[0], "completed"))
    assert alerts(db) == {}


def test_every_alert_is_in_the_runbook() -> None:
    runbook = (ROOT / "REALTIME.md").read_text().split("## Alerts")[1].split("\n## ")[0]

    assert [name for name in SEVERITIES if f"| `{name}` |" not in runbook] == []


def test_the_numbers_of_the_queue_count_jobs_and_credits(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    before = db.rpc("translation_queue_stats")["created"]
    create("es", "fr")
    create("es")
    (job,) = claim()
    record(outcomes(job, "completed", ["es"]) + outcomes(job, "failed", ["fr"]))

    stats = db.rpc("translation_queue_stats")

    assert stats["created"] == before + 2
    assert stats["credits_in_an_hour"] == {"reserved": 20, "consumed": 10, "refunded": 10}


# The notices: who is told of what, and when.


def notices(db: Database, watcher: str = "w1", **more: Any) -> list[tuple[str, str]]:
    """What *watcher* is to tell now, and has told when this returns."""
    answer = db.rpc("take_translation_alert_notices", p_watcher=watcher, **more)
    db.rpc("settle_translation_alert_notices", p_ids=[notice["id"] for notice in answer["notices"]])
    return [(notice["alert"], notice["state"]) for notice in answer["notices"]]


def test_an_alert_is_told_when_it_fires_each_hour_and_when_it_is_over(
    db: Database, create: Create, claim: Claim
) -> None:
    assert notices(db) == []
    create("es")
    db.forward("6 minutes")

    assert notices(db) == [("jobs_pending", "fired")]
    assert notices(db) == []
    db.forward("59 minutes")
    assert notices(db) == []
    db.forward("2 minutes")
    assert notices(db) == [("jobs_pending", "lasting")]
    assert notices(db) == []
    claim()
    assert notices(db) == [("jobs_pending", "cleared")]
    assert notices(db) == []


def test_what_was_not_delivered_is_handed_out_again_as_the_same_message(
    db: Database, create: Create, claim: Claim
) -> None:
    create("es")
    db.forward("6 minutes")
    first = db.rpc("take_translation_alert_notices", p_watcher="w1")
    db.forward("1 minute")
    second = db.rpc("take_translation_alert_notices", p_watcher="w1")

    (notice,) = first["notices"]
    assert (first["message_id"], notice["id"]) == (second["message_id"], second["notices"][0]["id"])
    assert first["text"].startswith("critical: Jobs have waited for up to 360 s: translation")
    assert {"alert", "severity", "message", "cure", "value", "threshold", "details", "since", "state"} <= set(notice)
    assert db.rpc("settle_translation_alert_notices", p_ids=[notice["id"]]) == 1
    assert db.rpc("settle_translation_alert_notices", p_ids=[notice["id"]]) == 0
    claim()
    over = db.rpc("take_translation_alert_notices", p_watcher="w1")
    assert (over["text"], over["message_id"] == first["message_id"]) == ("over: jobs_pending", False)


def test_an_alert_that_nobody_heard_of_ends_without_a_word(db: Database, create: Create, claim: Claim) -> None:
    create("es")
    db.forward("6 minutes")
    assert len(db.rpc("take_translation_alert_notices", p_watcher="w1")["notices"]) == 1
    claim()

    assert notices(db) == []


def test_an_alert_that_is_back_before_its_end_was_told_goes_on(db: Database, create: Create, claim: Claim) -> None:
    create("es")
    db.forward("6 minutes")
    assert notices(db) == [("jobs_pending", "fired")]
    claim()
    db.rpc("take_translation_alert_notices", p_watcher="w1")  # and nobody settles it
    create("es")
    db.forward("6 minutes")

    assert ("jobs_pending", "fired") not in notices(db)
    claim()
    assert ("jobs_pending", "cleared") in notices(db)


def test_one_watcher_looks_and_another_takes_over_when_it_is_gone(db: Database, create: Create) -> None:
    create("es")
    db.forward("6 minutes")

    first = db.rpc("take_translation_alert_notices", p_watcher="w1")
    second = db.rpc("take_translation_alert_notices", p_watcher="w2")
    assert (len(first["notices"]), first["next_ms"]) == (1, 60_000)
    assert second["notices"] == []
    assert 140_000 < second["next_ms"] <= 150_000
    db.forward("100 seconds")
    assert len(db.rpc("take_translation_alert_notices", p_watcher="w1")["notices"]) == 1
    db.forward("100 seconds")
    assert notices(db, "w2") == []
    db.forward("100 seconds")
    assert notices(db, "w2") == [("jobs_pending", "fired")]
    assert notices(db, "w1") == []


def test_the_limits_are_those_of_whoever_watches(db: Database, create: Create) -> None:
    create("es")
    db.forward("2 minutes")

    assert notices(db, p_limits={"p_pending_seconds": 3600}) == []
    limits = settings.AlertSettings(alert_pending_seconds=60).arguments()
    assert notices(db, p_limits=limits) == [("jobs_pending", "fired")]


@pytest.mark.parametrize(
    "limits", [{"pending": 1}, {"p_pending_seconds": "60"}, {"p_nothing": 1}, [], "x", {"alert": 1}], ids=str
)
def test_limits_that_there_are_not_are_refused(db: Database, limits: Any) -> None:
    with pytest.raises(Refused) as refused:
        db.rpc("take_translation_alert_notices", p_watcher="w1", p_limits=limits)

    assert (refused.value.code, refused.value.word) == ("PT422", "notices_malformed")


# The example: pg_cron, pg_net and the Vault as stand-ins with their signatures.

SECRETS = {"translation_alert_url": "https://hooks.test/1", "translation_alert_secret": "a long random word"}


@pytest.fixture
def minute(db: Database) -> Callable[[], list[Row]]:
    """One turn of pg_cron: what pg_net was given, with the body as the bytes that it sends."""
    extensions.install(db, SECRETS)
    fields = "url, body, body::text as sent, headers"
    return extensions.turns(db, "alert_webhook.sql", fields, name="translation-alerts", schedule="* * * * *")


def test_the_webhook_is_called_once_when_an_alert_begins_each_hour_and_when_it_ends(
    db: Database, create: Create, claim: Claim, minute: Callable[[], list[Row]]
) -> None:
    assert minute() == []
    create("es")
    db.forward("6 minutes")
    (begun,) = minute()
    assert minute() == []
    assert notices(db, "a worker") == [], "pg_cron watches"
    db.forward("61 minutes")
    (lasting,) = minute()
    claim()
    (ended,) = minute()
    assert minute() == []

    assert (begun["url"], begun["headers"]["Content-Type"]) == ("https://hooks.test/1", "application/json")
    assert begun["body"]["text"].startswith("critical: Jobs have waited for up to 360 s: translation")
    assert [(one["alert"], one["state"]) for one in lasting["body"]["alerts"]] == [("jobs_pending", "lasting")]
    assert ended["body"]["text"] == "over: jobs_pending"


@pytest.mark.parametrize(
    "secret", ["a long random word", "ä" * 70, "whsec_" + base64.b64encode(bytes(range(32))).decode()]
)
def test_what_pg_net_sends_is_signed_as_a_worker_signs_it(
    db: Database, create: Create, minute: Callable[[], list[Row]], secret: str
) -> None:
    db.run("update vault.decrypted_secrets set decrypted_secret = %s where name like '%%secret'", secret)
    create("es")
    db.forward("6 minutes")
    (sent,) = minute()

    headers = {name: value for name, value in sent["headers"].items() if name.startswith("webhook-")}
    at, message_id = int(headers["webhook-timestamp"]), headers["webhook-id"]
    assert headers == signing.headers(secret, message_id=message_id, body=sent["sent"].encode(), at=at)


def test_without_a_secret_nothing_is_signed(db: Database, create: Create, minute: Callable[[], list[Row]]) -> None:
    db.run("delete from vault.decrypted_secrets where name like '%secret'")
    create("es")
    db.forward("6 minutes")
    (sent,) = minute()

    assert sent["headers"] == {"Content-Type": "application/json"}


# Size: 50 000 wait, 20 000 have ended within the hour, 10 000 are for later. What is read does not grow with it.

LARGEST_LOOK = 4_000  # 1000 ended, twice; 1001 and 100 of each type that wait


@pytest.fixture(scope="module", params=["planned without statistics", "planned with statistics"])
def crowd(cluster: Cluster, template: str, request: pytest.FixtureRequest) -> Iterator[tuple[Database, Any]]:
    asyncio.run(cluster.create_database("alert_crowd", template))
    with ExitStack() as stack:
        stack.callback(lambda: asyncio.run(cluster.drop_database("alert_crowd")))
        db = Database(cluster.url("postgres", "alert_crowd"), cluster.url(database="alert_crowd"))
        stack.callback(db.close)
        admin = stack.enter_context(psycopg.connect(db.admin_url, autocommit=True))
        admin.execute("alter database alert_crowd owner to postgres")
        db.run(FLUSH + ALONE)
        call = stack.enter_context(db.caller())
        if request.param == "planned without statistics":
            for _ in range(7):
                call("translation_alerts", None)
                call("translation_queue_stats", None)
        admin.execute((USERS + HISTORY + LIVE).encode())
        if request.param == "planned with statistics":
            db.run("vacuum analyze")
        yield db, call


def test_alerts_read_a_bounded_part_of_a_large_queue(crowd: tuple[Database, Any]) -> None:
    db, call = crowd

    def counts() -> dict[str, Row]:
        call("flush_counts", None)
        return {row.pop("table"): row for row in db.run(COUNTS)}

    before = counts()
    found = {row["alert"] for row in call("translation_alerts", None)}
    after = counts()

    assert "queue_depth" in found
    for table, did in after.items():
        if table not in SMALL:
            assert did["scans"] == before[table]["scans"], f"{table} is read whole"
            assert did["rows"] - before[table]["rows"] <= LARGEST_LOOK, table
