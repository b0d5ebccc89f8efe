"""
A lane: a stack as a process of its own, and for each row a fresh worker beside it that knows only address and key.

Jobs are inserted steadily all the while, straight into the database, as a cron job of the project would: also while
the API is away. What is judged is the worker's log, by its own times, and the tables.
"""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from psycopg.rows import TupleRow

from scripts import local
from scripts.matrix.journal import REALTIME, Journal, Turn
from scripts.matrix.rows import BY_PROOF_SECONDS, JOBS, Row

_LEAD_SECONDS = 2.5  # calm before: the proofs have just been given, so the next ones are as far away as can be
_SETTLED_SECONDS = 3.0  # calm for so long is calm
_PROOF_SECONDS = 6.0  # a proof that was spoilt in the last moment is missed this much later at the latest
_INSERT_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_EARLY_SECONDS = 0.3
_DRAIN_SECONDS = 90.0
_LATE_SECONDS = 20.0  # how far past its bound something is still waited for, to tell how late it was
_PRICE = 1

Owner = psycopg.AsyncConnection[TupleRow]


@dataclass
class Result:
    """What came out of a row. Seconds; None: it did not happen, and did not have to."""

    key: str
    row: Row
    noticed: float | None = None
    reason: str = ""
    modes: list[str] = field(default_factory=list)
    """As `translation_workers` showed them from the trouble's begin on."""
    again: float | None = None
    inserted: int = 0
    """From the trouble's begin to the worker's recovery."""
    inserted_in_all: int = 0
    processed: int = 0
    """Of all: completed, once, charged once."""
    found: dict[str, int] = field(default_factory=dict)
    slowest_pickup: float = 0.0
    errors: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Lane:
    def __init__(self, env: dict[str, str], home: Path, admin_key: str, http: aiohttp.ClientSession) -> None:
        self.env = env
        self.home = home
        self._headers = {"x-admin-key": admin_key}
        self._http = http

    async def run(self, key: str, row: Row) -> Result:
        """Do what *row* says, and judge what comes out."""
        await self._ask("DELETE", "orders")
        async with await psycopg.AsyncConnection.connect(self.env["DATABASE_URL"], autocommit=True) as owner:
            await owner.execute(_EMPTY)
            trial = Trial(self, owner, key, row)
            home, settings = self.home / key, self._settings(key, row)
            home.mkdir()
            async with local.running("run", home=home, until=REALTIME, environment=settings) as pid:
                return await trial.run(pid)

    async def begin(self, row: Row, pid: int) -> float:
        """Make the trouble; when it began."""
        at = time.time()
        if row.sabotage:
            os.kill(pid, signal.Signals[row.sabotage])
        for order in row.orders:
            at = (await self._ask("POST", "orders", order=order))["at"]
        return at

    async def announce(self, job_id: str) -> None:
        """Have the stack tell of a job's row, whether or not it can be seen."""
        await self._ask("POST", "announce", table=JOBS, record={"id": job_id})

    def _settings(self, key: str, row: Row) -> dict[str, str]:
        told = {"LOG_JSON": "true", "WORKER_ID": key, "TRANSLATOR": "pseudo"}
        sabotage = {"WORKER_MODULES": "scripts.matrix.saboteur", "PYTHONPATH": str(local.ROOT)} if row.sabotage else {}
        return local.worker_environment(self.env, **told, **sabotage, **row.settings)

    async def _ask(self, method: str, what: str, **body: Any) -> Any:
        url = f"{self.env['SUPABASE_URL']}/admin/{what}"
        async with self._http.request(method, url, headers=self._headers, json=body) as answer:
            if not answer.ok:
                raise RuntimeError(await answer.text())
            return await answer.json() if answer.status != 204 else None


