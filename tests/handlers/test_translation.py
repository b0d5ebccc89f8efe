"""One language of a job, from content to result: what is called, stored, reported and billed."""

import asyncio
import gc
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.handlers.conftest import FakeContext, MakeContext, Scripted, term
from worker import errors, models, text
from worker.handlers.ladder import Ladder
from worker.handlers.translation import TranslationHandler, _Known, _Translation
from worker.text import plain
from worker.translators import TranslationAnswer, TranslationRequest
from worker.translators.base import TooLong
from worker.translators.pseudo import PseudoTranslator


def handler(translator: Any = None) -> TranslationHandler:
    return TranslationHandler(translator or PseudoTranslator())


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
    ctx = make_context({"b": {"n": 1}, "a": ["{n, plural, one {a day} other {# days}}"]}, "de", kind="json")
    result = await handler()(ctx)

    assert list(result.content) == ["b", "a"]
    assert result.content["a"] == ["{n, plural, one {[de: áá đááý]} other {[de: # đááýš]}}"]
    assert result.total_chars == len("a day") + len(" days")


async def test_plural_forms_that_only_the_target_has_are_translated_and_not_billed(make_context: MakeContext) -> None:
    message = "{n, plural, one {# day left} other {# days left}}"
    ctx = make_context([message], "ru", kind="json")
    result = await handler()(ctx)

    assert [form in result.content[0] for form in ("one {", "few {", "many {", "other {")] == [True] * 4
    assert result.total_chars == result.billed_chars == len(" day left days left")


async def test_a_plural_form_whose_answers_never_pass_fails_nothing(make_context: MakeContext) -> None:
    message = "{n, plural, one {# day} other {# days}}"
    plain = {" day", " days"}
    translator = Scripted(
        lambda request: tuple("⟦0⟧ дня" if text.strip("⟦0⟧") in plain else "" for text in request.texts)
    )
    result = await handler(translator)(make_context([message], "ru", kind="json"))

    assert result.content == ["{n, plural, one {# дня} other {# дня} few {# дня} many {# дня}}"]


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
    assert [warning["code"] for warning in result.warnings] == ["nothing_to_translate"]
    assert translator.requests == []


async def test_outer_white_space_is_kept_whatever_the_translator_does(make_context: MakeContext) -> None:
    ctx = make_context(["  Save \n"], "es", kind="json")
    result = await handler(Scripted(lambda request: ("\n\nGuardar   ",)))(ctx)

    assert result.content == ["  Guardar \n"]
    assert result.warnings == ()


async def test_an_unsupported_kind_is_said_clearly(make_context: MakeContext) -> None:
    with pytest.raises(errors.ItemError, match="docx") as failure:
        await handler()(make_context("Hello", kind="docx"))
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
        {"code": "untranslated", "message": "The translation is the same as the source in 2 segments.", "count": 2},
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


async def test_two_providers_are_both_named(make_context: MakeContext) -> None:
    class Falling(Scripted):
        async def translate(self, request: TranslationRequest) -> TranslationAnswer:
            answer = await super().translate(request)
            return replace(answer, provider="one" if len(self.requests) == 1 else "two", follows_formality=True)

    result = await handler(Falling())(make_context(LONG, options={"formality": "more"}))

    assert (result.provider, result.warnings) == ("one,two", ())


# Once for all languages of a job


