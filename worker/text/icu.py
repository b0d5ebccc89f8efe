"""
ICU MessageFormat: finds the sentences inside plural, select and selectordinal.

Owns the grammar as far as translating needs it: syntax (argument names, selectors, braces) is emitted again
byte for byte, only leaves become segments, and inside a leaf `{arguments}`, `#` and 'quoted' text are fixed.
A complex argument inside a sentence is one fixed span of that sentence, so translators see it whole.
The rule that keeps it correct: a message that does not parse completely is no message (`split` says None).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from worker.text.document import Render, Segment, Span, only

_COMPLEX = re.compile(r"\{\s*[\w.-]+\s*,\s*(plural|selectordinal|select)\s*,\s*(?:offset:\s*\d+\s*)?")
_SIMPLE = re.compile(r"\{\s*[\w.-]+\s*(?:,[^{}]*)?\}")
_SELECTOR = re.compile(r"\s*(=\d+|[\w-]+)\s*\{")
_CLOSE = re.compile(r"\s*\}")
_QUOTED = re.compile(r"'[^']*(?:''[^']*)*'")
_SPECIAL = re.compile(r"[{}'#]")
_DEPTH_MAX = 8


@dataclass(frozen=True, slots=True)
class _Argument:
    raw: str
    parts: "tuple[str | _Leaf, ...]"
    """Syntax and leaves as they follow each other; joined they are `raw`."""


@dataclass(frozen=True, slots=True)
class _Leaf:
    text: str
    fixed: tuple[Span, ...]
    arguments: tuple[_Argument, ...]
    plural: bool


class _NotAMessage(Exception):
    pass


def split(text: str) -> tuple[tuple[Segment, ...], Render] | None:
    """The segments of the ICU message *text* and how to render them, or None when it is not one."""
    if not _COMPLEX.search(text):
        return None
    try:
        message, end = _Parser(text).leaf(0, depth=0, plural=False)
    except _NotAMessage:
        return None
    if end != len(text):
        return None
    return tuple(_segments(message)), lambda translations: _render(message, iter(translations))


def split_or_whole(text: str, heading: str = "") -> tuple[tuple[Segment, ...], Render]:
    """As `split`; *text* as one plain segment when it is not a message."""
    if not (message := split(text)):
        return (Segment(text, heading=heading),), only
    segments, render = message
    return tuple(Segment(s.text, s.fixed, s.flavour, heading) for s in segments), render


def _segments(leaf: _Leaf) -> Iterator[Segment]:
    yield Segment(leaf.text, leaf.fixed, "icu_plural" if leaf.plural else "icu")
    for argument in leaf.arguments:
        for part in argument.parts:
            if isinstance(part, _Leaf):
                yield from _segments(part)


def _render(leaf: _Leaf, translations: Iterator[str]) -> str:
    translation = next(translations)
    rendered: dict[str, str] = {}
    for argument in leaf.arguments:
        parts = [part if isinstance(part, str) else _render(part, translations) for part in argument.parts]
        rendered[argument.raw] = "".join(parts)
    if not rendered:
        return translation
    # The translation holds each complex argument as it was: a fixed span survives or the answer is refused.
    raws = "|".join(re.escape(raw) for raw in sorted(rendered, key=len, reverse=True))
    return re.sub(raws, lambda found: rendered[found[0]], translation)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text

    def leaf(self, start: int, *, depth: int, plural: bool) -> tuple[_Leaf, int]:
        """The leaf from *start* to the brace that closes it, or to the end of the message at depth 0."""
        fixed: list[Span] = []
        arguments: list[_Argument] = []
        position = start
        while (found := _SPECIAL.search(self._text, position)) and found[0] != "}":
            at = found.start()
            argument = self._complex(at, depth, plural)
            if argument:
                arguments.append(argument)
                position = at + len(argument.raw)
            else:
                position = self._token_end(at, found[0], plural)
            if self._text[at:position] not in ("'", "''") and (found[0] != "#" or plural):
                fixed.append((at - start, position - start))
        if bool(found) != (depth > 0):
            raise _NotAMessage  # a brace too many, or one too few
        end = found.start() if found else len(self._text)
        return _Leaf(self._text[start:end], tuple(fixed), tuple(arguments), plural), end

    def _token_end(self, at: int, sign: str, plural: bool) -> int:
        if sign == "{":
            token = _SIMPLE.match(self._text, at)
        elif sign == "'" and self._text[at + 1 : at + 2] in ("{", "}", "#" if plural else "{"):
            token = _QUOTED.match(self._text, at)
        else:
            return at + (2 if self._text.startswith("''", at) else 1)
        if not token:
            raise _NotAMessage
        return token.end()

    def _complex(self, at: int, depth: int, plural: bool) -> _Argument | None:
        head = _COMPLEX.match(self._text, at)
        if not head:
            return None
        parts: list[str | _Leaf] = []
        names: list[str] = []
        start, position = at, head.end()
        while depth < _DEPTH_MAX and (selector := _SELECTOR.match(self._text, position)):
            leaf, end = self.leaf(selector.end(), depth=depth + 1, plural=plural or head[1] != "select")
            parts += [self._text[start : selector.end()], leaf]
            names.append(selector[1])
            start, position = end, end + 1
        close = _CLOSE.match(self._text, position)
        if not close or "other" not in names:
            raise _NotAMessage
        parts.append(self._text[start : close.end()])
        return _Argument(self._text[at : close.end()], tuple(parts))
