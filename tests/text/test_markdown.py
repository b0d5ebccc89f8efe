"""Markdown keeps its structure whatever the words become, and its bytes where nothing is translated."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.text.pipeline import identical, sent, translated
from worker import text

RENDERER = MarkdownIt("commonmark").enable("table").enable("strikethrough")

INLINE = st.lists(
    st.sampled_from(
        [
            *(
                "words",
                "more words",
                "Ünïcode",
                "2 * 3",
                "snake_case",
                "it's 5 < 6",
                "`code *x*`",
                "``a ` b``",
                "**bold**",
            ),
            *(
                "*emph*",
                "~~gone~~",
                "[a link](https://x.example/a_(b) 'title')",
                "![an image](i.png)",
                "<https://a.example>",
            ),
            *(
                "[full][ref]",
                "[ref]",
                "[ref][]",
                "<b>html</b>",
                "&copy; 2024",
                "\\*escaped\\*",
                "{name}",
                "[not a link]",
            ),
        ]
    ),
    min_size=1,
    max_size=6,
).map(" ".join)
LINES = st.lists(INLINE, min_size=1, max_size=3)
BLOCKS = st.one_of(
    st.builds(lambda level, line: "#" * level + " " + line, st.integers(1, 6), INLINE),
    st.builds(lambda line: line + "\n====", INLINE),
    LINES.map("\n".join),
    LINES.map("  \n".join),
    LINES.map(lambda lines: "\n".join("> " + line for line in lines)),
    LINES.map(lambda lines: "> > " + "\n> > ".join(lines) + "\nlazy words"),
    LINES.map(lambda lines: "\n".join("- " + line for line in lines)),
    LINES.map(lambda lines: "1. " + "\n   ".join(lines) + "\n\n   - [ ] inner words"),
    st.builds(lambda a, b: f"| {a} | b \\| c |\n|---|:-:|\n| {b} | `x \\| y` |\n| | words |", INLINE, INLINE),
    st.sampled_from(
        [
            "```py\nprint('words')\n```",
            "    indented words",
            "<div>\nwords\n</div>",
            "<details>\n<summary>words *x*</summary>\n\nwords\n\n</details>",
            "> <p align=center>words\n> <b>words</b>",
            "- <img src=x alt='words'>\n  words",
            "---",
            "[ref]: https://ref.example 'words'",
            "[other]: <x y>\n  'words'",
        ]
    ),
)
DOCUMENTS = st.builds(
    lambda front, blocks, end: (front + "\n\n".join(blocks)).replace("\n", end),
    st.sampled_from(["", "---\ntitle: words\n---\n", "\n"]),
    st.lists(BLOCKS, max_size=6),
    st.sampled_from(["\n", "\r\n"]),
)
NOISE = st.text(alphabet="#>-*`[]()!<>\\_~ \n1.ab:=+", max_size=60)


def structure(content: str) -> list[tuple[Any, ...]]:
    """Everything of the rendered document but its words."""
    found: list[tuple[Any, ...]] = []
    for block in RENDERER.parse(content):
        verbatim = block.content if block.type in ("fence", "code_block") else ""
        if block.type == "html_block":
            verbatim = " ".join(re.findall(r"</?[a-z]+", block.content))
        found.append((block.type, block.tag, block.level, verbatim))
        for inline in block.children or ():
            if inline.type not in ("text", "softbreak"):
                links = [inline.attrs.get("href"), inline.attrs.get("src")]
                verbatim = inline.content if inline.type in ("code_inline", "html_inline") else ""
                found.append((inline.type, inline.tag, links, verbatim))
    return found


def texts(content: str) -> list[str]:
    return [segment.text for segment in text.parse(content, "markdown").segments]


@given(DOCUMENTS | NOISE)
def test_markdown_comes_back_byte_for_byte(content: str) -> None:
    assert identical(content, "markdown") == content


@given(DOCUMENTS)
def test_translating_words_keeps_the_rendered_structure(content: str) -> None:
    assert structure(translated(content, "markdown")) == structure(content)


@given(NOISE)
def test_translating_noise_keeps_its_blocks(content: str) -> None:
    def blocks(markdown: str) -> list[tuple[str, int]]:
        return [(token.type, token.level) for token in RENDERER.parse(markdown)]

    assert blocks(translated(content, "markdown")) == blocks(content)


def test_what_people_read_is_translated_and_nothing_else() -> None:
    content = """---
