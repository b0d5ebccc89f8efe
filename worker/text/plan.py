"""
What of a document is sent, under which key, and how the answers become the document again.

Owns the pieces: a segment is protected, cut if it is long, and freed of its outer white space, which is kept
here and not left to a translator. Equal pieces share a key and are translated once. A piece with nothing to
translate has no key: it is copied, not sent and not counted. The rule that keeps it correct: the pieces of a
segment, joined, are the segment.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.text import chunks
from worker.text.document import Document, Segment
from worker.text.memory_key import KeyMaker
from worker.text.protect import Protected, protect

_BEFORE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a segment, at most about chunks.CHUNK_CHARS long."""

    lead: str
    protected: Protected
    trail: str
    source: str
    """Without `lead` and `trail`."""
    key: str
    """In the memory; empty when there is nothing to translate."""
    heading: str
    before: str
    """The end of the source text before it, read-only context."""

    @property
    def chars(self) -> int:
        """Code points that count: in a message the syntax inside a sentence is not text."""
        icu = self.protected.flavour in ("icu", "icu_plural")
        return len(self.protected.bare) if icu else len(self.source)


class Plan:
    """A document in pieces. `wanted` are the different pieces to translate, in order."""

    def __init__(self, document: Document, keys: KeyMaker, terms: Sequence[str] = ()) -> None:
        self._document = document
        self._segments = list(_segments(document, keys, tuple(terms)))
        self.wanted: dict[str, Piece] = {}
        self.chars: Counter[str] = Counter()
        """Characters by key, all the places of a repeated piece together."""
        for piece in (piece for pieces in self._segments for piece in pieces):
            if piece.key:
                self.wanted.setdefault(piece.key, piece)
                self.chars[piece.key] += piece.chars

    @property
    def total_chars(self) -> int:
        return self.chars.total()

    def assemble(self, translations: Mapping[str, str]) -> Any:
        """The content, with a translation for every key of `wanted`."""
        return self._document.assemble(["".join(_rejoin(pieces, translations)) for pieces in self._segments])


def _segments(document: Document, keys: KeyMaker, terms: tuple[str, ...]) -> Iterator[list[Piece]]:
    before = ""
    for segment in document.segments:
        pieces = []
        for protected in chunks.cut(protect(segment, terms)):
            pieces.append(_piece(protected, segment, keys, before))
            before = pieces[-1].source[-_BEFORE_CHARS:]
        yield pieces


def _piece(protected: Protected, segment: Segment, keys: KeyMaker, before: str) -> Piece:
    text = protected.text
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    lead, trail = (text[:start], text[end:]) if start < end else (text, "")
    core = protected if start == 0 and end == len(text) else protected.slice(start, max(start, end))
    source = core.source
    key = keys.key(source, core.flavour) if core.is_translatable else ""
    return Piece(lead, core, trail, source, key, segment.heading, before)


def _rejoin(pieces: Sequence[Piece], translations: Mapping[str, str]) -> Iterator[str]:
    for piece in pieces:
        yield piece.lead
        yield translations[piece.key] if piece.key else piece.source
        yield piece.trail