async def test_a_document_is_parsed_once_for_all_languages(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[Any] = []

    def parse(content: Any, *args: Any) -> text.Document:
        parsed.append(content)
        return plain.parse(content)

    monkeypatch.setattr(text, "parse", parse)
    made: dict[Any, Any] = {}
    handle = handler(Scripted())
    results = [await handle(make_context(LONG, target, made=made)) for target in ("es", "fr", "pt-BR")]

    assert len(parsed) == 1
    assert len({result.total_chars for result in results}) == 1


# Two at the same text


async def test_two_jobs_with_the_same_text_make_one_call(make_context: MakeContext) -> None:
    translator = Scripted()
    translator.before_call = lambda: asyncio.sleep(0.01)
    handle = handler(translator)
    memory: dict[str, models.Recalled] = {}
    first, second = (make_context(LONG, memory=memory) for _ in range(2))
    results = await asyncio.gather(handle(first), handle(second))

    assert sum(map(len, translator.asked)) == len(PARAGRAPHS)
    assert results[0].content == results[1].content
    assert sorted(result.cached_chars for result in results) == [0, results[0].total_chars]
    # Nobody had paid when the second looked: both are billed.
    assert [result.billed_chars for result in results] == [results[0].total_chars] * 2


async def test_a_text_that_lands_while_the_memory_is_asked_is_not_asked_for_again(make_context: MakeContext) -> None:
    translator = Scripted()
    handle = handler(translator)
    memory: dict[str, models.Recalled] = {}
    first, second = (make_context("Hello there", memory=memory) for _ in range(2))
    first_is_done = asyncio.Event()
    ask_memory = second.recall

    async def answered_late(keys: Sequence[str]) -> Mapping[str, models.Recalled]:
        known = await ask_memory(keys)
        if not translator.asked:  # the answer stands, and is on its way for as long as the other one takes
            await first_is_done.wait()
        return known

    second.recall = answered_late  # type: ignore[method-assign]
    late = asyncio.create_task(handle(second))
    await asyncio.sleep(0)
    early = asyncio.create_task(handle(first))
    await asyncio.wait({early}, timeout=0.2)
    first_is_done.set()
    await asyncio.gather(early, late)

    assert len(translator.asked) == 1


async def test_another_users_text_is_not_waited_for(make_context: MakeContext) -> None:
    translator = Scripted()
    both_are_asking = asyncio.Barrier(2)
    translator.before_call = both_are_asking.wait
    handle = handler(translator)
    await asyncio.gather(*(handle(make_context("Hello there", user=user)) for user in ("one", "two")))

    assert len(translator.asked) == 2


async def test_what_another_job_failed_to_bring_is_asked_for_again(make_context: MakeContext) -> None:
    translator = Scripted()
    failures = iter([errors.ItemError("internal", "first")])

    async def fail_once() -> None:
        await asyncio.sleep(0.01)
        for failure in failures:
            raise failure

    translator.before_call = fail_once
    handle = handler(translator)
    memory: dict[str, models.Recalled] = {}
    contexts = [make_context("Hello there", memory=memory) for _ in range(2)]
    failed, done = await asyncio.gather(*map(handle, contexts), return_exceptions=True)

    assert isinstance(failed, errors.ItemError)
    assert isinstance(done, models.ItemResult)


async def test_two_that_wait_for_each_other_both_finish(make_context: MakeContext) -> None:
    translator = Scripted()
    translator.before_call = lambda: asyncio.sleep(0)
    handle = handler(translator)
    memory: dict[str, models.Recalled] = {}
    texts = [f"Text {n} has words" for n in range(100)]
    contexts = [make_context(order, kind="json", memory=memory) for order in (texts, texts[::-1])]
    async with asyncio.timeout(10):
        await asyncio.gather(*map(handle, contexts))

    assert sum(map(len, translator.asked)) == 100


# Changed a little, and changed back


async def test_a_document_translated_twice_makes_no_call_and_costs_nothing(make_context: MakeContext) -> None:
    translator = Scripted()
    first = make_context(LONG, kind="markdown")
    await handler(translator)(first)
    first.pay()
    translator.requests.clear()
    result = await handler(translator)(make_context(LONG, kind="markdown", memory=first.memory))

    assert translator.requests == []
    assert (result.billed_chars, result.cached_chars) == (0, result.total_chars)


async def test_a_changed_paragraph_makes_one_call_and_is_billed_alone(make_context: MakeContext) -> None:
    translator = Scripted()
    first = make_context(LONG, kind="markdown")
    await handler(translator)(first)
    first.pay()
    translator.requests.clear()
    changed = LONG.replace("number 7 has", "number 7 lost")
    result = await handler(translator)(make_context(changed, kind="markdown", memory=first.memory))

    assert translator.asked == [("Paragraph number 7 lost several words in it.",)]
    assert result.billed_chars == len("Paragraph number 7 lost several words in it.")


async def test_a_memory_serves_the_same_wishes_only(make_context: MakeContext) -> None:
    translator = Scripted()
    memory: dict[str, models.Recalled] = {}
    wishes: list[dict[str, Any]] = [
        {},
        {"target": "fr"},
        {"source": "de"},
        {"options": {"formality": "more"}},
        {"options": {"do_not_translate": ["Hello"]}},
        {"terms": [term("hello", "buenas")]},
    ]
    for changes in wishes * 2:
        await handler(translator)(make_context("Hello there", memory=memory, **changes))

    assert len(translator.asked) == len(memory) == len(wishes)


# The glossary


async def test_terms_go_to_the_translator_only_where_they_occur(make_context: MakeContext) -> None:
    translator = Scripted()
    terms = [term("lamp", "farol"), term("door", "portón"), term("gate", "verja")]
    content = ["The LAMP is lit", "Nothing is here", *(f"Filler {n}" for n in range(18)), "Shut the door now"]
    await handler(translator)(make_context(content, kind="json", terms=terms))

    assert [request.glossary for request in translator.requests] == [(("lamp", "farol"),), (("door", "portón"),)]


async def test_a_name_that_stays_is_out_of_the_translators_reach(make_context: MakeContext) -> None:
    translator = Scripted()
    terms = [term("Acme"), term("iPad", case_sensitive=True)]
    result = await handler(translator)(make_context("Buy ACME for your iPad, not your ipad", terms=terms))

    assert translator.asked == [("Buy ⟦0⟧ for your ⟦1⟧, not your ipad",)]
    assert result.content == "Buy ACME for your iPad, not your ipad también"


async def test_a_missed_term_is_a_warning(make_context: MakeContext) -> None:
    terms = [term("lamp", "farol"), term("door", "puerta")]
    translator = Scripted(lambda request: tuple(text.replace("door", "Puerta") for text in request.texts))
    result = await handler(translator)(make_context("The lamp is beside a door", terms=terms))

    assert [warning["code"] for warning in result.warnings] == ["glossary_missed"]


async def test_an_unrelated_term_leaves_the_memory_as_it_is(make_context: MakeContext) -> None:
    translator = Scripted()
    memory: dict[str, models.Recalled] = {}
    content = ["The lamp is lit", "The door is shut"]
    for terms in ([], [term("window", "ventana"), term("Acme")], [term("lamp", "farol")]):
        await handler(translator)(make_context(content, kind="json", memory=memory, terms=terms))

    assert translator.asked == [("The lamp is lit", "The door is shut"), ("The lamp is lit",)]


async def test_the_term_of_the_region_goes_before_that_of_the_language(make_context: MakeContext) -> None:
    translator = Scripted()
    terms = [
        term("bus", "autocarro", target_language="pt"),
        term("bus", "ônibus", target_language="pt-BR"),
        term("train", "comboio", target_language="pt"),
        term("bus", "autobús", target_language="es"),
    ]
    for target in ("pt-BR", "pt"):
        for listed in (terms, terms[::-1]):
            await handler(translator)(make_context("Take the bus or the train", target, terms=listed))

    brazil, portugal = (("bus", "ônibus"), ("train", "comboio")), (("bus", "autocarro"), ("train", "comboio"))
    assert [request.glossary for request in translator.requests] == [brazil, brazil, portugal, portugal]


async def test_languages_that_keep_other_names_get_plans_of_their_own(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[Any] = []

    def parse(content: Any, *args: Any) -> text.Document:
        parsed.append(content)
        return plain.parse(content)

    monkeypatch.setattr(text, "parse", parse)
    translator = Scripted()
    made: dict[Any, Any] = {}
    terms = [term("Lamp", target_language="es")]
    for target in ("es", "fr"):
        await handler(translator)(make_context("The Lamp is lit", target, terms=terms, made=made))

    assert translator.asked == [("The ⟦0⟧ is lit",), ("The Lamp is lit",)]
    assert len(parsed) == 1


# Too long


async def test_a_provider_that_wants_less_at_once_gets_halves(make_context: MakeContext) -> None:
    def at_most_two(request: TranslationRequest) -> tuple[str, ...]:
        if len(request.texts) > 2:
            raise TooLong("bad_request", "Too long.")
        return tuple(f"{text} sí" for text in request.texts)

    translator = Scripted(at_most_two)
    result = await handler(translator)(make_context(["One", "Two", "Three", "Four", "Five"], kind="json"))

    assert [len(texts) for texts in translator.asked] == [5, 3, 2, 1, 2]
    assert result.content == ["One sí", "Two sí", "Three sí", "Four sí", "Five sí"]


async def test_a_long_text_that_is_too_long_alone_goes_in_parts(make_context: MakeContext) -> None:
    content = "".join(f"Sentence {n} of {{kind}} goes on for a little while. " for n in range(30)).strip()

    def short_ones(request: TranslationRequest) -> tuple[str, ...]:
        if len(request.texts[0]) > 700:
            raise TooLong("bad_output", "Cut off.")
        return tuple(text.replace("Sentence", "Frase") for text in request.texts)

    translator = Scripted(short_ones)
    result = await handler(translator)(make_context(content))

    assert result.content == content.replace("Sentence", "Frase")
    assert 4 <= len(translator.asked) <= 6


async def test_a_long_text_no_answer_to_which_passes_goes_in_parts(make_context: MakeContext) -> None:
    content = "".join(f"Sentence {n} of {{kind}} goes on for a little while. " for n in range(30)).strip()

    def loses_the_end(request: TranslationRequest) -> tuple[str, ...]:
        return tuple(text.replace("Sentence", "Frase")[:700] for text in request.texts)

    result = await handler(Scripted(loses_the_end))(make_context(content))

    assert result.content == content.replace("Sentence", "Frase")


async def test_a_short_text_that_is_too_long_fails_with_the_providers_class(make_context: MakeContext) -> None:
    def refuse(request: TranslationRequest) -> tuple[str, ...]:
        raise TooLong("bad_request", "The text is too long for this provider.")

    with pytest.raises(errors.ItemError, match="too long") as failure:
        await handler(Scripted(refuse))(make_context("Hello there"))
    assert failure.value.error_class == "bad_request"


async def test_a_part_that_never_passes_fails_the_item(make_context: MakeContext) -> None:
    content = "".join(f"Sentence {n} of {{kind}} goes on for a little while. " for n in range(30)).strip()
    translator = Scripted(lambda request: tuple("" for _ in request.texts))
    with pytest.raises(errors.ItemError, match="failed the checks") as failure:
        await handler(translator)(make_context(content))

    assert failure.value.error_class == "bad_output"


async def test_a_part_is_told_its_faults_and_asked_for_once_more(make_context: MakeContext) -> None:
    content = "".join(f"Sentence {n} of {{kind}} goes on for a little while. " for n in range(30)).strip()

    def only_short_and_told(request: TranslationRequest) -> tuple[str, ...]:
        (text,) = request.texts
        passes = len(text) < 700 and request.faults
        return (text.replace("Sentence", "Frase"),) if passes else ("",)

    result = await handler(Scripted(only_short_and_told))(make_context(content))

    assert result.content == content.replace("Sentence", "Frase")


async def test_a_part_without_words_is_left_as_it_is(make_context: MakeContext) -> None:
    numbers = " ".join(str(n) for n in range(1000, 1300))
    content = f"The list begins here and goes on for a while. {numbers}"

    def short_ones(request: TranslationRequest) -> tuple[str, ...]:
        if len(request.texts[0]) > 700:
            raise TooLong("bad_request", "Too long.")
        return tuple(text.replace("list", "lista") for text in request.texts)

    translator = Scripted(short_ones)
    result = await handler(translator)(make_context(content))

    assert result.content == content.replace("list", "lista")
    assert all(any(letter.isalpha() for letter in text) for (text,) in translator.asked)


# The quality that a job asks for


def loses_digits(request: TranslationRequest) -> tuple[str, ...]:
    """Passes the hard checks, with a warning, until it is told."""
    return tuple(text.replace("is", "es") if request.faults else text.translate(NO_DIGITS) for text in request.texts)


NO_DIGITS = str.maketrans(dict.fromkeys("0123456789", "x"))
NUMBERED = ["Room 1 is open", "Room 2 is open", "It is dark"]


async def test_without_a_threshold_warnings_are_only_told(make_context: MakeContext) -> None:
    translator = Scripted(loses_digits)
    result = await handler(translator)(make_context(NUMBERED, kind="json"))

    assert len(translator.asked) == 1
    assert [(warning["code"], warning["count"]) for warning in result.warnings] == [("digits", 2)]


async def test_above_the_threshold_what_has_warnings_is_asked_for_once_more(make_context: MakeContext) -> None:
    translator = Scripted(loses_digits)
    ctx = make_context(NUMBERED, kind="json", options={"max_warnings": 1})
    result = await handler(translator)(ctx)

    assert translator.asked[-1] == ("Room 1 is open", "Room 2 is open")
    assert translator.requests[-1].faults == ("Numbers differ from the source",)
    assert result.content == ["Room 1 es open", "Room 2 es open", "It is dark"]
    assert result.warnings == ()
    assert sorted(hit.target for hit in ctx.memory.values()) == sorted(result.content)


async def test_at_the_threshold_nothing_is_asked_again(make_context: MakeContext) -> None:
    translator = Scripted(loses_digits)
    await handler(translator)(make_context(NUMBERED[:2], kind="json", options={"max_warnings": 2}))

    assert len(translator.asked) == 1


async def test_the_second_provider_is_the_one_that_is_asked_again(make_context: MakeContext) -> None:
    second = Scripted(lambda request: tuple(text.replace("is", "está") for text in request.texts), name="second")
    first = Scripted(loses_digits, second=second)
    options = {"max_warnings": 0, "second_provider": "second"}
    result = await handler(first)(make_context(NUMBERED, kind="json", options=options))

    assert second.asked == [("Room 1 is open", "Room 2 is open")]
    assert result.content == ["Room 1 está open", "Room 2 está open", "It is dark"]
    assert result.provider == "scripted,second"


async def test_a_second_provider_that_wants_less_at_once_gets_halves(make_context: MakeContext) -> None:
    def one_alone(request: TranslationRequest) -> tuple[str, ...]:
        if len(request.texts) > 1:
            raise TooLong("bad_request", "Too long.")
        return (request.texts[0].replace("is", "está"),)

    second = Scripted(one_alone, name="second")
    options = {"max_warnings": 0, "second_provider": "second"}
    result = await handler(Scripted(loses_digits, second=second))(make_context(NUMBERED, kind="json", options=options))

    assert [len(texts) for texts in second.asked] == [2, 1, 1]
    assert result.content[:2] == ["Room 1 está open", "Room 2 está open"]


async def test_what_a_second_provider_finds_too_long_alone_stays_as_it_was(make_context: MakeContext) -> None:
    def one_of_them(request: TranslationRequest) -> tuple[str, ...]:
        if len(request.texts) > 1 or "2" in request.texts[0]:
            raise TooLong("bad_request", "Too long.")
        return (request.texts[0].replace("is", "está"),)

    first = Scripted(loses_digits, second=Scripted(one_of_them, name="second"))
    options = {"max_warnings": 1, "second_provider": "second"}
    result = await handler(first)(make_context(NUMBERED, kind="json", options=options))

    assert result.content[:2] == ["Room 1 está open", "Room x is open"]


@pytest.mark.parametrize(("name", "says"), [("nobody", "'nobody'"), (7, "second_provider must be a name")])
async def test_an_unknown_second_provider_is_said_before_anything_is_asked(
    make_context: MakeContext, name: object, says: str
) -> None:
    translator = Scripted()
    with pytest.raises(errors.ItemError, match=says) as failure:
        await handler(translator)(make_context("Hello", options={"second_provider": name}))

    assert failure.value.error_class == "bad_request"
    assert translator.asked == []


async def test_still_too_many_warnings_fail_the_item_and_keep_what_was_brought(make_context: MakeContext) -> None:
    translator = Scripted(lambda request: tuple(text.translate(NO_DIGITS) for text in request.texts))
    ctx = make_context(NUMBERED[:2], kind="json", options={"max_warnings": 1})

    with pytest.raises(errors.ItemError, match="2 warnings and 1 are allowed: digits") as failure:
        await handler(translator)(ctx)
    assert failure.value.error_class == "bad_output"
    assert len(translator.asked) == 2
    assert len(ctx.memory) == 2


async def test_a_worse_second_answer_is_not_taken(make_context: MakeContext) -> None:
    def worse(request: TranslationRequest) -> tuple[str, ...]:
        texts = tuple(text.translate(NO_DIGITS) for text in request.texts)
        return tuple(f"({text}" for text in texts) if request.faults else texts

    ctx = make_context(NUMBERED[:2], kind="json", options={"max_warnings": 1})
    with pytest.raises(errors.ItemError):
        await handler(Scripted(worse))(ctx)

    assert sorted(hit.target for hit in ctx.memory.values()) == ["Room x is open", "Room x is open"]


async def test_a_remembered_text_with_warnings_counts_like_a_new_one(make_context: MakeContext) -> None:
    translator = Scripted(loses_digits)
    first = make_context(NUMBERED[:2], kind="json")
    await handler(translator)(first)
    first.pay()
    ctx = make_context(NUMBERED[:2], kind="json", memory=first.memory, options={"max_warnings": 0})
    result = await handler(translator)(ctx)

    assert result.warnings == ()
    assert (result.cached_chars, result.billed_chars) == (0, result.total_chars)


@pytest.mark.parametrize("given", [-1, True, "many", 1.5, []])
async def test_a_threshold_must_be_a_number(make_context: MakeContext, given: Any) -> None:
    with pytest.raises(errors.ItemError, match="max_warnings"):
        await handler()(make_context("Hello", options={"max_warnings": given}))


async def test_results_and_memory_are_plain_json(make_context: MakeContext) -> None:
    ctx = make_context({"a": "Hello é 😀"}, kind="json")
    result = await handler()(ctx)

    assert json.loads(json.dumps([result.content, list(result.warnings), ctx.remembered])) == [
        result.content,
        list(result.warnings),
        ctx.remembered,
    ]


async def test_what_a_language_needed_goes_with_it_and_waits_for_no_collector(make_context: MakeContext) -> None:
    """Full collections are rare: fifty languages of a large document would pile up until the next one."""
    ctx = make_context(LONG, "es")
    gc.collect()
    gc.disable()
    try:
        await handler()(ctx)
        left = [type(one).__name__ for one in gc.get_objects() if isinstance(one, Ladder | _Known | _Translation)]
    finally:
        gc.enable()

    assert left == []
