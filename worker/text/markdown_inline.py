"""
What is fixed inside a line of Markdown: code, escapes, tags, emphasis marks and the machinery of links.

Owns the spans only; the text of links, images and emphasis stays translatable between them. Follows
CommonMark where it decides what is code and what is a link; where an emphasis mark may or may not be one
it is fixed anyway, which costs nothing. The rule that keeps it fast: one pass, and no search that starts
again at each mark.
"""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from markdown_it.common.utils import normalizeReference

from worker.text.document import Span

_ANY = re.compile(r"[\\`<\[*_~]")
_ATTRIBUTE = (
    r"\s+[a-zA-Z_:][\w.:-]{0,100}"
    r"(?:\s*=\s*(?:\"[^\"]{0,2000}\"|'[^']{0,2000}'|[^\s\"'=<>`]{1,2000}))?"
)
_MARK = re.compile(
    r"""\\[!-/:-@\[-`{-~] | `+ | !?\[ | \] | \*+ | _+ | ~~
      | <!--[\s\S]{0,1000}?--> | <![a-zA-Z][^>]{0,1000}> | <\?[\s\S]{0,1000}?\?>
      | <[a-zA-Z][a-zA-Z0-9-]{0,100}(?:ATTRIBUTE){0,100}\s*/?> | </[a-zA-Z][a-zA-Z0-9-]{0,100}\s*>
      | <[a-zA-Z][a-zA-Z0-9+.-]{1,31}:[^\s<>]{0,2000}> | <[^\s<>@]{1,100}@[^\s<>]{1,200}>  # autolinks""".replace(
        "ATTRIBUTE", _ATTRIBUTE
    ),
    re.VERBOSE,
)
_BARE = r"(?:\\\S|[^\s()\\]){0,2000}"
_TARGET = re.compile(
    rf"""\(\s*(?:<(?:\\.|[^<>\n\\]){{0,2000}}>|(?!<){_BARE}(?:\({_BARE}\){_BARE}){{0,3}})"""
    r"""(?:\s+(?:"(?:\\.|[^"\\]){0,999}"|'(?:\\.|[^'\\]){0,999}'|\((?:\\.|[^()\\]){0,999}\)))?\s*\)"""
)
_LABEL = re.compile(r"\[([^\[\]]{0,999})\]")
_TASK = re.compile(r"\[[ xX]\](?=\s)")


def fixed_spans(text: str, references: Mapping[str, Any]) -> tuple[Span, ...]:
    """The spans of *text* no translator may change. *references*: the document's link definitions."""
    return tuple(_Scanner(text, references).run()) if _ANY.search(text) else ()


class _Scanner:
    def __init__(self, text: str, references: Mapping[str, Any]) -> None:
        self._text = text
        self._references = references
        self._spans: list[Span] = []
        self._brackets: list[Span] = []

    def run(self) -> list[Span]:
        position = 0
        if task := _TASK.match(self._text):
            position = self._fix(0, task.end())
        closers = _backticks(self._text)
        while mark := _MARK.search(self._text, position):
            start, position = mark.span()
            match mark[0][0]:
                case "`":
                    position = self._code(start, position, closers)
                case "!" | "[":
                    self._brackets.append((start, position))
                case "]":
                    position = self._link(start)
                case "*" | "_" if not self._is_emphasis(start, position):
                    pass
                case _:
                    self._fix(start, position)
        return self._spans

    def _fix(self, start: int, end: int) -> int:
        self._spans.append((start, end))
        return end

    def _code(self, start: int, end: int, closers: Mapping[int, list[int]]) -> int:
        """A run of backticks opens code that the next run of the same length closes; else it is text."""
        runs = closers[end - start]
        following = bisect_left(runs, end)
        return self._fix(start, runs[following] + end - start) if following < len(runs) else end

    def _link(self, close: int) -> int:
        """The bracket at *close* ends a link, an image, or nothing. Says where to go on."""
        if not self._brackets:
            return close + 1
        start, inner = self._brackets.pop()
        after = close + 1
        if target := _TARGET.match(self._text, after):
            return self._fix_around(start, inner, close, target.end())
        label = _LABEL.match(self._text, after)
        if label and self._is_reference(label[1]):
            return self._fix_around(start, inner, close, label.end())
        name = self._text[inner:close]
        if name.startswith("^") or self._is_reference(name):
            # [name], [name][] and [^note] are found by their text, so it cannot be translated.
            collapsed = label is not None and not label[1]
            return self._fix_whole(start, after + 2 * collapsed)
        return after

    def _is_reference(self, label: str) -> bool:
        return bool(self._references) and normalizeReference(label) in self._references

    def _fix_around(self, start: int, inner: int, close: int, end: int) -> int:
        at = bisect_left(self._spans, (start, start))
        self._spans.insert(at, (start, inner))
        return self._fix(close, end)

    def _fix_whole(self, start: int, end: int) -> int:
        del self._spans[bisect_left(self._spans, (start, start)) :]
        return self._fix(start, end)

    def _is_emphasis(self, start: int, end: int) -> bool:
        before, after = self._text[start - 1 : start], self._text[end : end + 1]
        if self._text[start] == "_" and before.isalnum() and after.isalnum():
            return False
        return not ((not before or before.isspace()) and (not after or after.isspace()))


def _backticks(text: str) -> Mapping[int, list[int]]:
    """Where runs of backticks begin, by length; empty for a text without."""
    runs: dict[int, list[int]] = defaultdict(list)
    if "`" in text:
        for run in re.finditer(r"`+", text):
            runs[len(run[0])].append(run.start())
    return runs
