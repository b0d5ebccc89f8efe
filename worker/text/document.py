"""
What a piece of content consists of: the text to translate, and everything around it.

Owns the lossless frame: a `Document` holds the source, the slots in it that are translated, and puts the
translations back; every byte outside a slot comes out as it went in. Knows no format (one module each does),
no provider and, until it is assembled, no target language: one document serves all languages of a job, from
several threads at once. Two rules keep it correct: slots are spans of the source, in order, never
overlapping; and nothing here is changed once it is made (the classes are not frozen because a megabyte of
content is tens of thousands of them, and frozen ones take three times as long to make).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# How the text of a segment is written, which decides what restoring must take care of: an apostrophe means
# something in ICU, "#" means the number inside a plural only, and "<" begins a tag in HTML.
Flavour = Literal["text", "markdown", "html", "icu", "icu_plural"]
Span = tuple[int, int]


@dataclass(slots=True)
class Segment:
    """One text a translator may see. `fixed` are the spans of it that its format forbids to change."""

    text: str
    fixed: tuple[Span, ...] = ()
    flavour: Flavour = "text"
    heading: str = ""
    """Where it stands (heading path, JSON pointer): context for a translator, never translated itself."""
    example: tuple[int, str] | None = None
    """
    Set for a plural form: the number that a translator sees, and the fixed text (`#`) in whose place, because
    engines inflect a word by the digit beside it.
    """


@dataclass(slots=True)
class Forms:
    """The plural forms that a slot needs in *language* beyond its segments, as far as they are translated."""

    language: str = ""
    texts: Sequence[str | None] = ()


NO_FORMS = Forms()
Render = Callable[[Sequence[str], Forms], str]
FormsOf = Callable[[str], tuple[Segment, ...]]


@dataclass(slots=True)
class Slot:
    """A span of the source, the segments in it, and how their translations become its new text."""

    start: int
    end: int
    segments: tuple[Segment, ...]
    render: Render | None = None
    """None: there is one segment, and its translation is the new text."""
    forms: FormsOf | None = None
    """The further plural forms that a target language needs; None: none, whatever the language."""


class Document:
    """Parsed content. Translate `segments` in any order, then `assemble` all of them at once."""

    def __init__(self, source: str, slots: Sequence[Slot], finish: Callable[[str], Any] = str) -> None:
        self._source = source
        self._slots = tuple(slots)
        self._finish = finish
        self.segments = tuple(segment for slot in self._slots for segment in slot.segments)

    def forms(self, language: str) -> Mapping[int, tuple[Segment, ...]]:
        """The further plural forms that *language* needs, by the number of their slot."""
        wanted = ((number, slot.forms(language)) for number, slot in enumerate(self._slots) if slot.forms)
        return {number: segments for number, segments in wanted if segments}

    def assemble(
        self, translations: Sequence[str], language: str = "", forms: Mapping[int, Sequence[str | None]] | None = None
    ) -> Any:
        """
        The content with one translation for each of `segments`, in their order.

        *forms*: the translations of what `forms(language)` named; a missing one (None) falls back to `other`.
        """
        if len(translations) != len(self.segments):
            raise ValueError(f"{len(self.segments)} segments, but {len(translations)} translations")
        return self._finish("".join(self._parts(translations, language, forms or {})))

    def _parts(
        self, translations: Sequence[str], language: str, forms: Mapping[int, Sequence[str | None]]
    ) -> Iterator[str]:
        position = used = 0
        for number, slot in enumerate(self._slots):
            yield self._source[position : slot.start]
            count = len(slot.segments)
            if slot.render is None:
                yield translations[used]
            else:
                known = Forms(language, forms.get(number, ())) if slot.forms else NO_FORMS
                yield slot.render(translations[used : used + count], known)
            position, used = slot.end, used + count
        yield self._source[position:]


def with_replaced(text: str, new: Mapping[str, str]) -> str:
    """*text* with each key of *new* replaced, the longest that fits: parts that came through as they were."""
    if not new:
        return text
    lengths = sorted({len(old) for old in new}, reverse=True)
    signs = re.escape("".join({old[0] for old in new}))
    parts: list[str] = []
    position = 0
    for sign in re.finditer(f"[{signs}]", text):
        at = sign.start()
        if at < position:
            continue
        # Looked up and not searched for: thousands of alternatives would each be tried at every place.
        old = next((old for length in lengths if (old := text[at : at + length]) in new), None)
        if old is not None:
            parts += text[position:at], new[old]
            position = at + len(old)
    return "".join(parts) + text[position:]
