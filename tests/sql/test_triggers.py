"""Jobs that the project starts by name, and the list that says what became of them."""

from typing import Any

import pytest

from tests.support.database import Database, Refused, Row, claim, outcomes


@pytest.fixture
def nightly(db: Database) -> str:
    db.run(
        """insert into public.translation_job_types (name) values ('thumbnail');
           insert into public.translation_triggers
             (name, kind, content, items, source_language, title, subject, options)
           values ('nightly-cards', 'cron', '"The lamp is lit."', array['es', 'fr'], 'en', 'Cards', 'cards',
                   '{"formality": "more"}')"""
    )
    return "nightly-cards"


def listed(db: Database, name: str) -> Row:
    return next(row for row in db.rpc("list_translation_triggers") if row["name"] == name)


def test_a_trigger_makes_the_job_it_describes(db: Database, nightly: str) -> None:
    job = db.rpc("run_translation_trigger", p_name=nightly, p_correlation_id="night-7")

    assert (job["job_type"], job["target_languages"], job["source_language"]) == ("translation", ["es", "fr"], "en")
    assert (job["title"], job["subject"], job["correlation_id"]) == ("Cards", "cards", "night-7")
    assert (job["user_id"], job["options"]) == (None, {"formality": "more"})
    assert job["metadata"] == {"trigger": nightly, "trigger_kind": "cron"}


@pytest.mark.parametrize(
    ("kind", "own", "priority"), [("admin", None, 8), ("match", None, 6), ("cron", None, 3), ("cron", 9, 9)]
)
def test_the_kind_decides_the_priority_unless_the_trigger_has_its_own(
    db: Database, nightly: str, kind: str, own: int | None, priority: int
) -> None:
    db.run(
        "insert into public.translation_triggers (name, kind, job_type, priority) values ('t', %s, 'thumbnail', %s)",
        kind,
        own,
    )
    job = db.rpc("run_translation_trigger", p_name="t", p_content={})

    assert job["priority"] == priority
    assert listed(db, "t")["priority"] == priority


def test_a_run_may_bring_its_own_content(db: Database, nightly: str) -> None:
    job = db.rpc("run_translation_trigger", p_name=nightly, p_content="The ferry leaves.")

    assert db.rpc("get_translation_source", p_job_id=job["id"]) == "The ferry leaves."


def test_the_same_key_makes_one_job_of_a_trigger_and_is_free_for_another(db: Database, nightly: str) -> None:
    db.run(
        """insert into public.translation_triggers (name, kind, job_type)
           values ('nightly-pictures', 'cron', 'thumbnail')"""
    )
    first = db.rpc("run_translation_trigger", p_name=nightly, p_idempotency_key="2026-11-22")
    again = db.rpc("run_translation_trigger", p_name=nightly, p_idempotency_key="2026-11-22")
    other = db.rpc("run_translation_trigger", p_name="nightly-pictures", p_idempotency_key="2026-11-22", p_content={})

    assert first["id"] == again["id"]
    assert other["id"] != first["id"]


def test_a_repeated_call_does_not_hide_a_newer_run(db: Database, nightly: str) -> None:
    db.rpc("run_translation_trigger", p_name=nightly, p_idempotency_key="monday")
    db.forward("1 day")
    newer = db.rpc("run_translation_trigger", p_name=nightly, p_idempotency_key="tuesday")
    db.rpc("run_translation_trigger", p_name=nightly, p_idempotency_key="monday")

    assert listed(db, nightly)["last_job_id"] == newer["id"]


def test_the_list_says_what_became_of_the_last_job(db: Database, nightly: str) -> None:
    seen = [listed(db, nightly)["state"]]
    db.rpc("run_translation_trigger", p_name=nightly)
    seen.append(listed(db, nightly)["state"])
    job = claim(db)
    db.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(job, "completed", ["es"]))
    seen.append(listed(db, nightly)["state"])
    db.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(job, "completed", ["fr"]))
    ended = listed(db, nightly)
    db.run("delete from public.translation_jobs where id = %s", job["job_id"])
    purged = listed(db, nightly)

    assert [*seen, ended["state"], purged["state"]] == ["never", "running", "running", "succeeded", "purged"]
    assert ended["last_completed_at"] is not None
    assert purged["last_run_at"] == ended["last_run_at"]


def test_the_list_tells_partly_failed_and_cancelled_apart(db: Database, nightly: str) -> None:
    states = []
    for fates in (("completed", "rejected"), ("rejected", "rejected"), ()):
        started = db.rpc("run_translation_trigger", p_name=nightly)
        if fates:
            job = claim(db)
            for item, fate in zip(("es", "fr"), fates, strict=True):
                entries = outcomes(job, "completed" if fate == "completed" else "failed", [item])
                db.rpc("record_translation_results", p_worker_id="w1", p_results=entries)
        else:
            db.rpc("cancel_translation_job", p_job_id=started["id"])
        states.append(listed(db, nightly)["state"])
        db.forward("1 minute")

    assert states == ["partly", "failed", "cancelled"]


@pytest.mark.parametrize(
    ("change", "arguments", "word"),
    [
        ("select 1", {"p_name": "nobody"}, "trigger_not_found"),
        ("update public.translation_triggers set enabled = false where true", {}, "trigger_disabled"),
        ("select 1", {"p_kinds": ["admin", "match"]}, "trigger_off"),
        ("select 1", {"p_kinds": []}, "trigger_off"),
        ("update public.translation_triggers set items = null where true", {}, "languages_missing"),
    ],
)
def test_what_cannot_run_is_refused_and_leaves_nothing(
    db: Database, nightly: str, change: str, arguments: dict[str, Any], word: str
) -> None:
    db.run(change)
    with pytest.raises(Refused, match=word):
        db.rpc("run_translation_trigger", **{"p_name": nightly, **arguments})

    assert db.value("select count(*) from public.translation_jobs") == 0
    assert listed(db, nightly)["last_run_at"] is None
