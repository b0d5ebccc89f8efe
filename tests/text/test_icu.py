"""Of a message only its sentences are translated, and every language gets the plural forms it has."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text.pipeline import identical, sent, translated
from worker import text
from worker.text import checks, plurals
from worker.text.document import Segment
from worker.text.plan import Plan
from worker.text.protect import Damaged, protect, restore


@pytest.mark.parametrize(
    ("message", "leaves"),
    [
        ("{n, plural, one {# file} other {# files}}", ["# file", "# files"]),
        ("{n,plural,offset:1 =0{none}one{you and #}other{many}}", ["none", "you and #", "many"]),
        ("{g, select, male {his} other {their}}", ["his", "their"]),
        ("{n, selectordinal, one {#st} other {#th}}", ["#st", "#th"]),
        (
            "{g, select, f {{n, plural, one {her cat} other {her # cats}}} other {no cats}}",
            ["her cat", "her # cats", "no cats"],
        ),
        ("{n, plural, one {it''s '{'one'}'} other {'#' {x, number}}}", ["it''s '{'one'}'", "'#' {x, number}"]),
    ],
)
def test_only_the_leaves_of_a_message_are_translated(message: str, leaves: list[str]) -> None:
    document = text.parse(message, "text")
    found = [segment.text for segment in document.segments if not segment.text.startswith("{")]

    assert found == leaves
    assert identical(message, "text") == message


def test_the_syntax_of_a_message_is_written_again_byte_for_byte() -> None:
    message = "You have {n, plural,\n  =0 {none}\n  other {{n} from {who, select, a {Ann} other {others}}}\n} here."
    document = text.parse(message, "text")

    assert [s.text for s in document.segments if s.text[0] != "{"] == [
        message,
        "none",
        "Ann",
        "others",
    ]
    translations = {"none": "0", "Ann": "Ana", "others": "otros", message: f"Aquí {message[9:-6]}."}
    assert document.assemble([translations.get(s.text, s.text) for s in document.segments]) == (
        "Aquí {n, plural,\n  =0 {0}\n  other {{n} from {who, select, a {Ana} other {otros}}}\n}."
    )


@pytest.mark.parametrize(
    "message",
    [
        "{n, plural, one {# file}}",
        "{n, plural, one {# file other {# files}}",
        "{n, plural, one {a} other {b}} }",
        "{n, plural one {a} other {b}}",
        "{n, plural, other {'{unclosed}}",
    ],
)
def test_what_is_no_valid_message_is_one_plain_text(message: str) -> None:
    (segment,) = text.parse(message, "text").segments

    assert segment.text == message
    assert segment.flavour == "text"


@given(st.text(alphabet="{}'#, ab=1", max_size=30), st.text(alphabet="{}'# ab", max_size=10))
def test_anything_that_resembles_a_message_comes_back_byte_for_byte(before: str, leaf: str) -> None:
    message = f"{before}{{n, plural, one {{{leaf}}} other {{#}}}}"

    assert identical(message, "text") == message


# Plural forms of the target language

FILES = "{n, plural, one {# file} other {# files}}"


def selectors(message: str) -> list[str]:
    return re.findall(r"(=?\w+) \{", message.partition(",")[2])


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("es", ["one", "other", "many"]),
        ("de", ["one", "other"]),
        ("ja", ["one", "other"]),
        ("ru", ["one", "other", "few", "many"]),
        ("pl", ["one", "other", "few", "many"]),
        ("ar", ["one", "other", "zero", "two", "few", "many"]),
        ("cs-CZ", ["one", "other", "few", "many"]),
        ("x-unknown", ["one", "other"]),
    ],
)
def test_a_message_gets_the_plural_forms_of_its_language(language: str, expected: list[str]) -> None:
    assert selectors(translated(FILES, "text", language)) == expected


def test_ordinals_have_categories_of_their_own() -> None:
    message = "{n, selectordinal, other {#. place}}"

    assert selectors(translated(message, "text", "en")) == ["other", "one", "two", "few"]
    assert selectors(translated(message, "text", "de")) == ["other"]


def test_a_further_form_is_asked_for_with_a_number_of_its_category() -> None:
    assert sent(FILES, "text", "ru") == ["⟦0⟧ file", "⟦0⟧ files", "2 files", "5 files"]
    assert sent("{n, plural, one {{n} file} other {{n} files}}", "text", "ru")[2:] == ["2 files", "5 files"]


def test_the_number_becomes_the_argument_again_in_whatever_digits() -> None:
    protected = protect(Segment("# files of {name}", ((0, 1), (11, 17)), "icu_plural", example=(3, "#")))

    assert protected.text == "3 files of ⟦0⟧"
    assert protected.source == "# files of {name}"
    assert restore(protected, "⟦0⟧: 3 файла") == "{name}: # файла"
    assert restore(protected, "٣ ملفات ⟦0⟧") == "# ملفات {name}"


@pytest.mark.parametrize("answer", ["файла ⟦0⟧", "3 файла 3 ⟦0⟧", "33 файла ⟦0⟧", "# файла ⟦0⟧"])
def test_a_form_that_lost_its_number_is_refused(answer: str) -> None:
    protected = protect(Segment("# files of {name}", ((0, 1), (11, 17)), "icu_plural", example=(3, "#")))

    with pytest.raises(Damaged):
        restore(protected, answer)


def test_a_number_that_the_text_uses_already_is_no_example() -> None:
    assert sent("{n, plural, other {# of 2 or 5 files}}", "text", "ru")[1:] == [
        *("1 of 2 or 5 files", "3 of 2 or 5 files", "6 of 2 or 5 files")
    ]


def test_what_was_written_for_one_stays_for_one_where_a_language_counts_more_so() -> None:
    russian = translated("{n, plural, one {a file} other {# files}}", "text", "ru")

    assert selectors(russian) == ["=1", "other", "one", "few", "many"]
    assert "=1 {[ru: áá fííļéé]}" in russian
    assert selectors(translated("{n, plural, offset:1 one {a file} other {# files}}", "text", "ru"))[-4:-2] == [
        *("one", "other")
    ]
    assert selectors(translated("{n, plural, one {a file} other {# files}}", "text", "de")) == ["one", "other"]


def test_a_form_without_translation_is_filled_with_other() -> None:
    plan = Plan(text.parse(FILES, "text"))
    wanted = plan.wanted("pl")
    answers = {name: "# pliki" if "files" in piece.source else "# plik" for name, piece in wanted.items()}
    needed = {name: answer for name, answer in answers.items() if not wanted[name].optional}

    assert [piece.optional for piece in wanted.values()] == [False, False, True, True]
    assert plan.assemble(needed, "pl").endswith("other {# pliki} few {# pliki} many {# pliki}}")


def test_further_forms_hold_the_arguments_inside_them() -> None:
    message = "{n, plural, other {# files in {m, plural, other {# folders}}}}"
    russian = translated(message, "text", "ru")

    assert russian.count("{m, plural, other {[ru: #") == 4
    assert russian.count("few {[ru: # ƒ") == 0
    assert identical(russian, "text") == russian
    assert len(text.parse(russian, "text").segments) == 1 + 4 * (1 + 4)


def test_further_forms_cost_nothing_and_leave_the_plan_of_other_languages_alone() -> None:
    plan = Plan(text.parse([FILES, FILES], "json"))
    german, russian = plan.wanted("de"), plan.wanted("ru")

    assert len(russian) == len(german) + 2
    assert plan.total_chars == sum(plan.chars[name] for name in german) == sum(plan.chars[name] for name in russian)


def test_a_message_in_json_is_completed_too() -> None:
    assert selectors(translated({"files": FILES}, "json", "uk")["files"]) == ["one", "other", "few", "many"]


@given(st.sampled_from(["ru", "ar", "ja", "fr", "cy", "ga", "sl", "xx"]), st.data())
def test_a_completed_message_is_a_message_with_the_same_arguments(language: str, data: st.DataObject) -> None:
    leaf = st.lists(st.sampled_from(["#", "{n}", "{who}", "it''s", "'{'", "words", " ", "3"]), max_size=5).map("".join)
    complex_ = st.builds(
        "{{{}, {}, {}other {{{}}}}}".format,
        st.just("n"),
        st.sampled_from(["plural,", "selectordinal,", "select,", "plural, offset:1"]).map(
            lambda kind: kind.rstrip(",")
        ),
        st.builds("one {{{}}} ".format, leaf) | st.just(""),
        leaf,
    ).map(lambda message: message.replace("offset:1, ", "offset:1 "))
    message = "Before " + data.draw(complex_) + data.draw(leaf)
    done = translated(message, "text", language)

    assert identical(done, "text") == done
    if len(text.parse(message, "text").segments) > 1:
        (before, *_), (after, *_) = text.parse(message, "text").segments, text.parse(done, "text").segments
        assert len(after.fixed) == len(before.fixed)


def test_every_category_has_examples_that_no_other_one_has() -> None:
    for language in ("en", "ru", "ar", "cy", "ga", "lt", "fr"):
        for ordinal in (False, True):
            numbers = [number for found in plurals.categories(language, ordinal=ordinal).values() for number in found]
            assert len(numbers) == len(set(numbers))


def test_a_form_is_checked_like_any_answer() -> None:
    plan = Plan(text.parse(FILES, "text"))
    (few,) = [piece for piece in plan.wanted("ru").values() if piece.protected.text == "2 files"]

    assert checks.accept(few.protected, "2 файла", checks.Pair("en", "ru")) == "# файла"


def test_thousands_of_arguments_take_linear_time() -> None:
    message = " ".join(f"{{n{number}, plural, one {{# a}} other {{# b}}}}" for number in range(5_000))

    assert translated({"x": message}, "json", "ru")["x"].count("few {") == 5_000
