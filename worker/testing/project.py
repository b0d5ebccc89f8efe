"""
One project under test: makes jobs, does them with the handlers of this process, and reads what became of them.

Owns a database connection as the project's owner, which only tests have. What does the work is what does it in
production, from the claim to the record; it lives as long as one call, so nothing of a test goes on behind its back.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from worker import clock, settings
from worker.app.crew import Crew
from worker.counters import Counters
from worker.handlers import own
from worker.heartbeat import Condition
from worker.rpc_direct import DirectRpc
from worker.store import JobDesk, JobStore
from worker.testing.stack import stack as running_stack

if TYPE_CHECKING:
    import psycopg

    from worker.devstack.stack import StackUrls

_UNSETTLED: Final = ("pending", "processing")
_LOOK_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a job after a run."""

    status: str
    attempts: int
    """Counted tries."""
    result: Any
    """What the handler handed in or returned for it, as JSON; None before that."""
    error: Mapping[str, str] | None
    """`{class, message}` of its last try that did not succeed."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job after a run; the row that its user would see is `row`."""

    id: str
    status: str
    items: Mapping[str, Item]
    """By name, in the order of the job."""
    row: Mapping[str, Any]

    @property
    def result(self) -> Any:
        """That of the first item: the job's own, where it was made without items."""
        return next(iter(self.items.values())).result


class Project:
    """A project to make and do jobs in. From `project()`."""

    def __init__(self, urls: "StackUrls", connection: "psycopg.AsyncConnection[Any]") -> None:
        self.urls = urls
        self._connection = connection
        self._rpc = DirectRpc(urls.url, urls.secret_key)
        self._desk = JobDesk(self._rpc)

    async def run(
        self,
        job_type: str,
        content: Any = None,
        *,
        items: Sequence[str] | None = None,
        seconds: float = 60.0,
        **more: Any,
    ) -> Job:
        """
        Make a job and do it until it has ended, or is to be tried again later (`retrying`).

        *more*: what else `enqueue_translation_job` takes, without the `p_`: options, priority, user_id, subject, …
        The job type is made with its defaults if there is none.

        Raises:
            StoreRefused: the database did not take the job.
            TimeoutError: it was not done within *seconds*.
        """
        for known in own.registered():
            await self.sql(own.insert_statement(known))
        asked = {"job_type": job_type, "content": {} if content is None else content, "items": items, **more}
        row = await self._desk.enqueue_translation_job(
            **{name: said for name, said in asked.items() if said is not None}
        )
        return await self._work(str(row["id"]), seconds)

    async def again(self, job: Job, *, seconds: float = 60.0) -> Job:
        """Do a job that is `retrying` or `scheduled` now, without the wait."""
        await self._rpc.call("requeue_translation_jobs", {"p_job_ids": [job.id]})
        return await self._work(job.id, seconds)

    async def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        """Run a statement in the project's database as its owner; the rows, if it has any."""
        cursor = await self._connection.execute(statement.encode(), params or None)
        return await cursor.fetchall() if cursor.description else []

    async def close(self) -> None:
        await self._rpc.close()

    async def _work(self, job_id: str, seconds: float) -> Job:
        changed = asyncio.Event()
        crew = self._crew(changed)
        async with asyncio.TaskGroup() as running:
            claiming = running.create_task(crew.claimer.run())
            others = [running.create_task(part) for part in crew.supporting()]
            crew.bell.ring("poll")
            try:
                async with asyncio.timeout(seconds):
                    await self._settled(job_id, changed)
            except TimeoutError:
                crew.runs.stop_all()
            await crew.finish(claiming)
            for part in (claiming, *others):
                part.cancel()
        job = await self._read(job_id)
        if job.status in _UNSETTLED:
            raise TimeoutError(f"The job is {job.status} after {seconds:g} seconds")
        return job

    async def _settled(self, job_id: str, changed: asyncio.Event) -> None:
        while (await self._read(job_id)).status in _UNSETTLED:
            await clock.SYSTEM.wait(changed, _LOOK_SECONDS)
            changed.clear()

    def _crew(self, changed: asyncio.Event) -> Crew:
        chosen = settings.load(
            None, supabase_url=self.urls.url, supabase_secret_key=self.urls.secret_key, job_types=(), worker_modules=()
        )
        crew = Crew(
            chosen,
            own.registered(),
            store=JobStore(self._rpc, chosen.worker_id),
            counters=Counters(),
            condition=lambda: Condition("polling", 0.0, crew.claimer.open_types(), (), False, {}),
            on_change=changed.set,
        )
        return crew

    async def _read(self, job_id: str) -> Job:
        (row,) = await self.sql("select * from public.translation_jobs where id = %s", job_id)
        found = await self.sql(
            """select item, status, attempts, result -> 'content' as content, error
               from public.translation_job_items where job_id = %s order by position""",
            job_id,
        )
        items = {one["item"]: Item(one["status"], one["attempts"], one["content"], one["error"]) for one in found}
        return Job(job_id, row["status"], items, row)


@contextlib.asynccontextmanager
async def project(stack: "StackUrls | None" = None, *, modules: Sequence[str] = ()) -> AsyncIterator[Project]:
    """
    A project for the length of the block: of *stack*, or of one that is started for it.

    *modules*: imported as WORKER_MODULES would be, also from the current directory. The handlers are all those that are
    registered when a job is run.

    Raises:
        ConfigurationError: one of *modules* cannot be imported, or has a handler that cannot work.
    """
    own.load(modules)
    with contextlib.ExitStack() as owned:
        urls = stack
        if urls is None:
            urls = await asyncio.to_thread(owned.enter_context, running_stack())
        import psycopg  # of the extra packages; `running_stack` says so when they are missing
        from psycopg.rows import dict_row

        async with await psycopg.AsyncConnection.connect(
            urls.database_url, autocommit=True, row_factory=dict_row
        ) as connection:
            opened = Project(urls, connection)
            try:
                yield opened
            finally:
                await opened.close()
