"""
What a translator is: protected texts in, as many texts out, or an `errors.ItemError`.

Owns the contract between the handler and every provider. A text holds sentinels `⟦0⟧ ⟦1⟧ …` which its
translation must hold too, each once; the order may change. A translator makes one call per `translate` and
repeats nothing itself: `repeats` does, in one place, so that calls are counted in one place.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

SENTINEL: Final = re.compile(r"⟦\d+⟧")

ANY_LANGUAGE: Final = (("*", "*"),)


@dataclass(frozen=True, slots=True)
class TranslationRequest:
    """One call: a batch of texts in one direction."""

    texts: tuple[str, ...]
    source_language: str | None
    """None: the translator finds out, and says so in its answer."""
    target_language: str
    content_kind: str
    context: str = ""
    """The headings above and the text before: for understanding, never to be translated."""
    attempt: int = 1
    """Which try of the item this is, from 1."""
    options: Mapping[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    """What was wrong with the last answer to these texts."""


@dataclass(frozen=True, slots=True)
class TranslationAnswer:
    texts: tuple[str, ...]
    """In the order of the request. Not checked yet, not even their number."""
    detected_source: str | None = None


class Translator(Protocol):
    """A provider. Safe for concurrent calls."""

    @property
    def name(self) -> str:
        """As in TRANSLATOR, in results and in the memory's keys."""
        ...

    @property
    def version(self) -> str:
        """What else decides its answers (model, prompt): another version does not reuse the memory."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether its answers are no real language; checks that need one are left out."""
        ...

    @property
    def follows_formality(self) -> bool: ...

    @property
    def languages(self) -> tuple[tuple[str, str], ...]:
        """Pairs (source, target) that it offers, as far as it knows by now; `*` is any language."""
        ...

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        """
        Translate in one call.

        Raises:
            ItemError: the call failed; its class says what may be done about it.
        """
        ...

    async def close(self) -> None:
        """Give back what the translator opened itself; an injected session is not."""
        ...
