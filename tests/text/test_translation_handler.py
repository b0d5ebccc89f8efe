"""One language of a job, from content to result: what is called, stored, reported and billed."""

import json
import threading
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.text.conftest import FakeContext, FakeLibreTranslate, MakeContext
from worker import errors, models, text
from worker.handlers.translation import TranslationHandler
from worker.text import plain
from worker.translators import TranslationAnswer, TranslationRequest, base
from worker.translators.libretranslate import LibreTranslate
from worker.translators.pseudo import PseudoTranslator


async def no_sleep(seconds: float) -> None:
    pass


class Scripted:
    """Answers with a function of the request and writes down what it was asked."""

    name = "scripted"
    version = ""
    simulated = follows_formality = False
    languages = base.ANY_LANGUAGE

    def __init__(self, answer: Callable[[TranslationRequest], tuple[str, ...]] | None = None) -> None:
        self.requests: list[TranslationRequest] = []
        self.answer = answer or (lambda request: tuple(f"{text} también" for text in request.texts))
        self.before_call: Callable[[], None] = lambda: None

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        self.before_call()
        self.requests.append(request)
        return TranslationAnswer(self.answer(request), "en" if request.source_language is None else None)

    async def close(self) -> None:
        pass


def handler(translator: Any = None) -> TranslationHandler:
    return TranslationHandler(translator or PseudoTranslator(), sleep=no_sleep)


PARAGRAPHS = [f"Paragraph number {n} has several words in it." for n in range(50)]
LONG = "\n\n".join(PARAGRAPHS)


# The way through


async def test_a_text_is_translated_and_accounted_for(make_context: MakeContext) -> None:
    ctx = make_context("Hello {name}\n\n42", "es")
    result = await handler()(ctx)

    assert result == models.ItemResult(
        content="[es: Ĥééĺĺóó {name}]\n\n42".replace("ĺ", "ļ"),
        provider="pseudo",
        simulated=True,
        source_language="en",
        billed_chars=12,
        total_chars=12,
        chunks=1,
    )


@pytest.mark.parametrize("target", ["es", "ar", "ja", "zh-Hans", "ru", "tlh"])
async def test_simulated_text_passes_the_checks_of_every_language(make_context: MakeContext, target: str) -> None:
    content = "# Title\n\nA **long** paragraph with `code`, a [link](https://x.example) and {name}.\n\n- 3 items (all)"
    result = await handler()(make_context(content, target, kind="markdown"))

    assert result.warnings == ()
    assert "`code`" in result.content
    assert "](https://x.example)" in result.content


async def test_json_given_as_text_comes_back_as_text(make_context: MakeContext) -> None:
    content = '{"title" : "Save the file","n":1.0, "skip": "as is"}'
    ctx = make_context(content, "es", kind="json", options={"do_not_translate": ["/skip", "file"]})
    result = await handler()(ctx)

    assert result.content == '{"title" : "[es: Šáávéé ťĥéé file]","n":1.0, "skip": "as is"}'


async def test_json_given_as_an_object_comes_back_as_an_object(make_context: MakeContext) -> None:
    ctx = make_context({"b": {"n": 1}, "a": ["{n, plural, one {a day} other {# days}}"]}, "es", kind="json")
    result = await handler()(ctx)

    assert list(result.content) == ["b", "a"]
    assert result.content["a"] == ["{n, plural, one {[es: áá đááý]} other {[es: # đááýš]}}"]
    assert result.total_chars == len("a day") + len(" days")


async def test_a_target_equal_to_the_source_is_a_copy_for_nothing(make_context: MakeContext) -> None:
    translator = Scripted()
    result = await handler(translator)(make_context("Hello", "EN_us", source="en-US"))

    assert (result.content, result.billed_chars, result.total_chars) == ("Hello", 0, 5)
    assert translator.requests == []


async def test_what_has_no_words_is_copied_without_a_call(make_context: MakeContext) -> None:
    translator = Scripted()
    ctx = make_context("{name}: 42 %\n\n---\n\nhttps://x.example", "es")
    result = await handler(translator)(ctx)

    assert result.content == ctx.job.content
    assert (result.billed_chars, result.total_chars, result.chunks) == (0, 0, 0)
    assert translator.requests == []


