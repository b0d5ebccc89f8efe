"""The simulated translator, the loop around an overloaded one, and choosing by name."""

from typing import Any

import aiohttp
import pytest

from worker import errors, translators
from worker.translators import TranslationAnswer, TranslationRequest, TranslatorOptions, base, repeats
from worker.translators.pseudo import PseudoTranslator, pseudo


def request(target: str = "fr", *, attempt: int = 1, **simulate: Any) -> TranslationRequest:
    return TranslationRequest(("Hello world",), "en", target, "text", attempt=attempt, options={"simulate": simulate})


class Overloaded:
    """Fails as ordered, then answers."""

    name = version = "overloaded"
    simulated = follows_formality = False
    languages = base.ANY_LANGUAGE

    def __init__(self, *failures: errors.ItemError) -> None:
        self.failures = list(failures)
        self.calls = 0

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return TranslationAnswer(request.texts)

    async def close(self) -> None:
        pass


class Sleeps(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


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


async def test_a_delay_is_slept_once_a_call() -> None:
    sleeps = Sleeps()
    translator = PseudoTranslator(sleep=sleeps)
    for target in ("de", "fr"):
        await translator.translate(request(target, delay_ms={"de": 200, "*": 20}))
    await translator.translate(request(delay_ms=5))

    assert sleeps == [0.2, 0.02, 0.005]


@pytest.mark.parametrize(
    "simulate",
    [
        {"fail": ["fr"]},
        {"fail": {"fr": {"class": "nonsense"}}},
        {"fail": {"fr": {"times": "2"}}},
        {"delay_ms": {"fr": -1}},
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(simulate: dict[str, Any]) -> None:
    with pytest.raises(errors.ItemError, match="option simulate") as failure:
        await PseudoTranslator().translate(request(**simulate))
    assert failure.value.error_class == "bad_request"


async def test_an_overloaded_provider_is_called_again_up_to_five_times() -> None:
    sleeps = Sleeps()
    translator = Overloaded(*[errors.ItemError("overloaded", "busy")] * 4)
    await repeats.translate(translator, request(), sleep=sleeps)

    assert translator.calls == 5
    assert len(sleeps) == 4
    assert all(0 <= seconds <= 2**tries for tries, seconds in enumerate(sleeps))


async def test_after_five_calls_the_failure_is_passed_on() -> None:
    translator = Overloaded(*[errors.ItemError("overloaded", "busy")] * 9)

    with pytest.raises(errors.ItemError, match="busy"):
        await repeats.translate(translator, request(), sleep=Sleeps())
    assert translator.calls == 5


async def test_the_wait_is_what_the_provider_asks_for() -> None:
    sleeps = Sleeps()
    translator = Overloaded(errors.ItemError("overloaded", "busy", retry_after_seconds=7.5))
    await repeats.translate(translator, request(), sleep=sleeps)

    assert sleeps == [7.5]


async def test_a_longer_wait_is_not_held_in_a_job_slot() -> None:
    translator = Overloaded(errors.ItemError("overloaded", "busy", retry_after_seconds=31))

    with pytest.raises(errors.ItemError):
        await repeats.translate(translator, request(), sleep=Sleeps())
    assert translator.calls == 1


@pytest.mark.parametrize("error_class", sorted(errors.ERROR_CLASSES - {"overloaded"}))
async def test_no_other_failure_is_repeated(error_class: str) -> None:
    translator = Overloaded(errors.ItemError(error_class, "no"))

    with pytest.raises(errors.ItemError):
        await repeats.translate(translator, request(), sleep=Sleeps())
    assert translator.calls == 1


async def test_a_translator_is_chosen_by_name(session: aiohttp.ClientSession) -> None:
    options = TranslatorOptions(libretranslate_url="http://127.0.0.1:1/")

    for name in translators.NAMES:
        translator = translators.build(name, session=session, options=options)
        assert translator.name == name
        assert translator.simulated == (name == "pseudo")
        assert translator.languages == (("*", "*"),)
        await translator.close()


@pytest.mark.parametrize(
    ("name", "url", "words"),
    [
        ("babelfish", None, "TRANSLATOR is 'babelfish'; allowed are pseudo, libretranslate"),
        ("libretranslate", None, "LIBRETRANSLATE_URL"),
        ("libretranslate", "localhost:5000", "LIBRETRANSLATE_URL is 'localhost:5000'"),
    ],
)
async def test_a_wrong_choice_names_the_setting(
    session: aiohttp.ClientSession, name: str, url: str | None, words: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=words):
        translators.build(name, session=session, options=TranslatorOptions(libretranslate_url=url))
