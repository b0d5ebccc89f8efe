"""Rules of those who make jobs: users under row level security, and the owner's side."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import MultipleResults, consumes, initialize, multiple, rule

from tests.sql.machine import (
    JOBS,
    LANGUAGES,
    PAUSES,
    TERMS,
    TYPES,
    USERS,
    Call,
    Machine,
    Made,
    agree,
    given,
    same,
    timestamp,
)
from tests.sql.model import DAY, SECOND
from tests.sql.rows import ENDED, Refusal, Request
from tests.support.database import Database

MOMENTS = st.sampled_from([None, None, None, -SECOND, SECOND, 5 * SECOND, 400 * SECOND])
KEYS = st.sampled_from([None, None, "a", "b"])
ITEMS = st.sampled_from([("es",), ("es", "fr"), ("fr", "es"), ("fr", "es", "de")])
NOBODY: st.SearchStrategy[None] = st.none()
# Whose name a call comes in: the job's user, the owner's side, or somebody else's.
BY = st.sampled_from(["user", "user", "user", "owner", "stranger"])


class Ask(NamedTuple):
    """What a new job is to be; *moment* is its `run_at`, in ms from now."""

    content: str
    items: tuple[str, ...]
    key: str | None
    moment: int | None


ASKS = st.builds(Ask, st.sampled_from(["One", "Two"]), ITEMS, KEYS, MOMENTS)
PRIORITIES = st.integers(1, 10)


class Callers(Machine):
    # Users

    def __init__(self, db: Database, call: Call) -> None:
        super().__init__(db, call)
        for _ in range(2):
            self._sign_up()

    @initialize(target=USERS)
    def meet(self) -> MultipleResults[str]:
        return multiple(*sorted(self.users))

    @initialize(target=JOBS, first=ASKS, second=ASKS)
    def begin(self, first: Ask, second: Ask) -> MultipleResults[Made]:
        pairs = zip(sorted(self.users), (first, second), strict=True)
        return multiple(*(self._made(user, self._request(user, "translation", ask)) for user, ask in pairs))

    def _sign_up(self) -> str:
        user = self.new_id()
        self.users.add(user)
        self.run("insert into auth.users (id) values (%s)", user)
        self._move(user, "grant", 60, None)
        return user

    @rule(target=USERS, gone=consumes(USERS))
    def leave(self, gone: str) -> str:
        """A user is deleted; another one comes."""
        self.users.remove(gone)
        self.run("delete from auth.users where id = %s", gone)
        self.model.delete_user(gone)
        return self._sign_up()

    @rule(user=USERS, kind=st.sampled_from(["grant", "revoke"]), amount=st.sampled_from([5, 20]), key=KEYS)
    def move_credits(self, user: str, kind: str, amount: int, key: str | None) -> None:
        self._move(user, kind, amount, key)

    def _move(self, user: str, kind: str, amount: int, key: str | None) -> None:
        answer = self.ask(f"{kind}_translation_credits", None, user_id=user, amount=amount, idempotency_key=key)
        agree(answer, lambda: self.model.books.move(user, kind, amount, key))

    # New jobs

    @rule(target=JOBS, user=USERS, ask=ASKS)
    def create(self, user: str, ask: Ask) -> Any:
        return self._make(user, self._request(user, "translation", ask))

    @rule(target=JOBS, user=USERS | NOBODY, job_type=st.sampled_from(TYPES), ask=ASKS, priority=PRIORITIES)
    def enqueue(self, user: str | None, job_type: str, ask: Ask, priority: int) -> Any:
        return self._make(None, self._request(user, job_type, ask, priority))

    @rule(target=JOBS, parent=JOBS, other=JOBS, by=BY, ask=ASKS, anyway=st.booleans())
    def create_child(self, parent: Made, other: Made, by: str, ask: Ask, anyway: bool) -> Any:
        caller = self._caller(parent, by)
        user = parent.request.user if caller is None else caller
        if not self._may_own(user):
            return multiple()
        return self._make(caller, self._request(user, "translation", ask, after=(parent.id, other.id), anyway=anyway))

    @rule(made=JOBS)
    def create_again(self, made: Made) -> None:
        """The same call once more; without a key it is another job."""
        if self._may_own(made.request.user):
            self._make(made.caller, made.request)

    @rule(target=JOBS, user=USERS, asks=st.lists(st.tuples(st.sampled_from(TYPES), ASKS), min_size=1, max_size=3))
    def enqueue_many(self, user: str, asks: Sequence[tuple[str, Ask]]) -> Any:
        requests = [self._request(user, job_type, ask) for job_type, ask in asks]
        batch = [{f"p_{k}": v for k, v in self._arguments(r).items()} | {"p_items": list(r.items)} for r in requests]
        answer = self.ask("enqueue_translation_jobs", None, jobs=batch)
        requests.sort(key=lambda request: (request.key is None, request.key or ""))
        refused = isinstance(answer, Refusal)
        ids = [f"new {n}" if refused else answer[n]["id"] for n in range(len(batch))]
        agree(answer if refused else ids, lambda: self.model.add_all(requests, ids))
        return multiple(*(Made(*made) for made in zip(ids, repeat(None), requests, strict=False) if not refused))

    @rule(target=JOBS, user=USERS, asks=st.lists(ASKS, min_size=2, max_size=3), anyway=st.booleans())
    def enqueue_chain(self, user: str, asks: Sequence[Ask], anyway: bool) -> Any:
        """Each waits for the one before it; the call names the last one first."""
        requests = [self._request(user, "translation", ask, anyway=anyway) for ask in asks]
        steps = []
        for n, request in enumerate(requests):
            said = {f"p_{k}": v for k, v in self._arguments(request).items()} | {"p_items": list(request.items)}
            steps.append(said | {"p_name": str(n), "p_after_names": [str(n - 1)] if n else None})
        answer = self.ask("enqueue_translation_chain", None, jobs=steps[::-1])
        refused = isinstance(answer, Refusal)
        ids = [f"new {n}" if refused else answer[str(n)]["id"] for n in range(len(steps))]
        agree(answer if refused else ids, lambda: self.model.add_chain(requests, ids))
        return multiple(*(Made(*made) for made in zip(ids, repeat(None), requests, strict=False) if not refused))

    def _may_own(self, user: str | None) -> bool:
        return user is None or user in self.users

    def _request(
        self, user: str | None, job_type: str, ask: Ask, priority: int = 5, after: Any = (), anyway: bool = False
    ) -> Request:
        run_at = None if ask.moment is None else self.model.now + ask.moment
        after = tuple(dict.fromkeys(after))
        return Request(user, job_type, ask.content, ask.items, priority, ask.key, run_at, after, anyway)

    @staticmethod
    def _arguments(request: Request) -> dict[str, Any]:
        return {
            "job_type": request.job_type,
            "content": request.content,
            "user_id": request.user,
            "priority": request.priority,
            "idempotency_key": request.key,
            "run_at": timestamp(request.run_at),
            "after": list(request.after) or None,
            "options": {"after_failure": "run"} if request.anyway else {},
        }

    def _make(self, caller: str | None, request: Request) -> Any:
        made = self._made(caller, request)
        return made if isinstance(made, Made) else multiple()

    def _made(self, caller: str | None, request: Request) -> Any:
        arguments, items = self._arguments(request), list(request.items)
        if caller is None:
            answer = self.ask("enqueue_translation_job", None, **arguments, items=items)
        else:
            del arguments["job_type"], arguments["user_id"], arguments["priority"]
            answer = self.ask("create_translation_job", caller, **arguments, target_languages=items)
        made = given(answer, "id")
        agree(made, lambda: self.model.add(request, made, by_user=caller is not None))
        self._check_turn(made)
        return made if isinstance(made, Refusal) else Made(made, caller, request)

    def _check_turn(self, made: Any) -> None:
        """A new job's turn comes after its user's last one, and never before what is being served."""
        if isinstance(made, Refusal) or made in self.before["jobs"] or self.seen["jobs"][made]["status"] != "pending":
            return
        user = self.model.jobs[made].user
        own = [
            job.id
            for job in self.model.jobs.values()
            if job.user == user and job.status == "pending" and job.id != made
        ]
        turns = [self.before["order"][job_id][1] or 0 for job_id in own]
        assert self.seen["order"][made][1] == max([*turns, self.before["served"]]) + 1

    # Jobs that exist, or did

    def _caller(self, made: Made, by: str) -> str | None:
        strangers = sorted(self.users - {made.request.user})
        return {"user": made.request.user, "owner": None, "stranger": strangers[0]}[by]

    @rule(made=JOBS, by=BY)
    def cancel(self, made: Made, by: str) -> None:
        caller = self._caller(made, by)
        answer = self.ask("cancel_translation_job", caller, job_id=made.id)
        agree(given(answer, "status"), lambda: self.model.cancel(made.id, caller))

    @rule(target=JOBS, made=JOBS, by=BY)
    def retry(self, made: Made, by: str) -> Any:
        caller = self._caller(made, by)
        again = given(self.ask("retry_translation_job", caller, job_id=made.id), "id")
        agree(again, lambda: self.model.retry(made.id, caller, again))
        self._check_turn(again)
        return multiple() if isinstance(again, Refusal) else Made(again, None, self.model.jobs[again].request)

    @rule(made=JOBS, by=BY, item=st.sampled_from(LANGUAGES))
    def read(self, made: Made, by: str, item: str) -> None:
        """Everything that shows one job, to whoever asks."""
        caller = self._caller(made, by)
        job = self.model.jobs.get(made.id)
        mine = job if job and caller in (None, job.user) else None
        found = self.ask("get_translation_job", caller, job_id=made.id)
        same(given(found, "status"), mine.status if mine else Refusal("job_not_found"))
        source = self.ask("get_translation_source", caller, job_id=made.id)
        same(source, mine.request.content if mine else Refusal("job_not_found"))
        result = self.ask("get_translation_result", caller, job_id=made.id, item=item)
        shown = mine.items.get(item) if mine else None
        word = None if shown and shown.status == "completed" else "item_not_finished" if shown else "item_not_found"
        same(result if word else given(result, "credits"), Refusal(word) if word else shown and shown.credits)
        watched = self.ask("watch_translation_jobs", None, job_ids=[made.id])
        same([row["status"] for row in watched], [job.status] if job else [])

    @rule(user=USERS, statuses=st.sampled_from([None, ["pending"], [*ENDED]]))
    def read_lists(self, user: str, statuses: list[str] | None) -> None:
        own = [job for job in self.model.jobs.values() if job.user == user]
        rows = self.ask("list_translation_jobs", user, status=statuses)
        same(sorted(row["id"] for row in rows), sorted(j.id for j in own if not statuses or j.status in statuses))
        held = sum(item.price for job in own for item in job.items.values() if item.open)
        balance = self.model.books.balances[user]
        same(self.ask("get_translation_credits", user), {"balance": balance, "reserved": held})
        price = self.model.books.prices["translation"]
        preview = self.ask("preview_translation_price", user, content="One", target_languages=["es", "fr"])
        same(preview, {"chars": 3, "items": {"es": price, "fr": price}, "total": 2 * price, "balance": balance})
        stats = self.ask("translation_queue_stats", None)
        live = [job.status for job in self.model.jobs.values() if not job.ended]
        same(stats["live"], {status: live.count(status) for status in live})
        same(stats["claims"], sum(job.claim is not None for job in self.model.jobs.values()))

    # The owner, and time

    @rule(prices=st.sampled_from([(0, 0), (7, 3), (7, 0)]))
    def change_prices(self, prices: tuple[int, int]) -> None:
        self.price(*prices)

    @rule(made=JOBS, other=JOBS)
    def requeue(self, made: Made, other: Made) -> None:
        ids = [made.id, other.id]
        same(self.ask("requeue_translation_jobs", None, job_ids=ids), self.model.requeue(ids))

    @rule()
    def probe(self) -> None:
        """What `worker verify` does: nobody's job, place or balance notices."""
        name = "translation_probe_0123456789abcdef"
        self.ask("start_translation_probe", None, probe=name)
        self.ask("end_translation_probe", None, probe=name)

    @rule(limit=st.sampled_from([1, 2, 100]), pause=st.sampled_from([0, 2 * DAY]))
    def purge(self, limit: int, pause: int) -> None:
        self.wait(pause)
        count = self.ask("purge_translation_jobs", None, days=1, limit=limit)
        gone = self.before["jobs"].keys() - self.seen["jobs"].keys()
        same(count, self.model.purge(DAY, limit, set(gone)))

    @rule(pause=st.sampled_from(PAUSES))
    def forward(self, pause: int) -> None:
        self.wait(pause)

    # Drawn more often than the rest.
    create_2 = create
    create_child_2 = create_child
    retry_2 = retry
    forward_2 = forward

    # Glossary

    @rule(target=TERMS, user=USERS, term=st.sampled_from(["Inn", "Urn"]))
    def set_term(self, user: str, term: str) -> int:
        arguments = {"source_language": "en", "target_language": "de", "term": term, "translation": "…"}
        number: int = self.ask("set_translation_term", user, **arguments)
        same(number, self.model.books.set_term(user, term, number))
        return number

    @rule(user=USERS, number=TERMS)
    def delete_term(self, user: str, number: int) -> None:
        answer = self.ask("delete_translation_term", user, id=number)
        agree(answer, lambda: self.model.books.delete_term(user, number))
