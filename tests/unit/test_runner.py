"""One job: its items live and die for themselves, and its end is told once."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.support.waiting import until
from tests.unit import factories
from tests.unit.scripted_store import ScriptedStore, answers
from worker import attempts, errors, models
from worker.counters import Counters
from worker.handlers.base import Handler, ItemContext
from worker.pauses import Pauses
from worker.recorder import Recorder
from worker.runner import JobRun, Workshop
from worker.runs import Runs

StartRun = Callable[..., JobRun]


@pytest.fixture
def store() -> ScriptedStore:
    return ScriptedStore()


@pytest.fixture
async def shop_with(store: ScriptedStore) -> AsyncIterator[Callable[[Handler], Workshop]]:
    recorder = Recorder(store)
    task = asyncio.create_task(recorder.run())

    def shop(handler: Handler) -> Workshop:
        return Workshop(
            store=store,
            recorder=recorder,
            handlers={"translation": handler},
            languages_max=2,
            lease_seconds=30,
            counters=Counters(),
            pauses=Pauses(),
        )

    yield shop
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


ShopWith = Callable[[Handler], Workshop]


def run_of(job: models.Job, shop: Workshop, *, lease_seconds: float = 30) -> JobRun:
    return JobRun(job, lease_until=time.monotonic() + lease_seconds, shop=shop)


async def translate(ctx: ItemContext) -> models.ItemResult:
    return factories.result(f"{ctx.item.name}: {await ctx.content()}")


def sent(store: ScriptedStore) -> dict[str, Any]:
    return {entry["item"]: entry for call in store.recorded for entry in call if "item" in entry}


async def test_every_item_is_recorded_and_the_job_ends_as_the_database_says(
    store: ScriptedStore, shop_with: ShopWith
) -> None:
    run = run_of(factories.job("es", "fr", "de"), shop_with(translate))

    assert await run.run() == "completed"
    assert {name: entry["result"]["content"] for name, entry in sent(store).items()} == {
        name: f"{name}: The lamp is lit." for name in ("es", "fr", "de")
    }


async def test_a_raising_item_ends_itself_only(store: ScriptedStore, shop_with: ShopWith) -> None:
    async def handle(ctx: ItemContext) -> models.ItemResult:
        if ctx.item.name == "fr":
            raise ZeroDivisionError
        return await translate(ctx)

    await run_of(factories.job("es", "fr", "de"), shop_with(handle)).run()

    assert {name: entry["outcome"] for name, entry in sent(store).items()} == {
        "es": "completed",
        "fr": "retry",
        "de": "completed",
    }


async def test_no_more_items_run_at_once_than_allowed(shop_with: ShopWith) -> None:
    now, most = 0, 0

    async def handle(ctx: ItemContext) -> models.ItemResult:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return await translate(ctx)

    await run_of(factories.job(*"abcdefgh"), shop_with(handle)).run()

    assert most == 2


async def test_an_item_over_its_time_is_a_counted_try(store: ScriptedStore, shop_with: ShopWith) -> None:
    async def handle(_: ItemContext) -> models.ItemResult:
        await asyncio.Event().wait()
        raise AssertionError

    await run_of(factories.job(item_timeout_ms=20), shop_with(handle)).run()

    assert sent(store)["es"]["outcome"] == "retry"
    assert "longer than" in sent(store)["es"]["error"]["message"]


async def test_a_large_content_is_fetched_once_for_all_items(store: ScriptedStore, shop_with: ShopWith) -> None:
    job = factories.job(*"abcd", content=None, content_inline=False)
    await run_of(job, shop_with(translate)).run()

    assert store.fetched == 1
    assert sent(store)["d"]["result"]["content"] == "d: A long text."


async def test_the_glossary_is_fetched_once_and_only_for_a_user(store: ScriptedStore, shop_with: ShopWith) -> None:
    seen: list[Sequence[models.GlossaryTerm]] = []

    async def handle(ctx: ItemContext) -> models.ItemResult:
        seen.append(await ctx.glossary())
        return factories.result()

    shop = shop_with(handle)
    await run_of(factories.job("es", "fr", user_id="somebody"), shop).run()
    await run_of(factories.job("es"), shop).run()

    assert store.fetched == 1
    assert [[term.target_language for term in terms] for terms in seen] == [["es", "fr"], ["es", "fr"], []]


async def test_the_jobs_it_came_after_are_fetched_once_with_their_results(
    store: ScriptedStore, shop_with: ShopWith
) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []
    item = {"item": "run", "status": "completed", "error": None, "result": {"content": {"words": 7}}, "has_more": False}
    large = item | {"item": "film", "result": None, "has_more": True}
    words = {"id": "p1", "seq": 4, "name": "words", "job_type": "transcribe", "title": "Words", "status": "completed"}

    class Calls:
        async def call(self, function: str, params: dict[str, Any], **_: Any) -> Any:
            asked.append((function, params))
            return [words | {"items": [item, large]}] if function.endswith("parents") else {"content": "all of it"}

    store._rpc = Calls()  # type: ignore[assignment]
    seen: list[Any] = []

    async def handle(ctx: ItemContext) -> models.ItemResult:
        (parent,) = await ctx.parents()
        seen.append((parent.name, parent.items["run"].content, parent.items["film"].is_large))
        return factories.result(await ctx.parent_result(parent.id, "film"))

    job = factories.job("es", "fr")
    await run_of(job, shop_with(handle)).run()

    assert seen == [("words", {"words": 7}, True)] * 2
    assert asked.count(("get_translation_parents", {"p_job_id": job.id, "p_after_seq": 0})) == 1
    assert asked.count(("get_translation_result", {"p_job_id": "p1", "p_item": "film"})) == 2
    assert sent(store)["es"]["result"]["content"] == "all of it"


async def test_what_is_shared_is_made_once_unless_its_maker_failed(shop_with: ShopWith) -> None:
    made: list[str] = []

    async def handle(ctx: ItemContext) -> models.ItemResult:
        async def make() -> str:
            made.append(ctx.item.name)
            if ctx.item.name == "a":
                raise errors.ItemError("bad_request", "This one cannot.")
            await asyncio.sleep(0)
            return "plan"

        assert await ctx.shared("plan", make) == "plan"
        return factories.result()

    await run_of(factories.job(*"abcd"), shop_with(handle)).run()

    assert made == ["a", "b"]


async def test_a_handler_that_ignores_the_stop_holds_nobody_up(
    store: ScriptedStore, shop_with: ShopWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "UNWIND_SECONDS", 0.05)
    began, let_go = asyncio.Event(), asyncio.Event()

    async def handle(_: ItemContext) -> models.ItemResult:
        began.set()
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()
        return factories.result("Too late")

    run = run_of(factories.job(), shop_with(handle))
    running = asyncio.create_task(run.run())
    await began.wait()
    run.stop("shutdown")

    assert await running == "shutdown"
    let_go.set()
    await until(lambda: not attempts._abandoned, "the handler has ended at last")
    assert store.recorded == []


async def test_a_handler_that_ignores_its_time_limit_costs_one_try_and_not_the_job(
    store: ScriptedStore, shop_with: ShopWith, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "UNWIND_SECONDS", 0.05)
    let_go = asyncio.Event()
    stuck: list[ItemContext] = []

    async def handle(ctx: ItemContext) -> models.ItemResult:
        if ctx.item.name not in "ab":
            return await translate(ctx)
        stuck.append(ctx)
        while not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()
        return factories.result("Too late")

    # Two run at once, and both are stuck: the others get their places all the same.
    job = factories.job(*"abcd", item_timeout_ms=30)
    shop = shop_with(handle)

    assert await run_of(job, shop).run() == "completed"
    assert {name: entry["outcome"] for name, entry in sent(store).items()} == {
        "a": "retry",
        "b": "retry",
        "c": "completed",
        "d": "completed",
    }
    for ctx in stuck:  # what they report now is nobody's news
        ctx.progress(done_chars=1, total_chars=2, cached_chars=0, chunks_done=1, chunks_total=2)
    assert not shop.recorder._progress
    let_go.set()
    await until(lambda: not attempts._abandoned, "the handlers have ended at last")
    assert len(sent(store)) == 4


async def test_a_handler_that_finishes_while_it_is_stopped_is_recorded(
    store: ScriptedStore, shop_with: ShopWith
) -> None:
    began = asyncio.Event()

    async def handle(ctx: ItemContext) -> models.ItemResult:
        began.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        if ctx.item.name == "fr":
            raise OSError("cut off while putting things away")
        return await translate(ctx)

    shop = shop_with(handle)
    run = run_of(factories.job("es", "fr"), shop)
    running = asyncio.create_task(run.run())
    await began.wait()
    await asyncio.sleep(0)
    run.stop("shutdown")

    assert await running == "shutdown"
    await shop.recorder.settled()
    assert [(name, entry["outcome"]) for name, entry in sent(store).items()] == [("es", "completed")]


async def test_a_handler_that_cancels_itself_has_failed(store: ScriptedStore, shop_with: ShopWith) -> None:
    async def handle(_: ItemContext) -> models.ItemResult:
        raise asyncio.CancelledError

    assert await run_of(factories.job(), shop_with(handle)).run() == "completed"
    assert sent(store)["es"]["outcome"] == "retry"


async def test_a_refusal_of_one_language_pauses_no_other_job(shop_with: ShopWith) -> None:
    async def handle(ctx: ItemContext) -> models.ItemResult:
        raise errors.ItemError("quota_exhausted", "Later.", speaks_for_provider=ctx.item.name == "fr")

    shop = shop_with(handle)
    await run_of(factories.job("es"), shop).run()
    assert shop.pauses.open(["translation"]) == ["translation"]

    await run_of(factories.job("fr"), shop).run()
    assert shop.pauses.open(["translation"]) == []


async def test_the_end_of_the_lease_stops_the_work(store: ScriptedStore, shop_with: ShopWith) -> None:
    stopped: list[str] = []

    async def handle(ctx: ItemContext) -> models.ItemResult:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(ctx.item.name)
        raise AssertionError

    run = run_of(factories.job("es", "fr"), shop_with(handle), lease_seconds=0.05)

    assert await run.run() == "lease_over"
    assert sorted(stopped) == ["es", "fr"]
    assert store.recorded == []


async def test_a_renewed_lease_lets_it_go_on(shop_with: ShopWith) -> None:
    began = asyncio.Event()

    async def handle(ctx: ItemContext) -> models.ItemResult:
        began.set()
        await asyncio.sleep(0.15)
        return await translate(ctx)

    run = run_of(factories.job(), shop_with(handle), lease_seconds=0.1)
    running = asyncio.create_task(run.run())
    await began.wait()
    run.renew(time.monotonic())

    assert await running == "completed"


@pytest.mark.parametrize("answer", ["lost", "cancelled"])
async def test_an_answer_that_the_job_is_gone_stops_its_other_items(
    store: ScriptedStore, shop_with: ShopWith, answer: str
) -> None:
    async def handle(ctx: ItemContext) -> models.ItemResult:
        if ctx.item.name == "fr":
            await asyncio.Event().wait()
        return await translate(ctx)

    store.on_record = lambda entries: answers(entries, answer, "cancelled")
    run = run_of(factories.job("es", "fr"), shop_with(handle))

    assert await run.run() == answer
    assert run.cancelled


async def test_a_handler_that_finds_the_lease_gone_ends_the_run(store: ScriptedStore, shop_with: ShopWith) -> None:
    async def handle(_: ItemContext) -> models.ItemResult:
        raise errors.LeaseLost

    assert await run_of(factories.job("es", "fr"), shop_with(handle)).run() == "lost"
    assert store.recorded == []


async def test_a_shutdown_interrupts_and_what_had_finished_is_recorded(
    store: ScriptedStore, shop_with: ShopWith
) -> None:
    waiting = asyncio.Event()

    async def handle(ctx: ItemContext) -> models.ItemResult:
        if ctx.item.name == "fr":
            waiting.set()
            await asyncio.Event().wait()
        return await translate(ctx)

    runs = Runs(on_change=lambda: None, on_retrying=lambda: None)
    store.on_record = lambda entries: answers(entries, "recorded", "processing")
    shop = shop_with(handle)
    run = run_of(factories.job("es", "fr"), shop)
    runs.add(run)
    attending = asyncio.create_task(runs.attend(run))
    await waiting.wait()
    runs.stop_all()
    await attending
    await shop.recorder.settled()

    assert list(sent(store)) == ["es"]
    assert runs.take_interrupted() == [run.lease]
    assert len(runs) == 0


async def test_stopped_before_it_began_it_does_nothing(store: ScriptedStore, shop_with: ShopWith) -> None:
    run = run_of(factories.job(), shop_with(translate))
    run.stop("shutdown")

    assert await run.run() == "shutdown"
    assert store.recorded == []


async def test_cancelled_from_outside_it_does_not_pretend_to_have_ended(shop_with: ShopWith) -> None:
    began = asyncio.Event()

    async def handle(_: ItemContext) -> models.ItemResult:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    running: Awaitable[str] = asyncio.create_task(run_of(factories.job(), shop_with(handle)).run())
    await began.wait()
    assert isinstance(running, asyncio.Task)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
