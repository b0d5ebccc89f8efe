"""
What the procedures promise, as a small machine in Python: states, tries, claims and money.

Owns the prediction; never sees the database. The rule: where the database may choose (which job is next, how long a
jittered wait is), the machine is told the choice and refuses one that was not allowed. Times are milliseconds.
"""

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from tests.sql import rows
from tests.sql.books import Books
from tests.sql.rows import Claim, Item, Job, Refusal, Request

SECOND = 1000
DAY = 86_400 * SECOND
MAX_ATTEMPTS = {"translation": 2, "chore": 3}
MAX_LOST = 3
RETRY_WINDOW_MAX = 300 * SECOND
THROTTLED = 15 * SECOND  # the pause when the provider named none

Entry = dict[str, Any]
When = Callable[[str, str], int]  # (job, item) → when the database lets the item be tried again


class Model:
    """The queue of one project. Methods are the procedures; they answer as those do, or raise Refusal."""

    def __init__(self) -> None:
        self.now = 0
        self.books = Books()
        self.jobs: dict[str, Job] = {}

    # Users and owners

    def add(self, request: Request, new_id: str, *, by_user: bool, retry_of: str | None = None) -> str:
        """Create and enqueue. *new_id* is the database's choice, used if a job is made. Returns the job's id."""
        if by_user and request.job_type != "translation":
            raise Refusal("job_type_unknown")
        same = [job for job in self.jobs.values() if request.key and self._scope(job.request) == self._scope(request)]
        if same:
            if same[0].request.body != request.body:
                raise Refusal("idempotency_conflict")
            return same[0].id
        waits = self._waits(request, by_user)
        price = self.books.prices[request.job_type] if request.user else 0
        self.books.reserve(request.user, new_id, request.items, price)
        later = request.run_at is not None and request.run_at > self.now
        assert new_id not in self.jobs
        self.jobs[new_id] = Job(
            new_id,
            request,
            {name: Item(price, price) for name in request.items},
            "blocked" if waits else "scheduled" if later else "pending",
            request.run_at,
            max(request.run_at or 0, self.now) + DAY,
            retry_of,
        )
        return new_id

    @staticmethod
    def _scope(request: Request) -> tuple[str | None, str | None]:
        return request.user, request.key

    def _waits(self, request: Request, by_user: bool) -> bool:
        parents = [self.jobs[parent] for parent in request.after if parent in self.jobs]
        visible = [parent for parent in parents if not by_user or parent.user == request.user]
        if not request.anyway and any(parent.status in ("failed", "cancelled") for parent in visible):
            raise Refusal("parent_failed")
        if len(visible) < len(request.after):
            raise Refusal("parent_not_found")
        return any(not parent.ended for parent in parents)

    def add_all(self, requests: Sequence[Request], new_ids: Sequence[str]) -> list[str]:
        """Many jobs or none, in the order of their users' locks."""
        before = copy.deepcopy((self.books, self.jobs))
        try:
            return [self.add(r, i, by_user=False) for r, i in zip(requests, new_ids, strict=True)]
        except Refusal:
            self.books, self.jobs = before
            raise

    def add_chain(self, requests: Sequence[Request], new_ids: Sequence[str]) -> list[str]:
        """Jobs that wait for each other, one after the other; all or none."""
        before = copy.deepcopy((self.books, self.jobs))
        made: list[str] = []
        try:
            for request, new_id in zip(requests, new_ids, strict=True):
                after = replace(request, after=tuple(made[-1:]))
                made.append(self.add(after, new_id, by_user=False))
        except Refusal:
            self.books, self.jobs = before
            raise
        return made

    def cancel(self, job_id: str, caller: str | None) -> str:
        """Returns the status the job has then."""
        job = self._own(job_id, caller)
        if not job.ended:
            self._close(job, "cancelled")
        return job.status

    def retry(self, job_id: str, caller: str | None, new_id: str) -> str:
        """Returns the id of the job that repeats what did not complete."""
        job = self._own(job_id, caller)
        again = [other.id for other in self.jobs.values() if other.retry_of == job_id]
        if again:
            return again[0]
        if not job.ended:
            raise Refusal("job_not_finished")
        items = tuple(name for name, item in job.items.items() if item.status != "completed")
        if not items:
            raise Refusal("nothing_to_retry")
        old = job.request
        priority = old.priority if caller is None else 5
        after = tuple(self._latest(parent) for parent in old.after if parent in self.jobs)
        if caller is not None:
            after = tuple(parent for parent in after if self.jobs[parent].user == caller)
        request = Request(job.user, old.job_type, old.content, items, priority, after=after, anyway=old.anyway)
        return self.add(request, new_id, by_user=caller is not None, retry_of=job_id)

    def _latest(self, job_id: str) -> str:
        """The job itself, or what repeats it after it did not complete."""
        again = [job.id for job in self.jobs.values() if job.retry_of == job_id]
        return self._latest(again[0]) if again and self.jobs[job_id].status in ("failed", "cancelled") else job_id

    def _own(self, job_id: str, caller: str | None) -> Job:
        job = self.jobs.get(job_id)
        if job is None or (caller is not None and job.user != caller):
            raise Refusal("job_not_found")
        return job

    def delete_user(self, user: str) -> None:
        """Jobs go with their user, what was paid stays. What waited for one of them, of somebody else, is cancelled."""
        gone = {job.id for job in self.jobs.values() if job.user == user}
        unfinished = {job_id for job_id in gone if not self.jobs[job_id].ended}
        self.jobs = {job.id: job for job in self.jobs.values() if job.id not in gone}
        self.books.forget(user)
        for job in list(self.jobs.values()):
            if job.status == "blocked" and unfinished.intersection(job.request.after):
                if job.request.anyway:
                    self._settle_child(job)
                else:
                    self._close(job, "cancelled")

    def requeue(self, job_ids: Iterable[str]) -> int:
        """What waits for a time, or is being worked on, runs now. Returns how many."""
        jobs = [self.jobs[job_id] for job_id in set(job_ids) & self.jobs.keys()]
        moved = [job for job in jobs if job.status in ("scheduled", "retrying", "processing")]
        for job in moved:
            for item in job.items.values():
                item.retry_at = None
            self._requeue(job)
        return len(moved)

    def purge(self, age_ms: int, limit: int, gone: set[str]) -> int:
        """*gone* is what the database chose: of the oldest, none that another job still waits for."""
        ended = {job.id: job.ended_at for job in self.jobs.values() if job.ended_at is not None}
        needed = {parent for job in self.jobs.values() if not job.ended for parent in job.request.after}
        old = {name: at for name, at in ended.items() if at < self.now - age_ms and name not in needed}
        assert gone <= old.keys()
        assert len(gone) == min(limit, len(old))
        left = [at for name, at in old.items() if name not in gone]
        assert not left or max((old[name] for name in gone), default=0) <= min(left), "the oldest first"
        for name in gone:
            del self.jobs[name]
        return len(gone)

    # Workers

    def claim(
        self,
        worker: str,
        call: str,
        limit: int,
        job_types: Iterable[str],
        lease_ms: int,
        picked: Sequence[tuple[str, int]],
    ) -> list[Entry]:
        """*picked* are the jobs and tokens the database chose. Returns what it has to hand out for them."""
        if not self._known_call(call):
            self.promote(job_types)
            waiting = [
                job.id for job in self.jobs.values() if job.status == "pending" and job.request.job_type in job_types
            ]
            assert len(picked) == min(max(limit, 0), len(waiting)), "as many as there are and were asked for"
            newest = max((past.token for job in self.jobs.values() for past in job.past_claims), default=0)
            for job_id, token in picked:
                assert token > newest, "tokens grow"
                assert job_id in waiting, "only what is pending, each once, and of the types asked for"
                waiting.remove(job_id)
                self._hold(self.jobs[job_id], Claim(token, call, worker, self.now, self.now + lease_ms))
        held = {
            job.id: job
            for job in self.jobs.values()
            if job.claim and (job.claim.call, job.claim.worker) == (call, worker)
        }
        assert sorted(held) == sorted(job_id for job_id, _ in picked)
        return [self._handed_out(held[job_id]) for job_id, _ in picked]

    def _known_call(self, call: str) -> bool:
        return any(claim.call == call for job in self.jobs.values() for claim in job.past_claims)

    def _hold(self, job: Job, claim: Claim) -> None:
        job.status, job.claim, job.deliveries = "processing", claim, job.deliveries + 1
        job.past_claims.append(claim)

    def _handed_out(self, job: Job) -> Entry:
        assert job.claim is not None
        items = [(name, item.attempts) for name, item in job.items.items() if job.claim.hands_out(item)]
        return {
            "job_id": job.id,
            "token": job.claim.token,
            "deliveries": job.deliveries,
            "lease_ms": job.claim.lease_until - self.now,
            "deadline_ms": job.deadline_at - self.now,
            "items": items,
        }

    def promote(self, job_types: Iterable[str]) -> int:
        """What is due becomes pending. Returns how many."""
        due = [job for job in self._waiting_for_time(job_types) if (job.run_at or 0) <= self.now]
        for job in due:
            job.status = "pending"
        return len(due)

    def _waiting_for_time(self, job_types: Iterable[str]) -> list[Job]:
        states = ("scheduled", "retrying")
        return [job for job in self.jobs.values() if job.status in states and job.request.job_type in job_types]

    def record(self, worker: str, entries: Sequence[Entry], when: When) -> list[Entry]:
        """Outcomes and progress, in one call."""
        self.progress(worker, [entry for entry in entries if "item" not in entry])
        results = [entry for entry in entries if "item" in entry]
        answers = self._judge(worker, results)
        for entry, answer in zip(results, answers, strict=True):
            if answer == "recorded":
                self._apply(self.jobs[entry["job_id"]], entry, when)
        for job_id in sorted(
            {entry["job_id"] for entry, answer in zip(results, answers, strict=True) if answer == "recorded"}
        ):
            self._settle(self.jobs[job_id])
        return [
            {"job_id": e["job_id"], "item": e["item"], "answer": a, "job_status": self._status(e["job_id"])}
            for e, a in zip(results, answers, strict=True)
        ]

    def _status(self, job_id: str) -> str | None:
        return self.jobs[job_id].status if job_id in self.jobs else None

    def _judge(self, worker: str, results: Sequence[Entry]) -> list[str]:
        answers: dict[tuple[str, str, int], str] = {}
        judged = []
        for entry in results:
            name = entry["job_id"], entry["item"], entry["token"]
            again = answers.get(name)
            answers[name] = "already" if again == "recorded" else again or self._judge_one(worker, entry)
            judged.append(answers[name])
        return judged

    def _judge_one(self, worker: str, entry: Entry) -> str:
        job = self.jobs.get(entry["job_id"])
        item = job.items.get(entry["item"]) if job else None
        if job and item and item.recorded == entry["token"]:
            return "already"
        if job and item and item.open and job.held_by(worker, entry["token"]):
            return "recorded"
        return "cancelled" if job and job.status == "cancelled" else "lost"

    def _apply(self, job: Job, entry: Entry, when: When) -> None:
        item, outcome = job.items[entry["item"]], entry["outcome"]
        asked = min(entry["retry_after_ms"] or 0, DAY)
        pause = THROTTLED if entry["retry_after_ms"] is None else max(asked, SECOND)
        window = min(RETRY_WINDOW_MAX, SECOND * 2**item.attempts)
        item.recorded = entry["token"]
        item.attempts += outcome != "throttled"
        if outcome == "completed":
            self._finish(job, entry["item"], "completed", _charge(item.price, entry))
        elif outcome == "retry" and item.attempts < MAX_ATTEMPTS[job.request.job_type]:
            item.status, item.retry_at = "pending", when(job.id, entry["item"])
            assert asked <= item.retry_at - self.now <= max(asked, window), "full jitter within its window"
        elif outcome == "throttled" and self.now + pause <= job.deadline_at:
            item.status, item.retry_at = "pending", self.now + pause
        else:
            self._finish(job, entry["item"], "failed", 0)

    def _finish(self, job: Job, name: str, status: str, charge: int) -> None:
        item = job.items[name]
        item.status, item.credits, item.retry_at = status, charge, None
        self.books.settle(job, name, charge)

    def _close(self, job: Job, status: str) -> None:
        for name in [name for name, item in job.items.items() if item.open]:
            self._finish(job, name, status, 0)
        self._settle(job)

    def _settle(self, job: Job) -> None:
        """The state of a job follows from its items."""
        waiting = [item for item in job.items.values() if item.open]
        if job.claim and any(job.claim.hands_out(item) for item in waiting):
            return
        job.claim = None
        if waiting:
            job.status, job.run_at = "retrying", min(item.retry_at for item in waiting if item.retry_at is not None)
            return
        statuses = {item.status for item in job.items.values()}
        job.status = next(status for status in ("cancelled", "completed", "failed") if status in statuses)
        job.ended_at = self.now
        for child in [
            child for child in self.jobs.values() if child.status == "blocked" and job.id in child.request.after
        ]:
            self._settle_child(child)

    def _settle_child(self, child: Job) -> None:
        parents = [self.jobs[parent] for parent in child.request.after if parent in self.jobs]
        if not child.request.anyway and any(parent.status in ("failed", "cancelled") for parent in parents):
            self._close(child, "cancelled")
        elif all(parent.ended for parent in parents):
            later = child.run_at is not None and child.run_at > self.now
            child.status = "scheduled" if later else "pending"
            child.deadline_at = max(child.run_at or 0, self.now) + DAY

    def progress(self, worker: str, entries: Sequence[Entry]) -> None:
        for entry in entries:
            job = self.jobs.get(entry["job_id"])
            if job is None or job.claim is None or not job.held_by(worker, entry["token"]):
                continue
            for moved in entry["items"]:
                item = job.items[moved["item"]]
                if job.claim.hands_out(item):
                    item.status = "processing"
                    job.claim.progressed |= moved["chunks_done"] > 0

    def remember(self, worker: str, claim: Entry, item: str, keys: Sequence[str]) -> int:
        """Segments are kept only under the claim: else -1."""
        if not self.holds(worker, claim):
            return -1
        job = self.jobs[claim["job_id"]]
        assert job.claim is not None
        job.claim.progressed = True
        return self.books.remember(job.user, keys, (job.id, item))

    def recall(self, worker: str, claim: Entry, item: str, keys: Sequence[str]) -> dict[str, bool]:
        if not self.holds(worker, claim):
            return {}
        return self.books.recall(self.jobs[claim["job_id"]].user, keys, item)

    def recall_terms(self, worker: str, claim: Entry) -> list[int]:
        user = self.jobs[claim["job_id"]].user if self.holds(worker, claim) else None
        return self.books.terms_of(user)

    def release(self, worker: str, leases: Sequence[Entry]) -> int:
        """Returns how many jobs went back."""
        held = {lease["job_id"] for lease in leases if self.holds(worker, lease)}
        for job_id in held:
            self._requeue(self.jobs[job_id])
        return len(held)

    def holds(self, worker: str, lease: Entry) -> bool:
        job = self.jobs.get(lease["job_id"])
        return job is not None and job.held_by(worker, lease["token"])

    @staticmethod
    def _requeue(job: Job) -> None:
        job.status, job.claim = "pending", None
        for item in job.items.values():
            if item.open:
                item.status = "pending"

    def rescue(self) -> int:
        """Returns how many jobs were taken back from workers whose lease ran out."""
        late = [job for job in self.jobs.values() if job.claim and job.claim.lease_until < self.now]
        for job in late:
            assert job.claim is not None
            token = job.claim.token
            worked = job.claim.progressed or any(item.recorded == token for item in job.items.values())
            job.lost += not worked
            self._requeue(job)
            if job.lost >= MAX_LOST:
                self._close(job, "failed")
        return len(late)

    def heartbeat(
        self, worker: str, job_types: Iterable[str], lease_ms: int, leases: Sequence[Entry], progress: Sequence[Entry]
    ) -> dict[str, Any]:
        self.progress(worker, progress)
        gone = {lease["job_id"] for lease in leases if not self.holds(worker, lease)}
        for lease in leases:
            claim = self.jobs[lease["job_id"]].claim if self.holds(worker, lease) else None
            if claim is not None:
                claim.lease_until = self.now + lease_ms
        cancelled = {job_id for job_id in gone if self._status(job_id) == "cancelled"}
        rescued, promoted = self.rescue(), self.promote(job_types)
        due = [job.run_at or 0 for job in self._waiting_for_time(job_types)]
        others = [job.claim.lease_until for job in self.jobs.values() if job.claim and job.claim.worker != worker]
        return {
            "lost": sorted(gone - cancelled),
            "cancelled": sorted(cancelled),
            "rescued": rescued,
            "promoted": promoted,
            "waiting": any(job.status == "pending" and job.request.job_type in job_types for job in self.jobs.values()),
            "next_due_ms": min(due) - self.now if due else None,
            "next_rescue_ms": max(0, min(others) - self.now) if others else None,
        }

    # What is compared

    def picture(self) -> dict[str, Any]:
        """Everything that has to be in the tables now."""
        return {
            "jobs": {job.id: rows.picture(job) for job in self.jobs.values()},
            "balances": dict(self.books.balances),
            "ledger": sorted(str(list(row)) for row in self.books.ledger),
            "terms": {str(number): user for number, (user, _) in self.books.terms.items()},
            "memory": sorted(str([*name, *origin]) for name, (_, origin) in self.books.memory.items()),
        }


def _charge(price: int, entry: Entry) -> int:
    """The price times the billed share of the characters, rounded up."""
    billed: int = min(max(entry["billed_chars"], 0), entry["total_chars"])
    return -(-price * billed // int(entry["total_chars"]))
