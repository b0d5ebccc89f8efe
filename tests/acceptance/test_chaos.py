"""
A minute of everything at once: whatever happens in whatever order, the books are right afterwards.

How quickly is `scripts/chaos --profile long`'s business. The seed is fixed, so that every run has the same troubles.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.storm import books, course, crew, plan
from scripts.storm.faults import FAULTS
from scripts.storm.owner import Owner
from scripts.storm.users import Made
from tests.support.database import Database, Row, claim, outcomes
from worker import errors

SEED = 1
SECONDS = 60.0


@pytest.mark.timeout(500)
async def test_nothing_is_lost_and_nobody_charged_twice_in_a_storm(tmp_path: Path) -> None:
    report = await course.storm(SEED, SECONDS, course.SHORT, tmp_path)

    assert report.broken == []
    assert {event.fault for event in report.happened} == set(FAULTS)
    assert set(report.classes) == errors.ERROR_CLASSES
    assert report.counts["jobs completed"] > 50
    assert report.counts["jobs cancelled"] > 0
    assert report.calls["cancel_translation_job"] > 0
    assert report.calls["retry_translation_job"] > 0
    assert report.worker_starts > course.SHORT.workers


# The plan


def test_the_same_seed_is_the_same_storm() -> None:
    names = list(FAULTS)

    assert plan.storm(7, names, 300, 4) == plan.storm(7, names, 300, 4)
    assert plan.storm(7, names, 300, 4) != plan.storm(8, names, 300, 4)


@pytest.mark.parametrize("seed", range(20))
def test_a_storm_has_every_trouble_in_time(seed: int) -> None:
    events = plan.storm(seed, list(FAULTS), SECONDS, 4)

    assert {event.fault for event in events} == set(FAULTS)
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert events[-1].at < SECONDS


# The clock that can be moved


def test_a_moved_clock_moves_the_date_and_leaves_the_monotonic_one(tmp_path: Path) -> None:
    shift = tmp_path / "shift"
    shift.write_text("-3600")
    code = "import time, datetime; print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())"
    environment = {**os.environ, "PYTHONPATH": str(crew.CLOCK), "CLOCK_SHIFT_FILE": str(shift)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    behind = [float(b) - float(a) for a, b in zip(told.stdout.split(), plain.stdout.split(), strict=True)]

    assert [round(seconds / 1800) for seconds in behind] == [2, 2, 0]


# Books that could not be wrong would prove nothing

JOB = "update public.translation_jobs set revision = revision + 1,"
ITEM = "update public.translation_job_items set"
# What may be wrong with a job that was done, or with its language es.
WRONGS = {
    "jobs that have not ended": f"{JOB} status = 'pending', turn = 1 where id = %s",
    "jobs that were answered for": "delete from public.translation_jobs where id = %s",
    "tries still open": "update public.translation_job_attempts set ended_at = null where job_id = %s",
    "items open in a job that has ended": f"{ITEM} status = 'pending' where item = 'es' and job_id = %s",
    "state does not follow": f"{JOB} failed_items = 2 where id = %s",
    "steps that are not in the life of a job": f"{JOB} status = 'scheduled' where id = %s",
    "steps that are not in the life of an item": f"{ITEM} status = 'processing' where item = 'es' and job_id = %s",
    "steps that do not follow": """insert into storm.history (job_id, was, now, again)
      values (%s, 'pending', 'processing', false)""",
    "recorded twice": f"""{ITEM} result = '{{"content": "!"}}' where item = 'es' and job_id = %s""",
    "without a result": f"{ITEM} result = null where job_id = %s",
    "sums are not those of the ledger": f"{JOB} credits_consumed = 0, credits_refunded = 20 where id = %s",
    "charged or refunded exactly once": """insert into public.translation_credit_ledger
      (user_id, job_id, item, kind, amount) select user_id, id, 'es', 'refund', 1 from public.translation_jobs
      where id = %s""",
    "movements without an item": "delete from public.translation_job_items where item = 'es' and job_id = %s",
    "balances": """update public.translation_credits set balance = balance + 1
      where user_id = (select user_id from public.translation_jobs where id = %s)""",
    "deliveries and tries": f"{JOB} deliveries = 2 where id = %s",
    "tried too often": f"{ITEM} attempts = 4 where job_id = %s",
    "for no reason of theirs": f"{ITEM} status = 'failed' where job_id = %s",
}


async def test_the_books_balance_until_something_is_wrong_and_find_each_wrong(db: Database) -> None:
    db.run(books.PLANT)
    owner, made = Owner(db.url), [done(db) for _ in WRONGS]

    assert await books.balance(owner, made) == []

    for one, wrong in zip(made, WRONGS.values(), strict=True):
        db.run(wrong, one.job_id)
    found = await books.balance(owner, made)

    assert [title for title in WRONGS if not any(title in line for line in found)] == []


def done(db: Database) -> Made:
    """A job of two languages, done."""
    user = db.user(credits=100)
    languages = {"p_source_language": "en", "p_target_languages": ["es", "fr"]}
    job: Row = db.rpc("create_translation_job", user, p_content="A lamp.", **languages)
    db.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(claim(db), "completed"))
    return Made(user, job["id"], "")
