"""A good answer passes; what is no translation does not; what is doubtful is said."""

import pytest

from worker.text import checks
from worker.text.checks import Pair
from worker.text.document import Segment
from worker.text.memory_key import KeyMaker
from worker.text.protect import Damaged, protect

ENGLISH_SPANISH = Pair("en", "es")


def accept(source: str, answer: str, pair: Pair = ENGLISH_SPANISH, **options: bool) -> str:
    return checks.accept(protect(Segment(source)), answer, pair, **options)


def codes(source: str, translation: str, pair: Pair = ENGLISH_SPANISH) -> list[str]:
    return list(checks.warnings(source, translation, pair))


def test_a_good_answer_is_restored_without_its_outer_white_space() -> None:
    assert accept("Hello {name}!", " ¡Hola ⟦0⟧! \n") == "¡Hola {name}!"


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("😀", "no words"),
        ("…⟦0⟧…", "no words"),
        ("Hola, mire https://evil.example ⟦0⟧", "address was added"),
        ("Hola a@b.example ⟦0⟧", "address was added"),
        ("Hola", "missing"),
        ("Hola ⟦0⟧ ⟦0⟧", "repeated"),
        ("Hola ⟦1⟧", "was not in the source"),
        ("Hola ⟦0⟧ ⟦", "broken"),
        ("Hola\x00 ⟦0⟧", "no database takes"),
    ],
)
def test_an_answer_that_is_no_translation_is_refused(answer: str, fault: str) -> None:
    with pytest.raises(Damaged, match=fault):
        accept("Hello {name}", answer)


def test_a_sentence_that_comes_back_as_it_was_is_taken_only_the_second_time() -> None:
    source = "Please restart the worker now"

    with pytest.raises(Damaged, match="not translated"):
        accept(source, source)
    assert accept(source, source, is_repeat=True) == source
    assert codes(source, source) == ["untranslated"]


@pytest.mark.parametrize("pair", [Pair("en", "en-GB"), Pair("en", "es", simulated=True)])
def test_an_echo_is_fine_where_no_change_is_expected(pair: Pair) -> None:
    source = "Please restart the worker now"

    assert accept(source, source, pair) == source
    assert codes(source, source, pair) == []


def test_names_and_codes_may_stay() -> None:
    assert accept("Supabase Realtime", "Supabase Realtime") == "Supabase Realtime"


def test_an_unspaced_script_has_sentences_too() -> None:
    with pytest.raises(Damaged, match="not translated"):
        accept("今すぐワーカーを再起動してください", "今すぐワーカーを再起動してください", Pair("ja", "es"))


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("ru", "Bitte starten Sie den Worker jetzt neu"),
        ("es", "Пожалуйста, перезапустите воркер сейчас"),
        ("ja", "Please start that worker again right now"),
        ("zh-Hant", "Пожалуйста, перезапустите воркер сейчас"),
    ],
)
def test_an_answer_in_another_script_is_refused(target: str, answer: str) -> None:
    with pytest.raises(Damaged, match="another script"):
        accept("Please restart the worker now", answer, Pair("en", target))


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("ru", "Запустите Supabase Realtime Worker"),
        ("sr", "Ponovo pokrenite radnika odmah, molim"),
        ("sr", "Поново покрените радника одмах, молим"),
        ("xx-unknown", "whatever this language looks like"),
        ("zh", "请立即重新启动工作进程，然后再试一次，谢谢您的耐心等待"),
        ("ko", "지금 워커를 다시 시작해 주세요 그리고 다시 시도하세요"),
    ],
)
def test_a_script_its_readers_use_is_fine(target: str, answer: str) -> None:
    assert accept("Please restart the worker now", answer, Pair("en", target)) == answer


def test_tags_must_nest_as_in_the_source() -> None:
    assert accept("<b>Big</b> <i>small</i>", "⟦2⟧pequeño⟦3⟧ ⟦0⟧grande⟦1⟧") == "<i>pequeño</i> <b>grande</b>"
    for answer in ("⟦1⟧Grande⟦0⟧ ⟦2⟧pequeño⟦3⟧", "⟦0⟧Grande⟦2⟧ ⟦1⟧pequeño⟦3⟧"):
        with pytest.raises(Damaged, match="nested"):
            accept("<b>Big</b> <i>small</i>", answer)


@pytest.mark.parametrize(
    ("source", "translation", "expected"),
    [
        ("You have 3 of 10 messages", "Tiene 3 de 10 mensajes", []),
        ("You have 3 of 10 messages", "Tiene 3 mensajes, nada más", ["digits"]),
        ("It costs 1,000.50 dollars", "Cuesta 1.000,50 dólares hoy", []),
        ("You have 3 of 10 messages", "لديك ٣ من ١٠ رسائل جديدة", []),
        ("A rather long English sentence (really)", "Sí (de veras)", ["length_ratio"]),
        ("A sentence (with brackets)", "Una frase (con corchetes", ["brackets"]),
        ("One line\nand another", "Una línea y otra más", ["newlines"]),
        ("Please restart the worker and try again", "请重启工作进程后重试", []),
        (
            "请重启工作进程后重试一次谢谢您的耐心等待哦",
            "Please restart the worker, try again and thank you for waiting",
            [],
        ),
    ],
)
def test_what_is_doubtful_is_said(source: str, translation: str, expected: list[str]) -> None:
    assert codes(source, translation) == expected


def test_a_key_depends_on_all_that_decides_a_translation() -> None:
    known = {"source_language": "en", "target_language": "es", "provider": "p", "version": "1"}
    other = [
        KeyMaker(**known).key("Other", "text"),
        KeyMaker(**known).key("Save", "icu"),
        KeyMaker(**known, formality="more").key("Save", "text"),
        KeyMaker(**known, terms=["Save"]).key("Save", "text"),
        *(KeyMaker(**known | {name: "x"}).key("Save", "text") for name in known),
    ]
    key = KeyMaker(**known).key("Save", "text")

    assert len({key, *other}) == len(other) + 1
    assert len(key) == 64


def test_a_key_ignores_how_a_letter_is_composed_and_how_terms_are_ordered() -> None:
    def key(segment: str, terms: list[str]) -> str:
        maker = KeyMaker(source_language=None, target_language="es", provider="p", terms=terms)
        return maker.key(segment, "text")

    assert key("Café", ["a", "b"]) == key("Cafe\u0301", ["b", "a"])
