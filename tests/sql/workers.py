"""Rules of those who do the work: claims, results, heartbeats, and all of them again, late and under a wrong name."""

from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import MultipleResults, multiple, rule

from tests.sql.machine import (
    BEATS,
    CLAIMS,
    JOB_TYPES,
    LANGUAGES,
    LEASE_MS,
    TYPES,
    WORKERS,
    Call,
    Held,
    Machine,
    Sent,
    same,
)
from tests.sql.model import SECOND, Entry
from tests.support.database import Database


class Result(NamedTuple):
    """How an item ended."""

    outcome: str
    billed_chars: int
    retry_after_ms: int | None

    def entry(self, held: Held, item: str) -> Entry:
        said = {"result": {"content": "…"}, "error": {"class": "internal", "message": "No."}, "total_chars": 10}
        return held.lease | {"item": item} | self._asdict() | said


OUTCOMES = st.sampled_from(["completed", "failed", "retry", "throttled"])
RESULTS = st.builds(Result, OUTCOMES, st.integers(-1, 12), st.sampled_from([None, 5 * SECOND, 400 * SECOND]))
PLANS = st.lists(RESULTS, min_size=1, max_size=4)  # more results than items: some are told twice
CHUNKS = st.lists(st.integers(0, 2), max_size=3)
LIMITS = st.sampled_from([4, 1, 2, 0])
LEASES = st.sampled_from([LEASE_MS, 2 * LEASE_MS])
ITEMS = st.sampled_from([*LANGUAGES, "xx"])
KEYS = st.sampled_from([["a" * 64], ["b" * 64], ["a" * 64, "b" * 64]])


def entries(held: Held, plan: Iterable[Result]) -> list[Entry]:
    return [result.entry(held, item) for result, item in zip(plan, cycle(held.items), strict=False)]


def progress(held: Held, chunks: Sequence[int]) -> Entry:
    pairs = zip(held.items, chunks, strict=False)
    items = [{"item": item, "chunks_done": done, "chunks_total": 3} for item, done in pairs]
    return held.lease | {"progress": 40, "items": items}


