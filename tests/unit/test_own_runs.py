"""One run of an owner's handler: what it hands in stands, what it returns is for the rest, and its limits are kept."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import worker
from tests.support.waiting import until
from tests.unit import factories
from tests.unit.fake_clock import FakeClock
from tests.unit.scripted_store import ScriptedStore, answers
from worker import clock as clocks
from worker import models
from worker.claimer import Claimer
from worker.counters import Counters
from worker.handlers import own
from worker.pauses import Pauses
from worker.progress import JobProgress
from worker.recorder import Recorder
from worker.runner import JobRun, Workshop
from worker.runs import Runs
from worker.steps import Steps
from worker.wakeup import Bell

TYPE = "thumbnail"


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_registry", {})


@pytest.fixture
def store() -> ScriptedStore:
    """The job goes on until every item was handed in, as with the database."""
    store = ScriptedStore()
    store.on_record = lambda entries: answers(entries, "recorded", "processing")
    return store


@pytest.fixture
async def recorder(store: ScriptedStore) -> AsyncIterator[Recorder]:
    recorder = Recorder(store)
    task = asyncio.create_task(recorder.run())
    yield recorder
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def shop(store: ScriptedStore, recorder: Recorder, clock: clocks.Clock = clocks.SYSTEM) -> Workshop:
    return Workshop(
        store=store,
        recorder=recorder,
        handlers=own.registered(),
        languages_max=2,
        lease_seconds=30,
        counters=Counters(),
        pauses=Pauses(),
        clock=clock,
    )


StartRun = Callable[..., JobRun]


@pytest.fixture
def run_of(store: ScriptedStore, recorder: Recorder) -> StartRun:
    def start(*items: str, lease_seconds: float = 30, **changes: Any) -> JobRun:
        job = factories.job(*items, job_type=TYPE, content_chars=0, **changes)
        return JobRun(job, lease_until=time.monotonic() + lease_seconds, shop=shop(store, recorder))

    return start


def sent(store: ScriptedStore) -> dict[str, Any]:
    return {entry["item"]: entry for call in store.recorded for entry in call if "item" in entry}


def said(store: ScriptedStore) -> dict[str, Any]:
    return {
        name: entry["result"]["content"] if entry["outcome"] == "completed" else entry["outcome"]
        for name, entry in sent(store).items()
    }


async def test_what_it_returns_is_the_result_of_its_one_item(store: ScriptedStore, run_of: StartRun) -> None:
    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext, payload: dict[str, Any]) -> Any:
        return {"of": payload["image"], "attempt": ctx.attempt, "items": ctx.items}

    await run_of("run", content={"image": "a.png"}).run()

    assert said(store) == {"run": {"of": "a.png", "attempt": 1, "items": ["run"]}}
    assert sent(store)["run"]["result"]["provider"] == TYPE


async def test_an_item_is_stored_when_it_was_handed_in(store: ScriptedStore, run_of: StartRun) -> None:
    seen = []

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> str:
        await ctx.item("small", {"width": 64})
        seen.append((said(store), ctx.items))
        await ctx.item("large", error=worker.GiveUp("Too large."))
        return "the rest"

    await run_of("small", "large", "medium").run()

    assert seen == [({"small": {"width": 64}}, ["large", "medium"])]
    assert said(store) == {"small": {"width": 64}, "large": "failed", "medium": "the rest"}
    assert sent(store)["large"]["error"] == {"class": "bad_request", "message": "Too large."}


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [(worker.RetryLater(7, "Later."), "retry"), (worker.GiveUp("Never."), "failed"), (ZeroDivisionError(), "retry")],
)
async def test_what_it_raises_is_for_every_item_it_did_not_hand_in(
    store: ScriptedStore, run_of: StartRun, raised: Exception, outcome: str
) -> None:
    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.item("a", 1)
        raise raised

    await run_of("a", "b", "c").run()

    assert said(store) == {"a": 1, "b": outcome, "c": outcome}
    assert sent(store)["b"].get("retry_after_ms") == (7000 if isinstance(raised, worker.RetryLater) else None)


async def test_a_content_that_does_not_fit_fails_every_item(store: ScriptedStore, run_of: StartRun) -> None:
    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext, payload: list[int]) -> None:
        raise AssertionError("it must not run")

    await run_of("a", "b", content={"image": 1}).run()

    assert said(store) == {"a": "failed", "b": "failed"}
    assert sent(store)["a"]["error"]["class"] == "bad_request"


@pytest.mark.parametrize("name", ["medium", "small"], ids=["never there", "handed in before"])
async def test_an_item_that_is_not_open_cannot_be_handed_in(store: ScriptedStore, run_of: StartRun, name: str) -> None:
    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> str:
        await ctx.item("small", 1)
        with pytest.raises(ValueError, match="not an open item"):
            await ctx.item(name, 2)
        return "rest"

    await run_of("small", "large").run()

    assert said(store) == {"small": 1, "large": "rest"}


async def test_a_result_that_is_no_json_can_be_handed_in_again(store: ScriptedStore, run_of: StartRun) -> None:
    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        with pytest.raises(ValueError, match="JSON"):
            await ctx.item("a", object())
        await ctx.item("a", 1)

    await run_of("a").run()

    assert said(store) == {"a": 1}


async def test_each_does_the_items_side_by_side_and_every_error_is_one_items(
    store: ScriptedStore, run_of: StartRun
) -> None:
    now, most = 0, 0

    async def make(item: str) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        if item == "c":
            raise worker.GiveUp("No.")
        if item == "d":
            raise KeyError("a bug")
        return item.upper()

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.each(make)
        assert ctx.items == []

    await run_of(*"abcde").run()

    assert said(store) == {"a": "A", "b": "B", "c": "failed", "d": "retry", "e": "E"}
    assert most == 2


async def test_each_gives_an_item_its_time_limit_and_the_run_the_sum(store: ScriptedStore, run_of: StartRun) -> None:
    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.each(make)

    async def make(item: str) -> str:
        await asyncio.sleep(0 if item == "b" else 600)
        return item

    await run_of("a", "b", item_timeout_ms=300).run()

    assert said(store) == {"a": "retry", "b": "b"}
    assert "longer than 0.3 seconds" in sent(store)["a"]["error"]["message"]


async def test_a_run_that_takes_longer_than_all_its_items_may_is_a_counted_try(
    store: ScriptedStore, run_of: StartRun
) -> None:
    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.item("a", 1)
        await asyncio.Event().wait()

    await run_of("a", "b", item_timeout_ms=100).run()

    assert said(store) == {"a": 1, "b": "retry"}
    assert "longer than 0.2 seconds" in sent(store)["b"]["error"]["message"]


@pytest.mark.parametrize("answer", ["lost", "cancelled"])
async def test_a_job_that_is_gone_ends_the_run_even_when_the_handler_does_not_care(
    store: ScriptedStore, run_of: StartRun, answer: str
) -> None:
    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> str:
        try:
            await ctx.item("a", 1)
        except Exception:
            await ctx.item("b", 2)
        return "never mind"

    store.on_record = lambda entries: answers(entries, answer, "cancelled")
    run = run_of("a", "b", "c")

    assert await run.run() == answer
    assert run.cancelled
    assert set(sent(store)) == {"a", "b"}


async def test_a_shutdown_keeps_what_was_handed_in_and_gives_the_rest_back(
    store: ScriptedStore, run_of: StartRun
) -> None:
    began = asyncio.Event()
    stopped: list[bool] = []

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.item("a", 1)
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(ctx.cancelled)

    run = run_of("a", "b")
    running = asyncio.create_task(run.run())
    await began.wait()
    run.stop("shutdown")

    assert await running == "shutdown"
    assert said(store) == {"a": 1}
    assert stopped == [True]


async def test_a_shutdown_in_each_records_what_finished_all_the_same(store: ScriptedStore, run_of: StartRun) -> None:
    began: list[str] = []

    async def make(item: str) -> str:
        began.append(item)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if item == "b":
                raise
        return "put away in time"

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.each(make)

    run = run_of("a", "b", "c")
    running = asyncio.create_task(run.run())
    await until(lambda: len(began) == 2, "two items run")
    run.stop("shutdown")

    assert await running == "shutdown"
    await run._shop.recorder.settled()
    assert said(store) == {"a": "put away in time"}


async def test_the_run_ends_as_the_database_says_whoever_handed_the_last_item_in(
    store: ScriptedStore, run_of: StartRun
) -> None:
    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        for item in ctx.items:
            await ctx.item(item)

    store.on_record = lambda entries: answers(
        entries, "recorded", "retrying" if any(entry.get("item") == "b" for entry in entries) else "processing"
    )

    assert await run_of("a", "b").run() == "retrying"


async def test_a_handler_that_puts_things_away_too_long_after_its_last_item_changes_nothing(
    store: ScriptedStore, run_of: StartRun
) -> None:
    handed_in = asyncio.Event()

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.item("a", 1)
        handed_in.set()
        await asyncio.Event().wait()

    store.on_record = lambda entries: answers(entries, "recorded", "completed")
    run = run_of("a")
    running = asyncio.create_task(run.run())
    await handed_in.wait()
    assert run._lease is not None
    run._lease.reschedule(asyncio.get_running_loop().time())  # its lease is over now

    assert await running == "completed"


async def test_its_own_lease_is_what_is_claimed_and_renewed(store: ScriptedStore, recorder: Recorder) -> None:
    @worker.handler(TYPE, lease_seconds=120)
    async def handle(ctx: worker.JobContext) -> None: ...

    clock = FakeClock()
    now = clock.monotonic()
    run = JobRun(factories.job(job_type=TYPE), lease_until=now + 120, shop=shop(store, recorder, clock))

    assert run.lease["lease_ms"] == 120_000
    assert run.renew_at(10) == now + 10
    run.renew(now + 5)
    assert run.lease_until == now + 125


async def test_a_short_lease_is_renewed_before_half_of_it_is_over(store: ScriptedStore, recorder: Recorder) -> None:
    @worker.handler(TYPE, lease_seconds=4)
    async def handle(ctx: worker.JobContext) -> None: ...

    clock = FakeClock()
    run = JobRun(factories.job(job_type=TYPE), lease_until=clock.monotonic() + 4, shop=shop(store, recorder, clock))

    assert run.renew_at(10) == clock.monotonic() + 2


# Progress


def entry_of(*calls: tuple[float, float, str | None], items: tuple[str, ...] = ("a", "b")) -> dict[str, Any]:
    steps = Steps(JobProgress(dict.fromkeys(items, 0), started_at=0.0), started_at=0.0)
    for number, (done, total, message) in enumerate(calls):
        steps.count(done, total, message, 10.0 * (number + 1))
    return steps.entry(10.0 * len(calls))


def test_progress_is_what_the_handler_counts() -> None:
    entry = entry_of((1, 4, None), (2, 4, "Resizing"))

    assert (entry["progress"], entry["message"]) == (50, "Resizing")
    assert entry["eta_ms"] == pytest.approx(20_000, rel=0.2)


@pytest.mark.parametrize(
    ("call", "percent"),
    [((0.5, 1, None), 50), ((7, 4, None), 100), ((-1, 4, None), 0), ((1, 0, None), 0), ((1, float("nan"), None), 0)],
)
def test_odd_numbers_are_taken_as_they_are_meant(call: tuple[float, float, None], percent: int) -> None:
    assert entry_of(call)["progress"] == percent


def test_without_a_word_progress_is_the_items_handed_in() -> None:
    steps = Steps(JobProgress(dict.fromkeys("abcd", 0), started_at=0.0), started_at=0.0)
    steps.begin("a", 1.0)
    assert steps.entry(1.0)["items"][0] | {"eta_ms": None} == {
        "item": "a",
        "chunks_done": 0,
        "chunks_total": 1,
        "progress": 0,
        "eta_ms": None,
    }
    steps.finish("a", 2.0)

    assert (steps.entry(2.0)["progress"], steps.entry(2.0)["message"]) == (25, None)


async def test_progress_is_sent_and_says_nothing_after_the_end(store: ScriptedStore, run_of: StartRun) -> None:
    told = asyncio.Event()
    kept: list[worker.JobContext] = []

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        kept.append(ctx)
        ctx.progress(1, 2, "Half")
        await told.wait()

    run = run_of("a")
    running = asyncio.create_task(run.run())
    entries = await until(
        lambda: [entry for call in store.recorded for entry in call if "item" not in entry], "progress is sent"
    )
    assert (entries[0]["progress"], entries[0]["message"]) == (50, "Half")
    told.set()
    await running
    kept[0].progress(2, 2)
    assert not run._shop.recorder._progress


async def test_what_a_handler_says_after_it_was_given_up_is_no_news(store: ScriptedStore, run_of: StartRun) -> None:
    kept: list[worker.JobContext] = []

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        kept.append(ctx)
        await asyncio.Event().wait()

    run = run_of("a")
    running = asyncio.create_task(run.run())
    await until(lambda: kept, "it has begun")
    run.stop("lost")
    await running
    kept[0].progress(1, 2)

    assert not run._shop.recorder._progress


async def test_with_every_item_handed_in_there_is_no_more_progress(store: ScriptedStore, run_of: StartRun) -> None:
    store.gate.clear()
    seen: list[bool] = []

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        handing_in = asyncio.create_task(ctx.item("a", 1))
        await until(lambda: store.recorded, "its result is on its way")
        ctx.progress(1, 2)
        seen.append(bool(run._shop.recorder._progress))
        store.gate.set()
        await handing_in

    run = run_of("a")
    await run.run()

    assert seen == [False]


async def test_an_item_of_each_that_is_done_is_shown_as_a_part_that_is_done(
    store: ScriptedStore, run_of: StartRun
) -> None:
    seen: list[Any] = []

    async def make(item: str) -> None:
        if item == "a":
            await until(lambda: store.recorded, "that both have begun is sent")
        else:
            await until(lambda: "a" in sent(store), "the other is handed in")
            seen.append(run in run._shop.recorder._progress)  # it is news
            seen.extend((one["item"], one["chunks_done"]) for one in run._steps_entry()["items"])

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.each(make)

    run = run_of("a", "b")
    await run.run()

    assert seen == [True, ("a", 1), ("b", 0)]


async def test_an_item_that_was_handed_in_is_news(store: ScriptedStore, run_of: StartRun) -> None:
    told = asyncio.Event()

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.item("a", 1)
        await told.wait()

    running = asyncio.create_task(run_of("a", "b").run())
    (entry,) = await until(
        lambda: [entry for call in store.recorded for entry in call if "item" not in entry], "progress is sent"
    )
    told.set()
    await running

    assert [(one["item"], one["chunks_done"]) for one in entry["items"]] == [("a", 1)]


async def test_an_item_took_as_long_as_it_is_since_the_one_before(store: ScriptedStore, run_of: StartRun) -> None:
    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.item("a", 1)
        await ctx.item("b", 2)

    await run_of("a", "b").run()

    assert all(0 <= entry["elapsed_ms"] < 60_000 for entry in sent(store).values())


async def test_an_item_of_each_is_shown_from_its_begin(store: ScriptedStore, run_of: StartRun) -> None:
    let_go = asyncio.Event()

    async def make(item: str) -> None:
        await let_go.wait()

    @worker.handler(TYPE)
    async def handle(ctx: worker.JobContext) -> None:
        await ctx.each(make)

    running = asyncio.create_task(run_of("a", "b", "c").run())
    await until(lambda: store.recorded, "progress is sent")
    let_go.set()
    await running

    assert [(item["item"], item["progress"]) for item in store.recorded[0][0]["items"]] == [("a", 0), ("b", 0)]


# How many at once


class Parts:
    """A claimer whose jobs run until the test lets them end, on a clock of its own."""

    def __init__(self, slots: int = 4) -> None:
        self.clock = FakeClock()
        self.store = ScriptedStore()
        self.store.on_record = lambda entries: answers(entries, "recorded", "completed")
        self.bell = Bell(interval_seconds=0, clock=self.clock)
        self.runs = Runs(on_change=lambda: None, on_retrying=lambda: None)
        self.release = asyncio.Event()
        self.calls: list[dict[str, Any]] = []
        self.answers: list[list[models.Job]] = []
        self.store.on_claim = self.answer
        self.recorder = Recorder(self.store)
        self.claimer = Claimer(
            shop=shop(self.store, self.recorder, self.clock),
            bell=self.bell,
            runs=self.runs,
            slots=slots,
            job_types=list(own.registered()),
        )

    def answer(self, **call: Any) -> list[models.Job]:
        self.calls.append(call)
        return self.answers.pop(0) if self.answers else []

    async def look(self) -> None:
        self.bell.ring("broadcast")
        await self.clock.settle()


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    @worker.handler("narrow", concurrency=2, lease_seconds=120)
    async def narrow(ctx: worker.JobContext) -> None:
        await made.release.wait()

    @worker.handler("wide")
    async def wide(ctx: worker.JobContext) -> None:
        await made.release.wait()

    made = Parts()
    tasks = [asyncio.create_task(made.claimer.run()), asyncio.create_task(made.recorder.run())]
    yield made
    made.release.set()
    made.claimer.stop()
    await asyncio.wait_for(tasks[0], timeout=20)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def narrow_job() -> models.Job:
    return factories.job(job_type="narrow", lease_ms=10**15)


async def test_a_claim_says_how_many_of_a_type_there_is_room_for(parts: Parts) -> None:
    parts.answers = [[narrow_job()], []]
    for _ in range(2):
        await parts.look()

    assert [call["terms"] for call in parts.calls] == [
        {"narrow": {"limit": 2, "lease_ms": 120_000}},
        {"narrow": {"limit": 1, "lease_ms": 120_000}},
    ]
    assert all(call["job_types"] == ["narrow", "wide"] for call in parts.calls)


async def test_a_full_type_is_left_out_until_one_of_its_jobs_has_ended(parts: Parts) -> None:
    parts.answers = [[narrow_job(), narrow_job()], [], []]
    await parts.look()
    assert parts.claimer.open_types() == ["wide"]
    await parts.look()
    assert (parts.calls[1]["job_types"], parts.calls[1]["terms"]) == (["wide"], {})

    parts.release.set()
    await until(lambda: len(parts.calls) > 2, "the end of one of them is a reason to look")

    assert "narrow" in parts.calls[2]["job_types"]
    assert parts.calls[2]["found_by"] == "broadcast"


async def test_types_without_a_limit_cost_nothing_more(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.claimer._job_types = ["wide"]
    await parts.look()

    assert parts.calls[0]["terms"] == {}
