"""
Markdown: headings, paragraphs, list items, quotes and table cells are translated; nothing else is
touched.

Owns where those stand in the source. markdown-it-py says which lines are a block's text; this module
finds that text in the source lines (behind `> `, list indents and table bars), so fences, indented code,
HTML blocks, link definitions and front matter are never even looked at. `markdown_inline` says what is
fixed inside a text. Two rules keep it correct: a segment's line breaks are written back as the source
wrote them, prefixes and all; and a translated line never starts a block that the source line did not.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from worker.text import markdown_inline
from worker.text.document import Document, Render, Segment, Slot, Span

# Only with a key in its first line: a document may as well begin with a rule.
_FRONT_MATTER = re.compile(
    r"\ufeff?(---|\+\+\+)[ \t]*\r?\n(?=[\w\"'#.-]+[ \t]*[:=]|#|\1)(?:.*\n)*?\1[ \t]*(?:\r?\n|\Z)"
)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_LETTER = re.compile(r"[^\W\d_]")
_BREAK = re.compile(r"\r\n|\r|\n")
_BLOCK_START = re.compile(
    r"""\#{1,6}(?=\s|$) | > | [-+*](?=\s|$) | (\d{1,9})[.)](?=\s|$) | ``` | ~~~
      | (?:=+|-+|[*_]{3,})\s*$ | \[.*\]:""",
    re.VERBOSE,
)
_BAR = re.compile(r"(?<!\\)\|")

# The inline rule is off: its tokens know no positions, and it is most of the parser's time.
_PARSER = MarkdownIt("commonmark").enable("table").disable("inline")


def parse(content: str) -> Document:
    """Find the texts of *content*, with the headings above each as its context."""
    return Document(content, list(_Reader(content).slots()))


@dataclass(frozen=True, slots=True)
class _Place:
    """A text in the source: the spans of its lines, which `breaks` (line ends and prefixes) separate."""

    lines: tuple[Span, ...]
    in_table: bool


class _Reader:
    def __init__(self, content: str) -> None:
        self._content = content
        matter = _FRONT_MATTER.match(content)
        self._offset = matter.end() if matter else 0
        self._lines = [line.span() for line in _LINE.finditer(content, self._offset)]
        self._headings: list[tuple[int, str]] = []

    def slots(self) -> Iterator[Slot]:
        env: dict[str, Any] = {}
        previous: Token | None = None
        for token in _PARSER.parse(self._content[self._offset :], env):
            if token.type == "tr_open" and token.map:
                row, cell_at = token.map[0], self._lines[token.map[0]][0]
            elif token.type == "inline" and previous:
                if previous.type in ("th_open", "td_open"):
                    place, cell_at = self._cell(token.content, row, cell_at)
                else:
                    place = self._place(token)
                heading = self._heading(previous, token.content)
                if place:
                    yield self._slot(place, heading, env.get("references", {}))
            previous = token

    def _heading(self, opening: Token, content: str) -> str:
        """The path of headings above; a heading itself joins the path of what follows."""
        if opening.type != "heading_open":
            return " > ".join(text for _, text in self._headings)
        level = int(opening.tag[1:])
        self._headings = [(above, text) for above, text in self._headings if above < level]
        path = " > ".join(text for _, text in self._headings)
        self._headings.append((level, content[:80]))
        return path

    def _place(self, token: Token) -> _Place | None:
        if not token.map or not _LETTER.search(token.content):
            return None
        texts = [line.strip() for line in token.content.split("\n")]
        spans = [self._find(text, number) for number, text in enumerate(texts, token.map[0])]
        if any(start < 0 for start, _ in spans):
            return None  # the parser rewrote the text: better untranslated than damaged
        return _Place(tuple(spans), in_table=False)

    def _find(self, text: str, line: int) -> Span:
        """Where *text* stands in source line *line*: at its end, or before the closing marks of a heading."""
        start, end = self._lines[line]
        at = start + len(self._content[start:end].rstrip()) - len(text)
        if at < start or not self._content.startswith(text, at):
            # The prefix of a heading holds no letter, so the first match is the text itself.
            at = self._content.find(text, start, end)
        return at, at + len(text)

    def _cell(self, content: str, row: int, start: int) -> tuple[_Place | None, int]:
        end = self._lines[row][1]
        raw = content.replace("|", "\\|")  # the parser took the backslashes off
        at = self._content.find(raw, start, end)
        if at < 0 or not raw:
            return None, start
        place = _Place(((at, at + len(raw)),), in_table=True) if _LETTER.search(raw) else None
        return place, at + len(raw)

    def _slot(self, place: _Place, heading: str, references: Mapping[str, Any]) -> Slot:
        lines = [self._content[start:end] for start, end in place.lines]
        breaks = [self._content[above[1] : below[0]] for above, below in pairwise(place.lines)]
        text = "\n".join(lines)
        segment = Segment(text, markdown_inline.fixed_spans(text, references), "markdown", heading)
        return Slot(place.lines[0][0], place.lines[-1][1], (segment,), _writer(lines, breaks, place.in_table))


def _writer(lines: Sequence[str], breaks: Sequence[str], in_table: bool) -> Render:
    """Writes a translation where *lines* were."""

    def write(translations: Sequence[str]) -> str:
        (translation,) = translations
        if translation == "\n".join(lines):
            new = list(lines)
        else:
            new = [line.strip() for line in _BREAK.split(translation) if line.strip()]
        if not breaks:
            new = [" ".join(new)]
        if in_table:
            return _BAR.sub(r"\\|", new[0])
        guarded = [_guard(line, source) for line, source in zip_longest(new, lines[: len(new)], fillvalue="")]
        return "".join(_interleave(guarded, breaks))

    return write


def _interleave(lines: Sequence[str], breaks: Sequence[str]) -> Iterator[str]:
    yield from lines[:1]
    for number, line in enumerate(lines[1:]):
        yield breaks[min(number, len(breaks) - 1)]
        yield line


def _guard(line: str, source: str) -> str:
    """Escape what would begin a block, unless *source* began so too: "1. Mai" is a date, not a list."""
    start = _BLOCK_START.match(line)
    if not start or line == source:
        return line
    if source.startswith(start[0]) and source.removeprefix(start[0]).strip():
        return line  # a lone "*" began nothing where it stood, but with words behind it, it would
    at = start.end(1) if start[1] else 0
    return f"{line[:at]}\\{line[at:]}"
