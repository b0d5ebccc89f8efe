"""One drain, over a real project: its limits, its leases, and what it leaves behind."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.database import Database
from tests.support.proxy import running_proxy
from tests.support.waiting import until
from worker import errors, models, settings
from worker.app.drain import Drain
from worker.app.on_request import refuse_unreachable
from worker.app.vitals import Speaks
from worker.counters import Counters
from worker.devstack.stack import Stack
from worker.handlers import ItemContext

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


@pytest.fixture
def project(stack: Stack) -> Iterator[Database]:
    database = Database(stack.urls.database_url, stack.urls.admin_database_url)
    with contextlib.closing(database):
        database.run("truncate public.translation_jobs, public.translation_workers cascade")
        yield database


class Hand:
    """A handler that counts, and holds until it is let go."""

    def __init__(self, *, holds: bool = False) -> None:
        self.done: list[str] = []
        self.gate = asyncio.Event()
        if not holds:
            self.gate.set()

    async def __call__(self, ctx: ItemContext) -> models.ItemResult:
        await self.gate.wait()
        self.done.append(ctx.item.name)
        return models.ItemResult(content="Hecho", provider="test", simulated=True)


def chosen(url: str, stack: Stack, **more: Any) -> settings.Settings:
    return settings.load(
        None,
        supabase_url=url,
        supabase_secret_key=stack.urls.secret_key,
        worker_id="drain",
        shutdown_grace_seconds=0.2,
        **{"lease_seconds": 3, "beat_seconds": 1, **more},
    )


def drain(stack: Stack, hand: Hand, *, url: str | None = None, max_jobs: int = 100, max_seconds: float = 60) -> Drain:
    return Drain(
        chosen(url or stack.urls.url, stack),
        {"translation": hand},
        Speaks(lambda: (("*", "*"),)),
        Counters(),
        max_jobs=max_jobs,
        max_seconds=max_seconds,
    )


def create(project: Database, n: int, **more: Any) -> str:
    job = project.rpc(
        "enqueue_translation_job",
        p_job_type="translation",
        p_content=f"Lamp {n} is lit.",
        p_items=["es"],
        p_source_language="en",
        **{f"p_{name}": value for name, value in more.items()},
    )
    return str(job["id"])


def states(project: Database) -> list[str]:
    return [row["status"] for row in project.run("select status from public.translation_jobs order by seq")]


async def test_it_does_so_many_jobs_and_no_more(stack: Stack, project: Database) -> None:
    for n in range(7):
        create(project, n)
    hand = Hand()
    first = await drain(stack, hand, max_jobs=5).run()
    second = await drain(stack, hand).run()

    assert (first.processed, first.completed, first.remaining) == (5, 5, 2)
    assert (second.processed, second.completed, second.remaining) == (2, 2, 0)
    assert set(states(project)) == {"completed"}
    assert project.run("select id, mode, running from public.translation_workers") == [
        {"id": "drain", "mode": "stopping", "running": 0}
    ]


async def test_what_becomes_due_by_its_own_work_is_done_too(stack: Stack, project: Database) -> None:
    parent = create(project, 1)
    child = create(project, 2, after=[parent])
    create(project, 3, after=[child])
    report = await drain(stack, Hand()).run()

    assert (report.processed, report.remaining) == (3, 0)
    assert states(project) == ["completed"] * 3


async def test_leases_are_kept_for_as_long_as_it_takes(stack: Stack, project: Database) -> None:
    job_id = create(project, 1)
    hand = Hand(holds=True)
    running = asyncio.create_task(drain(stack, hand).run())
    lease_until = "select lease_until from public.translation_job_claims"
    before = await until(lambda: project.value(lease_until), "it is claimed")
    await until(lambda: project.value(lease_until) > before, "the lease is renewed")
    hand.gate.set()
    report = await running

    assert report.completed == 1
    assert project.run("select deliveries, lost_count from public.translation_jobs where id = %s", job_id) == [
        {"deliveries": 1, "lost_count": 0}
    ]


@pytest.mark.parametrize("ended_by", ["time", "stop"])
async def test_what_it_cannot_finish_is_given_back_and_not_counted(
    stack: Stack, project: Database, ended_by: str
) -> None:
    create(project, 1)
    hand = Hand(holds=True)
    one = drain(stack, hand, max_seconds=1.5 if ended_by == "time" else 60)
    running = asyncio.create_task(one.run())
    if ended_by == "stop":
        await until(lambda: one.running, "it works")
        one.stop()
    report = await running

    assert (report.processed, report.completed, report.remaining) == (report.given_back, 0, 1)
    assert ended_by == "time" or report.given_back == 1
    assert project.run("select status, attempts, lost_count from public.translation_jobs") == [
        {"status": "pending", "attempts": 0, "lost_count": 0}
    ]
    assert project.value("select count(*) from public.translation_job_claims") == 0


async def test_answers_that_are_lost_cost_nothing(stack: Stack, project: Database) -> None:
    for n in range(3):
        create(project, n)
    hand = Hand()
    async with running_proxy(stack.urls.url) as proxy:
        for procedure in ("claim_translation_jobs", "record_translation_results", "heartbeat_translation_worker"):
            proxy.lose[procedure] = 1
        report = await drain(stack, hand, url=proxy.url).run()

    assert (report.completed, report.remaining, len(hand.done)) == (3, 0, 3)
    assert project.run("select distinct deliveries from public.translation_jobs") == [{"deliveries": 1}]
    assert proxy.lost.total() == 3


async def test_a_project_that_is_away_is_said_in_a_sentence(stack: Stack, project: Database) -> None:
    create(project, 1)
    async with running_proxy(stack.urls.url) as proxy:
        proxy.lose["heartbeat_translation_worker"] = 1_000_000
        with pytest.raises(errors.ConfigurationError, match=r"\.$"):
            await drain(stack, Hand(), url=proxy.url, max_seconds=1).run()

    assert states(project) == ["pending"]


async def test_a_worker_that_nobody_can_ask_does_not_start(stack: Stack) -> None:
    key = "an internal key for the tests"
    for missing, given in (("PORT", {"internal_api_key": key}), ("INTERNAL_API_KEY", {"port": 0})):
        with pytest.raises(errors.ConfigurationError, match=f"^WORK_ON is 'request', and {missing} not set"):
            refuse_unreachable(chosen(stack.urls.url, stack, work_on="request", **given))
    refuse_unreachable(chosen(stack.urls.url, stack, work_on="request", port=0, internal_api_key=key))
