"""Who takes over when a provider cannot serve, and what is said when nobody can."""

import pytest
from loguru import logger

from tests.translators.conftest import QuickClock, Scripted, asked, error
from worker import errors
from worker.translators.base import ANY_LANGUAGE, Pairs
from worker.translators.chain import Chain
from worker.translators.limiter import Limits
from worker.translators.patience import Patient


class Listed(Scripted):
    pairs: Pairs = ANY_LANGUAGE

    @property
    def languages(self) -> Pairs:
        return self.pairs


def chain(clock: QuickClock, *providers: Scripted) -> Chain:
    return Chain([Patient(provider, Limits(), clock=clock) for provider in providers])


def two(*first: BaseException, second: tuple[BaseException, ...] = ()) -> tuple[Scripted, Scripted]:
    return Scripted(*first, name="openai"), Scripted(*second, name="deepl")


async def failure(translator: Chain) -> errors.ItemError:
    with pytest.raises(errors.ItemError) as failed:
        await translator.translate(asked())
    return failed.value


@pytest.mark.parametrize("error_class", ["quota_exhausted", "auth", "unsupported_language"])
async def test_the_next_one_takes_over_and_is_named(clock: QuickClock, error_class: str) -> None:
    openai, deepl = two(error(error_class))
    answer = await chain(clock, openai, deepl).translate(asked())

    assert answer.provider == "deepl"
    assert (openai.calls, deepl.calls) == (1, 1)


async def test_a_provider_that_is_broken_off_is_passed_by_without_a_call(clock: QuickClock) -> None:
    openai, deepl = two(error("auth"))
    translator = chain(clock, openai, deepl)
    for _ in range(3):
        await translator.translate(asked())

    assert (openai.calls, deepl.calls) == (1, 3)
    await clock.sleep(60)
    assert (await translator.translate(asked())).provider == "openai"


async def test_a_long_wait_and_a_dead_provider_are_passed_by(clock: QuickClock) -> None:
    openai, deepl = two(error("rate_limited", 90), *[error("overloaded")] * 5)
    translator = chain(clock, openai, deepl)
    assert (await translator.translate(asked())).provider == "deepl"
    await clock.sleep(90)

    assert (await translator.translate(asked())).provider == "deepl"
    assert openai.calls == 6


@pytest.mark.parametrize("error_class", ["bad_request", "content_blocked", "bad_output", "internal"])
async def test_what_is_wrong_with_the_text_is_not_tried_elsewhere(clock: QuickClock, error_class: str) -> None:
    openai, deepl = two(error(error_class))

    assert (await failure(chain(clock, openai, deepl))).error_class == error_class
    assert deepl.calls == 0


async def test_when_nobody_can_the_one_that_is_back_first_decides(clock: QuickClock) -> None:
    openai, deepl = two(error("quota_exhausted"), second=(error("auth"),))
    failed = await failure(chain(clock, openai, deepl))

    assert (failed.error_class, failed.retry_after_seconds) == ("auth", 60.0)
    assert failed.speaks_for_provider


async def test_languages_that_only_the_waiting_one_has_do_not_stop_the_others(clock: QuickClock) -> None:
    openai, deepl = two(error("quota_exhausted"), second=(error("unsupported_language"),))
    failed = await failure(chain(clock, openai, deepl))

    assert (failed.error_class, failed.speaks_for_provider) == ("quota_exhausted", False)


async def test_languages_that_nobody_has_are_final(clock: QuickClock) -> None:
    openai, deepl = two(error("unsupported_language"), second=(error("unsupported_language"),))

    assert (await failure(chain(clock, openai, deepl))).error_class == "unsupported_language"


def test_its_name_and_version_are_all_of_theirs(clock: QuickClock) -> None:
    translator = chain(clock, *two())

    assert (translator.name, translator.version) == ("openai,deepl", "openai:1,deepl:1")
    only = translator.only("deepl")
    assert only is not None
    assert only.name == "deepl"
    assert translator.only("google") is None
    assert [condition.provider for condition in translator.condition()] == ["openai", "deepl"]


def test_it_offers_what_any_of_them_offers(clock: QuickClock) -> None:
    first, second = Listed(name="a"), Listed(name="b")
    first.pairs, second.pairs = (("en", "es"), ("en", "fr")), (("en", "es"), ("en", "de"))
    assert chain(clock, first, second).languages == (("en", "es"), ("en", "fr"), ("en", "de"))

    second.pairs = ANY_LANGUAGE
    assert chain(clock, first, second).languages == ANY_LANGUAGE


async def test_a_provider_that_is_not_ready_does_not_stop_the_start(clock: QuickClock) -> None:
    class Unready(Scripted):
        async def prepare(self) -> None:
            raise error("auth")

    lines: list[str] = []
    sink = logger.add(lines.append, format="{level} {message} {extra}")
    await chain(clock, Unready(name="deepl"), Scripted()).prepare()
    logger.remove(sink)

    assert [line.split(" {")[0] for line in lines] == [
        "ERROR Provider is not asked for a while",
        "WARNING Provider not ready yet",
    ]
