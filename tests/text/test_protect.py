"""What must not change leaves the text, and comes back exactly or not at all."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.text.document import Segment
from worker.text.protect import SENTINEL, Damaged, Protected, holds_originals, protect, restore

TOKENS = st.sampled_from(
    [
        *(
            "Hello",
            "wörld",
            "日本語",
            "مرحبا",
            "e\u0301",
            "👨‍👩‍👧",
            "it's",
            "100%",
            "5 < 6",
            "a & b",
            "\n",
            " ",
            ", ",
            ".",
        ),
        *("{name}", "{{user.name}}", "${total}", "%{count}", "%s", "%d", "%(x)s", "%1$s", "%%", "{n, number}"),
        *("<b>", "</b>", "<br/>", "&amp;", "&#39;", "https://example.com/a?b=c#d", "me@example.com", "`code`"),
        *("⟦0⟧", "⟦", "⟧", "⟦12⟧", "⟦ 0 ⟧", "{", "}", "'", "#", "[", "](", "\\"),
    ]
)
TEXTS = st.lists(TOKENS, max_size=30).map("".join) | st.text(max_size=60)


@given(TEXTS)
def test_an_untouched_answer_restores_the_source(text: str) -> None:
    protected = protect(Segment(text))

    assert protected.source == text
    assert restore(protected, protected.text) == text


@given(TEXTS, st.data())
def test_every_change_to_one_sentinel_is_refused(text: str, data: st.DataObject) -> None:
    protected = protect(Segment("Welcome {name}" + text))
    found = list(SENTINEL.finditer(protected.text))
    victim = data.draw(st.sampled_from(found))
    unknown = f"⟦{len(found)}⟧"
    other = f"⟦{(int(victim[1]) + 1) % len(found)}⟧" if len(found) > 1 else unknown
    change = data.draw(
        st.sampled_from(["", victim[0] * 2, unknown, other, victim[0][:-1], victim[0][1:], "⟦⟧", "⟦x⟧", "[0]"])
    )

    with pytest.raises(Damaged):
        restore(protected, protected.text[: victim.start()] + change + protected.text[victim.end() :])


@given(TEXTS, st.text("⟦⟧", min_size=1, max_size=3), st.data())
def test_every_added_sentinel_bracket_is_refused(text: str, added: str, data: st.DataObject) -> None:
    protected = protect(Segment(text))
    at = data.draw(st.integers(0, len(protected.text)))

    with pytest.raises(Damaged):
        restore(protected, protected.text[:at] + added + protected.text[at:])


@given(TEXTS, st.data())
def test_a_slice_stands_for_its_part_of_the_source(text: str, data: st.DataObject) -> None:
    protected = protect(Segment(text))
    bounds = [0, *(m.start() for m in SENTINEL.finditer(protected.text)), len(protected.text)]
    cut = data.draw(st.sampled_from(bounds))
    left, right = protected.slice(0, cut), protected.slice(cut, len(protected.text))

    assert left.source + right.source == text
    assert sorted(left.originals + right.originals) == sorted(protected.originals)


@pytest.mark.parametrize(
    "kept",
    [
        *("{x}", "{{x}}", "{{{x}}}", "${x}", "%{x}", "%s", "%d", "%.2f", "%(x)s", "%1$s", "%@", "%%", "$t(a.b)", "{0}"),
        *("{}", "{n, number, ::currency/USD}", '<a href="x">', "</a>", "<!-- note -->", "&nbsp;", "&#x27;", "`make`"),
        *("https://example.com/x?y=1", "www.example.com", "first.last@mail.example.org", "mailto:a@b.example"),
    ],
)
def test_what_a_program_or_a_browser_reads_is_protected(kept: str) -> None:
    protected = protect(Segment(f"Before {kept} after"))

    assert protected.text == "Before ⟦0⟧ after"
    assert protected.originals == (kept,)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Ask %sales@example.org now", ("%s", "ales@example.org")),
        ("Ask Ada.l@example.org now", ("Ada", ".l@example.org")),
    ],
)
def test_an_address_is_kept_whatever_its_first_letters_are_taken_for(text: str, kept: tuple[str, str]) -> None:
    protected = protect(Segment(text), ["Ada"])

    assert (protected.text, protected.originals) == ("Ask ⟦0⟧⟦1⟧ now", kept)


@pytest.mark.parametrize("text", ["100% sure", "a 50%discount", "5 < 6 and 7 > 3", "{not a placeholder}", "C# & D"])
def test_plain_text_that_looks_alike_is_left_to_the_translator(text: str) -> None:
    assert protect(Segment(text)).originals == ()


def test_punctuation_after_an_address_belongs_to_the_sentence() -> None:
    protected = protect(Segment("See https://example.com/a, or (http://b.example). 请看https://c.example。谢谢"))

    assert protected.originals == ("https://example.com/a", "http://b.example", "https://c.example")


def test_terms_are_protected_as_whole_words() -> None:
    protected = protect(Segment("Acme Cloud is not Acmes. 使用Acme构建"), ["Acme", "Acme Cloud"])

    assert protected.originals == ("Acme Cloud", "Acme")


def test_spaces_and_other_digits_inside_a_sentinel_are_understood() -> None:
    protected = protect(Segment("Hi {name}, {count} left"))

    assert restore(protected, "⟦ ١ ⟧ quedan, ⟦0 ⟧") == "{count} quedan, {name}"


def test_an_apostrophe_before_an_argument_does_not_quote_it_in_a_message() -> None:
    message = Protected("of ⟦0⟧", ("{name}",), "icu")

    assert restore(message, "l'⟦0⟧") == "l''{name}"


def test_message_syntax_added_by_a_translator_is_refused() -> None:
    for flavour, answer in (("icu", "{otro}"), ("icu", "a}"), ("icu_plural", "# cosas")):
        with pytest.raises(Damaged):
            restore(Protected("things", (), flavour), answer)  # type: ignore[arg-type]


def test_a_remembered_text_that_lost_a_placeholder_does_not_fit() -> None:
    protected = protect(Segment("{a} and {a}"))

    assert holds_originals(protected, "{a} y {a}")
    assert not holds_originals(protected, "{a} y a")


def test_hostile_text_takes_linear_time() -> None:
    for piece in ("<", "<!--", "{", "{{", "%(", "&", "`", "a@", "https://", "⟦", "www.", "aaaa", "a.a"):
        text = piece * (200_000 // len(piece))

        assert re.sub(r"\s", "", protect(Segment(text)).source) == text
