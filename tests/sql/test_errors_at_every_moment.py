"""
Every class of error at every moment of a try: what the user, the ledger and the operator see.

A job of two languages: one is done, the other meets the error. The moments are what else happens around it; the table
says what has become of it then, for the three dispositions that a class may have.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.database import Database, Row, claiming
from worker import errors, models
from worker.handlers import verdict
from worker.models import Disposition

PRICE = 10
WORDS = "The provider said something."


@dataclass(frozen=True)
class Seen:
    """Status of the job and of its two languages; credits consumed and refunded; how each try ended; last answer."""

    user: tuple[str, str, str]
    tries_counted: int
    ledger: tuple[int, int]
    operator: tuple[str, ...]
    answer: str


def seen(user: str, tries: int, ledger: str, operator: str, answer: str) -> Seen:
    job, done, failing = user.split()
    consumed, refunded = map(int, ledger.split())
    return Seen((job, done, failing), tries, (consumed, refunded), tuple(operator.split()), answer)


FAILED, RETRY, THROTTLED = Disposition.FAILED, Disposition.RETRY, Disposition.THROTTLED
CLASSES = {
    "auth": THROTTLED,
    "bad_output": FAILED,
    "bad_request": FAILED,
    "content_blocked": FAILED,
    "internal": RETRY,
    "overloaded": RETRY,
    "quota_exhausted": THROTTLED,
    "rate_limited": THROTTLED,
    "unsupported_language": FAILED,
}
EXPECTED = {
    "nothing else": {
        FAILED: seen("completed completed failed", 1, "10 10", "completed", "recorded"),
        RETRY: seen("retrying completed pending", 1, "10 0", "retrying", "recorded"),
        THROTTLED: seen("retrying completed pending", 0, "10 0", "retrying", "recorded"),
    },
    "cancelled before the next claim": {
        FAILED: seen("completed completed failed", 1, "10 10", "completed", "recorded"),
        RETRY: seen("cancelled completed cancelled", 1, "10 10", "retrying", "recorded"),
        THROTTLED: seen("cancelled completed cancelled", 0, "10 10", "retrying", "recorded"),
    },
    "cancelled during the call": dict.fromkeys(
        Disposition, seen("cancelled cancelled cancelled", 0, "0 20", "cancelled", "cancelled")
    ),
    "its worker dies after the answer": {
        FAILED: seen("completed completed failed", 1, "10 10", "lost completed", "recorded"),
        RETRY: seen("retrying completed pending", 1, "10 0", "lost retrying", "recorded"),
        THROTTLED: seen("retrying completed pending", 0, "10 0", "lost retrying", "recorded"),
    },
    "taken over before the record": dict.fromkeys(
        Disposition, seen("processing pending pending", 0, "0 0", "lost None", "lost")
    ),
    "the lease is over before the record and nobody took it": {
        FAILED: seen("completed completed failed", 1, "10 10", "completed", "recorded"),
        RETRY: seen("retrying completed pending", 1, "10 0", "retrying", "recorded"),
        THROTTLED: seen("retrying completed pending", 0, "10 0", "retrying", "recorded"),
    },
    "the answer is lost after the commit": {
        FAILED: seen("completed completed failed", 1, "10 10", "completed", "already"),
        RETRY: seen("retrying completed pending", 1, "10 0", "retrying", "already"),
        THROTTLED: seen("retrying completed pending", 0, "10 0", "retrying", "already"),
    },
    "again and again, to the end": {
        FAILED: seen("completed completed failed", 1, "10 10", "completed", "recorded"),
        RETRY: seen("completed completed failed", 3, "10 10", "retrying retrying completed", "recorded"),
        THROTTLED: seen("completed completed failed", 0, "10 10", "retrying completed", "recorded"),
    },
}


class Case:
    """One job on its way; `answer` is what the database made of the failing language's last record."""

    def __init__(self, db: Database, call: Callable[..., Any], error_class: str) -> None:
        self.db = db
        self.call = call
        self.error_class = error_class
        self.user = db.user(credits=100)
        languages = {"p_target_languages": ["es", "fr"], "p_source_language": "en"}
        self.id = call("create_translation_job", self.user, p_content="A lamp.", **languages)["id"]
        self.answer = ""

    def claim(self) -> Row:
        """As a worker does; only this job is there."""
        (row,) = self.call("claim_translation_jobs", None, **claiming(lease_ms=60_000))
        assert row["job_id"] == self.id
        return dict(row)

    def record(self, row: Row) -> None:
        """What a worker says after the try of *row*: Spanish is done, French met the error."""
        job = models.Job.from_row(row)
        error = errors.ItemError(self.error_class, WORDS, 1.0)
        outcomes: dict[str, models.Outcome] = {
            "es": models.Completed(models.ItemResult(content="Una lámpara.", provider="test")),
            "fr": verdict.verdict(error),
        }
        entries = [models.outcome_entry(job, item.name, outcomes[item.name]) for item in job.items]
        answers = self.call("record_translation_results", None, p_worker_id="w1", p_results=entries)
        (self.answer,) = (one["answer"] for one in answers if one["item"] == "fr")

    def cancel(self) -> None:
        self.call("cancel_translation_job", self.user, p_job_id=self.id)

    def status(self) -> str:
        return str(self.db.value("select status from public.translation_jobs where id = %s", self.id))

    def seen(self) -> Seen:
        row = self.call("get_translation_job", self.user, p_job_id=self.id)
        items = {item["item"]: item for item in row["items"]}
        moved = self.db.run(
            "select kind, sum(amount) as sum from public.translation_credit_ledger where job_id = %s group by kind",
            self.id,
        )
        sums = {one["kind"]: int(one["sum"]) for one in moved}
        tries = self.db.run(
            "select outcome from public.translation_job_attempts where job_id = %s order by token", self.id
        )
        self.check_words(row, items["fr"])
        return Seen(
            (row["status"], items["es"]["status"], items["fr"]["status"]),
            items["fr"]["attempts"],
            (sums.get("consume", 0), sums.get("refund", 0)),
            tuple(str(one["outcome"]) for one in tries),
            self.answer,
        )

    def check_words(self, row: Row, item: Row) -> None:
        """The reason is told where there is one to tell: with the language, and with the job."""
        told = {"class": self.error_class, "message": WORDS}
        if item["status"] == "failed" or row["status"] == "retrying":
            assert (item["error"], row["error"]) == (told, told)
        if row["status"] == "processing":
            assert (item["error"], row["error"]) == (None, None)


