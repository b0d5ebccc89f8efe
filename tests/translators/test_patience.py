"""The loop around a provider: what is repeated, what is waited for, what is handed back."""

import asyncio

import pytest

from tests.translators.conftest import QuickClock, Scripted, asked, error
from tests.unit.fake_clock import FakeClock
from worker import errors
from worker.translators.base import TooLong, TranslationAnswer, TranslationRequest
from worker.translators.limiter import Limits
from worker.translators.patience import Patient


def patient(provider: Scripted, clock: QuickClock, **limits: float) -> Patient:
    # Full jitter that always draws its most.
    return Patient(provider, Limits(**limits), clock=clock, draw=lambda _, most: most)  # type: ignore[arg-type]


async def failure(translator: Patient, request: TranslationRequest | None = None) -> errors.ItemError:
    with pytest.raises(errors.ItemError) as failed:
        await translator.translate(request or asked())
    return failed.value


async def test_an_answer_says_who_gave_it(clock: QuickClock) -> None:
    answer = await patient(Scripted(), clock).translate(asked("One"))

    assert answer == TranslationAnswer(("es One",), None, "scripted", False, False, 7)


async def test_an_overloaded_provider_is_asked_up_to_five_times(clock: QuickClock) -> None:
    provider = Scripted(*[error("overloaded")] * 4)
    await patient(provider, clock).translate(asked())

    assert provider.calls == 5
    assert clock.slept == [1.0, 2.0, 4.0, 8.0]


async def test_after_five_calls_the_failure_is_passed_on_and_the_provider_left_alone(clock: QuickClock) -> None:
    provider = Scripted(*[error("overloaded")] * 9)
    translator = patient(provider, clock)

    failed = await failure(translator)
    assert (failed.error_class, failed.retry_after_seconds, provider.calls) == ("overloaded", 30.0, 5)
    failed = await failure(translator)
    assert (failed.error_class, failed.retry_after_seconds, provider.calls) == ("rate_limited", 30.0, 5)


async def test_a_text_that_breaks_its_provider_is_counted_each_time_it_tried(clock: QuickClock) -> None:
    """Or it would come again, uncounted, until its deadline, and hold the others up."""
    provider = Scripted(*[error("overloaded")] * 9)
    translator = patient(provider, clock)
    await failure(translator)
    await clock.sleep(30)

    failed = await failure(translator)
    assert (failed.error_class, provider.calls) == ("overloaded", 6)


async def test_the_wait_is_what_an_overloaded_provider_asks_for(clock: QuickClock) -> None:
    await patient(Scripted(error("overloaded", 7.5)), clock).translate(asked())

    assert clock.slept == [7.5]


async def test_an_overload_that_lasts_longer_is_not_held_in_a_slot(clock: QuickClock) -> None:
    provider = Scripted(error("overloaded", 31))

    assert (await failure(patient(provider, clock))).retry_after_seconds == 31
    assert (provider.calls, clock.slept) == (1, [])


async def test_a_short_throttle_is_waited_for(clock: QuickClock) -> None:
    provider = Scripted(error("rate_limited", 20), error("rate_limited"))
    translator = patient(provider, clock)
    await translator.translate(asked())

    # Its own number, then ours: the second throttle in a row.
    assert clock.slept == [20.0, 2.0]
    assert translator.condition().failures == {"rate_limited": 2}


async def test_a_long_throttle_is_handed_back_for_everybody_without_another_call(clock: QuickClock) -> None:
    provider = Scripted(error("rate_limited", 45))
    translator = patient(provider, clock)

    for _ in range(2):
        failed = await failure(translator)
        assert (failed.error_class, failed.retry_after_seconds) == ("rate_limited", 45.0)
    assert (provider.calls, clock.slept) == (1, [])


async def test_no_wait_that_is_handed_back_is_longer_than_two_minutes(clock: QuickClock) -> None:
    failed = await failure(patient(Scripted(error("rate_limited", 86400)), clock))

    assert failed.retry_after_seconds == 120.0


async def test_throttles_are_waited_for_half_a_minute_in_all(clock: QuickClock) -> None:
    provider = Scripted(*[error("rate_limited", 12)] * 9)
    start = clock.monotonic()
    failed = await failure(patient(provider, clock))

    assert failed.error_class == "rate_limited"
    assert clock.monotonic() - start <= 30
    assert provider.calls == 3


async def test_with_no_patience_every_throttle_is_handed_back(clock: QuickClock) -> None:
    failed = await failure(patient(Scripted(error("rate_limited", 2)), clock, wait_seconds=0))

    assert (failed.retry_after_seconds, clock.slept) == (2.0, [])


