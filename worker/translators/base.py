"""
What a translator is: protected texts in, as many texts out, or an `errors.ItemError`.

Owns the contract between the handler and every provider. A text holds sentinels `⟦0⟧ ⟦1⟧ …` which its
translation must hold too, each once; the order may change. A provider makes its calls and repeats nothing:
`patience` does, in one place, so that calls are counted, paced and broken off in one place.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self

from worker import errors

SENTINEL: Final = re.compile(r"⟦\d+⟧")

Pairs = tuple[tuple[str, str], ...]

ANY_LANGUAGE: Final[Pairs] = (("*", "*"),)


class TooLong(errors.ItemError):
    """
    The provider takes no text of this length, or its answer would not fit. Ask for less at once; for one text
    alone it is final. The class says which: bad_request, or bad_output when the answer was cut off.
    """


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
    glossary: tuple[tuple[str, str], ...] = ()
    """Terms that occur in these texts, and how they must be translated."""

    @property
    def chars(self) -> int:
        return sum(map(len, self.texts))

    @property
    def formality(self) -> str:
        """default, more or less."""
        return str(self.options.get("formality") or "default")


@dataclass(frozen=True, slots=True)
class TranslationAnswer:
    texts: tuple[str, ...]
    """
    In the order of the request. Not checked yet, not even their number: none at all when the answer could not
    be matched to the request, an empty one where a single text is missing.
    """
    detected_source: str | None = None
    provider: str | None = None
    """Who answered; None: the translator that was asked."""
    simulated: bool | None = None
    """None: as the translator that was asked."""
    follows_formality: bool | None = None
    """None: as the translator that was asked."""
    units: int | None = None
    """What the provider says it counted: characters, or tokens of a language model. None: it did not say."""


class Translator(Protocol):
    """One provider, or a chain of them. Safe for concurrent calls."""

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
    def unspoken(self) -> tuple[str, ...]:
        """Sentences it was told and that no translation may contain."""
        ...

    @property
    def languages(self) -> Pairs:
        """Pairs (source, target) that it offers, as far as it knows by now; `*` is any language."""
        ...

    async def prepare(self) -> None:
        """
        Ask for what must be known before the first text, above all the languages; again when that is old.

        Raises:
            ItemError: as `translate`.
        """
        ...

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        """
        Translate.

        Raises:
            TooLong: ask for less.
            ItemError: the call failed; its class says what may be done about it.
        """
        ...

    async def close(self) -> None:
        """Give back what the translator opened itself; an injected session is not."""
        ...

    def only(self, name: str) -> "Translator | None":
        """The one provider called *name*, if it is among those configured."""
        ...


class Provider(ABC):
    """What the providers have in common: a `Translator` each, that says for itself what differs."""

    name: str
    version: str = "1"
    simulated: bool = False
    follows_formality: bool = False
    reads_glossary: bool = False
    """Whether it looks at a request's glossary itself; for the others the terms are put in place around it."""
    unspoken: tuple[str, ...] = ()

    @property
    def languages(self) -> Pairs:
        return ANY_LANGUAGE

    async def prepare(self) -> None:  # noqa: B027  # most need nothing
        pass

    @abstractmethod
    async def translate(self, request: TranslationRequest) -> TranslationAnswer: ...

    async def close(self) -> None:  # noqa: B027  # most opened nothing
        pass

    def only(self, name: str) -> Self | None:
        return self if name == self.name else None