def nothing_else(case: Case) -> None:
    case.record(case.claim())


def cancelled_before_the_next_claim(case: Case) -> None:
    case.record(case.claim())
    case.cancel()


def cancelled_during_the_call(case: Case) -> None:
    row = case.claim()
    case.cancel()
    case.record(row)


def worker_dies_after_the_answer(case: Case) -> None:
    case.claim()
    case.db.forward("2 minutes")
    case.call("rescue_translation_jobs", None)
    case.record(case.claim())


def taken_over_before_the_record(case: Case) -> None:
    row = case.claim()
    case.db.forward("2 minutes")
    case.call("rescue_translation_jobs", None)
    case.claim()
    case.record(row)


def lease_over_before_the_record(case: Case) -> None:
    row = case.claim()
    case.db.forward("2 minutes")
    case.record(row)


def answer_lost_after_the_commit(case: Case) -> None:
    row = case.claim()
    case.record(row)
    case.record(row)


def to_the_end(case: Case) -> None:
    case.record(case.claim())
    while case.status() == "retrying":
        # A throttled language is not counted: it ends with its deadline, a day after it was due.
        throttled = models.DISPOSITIONS[case.error_class] is THROTTLED
        case.db.forward("1 day" if throttled else "10 minutes")
        case.record(case.claim())


MOMENTS: dict[str, Callable[[Case], None]] = dict(
    zip(
        EXPECTED,
        (
            nothing_else,
            cancelled_before_the_next_claim,
            cancelled_during_the_call,
            worker_dies_after_the_answer,
            taken_over_before_the_record,
            lease_over_before_the_record,
            answer_lost_after_the_commit,
            to_the_end,
        ),
        strict=True,
    )
)


@pytest.mark.timeout(240)
def test_what_is_seen_of_every_error_at_every_moment(db: Database) -> None:
    db.price(PRICE)
    found, expected = {}, {}
    with db.caller() as call:
        for error_class, disposition in CLASSES.items():
            for moment, happens in MOMENTS.items():
                case = Case(db, call, error_class)
                happens(case)
                found[error_class, moment] = case.seen()
                expected[error_class, moment] = EXPECTED[moment][disposition]
                case.cancel()  # out of the way of the next one
    db.check_money()

    assert set(CLASSES) == errors.ERROR_CLASSES
    assert {name: one for name, one in found.items() if one != expected[name]} == {}


def test_the_operator_is_told_what_stops_everybody(db: Database) -> None:
    """A used-up quota is not the job's own: it is alerted while jobs wait for it."""
    told = {}
    with db.caller() as call:
        for error_class in CLASSES:
            case = Case(db, call, error_class)
            case.record(case.claim())
            told[error_class] = {one["alert"] for one in call("translation_alerts", None)} & {"quota_exhausted"}
            db.run("delete from public.translation_jobs where id = %s", case.id)

    assert {error_class for error_class, alerts in told.items() if alerts} == {"quota_exhausted"}
