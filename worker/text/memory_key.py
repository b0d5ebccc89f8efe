"""
The name of a segment in the translation memory.

Two segments share a key only if one translation fits both. `name` says what of a segment decides its
translation whatever the language (so a term that is not translated changes the names of those segments only
in which it stands); `KeyMaker` adds everything else. Whoever the memory belongs to is not in the key: the
database keeps each user's memory apart. Changing what goes in here makes every memory forget.
"""

import hashlib
import unicodedata
from collections.abc import Collection

from worker.text.protect import Protected


def name(protected: Protected) -> str:
    """32 hex digits. Segments that differ only in Unicode normalisation share one."""
    text = protected.text
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    example = protected.example[0] if protected.example else ""
    known = "\0".join((protected.flavour, str(example), text, *protected.originals))
    return hashlib.blake2b(known.encode(), digest_size=16).hexdigest()


class KeyMaker:
    """Makes the keys of one item: all that decides a translation beside the segment is given once."""

    def __init__(
        self,
        *,
        source_language: str | None,
        target_language: str,
        provider: str,
        version: str = "",
        formality: str = "default",
    ) -> None:
        """*version*: model and prompt of the provider."""
        known = (source_language or "auto", target_language, provider, version, formality)
        self._prefix = "|".join(("v2", *known))

    def key(self, name: str, glossary: Collection[tuple[str, str]] = ()) -> str:
        """64 hex digits for the segment called *name*. *glossary*: the (term, translation) pairs that occur in it."""
        listed = "\0".join(f"{term}\1{translation}" for term, translation in sorted(glossary))
        return hashlib.sha256(f"{self._prefix}|{name}|{listed}".encode()).hexdigest()
