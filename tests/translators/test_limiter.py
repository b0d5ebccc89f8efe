"""How fast and how many: shared by everybody who asks one provider."""

import asyncio
import random
from contextlib import AsyncExitStack

import pytest

from tests.translators.conftest import QuickClock
from tests.unit.fake_clock import FakeClock
from worker.translators.limiter import Limiter, Limits, MustWait


async def hold(limiter: Limiter, places: int) -> AsyncExitStack:
    stack = AsyncExitStack()
    for _ in range(places):
        await stack.enter_async_context(limiter.place(1, 30))
    return stack


async def test_no_more_calls_run_than_the_limit_and_the_first_to_ask_is_the_first_to_go() -> None:
    limiter = Limiter(Limits(concurrency=2))
    order: list[int] = []

    async def call(number: int) -> None:
        async with limiter.place(1, 30):
            order.append(number)

    stack = await hold(limiter, 2)
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(call(number))
        await FakeClock().settle()
        assert (order, limiter.running) == ([], 2)
        await stack.aclose()

    assert order == [0, 1, 2, 3, 4]
    assert limiter.running == 0


async def test_a_cancelled_waiter_leaves_no_hole() -> None:
    limiter = Limiter(Limits(concurrency=1))
    stack = await hold(limiter, 1)
    waiting = [asyncio.create_task(hold(limiter, 1)) for _ in range(2)]
    await FakeClock().settle()
    await stack.aclose()  # hands the place to the first, which is cancelled before it runs
    waiting[0].cancel()
    second = await asyncio.wait_for(waiting[1], 5)

    assert waiting[0].cancelled()
    assert limiter.running == 1
    await second.aclose()
    assert limiter.running == 0


async def test_a_throttle_pauses_everybody_and_halves_the_calls_once_a_burst(clock: QuickClock) -> None:
    limiter = Limiter(Limits(concurrency=8), clock)
    began = clock.monotonic()
    for _ in range(5):  # five calls of one burst come back with the same news
        limiter.throttled(4.0, began)

    assert (limiter.limit, limiter.pause_seconds) == (4, 4.0)
    async with limiter.place(1, 30) as began:
        assert clock.slept == [4.0]
        limiter.throttled(1.0, began)
    assert limiter.limit == 2


async def test_good_answers_restore_what_a_throttle_took(clock: QuickClock) -> None:
    limiter = Limiter(Limits(concurrency=8), clock)
    limiter.throttled(0.0, clock.monotonic())
    for _ in range(100):
        limiter.succeeded()

    assert limiter.limit == 8


async def test_at_least_one_call_may_run(clock: QuickClock) -> None:
    limiter = Limiter(Limits(concurrency=2), clock)
    for _ in range(5):
        limiter.throttled(0.0, clock.monotonic())

    assert limiter.limit == 1


async def test_a_pause_longer_than_patience_is_refused_and_takes_nothing(clock: QuickClock) -> None:
    limiter = Limiter(Limits(concurrency=2), clock)
    limiter.throttled(31.0, clock.monotonic())

    with pytest.raises(MustWait) as wait:
        async with limiter.place(1, 30):
            pass
    assert wait.value.seconds == 31.0
    assert clock.slept == []
    assert limiter.running == 0


async def test_no_pause_is_longer_than_two_minutes(clock: QuickClock) -> None:
    limiter = Limiter(Limits(), clock)
    limiter.throttled(86400.0, clock.monotonic())

    assert limiter.pause_seconds == 120.0


async def test_a_pause_ordered_while_waiting_for_a_place_is_kept(clock: QuickClock) -> None:
    limiter = Limiter(Limits(concurrency=1), clock)
    stack = await hold(limiter, 1)
    waiting = asyncio.create_task(hold(limiter, 1))
    await clock.settle()
    limiter.throttled(5.0, clock.monotonic())
    await stack.aclose()
    await (await waiting).aclose()

    assert clock.slept == [5.0]


async def test_requests_are_spread_over_the_minute(clock: QuickClock) -> None:
    limiter = Limiter(Limits(requests_per_minute=60), clock)
    start = clock.monotonic()
    for _ in range(40):
        async with limiter.place(1, 30):
            pass

    # Ten at once, from then on one a second.
    assert clock.monotonic() - start == pytest.approx(30.0)


async def test_characters_are_spread_over_the_minute_and_one_large_call_is_let_through(clock: QuickClock) -> None:
    limiter = Limiter(Limits(characters_per_minute=600), clock)
    async with limiter.place(400, 30):  # more than ten seconds' worth: goes, and leaves a debt
        pass
    assert clock.slept == []

    with pytest.raises(MustWait) as wait:
        async with limiter.place(100, 30):
            pass
    assert wait.value.seconds == pytest.approx(40.0)


async def test_who_was_refused_owes_nothing(clock: QuickClock) -> None:
    limiter = Limiter(Limits(characters_per_minute=600), clock)
    async with limiter.place(400, 30):
        pass
    for _ in range(5):
        with pytest.raises(MustWait):
            async with limiter.place(100, 30):
                pass
    await clock.sleep(40.0)
    async with limiter.place(100, 0):
        pass


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_to_callers_no_place_is_lost_and_none_is_given_twice(seed: int) -> None:
    dice = random.Random(seed)
    limiter = Limiter(Limits(concurrency=3))
    most = 0

    async def call() -> None:
        nonlocal most
        async with limiter.place(1, 30):
            most = max(most, limiter.running)
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)

    calls = [asyncio.create_task(call()) for _ in range(60)]
    while not all(task.done() for task in calls):
        dice.choice(calls).cancel()
        await asyncio.sleep(0)
        limiter.succeeded()

    assert most <= 3
    assert limiter.running == 0
    async with limiter.place(1, 30):
        pass