class Workers(Machine):
    def __init__(self, db: Database, call: Call) -> None:
        super().__init__(db, call)
        self._handed: dict[int, Held] = {}  # by token

    def _held(self, worker: str) -> list[Held]:
        """What the model says that *worker* works on."""
        claims = [job.claim for job in self.model.jobs.values() if job.claim]
        return [self._handed[claim.token] for claim in claims if claim.worker == worker]

    # Claims

    @rule(target=CLAIMS, worker=WORKERS, limit=LIMITS, lease_ms=LEASES, job_types=JOB_TYPES)
    def claim(self, worker: str, limit: int, lease_ms: int, job_types: list[str]) -> MultipleResults[Held]:
        rows = self._claim(worker, limit, lease_ms, job_types)
        taken = [self.seen["order"][held.job_id] for held in rows]
        left = [self.seen["order"][job.id] for job in self.model.jobs.values()
                if job.status == "pending" and job.request.job_type in job_types]  # fmt: skip
        assert taken == sorted(taken), "handed out in the order of the queue"
        assert not left or not taken or taken[-1] < min(left), "nobody is passed over"
        assert all(held.items for held in rows), "a job that is claimed has something to do"
        return multiple(*rows)

    @rule(held=CLAIMS, worker=WORKERS)
    def claim_again(self, held: Held, worker: str) -> None:
        """The answer was lost; now and then another worker uses the same id."""
        self._send_claim(held.call | {"worker_id": worker})

    def _claim(self, worker: str, limit: int = 4, lease_ms: int = LEASE_MS, job_types: Any = TYPES) -> list[Held]:
        name = {"worker_id": worker, "claim_id": self.new_id()}
        return self._send_claim(name | {"limit": limit, "lease_ms": lease_ms, "job_types": list(job_types)})

    def _send_claim(self, call: dict[str, Any]) -> list[Held]:
        rows = self.ask("claim_translation_jobs", None, **call)
        picked = [(row["job_id"], row["token"]) for row in rows]
        rest = call["limit"], call["job_types"], call["lease_ms"]
        expected = self.model.claim(call["worker_id"], call["claim_id"], *rest, picked)
        for row, wanted in zip(rows, expected, strict=True):
            items = [(item["item"], item["attempts"]) for item in row["items"]]
            same({name: row[name] for name in wanted} | {"items": items}, wanted)
            held = Held(row["job_id"], row["token"], call["worker_id"], call, [item for item, _ in items])
            self._handed.setdefault(row["token"], held)
        return [self._handed[row["token"]] for row in rows]

    # Results

    @rule(target=CLAIMS, worker=WORKERS, plan=PLANS, chunks=CHUNKS)
    def work(self, worker: str, plan: list[Result], chunks: list[int]) -> MultipleResults[Held]:
        """Results of all that the worker holds, progress among them; a worker with nothing to do takes jobs first."""
        new, mine = self._take(worker)
        moved = [progress(held, chunks) for held in mine if chunks]
        self._record(worker, moved + [entry for held in mine for entry in entries(held, plan)])
        return new

    @rule(target=CLAIMS, worker=WORKERS, keys=KEYS, billed_chars=st.integers(0, 10))
    def succeed(self, worker: str, keys: list[str], billed_chars: int) -> MultipleResults[Held]:
        """All that the worker holds completes, and is remembered."""
        new, mine = self._take(worker)
        for held in mine:
            for item in held.items:
                self._learn(held, worker, item, keys)
        done = [Result("completed", billed_chars, None)] * 3
        self._record(worker, [entry for held in mine for entry in entries(held, done)])
        return new

    def _take(self, worker: str) -> tuple[MultipleResults[Held], list[Held]]:
        """What is claimed now, and all that the worker holds then."""
        new = [] if self._held(worker) else self._claim(worker)
        return multiple(*new), self._held(worker)

    @rule(held=CLAIMS, plan=PLANS)
    def record(self, held: Held, plan: list[Result]) -> None:
        """Results of one claim, perhaps long gone, by who holds the job now: only the token tells."""
        job = self.model.jobs.get(held.job_id)
        self._record(job.claim.worker if job and job.claim else held.worker, entries(held, plan))

    @rule(held=CLAIMS, worker=WORKERS, item=ITEMS, result=RESULTS)
    def record_anything(self, held: Held, worker: str, item: str, result: Result) -> None:
        self._record(worker, [result.entry(held, item)])

    @rule(held=CLAIMS, backwards=st.booleans())
    def record_again(self, held: Held, backwards: bool) -> None:
        """The call that last told of the claim, as it was sent."""
        for call in held.sent[-1:]:
            self._record(held.worker, call[::-1] if backwards else call)

    def _record(self, worker: str, results: list[Entry]) -> None:
        answer = self.ask("record_translation_results", None, worker_id=worker, results=results)
        same(answer, self.model.record(worker, results, lambda job, item: self.seen["jobs"][job]["items"][item][3]))
        self.reached.update(told["answer"] for told in answer)
        for token in {entry["token"] for entry in results}:
            self._handed[token].sent.append(results)

    # Heartbeats

    @rule(target=BEATS, worker=WORKERS, job_types=JOB_TYPES, chunks=CHUNKS)
    def beat(self, worker: str, job_types: list[str], chunks: list[int]) -> Sent:
        return self._beat(worker, job_types, self._held(worker), chunks)

    @rule(target=BEATS, held=CLAIMS, worker=WORKERS, job_types=JOB_TYPES)
    def beat_with(self, held: Held, worker: str, job_types: list[str]) -> Sent:
        """A worker that names a claim that may be gone, or another's."""
        return self._beat(worker, job_types, [held, *self._held(worker)], [1])

    @rule(sent=BEATS)
    def beat_again(self, sent: Sent) -> None:
        self._send_beat(sent)

    def _beat(self, worker: str, job_types: list[str], claims: list[Held], chunks: list[int]) -> Sent:
        moved = [progress(held, chunks) for held in claims if chunks]
        report = {"job_types": job_types, "leases": [held.lease for held in claims], "progress": moved}
        sent = Sent(worker, {"mode": "realtime", "lease_ms": LEASE_MS} | report)
        self._send_beat(sent)
        return sent

    def _send_beat(self, sent: Sent) -> None:
        report = sent.report
        answer = self.ask("heartbeat_translation_worker", None, worker_id=sent.worker, report=report)
        arguments = report["job_types"], report["lease_ms"], report["leases"], report["progress"]
        expected = self.model.heartbeat(sent.worker, *arguments)
        told = {name: sorted(set(told)) if isinstance(told := answer[name], list) else told for name in expected}
        same(told, expected)

    # Memory

    @rule(held=CLAIMS, worker=WORKERS, item=ITEMS, keys=KEYS)
    def learn_late(self, held: Held, worker: str, item: str, keys: list[str]) -> None:
        """Under a claim that may be gone, or another's."""
        self._learn(held, worker, item, keys)

    def _learn(self, held: Held, worker: str, item: str, keys: list[str]) -> None:
        name = {"worker_id": worker} | held.lease
        hits = self.ask("recall_translation_memory", None, **name, target_language=item, keys=keys)
        same({hit["key"]: hit["free"] for hit in hits}, self.model.recall(worker, held.lease, item, keys))
        segments = [{"key": key, "target": "…"} for key in keys]
        kept = self.ask("remember_translation_memory", None, **name, item=item, segments=segments)
        same(kept, self.model.remember(worker, held.lease, item, keys))
        terms = self.ask("recall_translation_glossary", None, **name, target_languages=["de"])
        same(sorted(term["id"] for term in terms), self.model.recall_terms(worker, held.lease))

    # Back into the queue

    @rule(held=CLAIMS, worker=WORKERS)
    def release(self, held: Held, worker: str) -> None:
        """All that the worker holds, and a claim that may be gone, or another's."""
        leases = [one.lease for one in (held, *self._held(worker))]
        answer = self.ask("release_translation_jobs", None, worker_id=worker, leases=leases)
        same(answer, self.model.release(worker, leases))

    @rule()
    def rescue(self) -> None:
        same(self.ask("rescue_translation_jobs", None), self.model.rescue())

    @rule(target=CLAIMS, worker=WORKERS, crashes=st.integers(1, 3))
    def crash(self, worker: str, crashes: int) -> MultipleResults[Held]:
        """A worker takes jobs and is never heard of again, and so is the next that takes them."""
        lost = []
        for _ in range(crashes):
            lost += self._claim(worker)
            self.wait(3 * LEASE_MS)
            self.rescue()
        return multiple(*lost)

    # Drawn more often than the rest.
    claim_2 = claim_3 = claim
    work_2 = work_3 = work_4 = work_5 = work
    beat_2 = beat
    record_2 = record