@asynccontextmanager
async def lane(home: Path) -> AsyncIterator[Lane]:
    """A lane with a stack of its own in *home*."""
    admin_key = secrets.token_hex(16)
    env_file = home / "stack.env"
    command = ("stack", "--data", str(home / "data"), "--env-file", str(env_file), "--port", "0")
    async with (
        local.running(*command, home=home, until="Stack ready", environment={"STACK_ADMIN_KEY": admin_key}),
        aiohttp.ClientSession() as http,
    ):
        env = dict(line.split("=", 1) for line in env_file.read_text().splitlines())
        yield Lane(env, home, admin_key, http)


class Trial:
    """One row on its way."""

    def __init__(self, stage: Lane, owner: Owner, key: str, row: Row) -> None:
        self._lane = stage
        self._owner = owner
        self._key = key
        self._row = row
        self._journal = Journal(stage.home / key / "run.log")
        self._inserted_at: dict[str, float] = {}
        self._user = ""
        self._pid = 0
        self._enough = asyncio.Event()
        self._began = float("inf")
        self.result = Result(key, row)

    async def run(self, pid: int) -> Result:
        """Go through it with the worker *pid*."""
        self._pid = pid
        self._user = str((await self._rows(_USER))[0][0])
        async with asyncio.TaskGroup() as tasks:
            inserting = tasks.create_task(self._insert_steadily())
            watching = tasks.create_task(self._watch_mode())
            await asyncio.sleep(_LEAD_SECONDS)
            self._began = await self._lane.begin(self._row, pid)
            for n in range(self._row.jobs):
                await self._insert(f"burst {n}")
            recovered_at = await self._recovered()
            await asyncio.sleep(_SETTLED_SECONDS)
            self._enough.set()  # not cancelled: an insert whose answer is not read may be committed all the same
            await inserting
            await self._until(self._all_ended, _DRAIN_SECONDS)
            watching.cancel()
        if not self._is_alive():
            self.result.broken.append("the worker ended")
        await self._count(recovered_at)
        self._judge()
        return self.result

    # The trouble's course

    async def _recovered(self) -> float:
        """Wait until it was noticed, if it must be, and until the worker hears again; when that was."""
        row, result = self._row, self.result
        over = self._began + row.lasts
        if row.noticed is not None:
            await self._until(self._first_polling, row.noticed + _LATE_SECONDS)
        await asyncio.sleep(max(0.0, over + _PROOF_SECONDS - time.time()))
        await self._until(self._is_calm, row.again + _LATE_SECONDS + _SETTLED_SECONDS)
        if (polling := self._first_polling()) is not None:
            result.noticed = round(max(0.0, polling.at - self._began), 2)
            result.reason = polling.reason
            over = max(over, polling.at) if not row.lasts else over  # what happens once is over when it is noticed
        if self._journal.turns[-1].mode == "realtime":
            result.again = round(max(0.0, self._journal.turns[-1].at - over), 2)
        return max(over, self._journal.turns[-1].at)

    def _first_polling(self) -> Turn | None:
        self._journal.look()
        return next(self._journal.after(self._began - 0.01, "polling"), None)

    def _is_calm(self) -> bool:
        self._journal.look()
        last = self._journal.turns[-1]
        return last.mode == "realtime" and last.at < time.time() - _SETTLED_SECONDS

    async def _until(self, is_so: Callable[[], Any], seconds: float) -> None:
        """Wait until *is_so* (which may be a coroutine function), *seconds* at most: what never was is judged later."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._is_alive():
            answer = is_so()
            if await answer if asyncio.iscoroutine(answer) else answer:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _is_alive(self) -> bool:
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    async def _watch_mode(self) -> None:
        """What anybody who asks the table sees."""
        modes = self.result.modes
        while True:
            rows = await self._rows("select mode from public.translation_workers where id = %s", self._key)
            if rows and time.time() > self._began and modes[-1:] != [rows[0][0]]:
                modes.append(rows[0][0])
            await asyncio.sleep(_LOOK_SECONDS)

    # Jobs

    async def _insert_steadily(self) -> None:
        n = 0
        async with asyncio.TaskGroup() as early:
            while not self._enough.is_set():
                n += 1
                if self._row.early and time.time() > self._began:
                    early.create_task(self._insert_early(f"early {n}"))
                else:
                    await self._insert(f"steady {n}")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), _INSERT_SECONDS)

    async def _insert(self, name: str) -> None:
        self._note(await self._rows(_CREATE, f"Lamp {name} is lit at dusk.", self._user))

    async def _insert_early(self, name: str) -> None:
        """The event goes out before the commit, when nobody can see the row yet."""
        async with await psycopg.AsyncConnection.connect(self._lane.env["DATABASE_URL"]) as connection:
            cursor = await connection.execute(_CREATE, (f"Lamp {name} is lit at dusk.", self._user))
            rows = await cursor.fetchall()
            await self._lane.announce(str(rows[0][0]))
            await asyncio.sleep(_EARLY_SECONDS)
        self._note(rows)

    def _note(self, rows: list[Any]) -> None:
        self._inserted_at[str(rows[0][0])] = time.time()

    async def _all_ended(self) -> bool:
        return bool((await self._rows(_ENDED))[0][0])

    async def _rows(self, statement: str, *params: Any) -> list[Any]:
        return await (await self._owner.execute(statement, params or None)).fetchall()

    # The judgement

    async def _count(self, recovered_at: float) -> None:
        result = self.result
        self._journal.look()
        result.errors = self._journal.errors
        result.inserted_in_all = len(self._inserted_at)
        result.inserted = sum(self._began <= at <= recovered_at for at in self._inserted_at.values())
        result.processed = (await self._rows(_ONCE))[0][0]
        result.found = dict(await self._rows(_FOUND))
        result.slowest_pickup = float((await self._rows(_SLOWEST))[0][0] or 0) / 1000

    def _judge(self) -> None:
        row, result = self._row, self.result
        if result.processed != result.inserted_in_all:
            result.broken.append(f"{result.inserted_in_all - result.processed} jobs were not processed exactly once")
        if row.noticed is not None and (result.noticed is None or result.noticed > row.noticed):
            result.broken.append(f"noticed after {_told(result.noticed)}, allowed {row.noticed:g} s")
        if result.again is None or result.again > row.again:
            result.broken.append(f"healthy again after {_told(result.again)}, allowed {row.again:g} s")
        if result.slowest_pickup > BY_PROOF_SECONDS and not self._was_away():
            result.broken.append(f"a job waited {result.slowest_pickup:.1f} s, allowed {BY_PROOF_SECONDS:g} s")

    def _was_away(self) -> bool:
        return any(order.startswith(("unplug", "rest-")) for order in self._row.orders)


def _told(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


_EMPTY = f"""
truncate public.translation_jobs, public.translation_workers, public.translation_memory, public.translation_credits,
  public.translation_credit_ledger cascade;