async def test_our_own_pace_counts_as_a_throttle(clock: QuickClock) -> None:
    translator = patient(Scripted(), clock, characters_per_minute=60)
    await translator.translate(asked("x" * 60))

    failed = await failure(translator, asked("x" * 10))
    assert failed.error_class == "rate_limited"
    assert failed.retry_after_seconds == pytest.approx(60.0)


@pytest.mark.parametrize("error_class", sorted(errors.ERROR_CLASSES - {"overloaded", "rate_limited"}))
async def test_no_other_failure_is_repeated(clock: QuickClock, error_class: str) -> None:
    provider = Scripted(error(error_class))

    assert (await failure(patient(provider, clock))).error_class == error_class
    assert provider.calls == 1


async def test_too_long_stays_too_long(clock: QuickClock) -> None:
    assert isinstance(await failure(patient(Scripted(TooLong("bad_request", "long")), clock)), TooLong)


@pytest.mark.parametrize(("error_class", "seconds"), [("quota_exhausted", 900.0), ("auth", 60.0)])
async def test_money_and_key_break_it_off_at_once(clock: QuickClock, error_class: str, seconds: float) -> None:
    provider = Scripted(error(error_class))
    translator = patient(provider, clock)

    for _ in range(3):
        failed = await failure(translator)
        assert (failed.error_class, failed.retry_after_seconds) == (error_class, seconds)
    assert provider.calls == 1
    assert (translator.condition().breaker, translator.condition().reason) == ("open", error_class)
    await clock.sleep(seconds)
    await translator.translate(asked())
    assert translator.condition().breaker == "closed"


async def test_a_fault_of_ours_and_a_cancelled_call_say_nothing_about_the_provider(clock: QuickClock) -> None:
    provider = Scripted(error("auth"), KeyError("ours"), asyncio.CancelledError())
    translator = patient(provider, clock)
    await failure(translator)
    await clock.sleep(60)
    with pytest.raises(KeyError):
        await translator.translate(asked())
    assert translator.condition().breaker == "half_open"
    with pytest.raises(asyncio.CancelledError):
        await translator.translate(asked())

    await translator.translate(asked())
    assert translator.condition().running == 0


@pytest.mark.parametrize("error_class", ["rate_limited", "auth", "quota_exhausted", "overloaded"])
async def test_a_failure_that_a_job_ordered_stops_nobody_else(clock: QuickClock, error_class: str) -> None:
    ordered = asked(options={"simulate": {"fail": {}}})
    provider = Scripted(*[error(error_class)] * 10, simulated=True)
    translator = patient(provider, clock)
    while provider.failures:
        await failure(translator, ordered)

    assert translator.condition().breaker == "closed"
    assert translator.condition().pause_seconds == 0
    await translator.translate(asked())


async def test_a_glossary_is_put_in_place_for_a_provider_that_has_none(clock: QuickClock) -> None:
    provider = Scripted()
    answer = await patient(provider, clock).translate(asked("The Ferry leaves.", glossary=(("ferry", "barco"),)))

    assert provider.requests[0].texts == ("The ⟦0⟧ leaves.",)
    assert answer.texts == ("es The Barco leaves.",)


async def test_a_repeat_with_faults_goes_without_its_glossary_in_place(clock: QuickClock) -> None:
    provider = Scripted()
    await patient(provider, clock).translate(asked("The ferry.", glossary=(("ferry", "barco"),), faults=("bad",)))

    assert provider.requests[0].texts == ("The ferry.",)


async def test_its_condition_counts(clock: QuickClock) -> None:
    translator = patient(Scripted(error("overloaded")), clock, concurrency=3)
    await translator.translate(asked("abc", "de"))
    condition = translator.condition()

    assert (condition.calls, condition.chars, condition.units, condition.limit) == (2, 10, 7, 3)
    assert condition.failures == {"overloaded": 1}


async def test_who_tried_and_finds_it_broken_off_by_others_has_tried() -> None:
    clock = FakeClock()
    provider = Scripted(*[error("overloaded")] * 9)
    translator = Patient(provider, clock=clock, draw=lambda _, most: most)
    both = [asyncio.create_task(failure(translator)) for _ in range(2)]
    await clock.advance(10)

    assert provider.calls < 10
    assert [(await failed).error_class for failed in both] == ["overloaded"] * 2


async def test_our_own_pace_hands_back_for_two_minutes_at_most(clock: QuickClock) -> None:
    translator = patient(Scripted(), clock, characters_per_minute=6)
    await translator.translate(asked("x" * 60))

    assert (await failure(translator, asked("x" * 10))).retry_after_seconds == 120.0
