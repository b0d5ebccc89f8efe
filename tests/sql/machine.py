"""
A state machine in two copies, the database and the model: every rule asks both and wants one answer.

Owns the asking and the comparison; what is right stands in `model`, what is tried in `callers` and `workers`. The rule:
a step depends on what hypothesis draws and on what the model holds, on nothing else, so that a history that fails does
so again, also when steps are left out of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant

from tests.sql.ground import EMPTY, PICTURE, check
from tests.sql.model import DAY, SECOND, Entry, Model
from tests.sql.rows import Refusal, Request
from tests.support.database import Database, Refused

Call = Callable[..., Any]

LANGUAGES = ("de", "es", "fr")
TYPES = ("translation", "chore")
LEASE_MS = 30 * SECOND
PAUSES = (SECOND, 5 * SECOND, LEASE_MS, LEASE_MS + SECOND, 301 * SECOND, DAY)


@dataclass(frozen=True)
class Made:
    """A job, and the call that made it: to be sent again."""

    id: str
    caller: str | None
    request: Request


@dataclass(eq=False)
class Held:
    """A job as a claim handed it out: perhaps held still, perhaps long gone."""

    job_id: str
    token: int
    worker: str
    call: dict[str, Any]
    items: list[str]
    sent: list[list[Entry]] = field(default_factory=list)  # what was recorded under it

    @property
    def lease(self) -> Entry:
        return {"job_id": self.job_id, "token": self.token}


@dataclass(frozen=True)
class Sent:
    """A worker's heartbeat as it was sent."""

    worker: str
    report: dict[str, Any] = field(hash=False)


# What earlier steps left behind, to be used and used again, also when it is long gone.
USERS: Bundle[str] = Bundle("users")
JOBS: Bundle[Made] = Bundle("jobs")
TERMS: Bundle[int] = Bundle("terms")
CLAIMS: Bundle[Held] = Bundle("claims")
BEATS: Bundle[Sent] = Bundle("beats")

WORKERS = st.sampled_from(["w1", "w2"])
JOB_TYPES = st.sampled_from([[*TYPES], ["translation"], ["chore"]])


class Machine(RuleBasedStateMachine):
    """One project, empty at first, and the model of it."""

    asked: ClassVar[set[str]] = set()  # the procedures that any history has called
    reached: ClassVar[set[str]] = set()  # states and answers that any history has seen
    steps: ClassVar[int] = 0

    def __init__(self, db: Database, call: Call) -> None:
        super().__init__()
        self.model = Model()
        self.seen: dict[str, Any] = {}  # the tables after the last call, and before it
        self.before: dict[str, Any] = {}
        self.users: set[str] = set()  # those who have not been deleted
        self._numbers = iter(range(1, 10**9))
        self._db = db
        self._call = call
        db.run(EMPTY)
        call("history_dice", None, p_seed=0.5)
        self.price(7, 3)
        self.look()

    # Asking both

    def ask(self, function: str, as_: str | None, **params: Any) -> Any:
        """The database's answer, or its refusal."""
        self.asked.add(function)
        try:
            answer = self._call(function, as_, **{f"p_{name}": value for name, value in params.items()})
        except Refused as refused:
            answer = Refusal(refused.word)
        note(f"    # {function} → {brief(answer)}")
        self.look()
        return answer

    def look(self) -> None:
        self.before = self.seen
        self.seen = self._db.value(PICTURE)

    def run(self, statement: str, *params: Any) -> None:
        """What an owner does by hand."""
        self._db.run(statement, *params)
        self.look()

    def price(self, *prices: int) -> None:
        self.model.books.prices = dict(zip(TYPES, prices, strict=True))
        for job_type, price in self.model.books.prices.items():
            self._db.price(price, job_type)

    def wait(self, pause: int) -> None:
        self._db.forward(f"{pause} milliseconds")
        self.model.now += pause

    def new_id(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._numbers):012x}"

    @invariant()
    def check(self) -> None:
        """After every step: what must hold whatever happened, and what the model says."""
        Machine.steps += 1
        check(self.seen)
        self.reached.update(job["status"] for job in self.seen["jobs"].values())
        expected = self.model.picture()
        for job_id in self.seen["jobs"].keys() | expected["jobs"].keys():
            same(self.seen["jobs"].get(job_id), expected["jobs"].get(job_id))
        same(self.seen["balances"], expected["balances"])
        same(sorted(map(str, self.seen["ledger"])), expected["ledger"])
        same(self.seen["terms"], expected["terms"])
        same(sorted(map(str, self.seen["memory"])), expected["memory"])


def same(answer: Any, expected: Any) -> None:
    assert answer == expected, f"is       {answer}\nexpected {expected}"


def agree(answer: Any, predict: Callable[[], Any]) -> None:
    """For calls that may be refused."""
    try:
        expected = predict()
    except Refusal as refusal:
        expected = refusal
    same(answer, expected)


def given(answer: Any, name: str) -> Any:
    """One field of an answer, or the refusal it is."""
    return answer if isinstance(answer, Refusal) else answer[name]


def timestamp(ms: int | None) -> str | None:
    return None if ms is None else (datetime(2030, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat()


def brief(answer: Any) -> Any:
    """What a reader of a failure wants to know of an answer."""
    if isinstance(answer, list):
        return [brief(row) for row in answer]
    if isinstance(answer, dict) and ("id" in answer or "job_id" in answer):
        names = ("id", "job_id", "token", "status", "item", "answer")
        return {name: answer[name] for name in names if name in answer}
    return answer