delete from auth.users;
update public.translation_job_types set price = {_PRICE}, max_waiting_per_user = 100000 where name = 'translation'
"""

_USER = """
with made as (insert into auth.users (id, email) values (gen_random_uuid(), 'ada@example.test') returning id)
select id from made, lateral public.grant_translation_credits(made.id, 100000) as granted
"""

_CREATE = """
select id from public.enqueue_translation_job('translation', to_jsonb(%s::text), array['es'], %s::uuid, 'en')
"""

_ENDED = """
select not exists (select from public.translation_jobs where status not in ('completed', 'failed', 'cancelled'))
"""

# One completed run, one charge, nothing refunded, nothing open.
_ONCE = f"""
select count(*) from public.translation_jobs as j
where j.status = 'completed' and j.failed_items = 0
  and (j.credits_reserved, j.credits_consumed, j.credits_refunded) = ({_PRICE}, {_PRICE}, 0)
  and 1 = (select count(*) from public.translation_job_attempts as a where a.job_id = j.id and a.outcome = 'completed')
  and 1 = (select count(*) from public.translation_credit_ledger as l where l.job_id = j.id and l.kind = 'consume')
"""

_FOUND = "select found_by, count(*)::int from public.translation_job_attempts group by found_by"

_SLOWEST = "select max(found_ms) from public.translation_job_attempts"
