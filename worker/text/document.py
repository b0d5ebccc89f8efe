"""
What a piece of content consists of: the text to translate, and everything around it.

Owns the lossless frame: a `Document` holds the source, the slots in it that are translated, and puts the
translations back; every byte outside a slot comes out as it went in. Knows no format (one module each does)
and no provider. The rule that keeps it correct: slots are spans of the source, in order, never overlapping.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# How the text of a segment is written, which decides what restoring must take care of:
# an apostrophe means something in ICU, and "#" means the number inside a plural only.
Flavour = Literal["text", "markdown", "icu", "icu_plural"]
Span = tuple[int, int]
Render = Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class Segment:
    """One text a translator may see. `fixed` are the spans of it that its format forbids to change."""

    text: str
    fixed: tuple[Span, ...] = ()
    flavour: Flavour = "text"
    heading: str = ""
    """Where it stands (heading path, JSON pointer): context for a translator, never translated itself."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A span of the source, the segments in it, and how their translations become its new text."""

    start: int
    end: int
    segments: tuple[Segment, ...]
    render: Render


class Document:
    """Parsed content. Translate `segments` in any order, then `assemble` all of them at once."""

    def __init__(self, source: str, slots: Sequence[Slot], finish: Callable[[str], Any] = str) -> None:
        self._source = source
        self._slots = tuple(slots)
        self._finish = finish
        self.segments = tuple(segment for slot in self._slots for segment in slot.segments)

    def assemble(self, translations: Sequence[str]) -> Any:
        """The content with one translation for each of `segments`, in their order."""
        if len(translations) != len(self.segments):
            raise ValueError(f"{len(self.segments)} segments, but {len(translations)} translations")
        return self._finish("".join(self._parts(translations)))

    def _parts(self, translations: Sequence[str]) -> Iterator[str]:
        position = used = 0
        for slot in self._slots:
            yield self._source[position : slot.start]
            count = len(slot.segments)
            yield slot.render(translations[used : used + count])
            position, used = slot.end, used + count
        yield self._source[position:]


def only(translations: Sequence[str]) -> str:
    """The render of a slot with one segment whose translation needs nothing done to it."""
    (translation,) = translations
    return translation
