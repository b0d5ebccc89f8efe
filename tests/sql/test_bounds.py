"""No call is larger than it should be, whatever it is asked for."""

import uuid

import pytest

from tests.sql.conftest import Claim
from tests.support.database import Database, Refused

CROWD = """
insert into public.translation_jobs (
  user_id, job_type, status, turn, content, content_chars, target_languages, ready_at, deadline_at, revision)
select %s, 'translation', 'pending', n, '"Hello"', 5, array['es'], now(), now() + interval '1 day', 1
from generate_series(1, 1200) as n
"""


@pytest.fixture
def crowd(db: Database, user: str) -> list[str]:
    """Twelve hundred waiting jobs of one user."""
    db.run(CROWD, user)
    db.run(
        """insert into public.translation_job_items (job_id, item, position, user_id)
           select id, 'es', 1, user_id from public.translation_jobs"""
    )
    return [str(row["id"]) for row in db.run("select id from public.translation_jobs")]


def test_what_is_listed_watched_and_claimed_at_once_is_bounded(
    db: Database, user: str, crowd: list[str], claim: Claim
) -> None:
    assert len(db.rpc("list_translation_jobs", user, p_limit=100_000)) == 200
    assert len(db.rpc("watch_translation_jobs", p_job_ids=crowd)) == 1000
    assert len(claim(limit=100_000)) == 500


def test_what_a_lease_may_ask_for_is_bounded(db: Database, crowd: list[str], claim: Claim) -> None:
    assert claim(lease_ms=1)[0]["lease_ms"] == 1000
    assert claim(lease_ms=10**9)[0]["lease_ms"] == 3_600_000


def test_one_call_rescues_and_promotes_only_so_many(db: Database, crowd: list[str], claim: Claim) -> None:
    claim(limit=500)
    db.forward("31 seconds")
    db.run("update public.translation_jobs set run_at = now() where status = 'pending'")
    db.run("update public.translation_jobs set status = 'scheduled', revision = revision + 1 where status = 'pending'")

    beat = db.rpc("heartbeat_translation_worker", p_worker_id="w2", p_report={"job_types": ["translation"]})

    assert (beat["rescued"], beat["promoted"]) == (20, 100)
    assert db.rpc("rescue_translation_jobs", p_limit=100_000) == 100


def test_memory_is_recalled_five_hundred_segments_at_a_time(db: Database, crowd: list[str], claim: Claim) -> None:
    job = claim()[0]
    keys = [uuid.UUID(int=n).hex * 2 for n in range(600)]
    common = {"p_worker_id": "w1", "p_job_id": job["job_id"], "p_token": job["token"]}
    for half in (keys[:300], keys[300:]):
        segments = [{"key": key, "target": "Hola"} for key in half]
        db.rpc("remember_translation_memory", **common, p_item="es", p_segments=segments)

    assert len(db.rpc("recall_translation_memory", **common, p_target_language="es", p_keys=keys)) == 500


def test_more_than_five_hundred_results_are_refused(db: Database) -> None:
    entry = {"job_id": str(uuid.uuid4()), "token": 1, "item": "es", "outcome": "completed"}

    with pytest.raises(Refused, match="results_malformed"):
        db.rpc("record_translation_results", p_worker_id="w1", p_results=[entry] * 501)