title: Front
---
# Heading #

A paragraph
of two lines.

- item

  in item

> quote
> goes on

| head | b \\| c |
|---|---|
| cell | 12 |

```
fenced
```

    indented

<p>
html
</p>

[ref]: /url 'title'
"""

    assert texts(content) == [
        *("Heading", "A paragraph\nof two lines.", "item", "in item", "quote\ngoes on"),
        *("head", "b \\| c", "cell", "html"),
    ]


@pytest.mark.parametrize(
    ("content", "protected"),
    [
        ("See `make all` now", "See ⟦0⟧ now"),
        ("A [link](http://x.example 'T') here", "A ⟦0⟧link⟦1⟧ here"),
        ("An ![image](i.png) and <b>bold</b>", "An ⟦0⟧image⟦1⟧ and ⟦2⟧bold⟦3⟧"),
        ("**Bold** and _emph_ but snake_case", "⟦0⟧Bold⟦1⟧ and ⟦2⟧emph⟦3⟧ but snake_case"),
        ("A note[^1] and [ref] and [see][ref]\n\n[ref]: /x", "A note⟦0⟧ and ⟦1⟧ and ⟦2⟧see⟦3⟧"),
        ("- [x] done", "done"),
        ("a \\* b", "a ⟦0⟧ b"),
        ("[all of it](http://x.example)", "all of it"),
        ("> one  \n> two", "one⟦0⟧two"),
        ("a ``b ` c`` d ` e", "a ⟦0⟧ d ` e"),
    ],
)
def test_the_machinery_inside_a_line_is_protected(content: str, protected: str) -> None:
    assert sent(content, "markdown") == [protected]


def test_a_block_of_html_is_translated_as_html() -> None:
    content = "# Guide\n\n<details open>\n<summary>More &amp; <b>more</b></summary>\n\n*Text*\n\n</details>\n"
    document = text.parse(content, "markdown")

    assert texts(content) == ["Guide", "More & <b>more</b>", "Text"]
    assert [segment.flavour for segment in document.segments] == ["markdown", "html", "markdown"]
    assert [segment.heading for segment in document.segments] == ["", "Guide", "Guide"]
    assert document.assemble(["Guía", "Más\n\n<b>más</b>", "Texto"]) == (
        "# Guía\n\n<details open>\n<summary>Más\n<b>más</b></summary>\n\n*Texto*\n\n</details>\n"
    )


def test_html_in_a_quote_is_left_alone() -> None:
    assert texts("> <div>\n> words\n> </div>\n") == []


def test_a_quote_keeps_its_marks_on_every_line() -> None:
    document = text.parse("> one\n> two", "markdown")

    assert document.assemble(["uno\ndos"]) == "> uno\n> dos"
    assert document.assemble(["uno\ndos\n\ntres"]) == "> uno\n> dos\n> tres"
    assert document.assemble(["uno dos"]) == "> uno dos"


def test_a_number_that_repeats_its_list_mark_is_found_behind_it() -> None:
    assert text.parse("1. 1\n   and more", "markdown").assemble(["uno"]) == "1. uno"


def test_a_heading_and_a_cell_stay_on_one_line() -> None:
    document = text.parse("# one\n\n| a | b |\n|--|--|\n| c | d |", "markdown")

    assert document.assemble(["uno\ndos", "a\na", "x | y", "c", "d"]) == (
        "# uno dos\n\n| a a | x \\| y |\n|--|--|\n| c | d |"
    )


@pytest.mark.parametrize(
    ("translation", "written"),
    [
        ("1. Mai", "1\\. Mai"),
        ("- nein", "\\- nein"),
        ("# eins", "\\# eins"),
        ("> mehr", "\\> mehr"),
        ("[a]: b", "\\[a]: b"),
        ("1.5 Liter", "1.5 Liter"),
        ("-5 Grad", "-5 Grad"),
    ],
)
def test_a_translation_does_not_begin_a_block_by_accident(translation: str, written: str) -> None:
    assert text.parse("May 1st", "markdown").assemble([translation]) == written


def test_a_segment_knows_the_headings_above_it() -> None:
    content = "# Guide\n\n## Install\n\nFirst.\n\n## Use\n\nThen."

    assert [s.heading for s in text.parse(content, "markdown").segments] == [
        *("", "Guide", "Guide > Install", "Guide", "Guide > Use"),
    ]
