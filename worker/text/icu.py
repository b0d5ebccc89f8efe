"""
ICU MessageFormat: finds the sentences inside plural, select and selectordinal.

Owns the grammar as far as translating needs it: syntax (argument names, selectors, braces) is emitted again
byte for byte, only leaves become segments, and inside a leaf `{arguments}`, `#` and 'quoted' text are fixed.
A complex argument inside a sentence is one fixed span of that sentence, so translators see it whole. What the
target language needs beyond the source's plural forms is added (`plural_forms` says which). The rule that
keeps it correct: a message that does not parse completely is no message (`split` says None).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.text import plural_forms
from worker.text.document import Forms, Segment, Slot, Span, with_replaced

_COMPLEX = re.compile(r"\{\s*([\w.-]+)\s*,\s*(plural|selectordinal|select)\s*,\s*(?:offset:\s*(\d+)\s*)?")
_SIMPLE = re.compile(r"\{\s*[\w.-]+\s*(?:,[^{}]*)?\}")
_SELECTOR = re.compile(r"\s*(=\d+|[\w-]+)\s*\{")
_CLOSE = re.compile(r"\s*\}")
_QUOTED = re.compile(r"'[^']*(?:''[^']*)*'")
_SPECIAL = re.compile(r"[{}'#]")
_ONE = re.compile(r"\bone(\s*\{)\Z")
_DEPTH_MAX = 8


@dataclass(slots=True)
class _Argument:
    raw: str
    name: str
    kind: str
    has_offset: bool
    selectors: tuple[str, ...]
    syntax: tuple[str, ...]
    """What stands before, between and after `leaves`."""
    leaves: "tuple[_Leaf, ...]"

    def added(self, language: str) -> Sequence[plural_forms.Form]:
        """The forms that *language* needs beside those of the source."""
        if self.kind == "select" or not language:
            return ()
        leaves = {
            selector: plural_forms.Leaf(leaf.text, leaf.number(self.name, self.has_offset))
            for selector, leaf in zip(self.selectors, self.leaves, strict=True)
        }
        return plural_forms.added(leaves, language, ordinal=self.kind != "plural", has_offset=self.has_offset)

    @property
    def other(self) -> "_Leaf":
        return self.leaves[self.selectors.index("other")]


@dataclass(slots=True)
class _Leaf:
    text: str
    fixed: tuple[Span, ...]
    arguments: tuple[_Argument, ...]
    plural: bool

    def number(self, name: str, has_offset: bool) -> str:
        """How the leaf writes the number that is counted; empty when it does not."""
        fixed = [self.text[start:end] for start, end in self.fixed]
        ways = ["#"] if has_offset else ["#", *(raw for raw in fixed if raw[1:-1].strip() == name)]
        return next((way for way in ways if way in fixed), "")


class _NotAMessage(Exception):
    pass


class Message:
    """A parsed message: its segments, and how their translations become a message again."""

    def __init__(self, root: _Leaf, heading: str) -> None:
        self._root = root
        self._heading = heading
        self.segments = tuple(
            Segment(leaf.text, leaf.fixed, "icu_plural" if leaf.plural else "icu", heading) for leaf in _leaves(root)
        )
        self.has_plurals = any(argument.kind != "select" for argument in _arguments(root))

    def forms(self, language: str) -> tuple[Segment, ...]:
        """The further plural forms that *language* needs and that can be asked for by an example."""
        return tuple(
            Segment(argument.other.text, argument.other.fixed, "icu_plural", self._heading, form.example)
            for argument in _arguments(self._root)
            for form in argument.added(language)
            if form.example
        )

    def render(self, translations: Sequence[str], forms: Forms) -> str:
        """The message with a translation for each of `segments`, and *forms* in the order of `forms`."""
        return _render(self._root, iter(translations), _Added(forms.language, iter(forms.texts)))


@dataclass(slots=True)
class _Added:
    language: str
    texts: Iterator[str | None]


def split(text: str, heading: str = "") -> Message | None:
    """The ICU message that *text* is, or None when it is not one."""
    if "{" not in text or not _COMPLEX.search(text):
        return None
    try:
        root, end = _Parser(text).leaf(0, depth=0, plural=False)
    except _NotAMessage:
        return None
    return Message(root, heading) if end == len(text) else None


def slot(start: int, end: int, text: str, heading: str = "") -> Slot:
    """The slot of *text*: of a message with its leaves, else of one plain segment."""
    message = split(text, heading)
    if not message:
        return Slot(start, end, (Segment(text, heading=heading),))
    return Slot(start, end, message.segments, message.render, message.forms if message.has_plurals else None)


def _leaves(leaf: _Leaf) -> Iterator[_Leaf]:
    yield leaf
    for argument in leaf.arguments:
        for inner in argument.leaves:
            yield from _leaves(inner)


def _arguments(leaf: _Leaf) -> Iterator[_Argument]:
    """All complex arguments, an outer one before those inside it: the order in which `_render` meets them."""
    for argument in leaf.arguments:
        yield argument
        for inner in argument.leaves:
            yield from _arguments(inner)


def _render(leaf: _Leaf, translations: Iterator[str], added: _Added) -> str:
    translation = next(translations)
    # The translation holds each argument as it was: a fixed span survives or the answer is refused.
    return with_replaced(translation, _render_arguments(leaf, translations, added))


def _render_arguments(leaf: _Leaf, translations: Iterator[str], added: _Added) -> Mapping[str, str]:
    return {argument.raw: _render_argument(argument, translations, added) for argument in leaf.arguments}


def _render_argument(argument: _Argument, translations: Iterator[str], added: _Added) -> str:
    forms = argument.added(added.language)
    asked = [next(added.texts, None) if form.example else None for form in forms]
    leaves: list[str] = []
    inner: Mapping[str, str] = {}
    for selector, leaf in zip(argument.selectors, argument.leaves, strict=True):
        translation = next(translations)
        rendered = _render_arguments(leaf, translations, added)
        leaves.append(with_replaced(translation, rendered))
        if selector == "other":
            inner = rendered
    syntax = list(argument.syntax)
    if any(form.category == "one" for form in forms) and "one" in argument.selectors:
        # "one {a file}" says 1 in English and 21 in Russian too: what was written for 1 is kept for 1.
        at = argument.selectors.index("one")
        syntax[at] = _ONE.sub(r"=1\1", syntax[at])
    other = leaves[argument.selectors.index("other")]
    texts = [other if text is None else with_replaced(text, inner) for text in asked]
    more = [f" {form.category} {{{text}}}" for form, text in zip(forms, texts, strict=True)]
    syntax[-1] = f"}}{''.join(more)}{syntax[-1][1:]}"
    return "".join(part for pair in zip(syntax, [*leaves, ""], strict=True) for part in pair)


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
        syntax: list[str] = []
        leaves: list[_Leaf] = []
        selectors: list[str] = []
        start, position = at, head.end()
        while depth < _DEPTH_MAX and (selector := _SELECTOR.match(self._text, position)):
            leaf, end = self.leaf(selector.end(), depth=depth + 1, plural=plural or head[2] != "select")
            syntax.append(self._text[start : selector.end()])
            leaves.append(leaf)
            selectors.append(selector[1])
            start, position = end, end + 1
        close = _CLOSE.match(self._text, position)
        if not close or "other" not in selectors or len(set(selectors)) < len(selectors):
            raise _NotAMessage
        syntax.append(self._text[start : close.end()])
        raw = self._text[at : close.end()]
        return _Argument(raw, head[1], head[2], bool(head[3]), tuple(selectors), tuple(syntax), tuple(leaves))
