"""
What of a document is sent, and how the answers become the document again.

Owns the pieces: a segment is protected, cut if it is long, and freed of its outer white space, which is kept
here and not left to a translator. Equal pieces share a name and are translated once. A piece with nothing to
translate has no name: it is copied, not sent and not counted. A plan knows no target language and is never
changed, so all languages of a job share one. The rule that keeps it correct: the pieces of a segment, joined,
are the segment.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.text import chunks, memory_key
from worker.text.document import Document, Segment
from worker.text.protect import Protected, Term, protect

_BEFORE_CHARS = 300


@dataclass(slots=True)
class Piece:
    """A part of a segment, at most about chunks.CHUNK_CHARS long. Never changed once it is made."""

    lead: str
    protected: Protected
    trail: str
    name: str
    """What decides its translation in any language, as a digest; empty when there is nothing to translate."""
    heading: str
    before: str
    """The end of the source text before it, read-only context."""
    optional: bool = False
    """A plural form of the target language. Without its translation the message's `other` is used."""

    @property
    def source(self) -> str:
        """Without `lead` and `trail`."""
        return self.protected.source

    @property
    def chars(self) -> int:
        """Code points that count: in a message the syntax inside a sentence is not text."""
        is_message = self.protected.flavour in ("icu", "icu_plural")
        return self.protected.bare_chars if is_message else self.protected.source_chars


class Plan:
    """A document in pieces, to be translated into any number of languages."""

    def __init__(self, document: Document, terms: Sequence[Term | str] = ()) -> None:
        """*terms*: what is not translated."""
        self._document = document
        self._terms = tuple(terms)
        self._segments = tuple(_segments(document.segments, self._terms))
        self._wanted: dict[str, Piece] = {}
        self.chars: Counter[str] = Counter()
        """Characters by name, all the places of a repeated piece together. Plural forms count as 0."""
        for piece in (piece for pieces in self._segments for piece in pieces):
            if piece.name:
                self._wanted.setdefault(piece.name, piece)
                self.chars[piece.name] += piece.chars

    @property
    def total_chars(self) -> int:
        """The same for every target language."""
        return self.chars.total()

    def wanted(self, target_language: str) -> Mapping[str, Piece]:
        """The different pieces to translate into *target_language*, by name, in order; plural forms last."""
        forms = (piece for pieces in self._forms(target_language).values() for piece in pieces if piece.name)
        more = {piece.name: piece for piece in forms if piece.name not in self._wanted}
        return {**self._wanted, **more} if more else self._wanted

    def assemble(self, translations: Mapping[str, str], target_language: str) -> Any:
        """The content, with a translation for every name of `wanted`; those of optional pieces may be missing."""
        forms = {
            number: [_form(piece, translations) for piece in pieces]
            for number, pieces in self._forms(target_language).items()
        }
        texts = [_rejoined(pieces, translations) for pieces in self._segments]
        return self._document.assemble(texts, target_language, forms)

    def _forms(self, target_language: str) -> Mapping[int, Sequence[Piece]]:
        """The pieces of the further plural forms, by slot."""
        return {
            number: [_piece(protect(segment, self._terms), segment.heading, "", True) for segment in segments]
            for number, segments in self._document.forms(target_language).items()
        }


def _segments(segments: Sequence[Segment], terms: tuple[Term | str, ...]) -> Iterator[tuple[Piece, ...]]:
    before = ""
    for segment in segments:
        protected = protect(segment, terms)
        if len(protected.text) <= chunks.CHUNK_CHARS:
            yield (_piece(protected, segment.heading, before),)
            before = segment.text[-_BEFORE_CHARS:]
            continue
        pieces = []
        for part in chunks.cut(protected):
            pieces.append(_piece(part, segment.heading, before))
            before = part.source[-_BEFORE_CHARS:]
        yield tuple(pieces)


def _piece(protected: Protected, heading: str, before: str, optional: bool = False) -> Piece:
    text = protected.text
    lead = trail = ""
    if text[:1].isspace() or text[-1:].isspace():
        start, end = len(text) - len(text.lstrip()), len(text.rstrip())
        lead, trail = (text[:start], text[end:]) if start < end else (text, "")
        protected = protected.slice(start, max(start, end))
    name = memory_key.name(protected) if protected.is_translatable else ""
    return Piece(lead, protected, trail, name, heading, before, optional)


def _rejoined(pieces: Sequence[Piece], translations: Mapping[str, str]) -> str:
    parts: list[str] = []
    for piece in pieces:
        text = translations[piece.name] if piece.name else piece.source
        parts.append(f"{piece.lead}{text}{piece.trail}" if piece.lead or piece.trail else text)
    return parts[0] if len(parts) == 1 else "".join(parts)


def _form(piece: Piece, translations: Mapping[str, str]) -> str | None:
    text = translations.get(piece.name) if piece.name else piece.source
    return None if text is None else f"{piece.lead}{text}{piece.trail}"
