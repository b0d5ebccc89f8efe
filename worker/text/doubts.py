"""
What a reader of a translation should look at, though it was taken.

Owns the soft checks: each says a code, and `WARNINGS` says it in words. Never refuses anything, never guesses
how sure a translator was: nobody returns a number for that which means something.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from operator import eq

from worker.text import lengths
from worker.text.languages import Pair, is_sentence

WARNINGS: Mapping[str, str] = {
    "untranslated": "The translation is the same as the source",
    "length_ratio": "The translation is much shorter or longer than usual",
    "digits": "Numbers differ from the source",
    "brackets": "Brackets are not balanced",
    "newlines": "The number of line breaks differs",
    "repeated_words": "A word is repeated",
    "glossary_missed": "A term of the glossary was translated otherwise",
    "plural_forms": "A plural form of the language was filled with the general one",
    "formality_ignored": "The translator cannot choose a formality",
}

_DIGIT = re.compile(r"\d")
_BRACKET = re.compile(r"[()\[\]{}（）「」『』【】]")
_BRACKET_PAIRS = ("()", "[]", "{}", "（）", "「」", "『』", "【】")


def warnings(source: str, translation: str, pair: Pair, *, glossary: Sequence[tuple[str, str]] = ()) -> Iterator[str]:
    """
    Codes (keys of WARNINGS) of what a reader of *translation* should look at.

    *glossary*: the terms that occur in *source*, with the translations they should have.
    """
    if any(wanted.casefold() not in translation.casefold() for _, wanted in glossary):
        yield "glossary_missed"
    if source == translation:
        if pair.expects_change and is_sentence(source):
            yield "untranslated"
        return
    if not pair.simulated and not lengths.is_usual(source, translation):
        yield "length_ratio"
    digits, written = _DIGIT.findall(source), _DIGIT.findall(translation)
    if digits != written and _values(digits) != _values(written):
        yield "digits"
    if _brackets(source) != _brackets(translation) and _is_balanced(source) and not _is_balanced(translation):
        yield "brackets"
    if source.count("\n") != translation.count("\n"):
        yield "newlines"
    if _repeats(translation) and not _repeats(source):
        yield "repeated_words"


def _repeats(text: str) -> bool:
    """Only of words with a space between: scripts without spaces repeat syllables as a matter of course."""
    words = text.split(" ")
    following = words[1:]
    return any(map(eq, words, following)) and any(
        left == right and len(left) > 1 and left.isalpha() for left, right in zip(words, following, strict=False)
    )


def _values(digits: Sequence[str]) -> list[int]:
    """In whatever script they are written; separators and order are the language's business."""
    return sorted(map(unicodedata.decimal, digits))


def _brackets(text: str) -> list[str]:
    return sorted(_BRACKET.findall(text))


def _is_balanced(text: str) -> bool:
    return all(text.count(pair[0]) == text.count(pair[1]) for pair in _BRACKET_PAIRS)
