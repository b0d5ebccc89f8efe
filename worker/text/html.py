"""
HTML: what a reader sees is translated, block by block; all else stays byte for byte as it is.

Owns which elements divide a text, which are part of one and which are not to be translated. A segment is the
text of one block with the inline tags in it as fixed spans, so that a translator may move them with their
words; character references are read as the characters they mean, because nobody can translate caf&eacute;
with a hole in it. Attributes that are read or read out loud are segments of their own. The source may be a
whole page, a fragment or broken: tags are never matched against a tree, so nothing can be repaired away.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.text import html_tokens
from worker.text.document import NO_FORMS, Document, Forms, Render, Segment, Slot, Span, with_replaced
from worker.text.html_tokens import Token

# Part of the text around them. Any other element, known or not, begins and ends a text.
_INLINE = frozenset(
    {"a", "abbr", "acronym", "b", "bdi", "bdo", "big", "br", "cite", "code", "data", "del", "dfn", "em", "font", "i"}
    | {"img", "ins", "kbd", "label", "mark", "math", "meter", "nobr", "output", "picture", "progress", "q"}
    | {"rb", "rp", "rt", "ruby", "s", "samp", "small", "source", "span", "strike", "strong", "sub", "sup", "svg"}
    | {"time", "tt", "u", "var", "wbr"}
)
_UNTRANSLATED = frozenset(
    {"code", "kbd", "math", "object", "pre", "samp", "script", "style", "svg", "template", "textarea", "var"}
)

_ATTRIBUTE = re.compile(r"""([^\s=>"'/]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))""")
_OPT_OUT = re.compile(r"""\btranslate\s*=\s*["']?no\b|\bnotranslate\b""", re.IGNORECASE)
_READ = frozenset({"alt", "title", "placeholder", "aria-label", "aria-description", "aria-roledescription", "label"})
_DESCRIBES = re.compile(
    r"""\b(?:name|property)\s*=\s*["']?(?:description|(?:og|twitter):(?:title|description|image:alt))\b""",
    re.IGNORECASE,
)
_BUTTON = re.compile(r"""\btype\s*=\s*["']?(?:button|submit|reset)\b""", re.IGNORECASE)

_ENCLOSING_MAX = 8  # looking for more costs as often the whole text
# Nothing at the end of a text: line breaks, and what has no name, comments.
_STANDS_ALONE = frozenset({"", "br", "wbr"})

_LETTER = re.compile(r"[^\W\d_]")
_REFERENCE = re.compile(r"&(?:[a-zA-Z][a-zA-Z0-9]{1,31}|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")
_KEPT = frozenset("<>")  # they would be markup if they stood there themselves
_REST_OF_REFERENCE = re.compile(r"#?\w{1,32};")
_HEADING_CHARS = 80


def parse(content: str) -> Document:
    """Find the texts of *content*, with the headings above each as its context."""
    return Document(content, list(_Reader(content).slots()))


def within(content: str, start: int, end: int, heading: str) -> Iterator[Slot]:
    """
    The slots of the HTML from *start* to *end* of content of another format, which stands under *heading*.

    None when it begins with an inline tag: what makes it HTML there is that tag, and a translator might move it.
    """
    first = html_tokens.first(content[start:end])
    if first is None or first.name in _INLINE:
        return
    for slot in _Reader(content[start:end], heading).slots():
        slot.start += start
        slot.end += start
        yield slot


class _Reader:
    def __init__(self, content: str, heading: str = "") -> None:
        self._content = content
        self._tokens = list(html_tokens.tokens(content))
        self._closings = _closings(content, self._tokens)
        self._headings: list[tuple[int, str]] = [(0, heading)] if heading else []
        self._block = ""

    def slots(self) -> Iterator[Slot]:
        """One for each text of a block, and one for each read attribute of a tag that is in no text."""
        start = number = 0
        inside: list[Token] = []
        while number < len(self._tokens):
            token = self._tokens[number]
            if number in self._closings:
                last = self._closings[number]
                token = Token(token.start, self._tokens[last].end, token.name)
                number = last
            number += 1
            if not token.name or token.name in _INLINE:
                inside.append(token)  # a comment divides nothing
                continue
            yield from self._text(start, token.start, inside)
            yield from self._attributes(token)
            start, inside = token.end, []
            self._block = "" if token.closes else token.name
        yield from self._text(start, len(self._content), inside)

    def _text(self, start: int, end: int, inside: Sequence[Token]) -> Iterator[Slot]:
        """The slot of the text from *start* to *end* with the inline tags *inside* it."""
        start, end, inside = self._trimmed(start, end, inside)
        tags = [tag for token in inside if (tag := self._tag(token))]
        texts = self._texts(start, end, inside)
        has_letters = any(map(_LETTER.search, texts))
        if has_letters or tags:
            heading = self._path("".join(texts) if has_letters else "")
            raws = [self._content[token.start : token.end] for token in inside]
            text, fixed = _joined(texts, raws)
            attributes = [segment for tag in tags for segment in tag.segments]
            render = _writer(self._content[start:end], text, raws, tags)
            yield Slot(start, end, (Segment(text, fixed, "html", heading), *attributes), render)

    def _tag(self, token: Token) -> "_Tag | None":
        attributes = tuple(self._attributes(token))
        return _Tag(self._content[token.start : token.end], token.start, attributes) if attributes else None

    def _trimmed(self, start: int, end: int, inside: Sequence[Token]) -> tuple[int, int, Sequence[Token]]:
        """Without white space and tags at both ends that belong to all of the text or to none of it."""
        content = self._content
        first, last = 0, len(inside)
        enclosing = 0
        while True:
            while start < end and content[start].isspace():
                start += 1
            while start < end and content[end - 1].isspace():
                end -= 1
            if first < last and inside[first].start == start and inside[first].name in _STANDS_ALONE:
                start, first = inside[first].end, first + 1
            elif first < last and inside[last - 1].end == end and inside[last - 1].name in _STANDS_ALONE:
                end, last = inside[last - 1].start, last - 1
            elif enclosing < _ENCLOSING_MAX and self._is_enclosed(start, end, inside[first:last]):
                start, end = inside[first].end, inside[last - 1].start
                first, last, enclosing = first + 1, last - 1, enclosing + 1
            else:
                return start, end, inside[first:last]

    def _is_enclosed(self, start: int, end: int, inside: Sequence[Token]) -> bool:
        """Whether all from *start* to *end* is one element, opened by the first and closed by the last of *inside*."""
        if len(inside) < 2 or inside[0].start != start or inside[-1].end != end or self._tag(inside[0]):
            return False
        name, depth = inside[0].name, 0
        if inside[0].closes or not inside[-1].closes:
            return False
        for token in inside[:-1]:
            if token.name == name:
                depth += -1 if token.closes else 1
            if depth == 0:
                return False
        return depth == 1 and inside[-1].name == name

    def _texts(self, start: int, end: int, inside: Sequence[Token]) -> list[str]:
        """What stands before, between and after the tags, with its references read."""
        bounds = [start, *(place for token in inside for place in (token.start, token.end)), end]
        return [_read(self._content[left:right]) for left, right in zip(bounds[::2], bounds[1::2], strict=True)]

    def _attributes(self, token: Token) -> Iterator[Slot]:
        """The attributes of an opening tag that people read."""
        start, end = token.attributes
        if token.closes or start == end or "=" not in (written := self._content[start:end]):
            return
        if _OPT_OUT.search(written):
            return
        names = _READ
        if token.name == "meta" and _DESCRIBES.search(written):
            names = frozenset({"content"})
        elif token.name == "input" and _BUTTON.search(written):
            names = _READ | {"value"}
        for found in _ATTRIBUTE.finditer(self._content, start, end):
            if found[1].lower() in names:
                quoted = found.lastindex or 0
                raw = found[quoted]
                value = html.unescape(raw)
                if _LETTER.search(value):
                    span = found.span(quoted)
                    yield Slot(*span, (Segment(value, heading=self._path()),), _quoting(raw, value, quoted))

    def _path(self, text: str = "") -> str:
        """The headings above; a heading itself, with its *text*, joins the path of what follows."""
        level = int(self._block[1]) if text and re.fullmatch(r"h[1-6]", self._block) else 0
        if level:
            self._headings = [(above, known) for above, known in self._headings if above < level]
        path = " > ".join(known for _, known in self._headings)
        if level:
            self._headings.append((level, text[:_HEADING_CHARS]))
        return path


def _closings(content: str, tokens: Sequence[Token]) -> Mapping[int, int]:
    """For each element that is not to be translated, the number of its closing tag by that of its opening one."""
    found: dict[int, int] = {}
    open_ones: dict[str, list[tuple[int, bool]]] = {}
    for number, token in enumerate(tokens):
        if not token.name or token.name in html_tokens.VOID:
            continue
        if token.closes:
            if waiting := open_ones.get(token.name):
                opening, is_untranslated = waiting.pop()
                if is_untranslated:
                    found[opening] = number
        else:
            start, end = token.attributes
            opts_out = end > start and _OPT_OUT.search(content, start, end) is not None
            open_ones.setdefault(token.name, []).append((number, opts_out or token.name in _UNTRANSLATED))
    return found


def _read(text: str) -> str:
    """*text* with its character references read, except those that stand for markup."""
    return _REFERENCE.sub(_read_one, text) if "&" in text else text


def _read_one(reference: re.Match[str]) -> str:
    character = html.unescape(reference[0])
    is_kept = character in _KEPT
    if character == "&":  # written back as a reference, unless it would seem to begin one
        is_kept = _REST_OF_REFERENCE.match(reference.string, reference.end()) is not None
    return reference[0] if is_kept else character


def _quoting(raw: str, value: str, quoted: int) -> Render:
    """Writes an attribute's value; *quoted*: 2 in double quotes, 3 in single ones, 4 in none."""

    def write(translations: Sequence[str], forms: Forms) -> str:
        translation = translations[0]
        if translation == value:
            return raw
        escaped = translation.replace("&", "&amp;").replace("<", "&lt;")
        if quoted == 3:
            return escaped.replace("'", "&#39;")
        escaped = escaped.replace('"', "&quot;")
        return escaped if quoted == 2 else f'"{escaped}"'

    return write


@dataclass(slots=True)
class _Tag:
    """An inline tag with attributes that people read."""

    raw: str
    start: int
    attributes: tuple[Slot, ...]

    @property
    def segments(self) -> Sequence[Segment]:
        return [slot.segments[0] for slot in self.attributes]

    def written(self, translations: Iterator[str]) -> str:
        """The tag with the next of *translations* in its attributes."""
        parts: list[str] = []
        position = 0
        for slot in self.attributes:
            left, right = slot.start - self.start, slot.end - self.start
            new = next(translations)
            parts += [self.raw[position:left], slot.render((new,), NO_FORMS) if slot.render else new]
            position = right
        return "".join(parts) + self.raw[position:]


def _joined(texts: Sequence[str], tags: Sequence[str]) -> tuple[str, tuple[Span, ...]]:
    """*texts* with *tags* between them, and where those stand."""
    fixed: list[Span] = []
    length = 0
    for text, tag in zip(texts, tags, strict=False):
        length += len(text)
        fixed.append((length, length + len(tag)))
        length += len(tag)
    return "".join(part for pair in zip(texts, [*tags, ""], strict=True) for part in pair), tuple(fixed)


def _writer(raw: str, text: str, kept: Sequence[str], tags: Sequence[_Tag]) -> Render:
    """
    Writes a text where *raw* was. All it holds of markup, *kept*, came through translation as it was; *tags*
    are those of it that have something to be translated. The others are named, so that nothing in them is taken
    for a tag.
    """

    def write(translations: Sequence[str], forms: Forms) -> str:
        translation = raw if translations[0] == text else translations[0]
        if not tags:
            return translation
        attributes = iter(translations[1:])
        written = {tag.raw: tag.written(attributes) for tag in tags}
        return with_replaced(translation, {**dict(zip(kept, kept, strict=True)), **written})

    return write
