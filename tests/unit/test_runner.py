"""One job: its items live and die for themselves, and its end is told once."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from loguru import logger

from tests.support.waiting import until
from tests.unit import factories
from tests.unit.scripted_store import ScriptedStore, answers
from worker import attempts, errors, models, telemetry
from worker.counters import Counters
from worker.handlers.base import Handler, ItemContext
from worker.pauses import Pauses
from worker.recorder import Recorder
from worker.runner import JobRun, Workshop
from worker.runs import Runs
from worker.storage import Storage
from worker.store import MEMORY_KEYS_MAX, JobStore

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


async def test_the_memory_is_asked_and_filled_a_batch_at_a_time(store: ScriptedStore, shop_with: ShopWith) -> None:
    keys = [f"key {n}" for n in range(MEMORY_KEYS_MAX + 2)]
    asked: list[tuple[str, int]] = []
    kept: dict[str, str] = {}

    class Memory:
        async def call(self, function: str, params: dict[str, Any], **_: Any) -> Any:
            asked.append((function.split("_")[0], len(params.get("p_keys") or params["p_segments"])))
            kept.update({one["key"]: one["target"] for one in params.get("p_segments", ())})
            return [{"key": key, "target": kept[key], "free": True} for key in params.get("p_keys", ()) if key in kept]

    JobStore.__init__(store, Memory(), "w1")  # type: ignore[arg-type]
    seen: list[Any] = []

    async def handle(ctx: ItemContext) -> models.ItemResult:
        await ctx.remember({key: key.upper() for key in keys})
        seen.append(await ctx.recall([*keys, "new"]))
        return factories.result()

    shop = shop_with(handle)
    await run_of(factories.job(), shop).run()

    assert seen == [{key: models.Recalled(key.upper(), free=True) for key in keys}]
    assert asked == [("remember", MEMORY_KEYS_MAX), ("remember", 2), ("recall", MEMORY_KEYS_MAX), ("recall", 3)]
    assert shop.counters.memory == {"hit": len(keys), "miss": 1}


async def test_what_a_job_needs_is_asked_for_again_for_twenty_seconds(
    store: ScriptedStore, shop_with: ShopWith
) -> None:
    asked: dict[str, float] = {}

    class Calls:
        async def call(self, function: str, params: Any, *, repeat_seconds: float = 0.0) -> Any:
            asked[function] = repeat_seconds
            return {"content": "all of it"} if function.endswith("result") else []

    JobStore.__init__(store, Calls(), "w1")  # type: ignore[arg-type]

    async def handle(ctx: ItemContext) -> models.ItemResult:
        await ctx.parents()
        await ctx.parent_result("p1", "film")
        await ctx.recall(["key"])
        await ctx.remember({"key": "target"})
        return factories.result()

    await run_of(factories.job(), shop_with(handle)).run()

    assert set(asked.values()) == {20}
    assert len(asked) == 4


async def test_how_it_went_is_counted(shop_with: ShopWith) -> None:
    async def handle(ctx: ItemContext) -> models.ItemResult:
        if ctx.item.name == "es":
            return factories.result()
        raise errors.ItemError("overloaded" if ctx.item.name == "fr" else "bad_output", "No.")

    shop = shop_with(handle)
    await run_of(factories.job("es", "fr", "de"), shop).run()

    assert shop.counters.jobs_ended == {("translation", "completed"): 1}
    assert shop.counters.items == {"completed": 1, "retry": 1, "failed": 1}
    assert shop.counters.item_errors == {"overloaded": 1, "bad_output": 1}
    assert {name: sum(runs.counts) for name, runs in shop.counters.language_runs.items()} == {"es": 1, "fr": 1, "de": 1}


async def test_an_object_is_handed_over_as_an_address(store: ScriptedStore, shop_with: ShopWith) -> None:
    class Signing(Storage):
        async def signed_url(self, bucket: str, path: str, seconds: int = 0) -> str:
            return f"https://signed.example/{bucket}/{path}?{seconds}"

    async def handle(ctx: ItemContext) -> models.ItemResult:
        return factories.result([await ctx.signed_url("films", "b.mp4", 7), await ctx.signed_content(60)])

    content = {"storage": {"bucket": "films", "path": "a.mp4"}}
    shop = dataclasses.replace(shop_with(handle), storage=Signing("https://project.example", "key"))
    await run_of(factories.job(content=content), shop).run()

    one, whole = sent(store)["es"]["result"]["content"]
    assert one == "https://signed.example/films/b.mp4?7"
    assert "https://signed.example/films/a.mp4?60" in str(whole)


async def test_without_storage_an_address_is_a_counted_failure(store: ScriptedStore, shop_with: ShopWith) -> None:
    async def handle(ctx: ItemContext) -> models.ItemResult:
        return factories.result(await ctx.signed_url("films", "a.mp4"))

    await run_of(factories.job(), shop_with(handle)).run()

    assert (sent(store)["es"]["outcome"], sent(store)["es"]["error"]["class"]) == ("retry", "internal")
    assert "without Storage" in sent(store)["es"]["error"]["message"]


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


async def test_the_end_of_the_lease_counts_as_long_as_an_item_is_open(
    store: ScriptedStore, shop_with: ShopWith
) -> None:
    async def handle(ctx: ItemContext) -> models.ItemResult:
        if ctx.item.name == "fr":
            await asyncio.Event().wait()
        return await translate(ctx)

    assert await run_of(factories.job("es", "fr"), shop_with(handle), lease_seconds=0.1).run() == "lease_over"
    assert list(sent(store)) == ["es"]


async def test_what_breaks_in_the_run_itself_leaves_the_job_to_another(shop_with: ShopWith) -> None:
    shop = shop_with(translate)

    assert await run_of(factories.job(job_type="unknown"), shop).run() == "broken"
    assert shop.counters.jobs_ended == {("unknown", "broken"): 1}


async def test_its_span_says_how_it_ended(shop_with: ShopWith, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, dict[str, Any]]] = []

    class Span:
        def set(self, **fields: Any) -> None:
            said.append(("set", fields))

        def failed(self, error_class: str) -> None: ...

    @contextlib.contextmanager
    def span(name: str, **fields: Any) -> Iterator[Span]:
        said.append((name, fields))
        yield Span()

    monkeypatch.setattr(telemetry, "span", span)
    job = factories.job(correlation_id="trace-7", found_by="timer")
    await run_of(job, shop_with(translate)).run()

    about = {"job_id": job.id, "attempt": 1, "correlation_id": "trace-7"}
    assert said[0] == ("job", {"job_type": "translation", **about})
    assert said[-1] == ("set", {"outcome": "completed", "found_by": "timer"})


@pytest.mark.parametrize(("chars", "percent"), [(0, 25), (3000, 12)], ids=["unknown", "known"])
async def test_an_item_weighs_its_size_or_that_of_the_content(
    store: ScriptedStore, shop_with: ShopWith, chars: int, percent: int
) -> None:
    let_go = asyncio.Event()

    async def handle(ctx: ItemContext) -> models.ItemResult:
        if ctx.item.name == "es":
            counts: dict[str, Any] = {"done_chars": 500, "total_chars": 1000, "cached_chars": 0}
            counts |= {"chunks_done": 1, "chunks_total": 2}
            ctx.progress(**counts)
        await let_go.wait()
        return factories.result()

    items = [{"item": name, "chars": chars} for name in ("es", "fr")]
    job = models.Job.from_row(factories.claim_row(content_chars=1000) | {"items": items})
    running = asyncio.create_task(run_of(job, shop_with(handle)).run())
    await until(lambda: store.recorded, "progress is sent")
    let_go.set()
    await running

    assert store.recorded[0][0]["progress"] == percent


async def test_an_item_that_was_handed_in_counts_as_done(store: ScriptedStore, shop_with: ShopWith) -> None:
    seen: list[Any] = []

    async def handle(ctx: ItemContext) -> models.ItemResult:
        if ctx.item.name == "fr":
            await until(lambda: "es" in sent(store), "the other is handed in")
            seen.append(run._progress_entry()["progress"])
        return factories.result()

    run = run_of(factories.job("es", "fr"), shop_with(handle))
    await run.run()

    assert seen == [50]


async def test_without_a_word_of_its_handler_progress_says_how_fast_it_goes(
    store: ScriptedStore, shop_with: ShopWith
) -> None:
    seen: list[str] = []

    async def handle(ctx: ItemContext) -> models.ItemResult:
        for part in (1, 2, 3):
            ctx.progress(done_chars=4 * part, total_chars=16, cached_chars=0, chunks_done=part, chunks_total=4)
        seen.append(run._progress_entry()["message"])
        return factories.result()

    run = run_of(factories.job(), shop_with(handle))
    await run.run()

    assert seen[0].startswith("3 of 4 parts; ")


async def test_progress_is_no_news_once_the_run_is_over(store: ScriptedStore, shop_with: ShopWith) -> None:
    async def handle(ctx: ItemContext) -> models.ItemResult:
        for part in (1, 2):
            ctx.progress(done_chars=part, total_chars=16, cached_chars=0, chunks_done=part, chunks_total=4)
            await until(lambda: store.recorded, "the first is sent")
        return factories.result()

    shop = shop_with(handle)
    await run_of(factories.job(), shop).run()

    assert not shop.recorder._progress


async def test_the_end_of_an_older_run_leaves_the_news_of_a_newer_one_of_its_job(shop_with: ShopWith) -> None:
    shop, job = shop_with(translate), factories.job()
    older, newer = run_of(job, shop), run_of(dataclasses.replace(job, token=job.token + 1), shop)
    half = {"done_chars": 8, "total_chars": 16, "cached_chars": 0, "chunks_done": 1, "chunks_total": 2}
    newer.note_progress(job.items[0], half, None)
    older.stop("lost")
    await older.run()

    assert list(shop.recorder._progress) == [newer]


async def test_a_renewal_that_comes_while_the_lease_is_over_changes_nothing(shop_with: ShopWith) -> None:
    over = asyncio.Event()

    async def handle(_: ItemContext) -> models.ItemResult:
        try:
            await asyncio.Event().wait()
        finally:
            over.set()
            await asyncio.sleep(0.01)  # putting its things away
        raise AssertionError

    run = run_of(factories.job(), shop_with(handle), lease_seconds=0.05)
    running = asyncio.create_task(run.run())
    await over.wait()
    run.renew(time.monotonic())

    assert await running == "lease_over"


async def test_its_last_line_says_how_long_it_took(shop_with: ShopWith) -> None:
    lines: list[dict[str, Any]] = []
    sink = logger.add(lambda line: lines.append(line.record["extra"]), level="INFO")
    await run_of(factories.job("es", "fr"), shop_with(translate)).run()
    logger.remove(sink)

    assert (lines[-1]["outcome"], lines[-1]["items"]) == ("completed", 2)
    assert 0 <= lines[-1]["seconds"] < 60


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


async def test_a_lease_that_ends_before_the_last_answer_came_is_over(store: ScriptedStore, shop_with: ShopWith) -> None:
    store.gate.clear()

    assert await run_of(factories.job(), shop_with(translate), lease_seconds=0.05).run() == "lease_over"


async def test_the_first_reason_to_stop_is_the_one(shop_with: ShopWith) -> None:
    run = run_of(factories.job(), shop_with(translate))
    run.stop("lost")
    run.stop("shutdown")

    assert await run.run() == "lost"


async def test_with_every_item_handed_in_only_the_answer_ends_it(store: ScriptedStore, shop_with: ShopWith) -> None:
    store.gate.clear()
    run = run_of(factories.job(), shop_with(translate))
    running = asyncio.create_task(run.run())
    await until(lambda: store.recorded, "its result is on its way")
    run.stop("shutdown")
    assert not run.cancelled
    store.gate.set()

    assert await running == "completed"


async def test_progress_of_an_item_is_sent_under_the_lease_with_what_its_handler_says(
    store: ScriptedStore, shop_with: ShopWith
) -> None:
    let_go = asyncio.Event()

    async def handle(ctx: ItemContext) -> models.ItemResult:
        counts: dict[str, Any] = {"done_chars": 8, "total_chars": 16, "cached_chars": 0}
        counts |= {"chunks_done": 1, "chunks_total": 2}
        ctx.progress(**counts, message="Half" if ctx.item.name == "es" else None)
        await let_go.wait()
        return factories.result()

    run = run_of(factories.job("es"), shop_with(handle))
    running = asyncio.create_task(run.run())
    await until(lambda: store.recorded, "progress is sent")
    ((entry,),) = store.recorded
    let_go.set()
    await running

    assert entry.items() >= {**run.lease, "progress": 50, "message": "Half"}.items()
    assert [(item["item"], item["chunks_done"]) for item in entry["items"]] == [("es", 1)]


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


async def test_cancelled_from_outside_as_well_as_stopped_it_is_cancelled(shop_with: ShopWith) -> None:
    began = asyncio.Event()

    async def handle(_: ItemContext) -> models.ItemResult:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    run = run_of(factories.job(), shop_with(handle))
    running = asyncio.create_task(run.run())
    await began.wait()
    run.stop("shutdown")
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
