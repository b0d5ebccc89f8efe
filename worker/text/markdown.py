"""
Markdown: headings, paragraphs, list items, quotes, notes and table cells are translated; nothing else is
touched.

Owns where those stand in the source. pulldown-cmark (through pyromark) says with its byte ranges which of the
source is text; what lies between the texts of a block (code, marks, tags, the machinery of links) is fixed,
so code, link definitions and front matter are never even looked at; a block of HTML is read by `html`. Two
rules keep it correct: a segment's line breaks are written back as the source wrote them, prefixes and all; and
a translated line never starts a block that the source line did not. The writing is in `markdown_lines`.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pyromark

from worker.text import html
from worker.text.document import Document, Segment, Slot, Span
from worker.text.markdown_lines import BLANK_LINES, LINE_BREAK, Writer, without_blank_lines

# Only with a key in its first line: a document may as well begin with a rule.
_FRONT_MATTER = re.compile(
    r"\ufeff?(---|\+\+\+)[ \t]*\r?\n(?=[\w\"'#.-]+[ \t]*[:=]|#|\1)(?:.*\n)*?\1[ \t]*(?:\r?\n|\Z)"
)
_LETTER = re.compile(r"[^\W\d_]")
_HEADING_CHARS = 80

_OPTIONS = (
    pyromark.Options.ENABLE_TABLES
    | pyromark.Options.ENABLE_STRIKETHROUGH
    | pyromark.Options.ENABLE_FOOTNOTES
    | pyromark.Options.ENABLE_TASKLISTS
)
# Spans inside a text; whatever else starts or ends is a block.
_INLINE = frozenset({"Emphasis", "Strong", "Strikethrough", "Link", "Image"})
# Links whose text is also their address, or the name of a definition.
_FOUND_BY_TEXT = frozenset({"Autolink", "Email", "Shortcut", "Collapsed"})
_NO_TEXT = frozenset({"CodeBlock", "HtmlBlock"})
_QUOTED = re.compile(r"[\r\n][ \t]*>")
_MARKS = re.compile(r"[*_~\[!]+")


def parse(content: str) -> Document:
    """Find the texts of *content*, with the headings above each as its context."""
    return Document(content, list(_Reader(content).slots()))


class _Reader:
    def __init__(self, content: str) -> None:
        matter = _FRONT_MATTER.match(content)
        start = matter.end() if matter else 0
        self._markdown = content[start:] if start else content
        self._source = _Source(content, start)
        self._headings: list[tuple[int, str]] = []
        self._path = ""

    def slots(self) -> Iterator[Slot]:
        """One for each block that holds text."""
        start = end = -1  # of the text of the block so far, in bytes
        texts: list[int] = []  # where what may be translated of it begins, ends, begins, …
        element = -1, -1  # the emphasis or link it begins with
        skipped: tuple[str, int, int] | None = None  # what holds no text, until it ends
        event: Any
        detail: Any
        for event, where in pyromark.events_with_range(self._markdown, options=_OPTIONS):
            kind, detail = event.popitem() if type(event) is dict else (event, None)
            at, to = where["start"], where["end"]
            if kind == "Text" or kind == "SoftBreak":
                if skipped:
                    continue
                texts += at, to
            elif kind == "End" or kind == "Start":
                name = detail if type(detail) is str else next(iter(detail))
                if skipped:
                    skipped = None if kind == "End" and skipped == (name, at, to) else skipped
                    continue
                if name not in _INLINE:
                    if start >= 0:
                        if slot := self._slot(start, end, texts, element, kind, detail):
                            yield slot
                        start = end = -1
                        texts, element = [], (-1, -1)
                    if kind == "Start" and name in _NO_TEXT:
                        skipped = name, at, to
                        if name == "HtmlBlock":
                            yield from self._html(at, to)
                    continue
                if kind == "End":
                    continue
                if (name == "Link" or name == "Image") and (way := detail[name]["link_type"]) in _FOUND_BY_TEXT:
                    skipped = name, at, to
                    to += 2 * (way == "Collapsed")  # its brackets are not in its range
                elif start < 0:
                    element = at, to
            elif skipped or kind == "Rule" or kind == "TaskListMarker":
                continue
            if start < 0:
                start = at
            if to > end:
                end = to
        if start >= 0 and (slot := self._slot(start, end, texts, element, "", None)):
            yield slot

    def _slot(self, start: int, end: int, texts: list[int], element: Span, ending: str, detail: Any) -> Slot | None:
        """The slot of a block, which the event *ending* with *detail* closes; None when it holds no letter."""
        if not texts:
            return None
        first, last, text, fixed, breaks = self._source.place(start, end, texts, element)
        is_end = ending == "End"
        if is_end and type(detail) is dict and "Heading" in detail:
            path = self._heading(int(detail["Heading"][1]), text)
        else:
            path = self._path
        if not _LETTER.search(text):
            return None
        writer = Writer(text, breaks, is_end and detail == "TableCell")
        return Slot(first, last, (Segment(text, fixed, "markdown", path),), writer)

    def _html(self, start: int, end: int) -> Iterator[Slot]:
        """The slots of an HTML block; none of one in a quote, whose marks would be read as text."""
        first, last = self._source.characters([start, end])
        content = self._source.content
        if not _QUOTED.search(content, first, last):
            ends_at_a_blank_line = not BLANK_LINES.search(content, first, last)
            for slot in html.within(content, first, last, self._path):
                if ends_at_a_blank_line:
                    slot.render = without_blank_lines(slot.render)
                yield slot

    def _heading(self, level: int, text: str) -> str:
        """Where a heading itself stands; it then joins the path of what follows."""
        above = [(known_level, known) for known_level, known in self._headings if known_level < level]
        self._headings = [*above, (level, text[:_HEADING_CHARS])]
        self._path = " > ".join(known for _, known in self._headings)
        return " > ".join(known for _, known in above)


_Place = tuple[int, int, str, tuple[Span, ...], tuple[str, ...]]


class _Source:
    """Finds by byte ranges of the Markdown what stands in the content, going forward only."""

    def __init__(self, content: str, start: int) -> None:
        self.content = content
        self._start = start
        self._bytes = None if content.isascii() else content.encode()
        self._byte = self._base = len(content[:start].encode())
        self._char = start

    def place(self, start: int, end: int, texts: list[int], element: Span) -> _Place:
        """
        The text of a block: where it stands, the text with its lines joined by line feeds, the spans of that
        which are fixed, and what stood between the lines.
        """
        bounds = self.characters([start, *texts, end])
        first, last = bounds[0], bounds[-1]
        gaps = self._gaps(bounds)
        if len(gaps) == 2 and element == (start, end):
            (_, left), (right, _) = gaps
            if gaps[0][0] == first and gaps[1][1] == last and _MARKS.fullmatch(self.content, first, left):
                first, last, gaps = left, right, []  # all of it is one link, or is emphasised
        raw = self.content[first:last]
        if "\n" in raw or "\r" in raw:
            return _unprefixed(first, last, raw, gaps)
        return first, last, raw, tuple([(left - first, right - first) for left, right in gaps]), ()

    def _gaps(self, bounds: list[int]) -> list[Span]:
        """What is no text between the texts."""
        gaps: list[Span] = []
        for number in range(0, len(bounds), 2):
            left, right = bounds[number], bounds[number + 1]
            if right > left:
                if right - left == 1 and self.content[left] == "\\" and number < len(bounds) - 2:
                    right += 1  # an escape is the backslash and its character
                gaps.append((left, right))
        return gaps

    def characters(self, places: list[int]) -> list[int]:
        """The characters at these bytes of the Markdown, which are in order, and behind any asked for before."""
        if self._bytes is None:
            return [place + self._start for place in places] if self._start else places
        encoded, byte, char = self._bytes, self._byte, self._char
        found: list[int] = []
        for place in places:
            place += self._base
            char += len(encoded[byte:place].decode())
            byte = place
            found.append(char)
        self._byte, self._char = byte, char
        return found


def _unprefixed(start: int, end: int, raw: str, gaps: list[Span]) -> _Place:
    """*raw* without what stands before each of its lines but the first."""
    breaks = [found.span() for found in LINE_BREAK.finditer(raw)]
    removed = [0, *accumulate(right - left - 1 for left, right in breaks)]
    text = LINE_BREAK.sub("\n", raw)

    def moved(position: int) -> int:
        passed = bisect_left(breaks, (position, -1))
        behind = breaks[passed - 1][1] if passed else 0  # of the middle of a prefix nothing is left
        return max(position, behind) - removed[passed]

    spans = [(moved(left - start), moved(right - start)) for left, right in gaps]
    fixed = tuple([(left, right) for left, right in spans if text[left:right].strip(" \t")])
    return start, end, text, fixed, tuple([raw[left:right] for left, right in breaks])
