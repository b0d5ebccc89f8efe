"""When a provider is asked and when it is left alone."""

import asyncio

import pytest

from tests.unit.fake_clock import FakeClock
from worker import errors
from worker.translators.breaker import OPEN_SECONDS, Breaker


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> Breaker:
    return Breaker("deepl", clock)


async def refusal(breaker: Breaker) -> errors.ItemError:
    with pytest.raises(errors.ItemError) as refused:
        await breaker.admit()
    return refused.value


async def break_off(breaker: Breaker) -> None:
    for _ in range(5):
        await breaker.admit()
        breaker.failed("overloaded")


async def test_five_overloads_in_a_row_open_it_for_half_a_minute(breaker: Breaker, clock: FakeClock) -> None:
    for _ in range(4):
        breaker.failed("overloaded")
    breaker.succeeded()
    for _ in range(4):
        breaker.failed("overloaded")
    assert breaker.state == "closed"
    breaker.failed("overloaded")

    assert (breaker.state, breaker.reason, breaker.open_seconds) == ("open", "overloaded", 30.0)
    refused = await refusal(breaker)
    assert (refused.error_class, refused.retry_after_seconds) == ("rate_limited", 30.0)
    await clock.advance(30)
    assert breaker.state == "half_open"


@pytest.mark.parametrize(("error_class", "seconds"), [("quota_exhausted", 900.0), ("auth", 60.0)])
async def test_money_and_key_open_it_at_once(
    breaker: Breaker, clock: FakeClock, error_class: str, seconds: float
) -> None:
    breaker.failed(error_class)

    refused = await refusal(breaker)
    assert (refused.error_class, refused.retry_after_seconds) == (error_class, seconds)
    await clock.advance(seconds - 1)
    assert (await refusal(breaker)).retry_after_seconds == 1.0


@pytest.mark.parametrize("error_class", sorted(errors.ERROR_CLASSES - set(OPEN_SECONDS)))
async def test_what_one_text_did_wrong_shows_that_the_provider_lives(breaker: Breaker, error_class: str) -> None:
    for _ in range(4):
        breaker.failed("overloaded")
    breaker.failed(error_class)
    breaker.failed("overloaded")

    assert breaker.state == "closed"


async def test_one_call_tries_and_the_others_wait_for_how_it_ends(breaker: Breaker, clock: FakeClock) -> None:
    await break_off(breaker)
    await clock.advance(30)
    assert await breaker.admit()
    others = [asyncio.create_task(breaker.admit()) for _ in range(3)]
    await clock.settle()
    assert not any(other.done() for other in others)
    breaker.succeeded(True)

    assert await asyncio.gather(*others) == [False] * 3
    assert breaker.state == "closed"


async def test_a_trial_that_fails_opens_it_again_for_all(breaker: Breaker, clock: FakeClock) -> None:
    await break_off(breaker)
    await clock.advance(30)
    await breaker.admit()
    other = asyncio.create_task(refusal(breaker))
    await clock.settle()
    breaker.failed("overloaded", True)

    assert (await other).retry_after_seconds == 30.0
    assert breaker.state == "open"


async def test_nobody_waits_long_for_a_trial(breaker: Breaker, clock: FakeClock) -> None:
    await break_off(breaker)
    await clock.advance(30)
    await breaker.admit()
    other = asyncio.create_task(refusal(breaker))
    await clock.advance(10)

    assert (await other).error_class == "rate_limited"


async def test_a_trial_that_was_cancelled_leaves_it_to_the_next(breaker: Breaker, clock: FakeClock) -> None:
    await break_off(breaker)
    await clock.advance(30)
    first = await breaker.admit()
    other = asyncio.create_task(breaker.admit())
    await clock.settle()
    breaker.given_up(first)

    assert await other is True


async def test_stragglers_of_a_burst_neither_prolong_nor_close_it(breaker: Breaker, clock: FakeClock) -> None:
    await break_off(breaker)
    await clock.advance(20)
    breaker.failed("overloaded")
    breaker.succeeded()
    breaker.failed("bad_request")

    assert breaker.open_seconds == 10.0


async def test_worse_news_keeps_it_open_for_longer_and_better_news_not_for_less(
    breaker: Breaker, clock: FakeClock
) -> None:
    await break_off(breaker)
    breaker.failed("quota_exhausted")
    for _ in range(5):
        breaker.failed("overloaded")
    breaker.failed("auth")

    assert (breaker.reason, breaker.open_seconds) == ("quota_exhausted", 900.0)


async def test_a_trial_that_gets_no_answer_opens_it_again_whatever_it_was_opened_for(
    breaker: Breaker, clock: FakeClock
) -> None:
    breaker.failed("auth")
    await clock.advance(60)
    assert await breaker.admit()
    breaker.failed("overloaded", True)

    assert (breaker.state, breaker.reason, breaker.open_seconds) == ("open", "overloaded", 30.0)
