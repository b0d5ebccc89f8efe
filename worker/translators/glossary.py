"""
A glossary for providers that have none: each term leaves the text as a sentinel, and its translation comes back
in the sentinel's place. The term is then right by construction; how the sentence bends around it is the
provider's best guess, which is why a repeated request goes without.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from worker.translators.base import SENTINEL, TranslationAnswer, TranslationRequest

# From here on most scripts put no space between words, so that a term has no edges to look for.
_UNSPACED_FROM: Final = 0x0E00


def bind(request: TranslationRequest) -> TranslationRequest:
    """*request* with the terms of its glossary taken out of the texts."""
    bound = tuple(_bind(text, request.glossary)[0] for text in request.texts)
    return replace(request, texts=bound, glossary=())


def restore(request: TranslationRequest, answer: TranslationAnswer) -> TranslationAnswer:
    """*answer* to `bind(request)` with the translations of the terms put in."""
    if len(answer.texts) != len(request.texts):
        return answer
    terms = (_bind(text, request.glossary)[1] for text in request.texts)
    texts = (_put_in(text, found) for text, found in zip(answer.texts, terms, strict=True))
    return replace(answer, texts=tuple(texts))


def _bind(text: str, glossary: tuple[tuple[str, str], ...]) -> tuple[str, Mapping[str, str]]:
    """The text without its terms, and what each new sentinel stands for."""
    # The longest term first, so that "fast ferry" is not taken for a "ferry".
    by_length = sorted(((term, into) for term, into in glossary if term.strip()), key=lambda pair: -len(pair[0]))
    if not by_length:
        return text, {}
    pattern = re.compile("|".join(f"({_edged(term)})" for term, _ in by_length), re.IGNORECASE)
    numbers = _free_numbers(text)
    found: dict[str, str] = {}

    def take(match: re.Match[str]) -> str:
        sentinel = f"⟦{next(numbers)}⟧"
        term, into = by_length[(match.lastindex or 1) - 1]
        found[sentinel] = _as_written(match[0], term, into)
        return sentinel

    return pattern.sub(take, text), found


def _put_in(text: str, found: Mapping[str, str]) -> str:
    return SENTINEL.sub(partial(lambda terms, match: terms.get(match[0], match[0]), found), text)


def _free_numbers(text: str) -> Iterator[int]:
    number = max((int(sentinel[1:-1]) for sentinel in SENTINEL.findall(text)), default=-1)
    while True:
        number += 1
        yield number


def _edged(term: str) -> str:
    before = r"(?<!\w)" if ord(term[0]) < _UNSPACED_FROM else ""
    after = r"(?!\w)" if ord(term[-1]) < _UNSPACED_FROM else ""
    return before + re.escape(term) + after


def _as_written(written: str, term: str, into: str) -> str:
    """*into* with a capital where the text has one and the glossary does not: the term begins a sentence."""
    if written[:1].isupper() and not term[:1].isupper():
        return into[:1].upper() + into[1:]
    return into
