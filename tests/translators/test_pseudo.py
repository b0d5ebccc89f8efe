"""The simulated translator and the failures a job may order from it."""

from typing import Any

import pytest

from tests.translators.conftest import asked
from worker import errors
from worker.translators.base import TranslationRequest
from worker.translators.pseudo import PseudoTranslator, pseudo


def request(target: str = "fr", *, attempt: int = 1, text: str = "Hello", **simulate: Any) -> TranslationRequest:
    return asked(text, target=target, attempt=attempt, options={"simulate": simulate})


class Sleeps(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


async def fails(asked: TranslationRequest) -> bool:
    try:
        await PseudoTranslator().translate(asked)
    except errors.ItemError:
        return True
    return False


def test_pseudo_text_is_marked_accented_and_longer() -> None:
    source = "The worker translates your document into several languages."
    answer = pseudo(source, "es")

    assert answer.startswith("[es: ")
    assert 1.2 < len(answer) / len(source) < 1.6
    assert answer == pseudo(source, "es")
    assert answer != pseudo(source, "fr")


def test_pseudo_text_keeps_sentinels() -> None:
    assert pseudo("Hi ⟦0⟧, ⟦12⟧", "es") == "[es: Ĥíí ⟦0⟧, ⟦12⟧]"


async def test_a_failure_is_simulated_for_the_first_tries_of_its_language() -> None:
    fail = {"fr": {"times": 2, "class": "overloaded"}}

    for attempt in (1, 2):
        with pytest.raises(errors.ItemError) as failure:
            await PseudoTranslator().translate(request(attempt=attempt, fail=fail))
        assert failure.value.error_class == "overloaded"
    await PseudoTranslator().translate(request(attempt=3, fail=fail))
    await PseudoTranslator().translate(request("de", fail=fail))


async def test_a_failure_without_times_is_for_ever() -> None:
    with pytest.raises(errors.ItemError) as failure:
        await PseudoTranslator().translate(request("tlh", attempt=99, fail={"tlh": {"class": "content_blocked"}}))
    assert failure.value.error_class == "content_blocked"


async def test_a_throttle_is_simulated_with_its_wait_and_stops_no_other_job() -> None:
    fail = {"*": {"class": "rate_limited", "retry_after_seconds": 5}}
    with pytest.raises(errors.ItemError) as failure:
        await PseudoTranslator().translate(request(fail=fail))

    assert failure.value.retry_after_seconds == 5
    assert not failure.value.speaks_for_provider


async def test_a_rate_of_failures_hits_the_same_calls_every_time() -> None:
    def chances(seed: int) -> list[TranslationRequest]:
        return [request(text=f"Text {n}", fail={"*": {"rate": 0.3, "seed": seed}}) for n in range(200)]

    first = [await fails(one) for one in chances(7)]
    assert 30 < sum(first) < 90
    assert first == [await fails(one) for one in chances(7)]
    assert first != [await fails(one) for one in chances(8)]


async def test_a_failure_may_be_for_one_word() -> None:
    fail = {"*": {"on": "Vaduz", "class": "bad_output"}}

    assert await fails(request(text="To Vaduz", fail=fail))
    assert not await fails(request(text="To Bern", fail=fail))


async def test_a_delay_is_slept_once_a_call() -> None:
    sleeps = Sleeps()
    translator = PseudoTranslator(sleep=sleeps)
    for target in ("de", "fr"):
        await translator.translate(request(target, delay_ms={"de": 200, "*": 20}))
    await translator.translate(request(delay_ms=5))
    assert sleeps == [0.2, 0.02, 0.005]

    for number in range(20):
        await translator.translate(request(text=str(number), delay_ms={"*": [10, 50]}))
    assert all(0.01 <= seconds <= 0.05 for seconds in sleeps[3:])
    assert len(set(sleeps[3:])) == 20


@pytest.mark.parametrize(
    "simulate",
    [
        {"fail": ["fr"]},
        {"fail": {"fr": {"class": "nonsense"}}},
        {"fail": {"fr": {"times": "2"}}},
        {"fail": {"fr": {"rate": "often"}}},
        {"fail": {"fr": {"retry_after_seconds": "soon"}}},
        {"fail": True},
        {"delay_ms": {"fr": -1}},
        {"delay_ms": {"fr": [1]}},
        {"delay_ms": "long"},
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(simulate: dict[str, Any]) -> None:
    with pytest.raises(errors.ItemError, match="option simulate") as failure:
        await PseudoTranslator().translate(request(**simulate))
    assert failure.value.error_class == "bad_request"


async def test_what_is_no_language_is_refused() -> None:
    with pytest.raises(errors.ItemError) as failure:
        await PseudoTranslator().translate(asked(target="und"))
    assert failure.value.error_class == "unsupported_language"
