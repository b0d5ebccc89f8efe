"""What seldom stands in a text, and what a caller must not do."""

import pytest

from tests.text.pipeline import identical, sent, translated
from worker import text
from worker.text import plurals
from worker.text.document import Segment
from worker.text.nesting import is_kept
from worker.text.protect import protect


@pytest.mark.parametrize(
    ("order", "kept"),
    [([0, 1, 2, 3], True), ([2, 3, 0, 1], True), ([1, 0, 2, 3], False), ([0, 2, 1, 3], False), ([2, 0, 1, 3], True)],
)
def test_links_and_tags_still_close_each_other_wherever_they_stand(order: list[int], kept: bool) -> None:
    assert is_kept(["[", "](https://x.example)", "<b>", "</b>"], order) == kept


def test_an_image_closes_as_a_link_does() -> None:
    assert is_kept(["![", "][ref]", "`code`"], [2, 0, 1])
    assert not is_kept(["![", "][ref]", "`code`"], [1, 2, 0])


def test_what_never_nested_may_come_in_any_order() -> None:
    assert is_kept(["</b>", "<b>", "`code`"], [2, 0, 1])


@pytest.mark.parametrize("content", ["<p>Words</p><script>if (a < b) never closed", "<p>Words</p><script></script>"])
def test_a_script_is_kept_whether_it_ends_or_is_empty(content: str) -> None:
    assert identical(content, "html") == content
    assert sent(content, "html") == ["Words"]


def test_an_element_that_opts_out_keeps_its_attributes_too() -> None:
    content = '<img alt="A lamp" translate="no"><img alt="A door" class="notranslate"><img alt="A ferry">'

    assert sent(content, "html") == ["A ferry"]


def test_the_two_portugueses_have_their_own_forms() -> None:
    assert plurals.categories("pt-PT") == plurals.categories("pt_pt") != plurals.categories("pt-BR")
    assert plurals.categories("pt-PT", ordinal=True) == plurals.categories("pt", ordinal=True)


@pytest.mark.parametrize("count", [0, 2])
def test_an_assembly_takes_one_translation_a_segment(count: int) -> None:
    document = text.parse("One paragraph.", "text")

    with pytest.raises(ValueError, match=f"1 segments, but {count} translations"):
        document.assemble(["words"] * count)


def test_the_words_of_an_elision_do_not_quote_what_stands_before_or_after_them() -> None:
    """In ICU an apostrophe beside a brace begins a quotation."""
    message = "{a}'s lamp, l'{b}"

    assert translated([message], "json")[0].count("{") == 2
    assert identical([message], "json") == [message]


def test_an_example_is_counted_as_the_message_writes_it() -> None:
    asked = protect(Segment("{n} days", ((0, 3),), "icu_plural", example=(3, "{n}")))

    assert (asked.text, asked.source, asked.source_chars) == ("3 days", "{n} days", len("{n} days"))
