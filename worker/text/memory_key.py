"""
The name of a segment in the translation memory.

Two segments share a key only if one translation fits both. Whoever the memory belongs to is not in the key:
the database keeps each user's memory apart. Changing what goes in here makes every memory forget.
"""

import hashlib
import unicodedata
from collections.abc import Collection

from worker.text.document import Flavour


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
        terms: Collection[str] = (),
    ) -> None:
        """*version*: model and prompt of the provider. *terms*: what is not translated."""
        listed = "\0".join(sorted(set(terms)))
        terms_hash = hashlib.sha256(listed.encode()).hexdigest() if listed else ""
        known = (source_language or "auto", target_language, provider, version, terms_hash, formality)
        self._prefix = "|".join(("v1", *known))

    def key(self, segment: str, flavour: Flavour) -> str:
        """64 hex digits. Segments that differ only in Unicode normalisation share one."""
        named = f"{self._prefix}|{flavour}|{unicodedata.normalize('NFC', segment)}"
        return hashlib.sha256(named.encode()).hexdigest()
