"""
Random histories: the same calls to the database and to the model, compared after every one.

Owns the dice and the comparison; what is right stands in `model`. The rule: a step depends on its seed, its number and
what the model holds, on nothing else, so that a history that fails does so again, also with some of its steps left out.
"""

import random
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.sql.ground import EMPTY, PICTURE, check
from tests.sql.model import DAY, SECOND, Entry, Model, Refusal
from tests.sql.rows import Request
from tests.support.database import Database, Refused, Row

Call = Callable[..., Any]

STEPS = 120  # of one history: enough for a job to be lost three times, few enough to read
WORKERS = ("w1", "w2", "w3")
LANGUAGES = ("de", "es", "fr")
TYPES = ("translation", "http")
TYPE_CHOICES = (["translation"], ["http"], [*TYPES], [*TYPES])
OUTCOMES = ("completed", "failed", "retry", "throttled")
LEASE_MS = 30 * SECOND


class History:
    """One project, empty at first, and what happens to it."""

    def __init__(self, db: Database, call: Call, seed: str) -> None:
        self._db = db
        self._call = call
        self._seed = seed
        self._dice = random.Random(seed)
        self._model = Model()
        self._users: list[str] = []
        self._handed: list[Row] = []  # what claims handed out, the worker's name with it; long stale ones too
        self._calls: list[dict[str, Any]] = []  # claims as they were asked for, to be asked again
        self._records: list[tuple[str, list[Entry]]] = []
        self._seen: dict[str, Any] = {}  # the tables after the last call, and before it
        self._before: dict[str, Any] = {}
        self.trace: list[str] = []

    def run(self, steps: Iterable[int]) -> None:
        """Raises AssertionError at the first step after which the database and the model differ."""
        self._db.run(EMPTY)
        self._call("history_dice", None, p_seed=self._dice.random())
        self._set_prices(7, 3)
        for _ in range(3):
            self._new_user()
        for number in steps:
            self._dice = random.Random(f"{self._seed}/{number}")
            step = self._dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            self.trace.append(f"{number}: {step.__name__.strip('_')}")
            step(self)
            self._compare()

    # Asking both

    def _ask(self, function: str, as_: str | None, **params: Any) -> Any:
        """The database's answer, or its refusal; and what its tables hold then."""
        try:
            answer = self._call(function, as_, **{f"p_{name}": value for name, value in params.items()})
        except Refused as refused:
            answer = Refusal(refused.word)
        self._note(f"{function}, {as_ or 'service'}: {params} -> {_brief(answer)}")
        self._before = self._seen
        self._look()
        return answer

    def _look(self) -> None:
        self._seen = self._db.value(PICTURE)

    def _note(self, text: str) -> None:
        self.trace.append("    " + re.sub(r"\b([0-9a-f]{4})[0-9a-f]{4}-[-0-9a-f]{27}\b", r"\1", text))

    def _agree(self, answer: Any, predict: Callable[[], Any]) -> None:
        """For calls that may be refused."""
        try:
            expected = predict()
        except Refusal as refusal:
            expected = refusal
        _same(answer, expected)

    def _compare(self) -> None:
        self._look()
        expected = self._model.picture()
        for job_id in self._seen["jobs"].keys() | expected["jobs"].keys():
            _same(self._seen["jobs"].get(job_id), expected["jobs"].get(job_id))
        assert self._seen["balances"] == expected["balances"]
        assert sorted(map(str, self._seen["ledger"])) == sorted(str(list(row)) for row in expected["ledger"])
        check(self._seen)

    # Steps: users and owners

    def _new_user(self) -> None:
        user = str(uuid.UUID(int=self._dice.getrandbits(128)))
        self._db.run("insert into auth.users (id) values (%s)", user)
        self._users.append(user)
        answer = self._ask("grant_translation_credits", None, user_id=user, amount=60)
        self._agree(answer, lambda: self._model.move_credits(user, "grant", 60, None))

    def _create(self, after: Sequence[str] = ()) -> None:
        user = self._dice.choice(self._users)
        self._make(user, Request(user, "translation", *self._body(), **self._more(), after=tuple(after)))

    def _enqueue(self, after: Sequence[str] = ()) -> None:
        user = self._dice.choice([*self._users, None])
        body, priority = self._body(), self._dice.randint(1, 10)
        self._make(
            None, Request(user, self._dice.choice(TYPES), *body, **self._more(), priority=priority, after=tuple(after))
        )

    def _child(self) -> None:
        """Mostly of parents that the caller may name, mostly of such that have not ended."""
        jobs = list(self._model.jobs.values())
        live = [job.id for job in jobs if not job.ended] or [job.id for job in jobs]
        pool = live if self._dice.random() < 0.8 else [job.id for job in jobs]
        parents = self._dice.sample(pool, min(len(pool), self._dice.randint(1, 2)))
        self._dice.choice([self._create, self._enqueue])(parents)

    def _make(self, caller: str | None, request: Request) -> None:
        arguments: dict[str, Any] = {
            "content": request.content,
            "idempotency_key": request.key,
            "run_at": None if request.run_at is None else _timestamp(request.run_at),
            "after": list(request.after) or None,
        }
        if caller is not None:
            answer = self._ask("create_translation_job", caller, **arguments, target_languages=list(request.items))
        else:
            arguments |= {"job_type": request.job_type, "items": list(request.items), "user_id": request.user}
            answer = self._ask("enqueue_translation_job", None, **arguments, priority=request.priority)
        made = _id(answer)
        self._agree(made, lambda: self._model.add(request, made, by_user=caller is not None))
        self._check_turn(made)

    def _check_turn(self, made: Any) -> None:
        """A new job's turn comes after its user's last one, and never before what is being served."""
        if isinstance(made, Refusal) or made in self._before["jobs"] or self._seen["jobs"][made]["status"] != "pending":
            return
        user = self._model.jobs[made].user
        own = [job.id for job in self._model.jobs.values() if job.user == user and not job.ended and job.id != made]
        turns = [self._before["order"][job_id][1] or 0 for job_id in own]
        assert self._seen["order"][made][1] == max([*turns, self._before["served"]]) + 1

    def _body(self) -> tuple[str, tuple[str, ...]]:
        items = self._dice.sample(LANGUAGES, self._dice.randint(1, 3))
        return self._dice.choice(["One", "Two"]), tuple(items)

    def _more(self) -> dict[str, Any]:
        run_at = self._model.now + self._dice.choice([-SECOND, SECOND, 5 * SECOND, 400 * SECOND])
        return {
            "key": self._dice.choice(["a", "b", None, None, None, None]),
            "run_at": self._dice.choice([run_at, None, None]),
        }

    def _cancel(self) -> None:
        job, caller = self._some_job_and_caller()
        answer = self._ask("cancel_translation_job", caller, job_id=job)
        status = answer if isinstance(answer, Refusal) else answer["status"]
        self._agree(status, lambda: self._model.cancel(job, caller))

    def _retry(self) -> None:
        job, caller = self._some_job_and_caller()
        again = _id(self._ask("retry_translation_job", caller, job_id=job))
        self._agree(again, lambda: self._model.retry(job, caller, again))
        self._check_turn(again)

    def _some_job_and_caller(self) -> tuple[str, str | None]:
        """Mostly somebody who may; now and then another user, or a job that does not exist."""
        every = list(self._model.jobs.values())[-15:]
        begun = [job for job in every if job.deliveries]
        jobs = begun if begun and self._dice.random() < 0.6 else every
        if not jobs or self._dice.random() < 0.03:
            return str(uuid.UUID(int=0)), None
        job = self._dice.choice(jobs)
        return job.id, self._dice.choice([job.user, job.user, job.user, None, self._dice.choice(self._users)])

    def _move_credits(self) -> None:
        user, kind = self._dice.choice(self._users), self._dice.choice(["grant", "revoke"])
        amount, key = self._dice.choice([5, 20]), self._dice.choice(["k", None])
        name = f"{kind}_translation_credits"
        answer = self._ask(name, None, user_id=user, amount=amount, idempotency_key=key)
        self._agree(answer, lambda: self._model.move_credits(user, kind, amount, key))

    def _change_prices(self) -> None:
        self._set_prices(self._dice.choice([0, 7]), self._dice.choice([0, 3]))

    def _set_prices(self, *prices: int) -> None:
        self._model.prices = dict(zip(TYPES, prices, strict=True))
        for job_type, price in self._model.prices.items():
            self._db.price(price, job_type)

    def _delete_user(self) -> None:
        gone = self._users.pop(self._dice.randrange(len(self._users)))
        self._db.run("delete from auth.users where id = %s", gone)
        self._model.delete_user(gone)
        self._new_user()

    def _forward(self) -> None:
        self._wait(self._dice.choice([SECOND, 5 * SECOND, LEASE_MS, LEASE_MS + SECOND, 301 * SECOND, DAY]))

    def _wait(self, pause: int) -> None:
        self._db.forward(f"{pause} milliseconds")
        self._model.now += pause

    # Steps: workers

    def _claim(self) -> None:
        arguments: dict[str, Any] = {
            "worker_id": self._dice.choice(WORKERS),
            "limit": self._dice.choice([0, 1, 2, 4, 4]),
            "lease_ms": self._dice.choice([LEASE_MS, 2 * LEASE_MS]),
            "job_types": self._dice.choice(TYPE_CHOICES),
            "claim_id": str(uuid.UUID(int=self._dice.getrandbits(128))),
        }
        self._calls.append(arguments)
        rows = self._ask_for_jobs(arguments)
        taken = [self._seen["order"][row["job_id"]] for row in rows]
        left = [self._seen["order"][job.id] for job in self._model.jobs.values()
                if job.status == "pending" and job.request.job_type in arguments["job_types"]]  # fmt: skip
        assert taken == sorted(taken), "handed out in the order of the queue"
        assert not left or not taken or taken[-1] < min(left), "nobody is passed over"
        assert all(row["items"] for row in rows), "a job that is claimed has something to do"

    def _claim_again(self) -> None:
        if self._calls:
            call = self._dice.choice(self._calls[-6:])
            other = {"worker_id": self._dice.choice(WORKERS)} if self._dice.random() < 0.2 else {}
            self._ask_for_jobs(call | other)

    def _ask_for_jobs(self, arguments: dict[str, Any]) -> list[Row]:
        rows: list[Row] = self._ask("claim_translation_jobs", None, **arguments)
        worker, call = arguments["worker_id"], arguments["claim_id"]
        picked = [(row["job_id"], row["token"]) for row in rows]
        rest = arguments["limit"], arguments["job_types"], arguments["lease_ms"]
        expected = self._model.claim(worker, call, *rest, picked)
        for row, wanted in zip(rows, expected, strict=True):
            items = [(item["item"], item["attempts"]) for item in row["items"]]
            _same({name: row[name] for name in wanted} | {"items": items}, wanted)
            if row["token"] not in [claim["token"] for claim in self._handed]:
                self._handed.append(row | {"worker": worker, "items": [item for item, _ in items]})
        return rows

    def _record(self) -> None:
        worker, claims = self._some_claims()
        if not claims:
            return self._claim()
        outcomes = self._dice.choice([["completed"], ["failed"], ["retry"], ["throttled"], OUTCOMES, OUTCOMES])
        entries = [self._outcome(claim, item, outcomes) for claim in claims for item in self._some_items(claim)]
        entries += [self._progress(claim) for claim in claims if self._dice.random() < 0.3]
        self._dice.shuffle(entries)
        self._records.append((worker, entries))
        return self._send(worker, entries)

    def _record_again(self) -> None:
        if self._records:
            worker, entries = self._dice.choice(self._records[-8:])
            self._send(worker, self._dice.sample(entries, len(entries)))

    def _send(self, worker: str, entries: list[Entry]) -> None:
        answer = self._ask("record_translation_results", None, worker_id=worker, results=entries)
        _same(answer, self._model.record(worker, entries, self._retry_at))

    def _retry_at(self, job: str, item: str) -> int:
        found: int = self._seen["jobs"][job]["items"][item][3]
        return found

    def _some_items(self, claim: Row) -> list[str]:
        """All that were handed out, or some; now and then one that waits, one twice, or one that does not exist."""
        chance = self._dice.random()
        if chance < 0.5:
            return list(claim["items"])
        if chance < 0.9:
            return self._dice.sample(claim["items"], self._dice.randint(1, len(claim["items"])))
        return self._dice.choices([*LANGUAGES, "xx"], k=2)

    def _outcome(self, claim: Row, item: str, outcomes: Sequence[str]) -> Entry:
        return {
            "job_id": claim["job_id"],
            "token": claim["token"],
            "item": item,
            "outcome": self._dice.choice(outcomes),
            "result": {"content": "…"},
            "error": {"class": "internal", "message": "No."},
            "billed_chars": self._dice.randint(-1, 12),
            "total_chars": 10,
            "retry_after_ms": self._dice.choice([None, None, 5 * SECOND, 400 * SECOND]),
        }

    def _progress(self, claim: Row) -> Entry:
        items = [
            {"item": item, "chunks_done": self._dice.choice([0, 1, 2]), "chunks_total": 3} for item in claim["items"]
        ]
        return {
            "job_id": claim["job_id"],
            "token": claim["token"],
            "progress": self._dice.randint(0, 100),
            "items": items,
        }

    def _beat(self) -> None:
        worker, claims = self._some_claims()
        leases = [{"job_id": claim["job_id"], "token": claim["token"]} for claim in claims]
        progress = [self._progress(claim) for claim in claims if self._dice.random() < 0.5]
        types = self._dice.choice(TYPE_CHOICES)
        report = {"mode": "realtime", "job_types": types, "lease_ms": LEASE_MS, "leases": leases, "progress": progress}
        answer = self._ask("heartbeat_translation_worker", None, worker_id=worker, report=report)
        expected = self._model.heartbeat(worker, types, LEASE_MS, leases, progress)
        told = {name: sorted(set(told)) if isinstance(told := answer[name], list) else told for name in expected}
        _same(told, expected)

    def _remember(self) -> None:
        worker, claims = self._some_claims()
        for claim in claims[:1]:
            segments = [{"key": f"{self._dice.getrandbits(256):064x}", "target": "…"}]
            name = {"worker_id": worker, "job_id": claim["job_id"], "token": claim["token"]}
            kept = self._ask("remember_translation_memory", None, **name, item="es", segments=segments)
            _same(kept >= 0, self._model.remember(worker, claim["job_id"], claim["token"]))

    def _release(self) -> None:
        worker, claims = self._some_claims()
        leases = [{"job_id": claim["job_id"], "token": claim["token"]} for claim in claims]
        answer = self._ask("release_translation_jobs", None, worker_id=worker, leases=leases)
        _same(answer, self._model.release(worker, leases))

    def _rescue(self) -> None:
        _same(self._ask("rescue_translation_jobs", None), self._model.rescue())

    def _lapse(self) -> None:
        """Every worker is silent for longer than any lease."""
        self._wait(3 * LEASE_MS)
        self._rescue()

    def _some_claims(self) -> tuple[str, list[Row]]:
        """A worker and claims: mostly his own and held; now and then somebody's, long gone, or of a job held again."""
        live = [claim for claim in self._handed if self._model.holds(claim["worker"], claim)]
        held = {claim["job_id"] for claim in live}
        contested = [claim for claim in self._handed if claim["job_id"] in held]
        pool = self._dice.choices([live, contested, self._handed[-12:]], [6, 3, 2])[0] or self._handed[-12:]
        if not pool:
            return WORKERS[0], []
        worker = self._dice.choice(pool)["worker"]
        mine = [claim for claim in pool if claim["worker"] == worker] if self._dice.random() < 0.7 else pool
        return worker, self._dice.sample(mine, min(len(mine), self._dice.randint(1, 3)))


WEIGHTS: dict[Callable[[History], None], int] = {
    History._create: 5,
    History._enqueue: 3,
    History._child: 3,
    History._claim: 16,
    History._claim_again: 3,
    History._record: 22,
    History._record_again: 6,
    History._beat: 10,
    History._remember: 2,
    History._release: 3,
    History._rescue: 3,
    History._lapse: 6,
    History._cancel: 4,
    History._retry: 5,
    History._move_credits: 3,
    History._change_prices: 1,
    History._delete_user: 1,
    History._forward: 12,
}


def _same(answer: Any, expected: Any) -> None:
    assert answer == expected, f"is       {answer}\nexpected {expected}"


def _timestamp(ms: int) -> str:
    return (datetime(2030, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).isoformat()


def _brief(answer: Any) -> Any:
    """What a reader of a failure wants to know of an answer."""
    if isinstance(answer, list):
        return [_brief(row) for row in answer]
    if isinstance(answer, dict) and ("id" in answer or "job_id" in answer):
        return {
            name: answer[name]
            for name in ("id", "job_id", "token", "status", "items", "item", "answer")
            if name in answer
        }
    return answer


def _id(answer: Any) -> Any:
    return answer if isinstance(answer, Refusal) else answer["id"]