async def test_outer_white_space_is_kept_whatever_the_translator_does(make_context: MakeContext) -> None:
    ctx = make_context(["  Save \n"], "es", kind="json")
    result = await handler(Scripted(lambda request: ("\n\nGuardar   ",)))(ctx)

    assert result.content == ["  Guardar \n"]
    assert result.warnings == ()


async def test_an_unsupported_kind_is_said_clearly(make_context: MakeContext) -> None:
    with pytest.raises(errors.ItemError, match="html") as failure:
        await handler()(make_context("<p>x</p>", kind="html"))
    assert failure.value.error_class == "bad_request"


async def test_a_large_text_is_parsed_beside_the_event_loop(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def parse(*args: Any) -> text.Document:
        threads.append(threading.current_thread())
        return plain.parse(args[0])

    monkeypatch.setattr(text, "parse", parse)
    for content in ("Short", LONG * 20):
        await handler()(make_context(content))

    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


# Calls


async def test_equal_segments_are_sent_once_and_counted_each_time(make_context: MakeContext) -> None:
    translator = Scripted()
    result = await handler(translator)(make_context(["Save it", "Open", "Save it"], kind="json"))

    assert [request.texts for request in translator.requests] == [("Save it", "Open")]
    assert result.content == ["Save it también", "Open también", "Save it también"]
    assert result.billed_chars == result.total_chars == 18


async def test_a_call_carries_about_2000_characters_and_its_context(make_context: MakeContext) -> None:
    translator = Scripted()
    result = await handler(translator)(make_context("# Guide\n\n" + LONG, kind="markdown", options={"a": 1}))

    assert result.chunks == len(translator.requests) == 3
    for request in translator.requests:
        assert len(request.texts) <= 20
        assert sum(map(len, request.texts)) <= 2000
        assert (request.target_language, request.content_kind, request.options) == ("es", "markdown", {"a": 1})
    second = translator.requests[1]
    assert second.context == f"Guide\n{PARAGRAPHS[18]}"
    assert second.texts[0] == PARAGRAPHS[19]


async def test_a_very_long_paragraph_is_sent_in_pieces(make_context: MakeContext) -> None:
    content = "".join(f"Sentence {n} of {{kind}} goes on for a little while. " for n in range(200))
    translator = Scripted(lambda request: tuple(text.replace("Sentence", "Frase") for text in request.texts))
    result = await handler(translator)(make_context(content))

    assert len(translator.requests) == result.chunks == 5
    assert result.content == content.replace("Sentence", "Frase")


async def test_every_call_is_stored_before_the_next_one(make_context: MakeContext) -> None:
    ctx = make_context(LONG)
    translator = Scripted()
    translator.before_call = lambda: ctx.events.append("call")
    await handler(translator)(ctx)

    assert ctx.events == ["call", "remember 20", "call", "remember 20", "call", "remember 10"]


async def test_progress_starts_with_the_totals_and_ends_complete(make_context: MakeContext) -> None:
    ctx = make_context(LONG)
    await handler(Scripted())(ctx)
    total = sum(map(len, PARAGRAPHS))

    assert ctx.reports[0] == {
        "done_chars": 0,
        "total_chars": total,
        "cached_chars": 0,
        "chunks_done": 0,
        "chunks_total": 3,
    }
    assert [report["chunks_done"] for report in ctx.reports] == [0, 1, 2, 3]
    assert ctx.reports[-1]["done_chars"] == total


async def test_the_source_language_is_what_the_provider_found(make_context: MakeContext) -> None:
    result = await handler(Scripted())(make_context("Hello there", source=None))

    assert result.source_language == "en"


# The memory


async def test_a_later_try_continues_where_the_last_one_stopped(make_context: MakeContext) -> None:
    translator = Scripted()
    first = make_context(LONG)

    def fail_on_the_third() -> None:
        if len(translator.requests) == 2:
            raise errors.ItemError("internal", "stop")

    translator.before_call = fail_on_the_third
    with pytest.raises(errors.ItemError, match="stop"):
        await handler(translator)(first)

    translator.requests.clear()
    translator.before_call = lambda: None
    second = make_context(LONG, attempt=2, memory=first.memory)
    result = await handler(translator)(second)

    assert [len(request.texts) for request in translator.requests] == [10]
    assert result.cached_chars == sum(map(len, PARAGRAPHS[:40]))
    assert result.billed_chars == result.total_chars  # nobody paid for what the first try brought
    assert second.reports[0]["done_chars"] == second.reports[0]["cached_chars"] == result.cached_chars


async def test_a_paid_hit_is_free_and_an_unpaid_one_becomes_ours(make_context: MakeContext) -> None:
    filled = make_context(["Paid before", "Refunded before"], kind="json")
    await handler(Scripted())(filled)
    keys = list(filled.memory)
    memory = {
        keys[0]: models.Recalled("Pagado", free=True),
        keys[1]: models.Recalled("Devuelto", free=False),
    }
    ctx = make_context(["Paid before", "Refunded before", "New one"], kind="json", memory=memory)
    result = await handler(Scripted())(ctx)

    assert result.content == ["Pagado", "Devuelto", "New one también"]
    assert result.cached_chars == len("Paid before" + "Refunded before")
    assert result.billed_chars == len("Refunded before" + "New one")
    assert result.total_chars == len("Paid before" + "Refunded before" + "New one")
    assert ctx.remembered[-1] == {keys[1]: "Devuelto"}


async def test_a_remembered_text_that_no_longer_fits_is_translated_again(make_context: MakeContext) -> None:
    filled = make_context("Hello {name}")
    await handler(Scripted())(filled)
    memory = {key: models.Recalled("Hola", free=True) for key in filled.memory}
    result = await handler(Scripted())(make_context("Hello {name}", memory=memory))

    assert result.content == "Hello {name} también"
    assert (result.cached_chars, result.billed_chars) == (0, 12)


async def test_a_lost_lease_stops_before_the_next_call(make_context: MakeContext) -> None:
    class Lost(FakeContext):
        async def remember(self, segments: Any) -> None:
            raise errors.LeaseLost

    made = make_context(LONG)
    translator = Scripted()

    with pytest.raises(errors.LeaseLost):
        await handler(translator)(Lost(made.job, made.item))
    assert len(translator.requests) == 1


# Answers that do not pass


async def test_only_refused_texts_are_asked_for_again_with_their_faults(make_context: MakeContext) -> None:
    def answer(request: TranslationRequest) -> tuple[str, ...]:
        return tuple(
            "perdido" if "{" not in t and "⟦" in t and not request.faults else f"{t} sí" for t in request.texts
        )

    translator = Scripted(answer)
    ctx = make_context(["One", "Two {x}", "Three"], kind="json")
    result = await handler(translator)(ctx)

    assert [request.texts for request in translator.requests] == [("One", "Two ⟦0⟧", "Three"), ("Two ⟦0⟧",)]
    assert translator.requests[1].faults == ("⟦0⟧ is missing",)
    assert result.content == ["One sí", "Two {x} sí", "Three sí"]
    assert len(ctx.remembered[0]) == 2


async def test_the_ladder_goes_from_all_to_halves_to_one(make_context: MakeContext) -> None:
    def one_too_few(request: TranslationRequest) -> tuple[str, ...]:
        return tuple(f"{text} sí" for text in request.texts)[len(request.texts) > 1 :]

    translator = Scripted(one_too_few)
    result = await handler(translator)(make_context(["One", "Two", "Three", "Four"], kind="json"))

    assert [len(request.texts) for request in translator.requests] == [4, 4, 2, 1, 1, 2, 1, 1]
    assert result.content == ["One sí", "Two sí", "Three sí", "Four sí"]
    assert result.chunks == 1


async def test_a_text_that_never_passes_fails_the_item_and_keeps_the_others(make_context: MakeContext) -> None:
    translator = Scripted(lambda request: tuple("" if text == "Two" else "sí" for text in request.texts))
    ctx = make_context(["One", "Two", "Three"], kind="json")

    with pytest.raises(errors.ItemError, match="the answer is empty") as failure:
        await handler(translator)(ctx)
    assert failure.value.error_class == "bad_output"
    assert [request.texts for request in translator.requests] == [("One", "Two", "Three"), ("Two",)]
    assert len(ctx.memory) == 2


async def test_a_stubborn_echo_is_taken_with_a_warning(make_context: MakeContext) -> None:
    translator = Scripted(lambda request: request.texts)
    result = await handler(translator)(
        make_context(["Keep this sentence as it is", "Or keep this sentence too"], kind="json")
    )

    assert len(translator.requests) == 2
    assert result.warnings == (
        {"code": "untranslated", "message": "The translation is the same as the source in 2 segments."},
    )


async def test_an_ignored_formality_is_said(make_context: MakeContext) -> None:
    result = await handler(Scripted())(make_context("Hello", options={"formality": "more"}))

    assert [warning["code"] for warning in result.warnings] == ["formality_ignored"]


async def test_do_not_translate_must_be_a_list(make_context: MakeContext) -> None:
    with pytest.raises(errors.ItemError, match="do_not_translate"):
        await handler()(make_context("Hello", options={"do_not_translate": "Acme"}))


async def test_a_simulated_failure_knows_the_try(make_context: MakeContext) -> None:
    options = {"simulate": {"fail": {"fr": {"times": 2, "class": "internal"}}}}

    for attempt in (1, 2):
        with pytest.raises(errors.ItemError, match="Simulated failure"):
            await handler()(make_context("Hello", "fr", options=options, attempt=attempt))
    assert (await handler()(make_context("Hello", "fr", options=options, attempt=3))).content.startswith("[fr: ")


# With LibreTranslate


@pytest.fixture
def libre(session: aiohttp.ClientSession, libretranslate: FakeLibreTranslate) -> TranslationHandler:
    return handler(LibreTranslate(session, libretranslate.url))


async def test_a_document_goes_through_libretranslate(
    libre: TranslationHandler, libretranslate: FakeLibreTranslate, make_context: MakeContext
) -> None:
    result = await libre(make_context("# Hello\n\nSee `x` and [y](z).", kind="markdown", source=None))

    assert result.content == "# Hello traducido\n\nSee `x` and [y](z). traducido"
    assert (result.provider, result.simulated, result.source_language) == ("libretranslate", False, "en")
    assert libretranslate.calls[0]["q"] == ["Hello", "See ⟦0⟧ and ⟦1⟧y⟦2⟧."]


async def test_passing_trouble_is_not_a_failure(
    libre: TranslationHandler, libretranslate: FakeLibreTranslate, make_context: MakeContext
) -> None:
    libretranslate.then_status(500)
    libretranslate.then_half_a_body()
    libretranslate.then_status(503, **{"Retry-After": "3"})
    result = await libre(make_context("Hello"))

    assert result.content == "Hello traducido"
    assert len(libretranslate.calls) == 4


async def test_an_emoji_with_status_200_is_no_translation(
    libre: TranslationHandler, libretranslate: FakeLibreTranslate, make_context: MakeContext
) -> None:
    for _ in range(2):
        libretranslate.then_texts(lambda _: "🤷")
    ctx = make_context("Hello there")

    with pytest.raises(errors.ItemError) as failure:
        await libre(ctx)
    assert failure.value.error_class == "bad_output"
    assert ctx.memory == {}


async def test_a_throttle_is_left_to_the_runner(
    libre: TranslationHandler, libretranslate: FakeLibreTranslate, make_context: MakeContext
) -> None:
    libretranslate.then_status(429, "Slowdown", **{"Retry-After": "9"})

    with pytest.raises(errors.ItemError) as failure:
        await libre(make_context("Hello"))
    assert (failure.value.error_class, failure.value.retry_after_seconds) == ("rate_limited", 9.0)
    assert len(libretranslate.calls) == 1


async def test_results_and_memory_are_plain_json(make_context: MakeContext) -> None:
    ctx = make_context({"a": "Hello é 😀"}, kind="json")
    result = await handler()(ctx)

    assert json.loads(json.dumps([result.content, list(result.warnings), ctx.remembered])) == [
        result.content,
        list(result.warnings),
        ctx.remembered,
    ]
