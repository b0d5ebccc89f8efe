"""
How much goes into one call: long texts are cut, short ones travel together.

Owns where a text may be cut: between blocks, then sentences, then words, never inside a sentinel or a letter
with its marks. Scripts that put no spaces between words have rules of their own, because to a general splitter
each of their letters is a word: Tibetan is cut behind a shad, else behind a tsheg, never in a syllable; Thai,
Lao, Khmer and Burmese behind their own stops or a space, which ends a phrase there. The rule that keeps it
correct: cutting loses nothing, the pieces joined are the text.
"""

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

from semantic_text_splitter import TextSplitter

from worker.text.protect import SENTINEL, Protected

T = TypeVar("T")

CHUNK_CHARS = 2000
CHUNK_SEGMENTS_MAX = 20

# Where a text in these scripts may be cut, the best first. A cut is behind all that is matched.
_UNSPACED = re.compile("[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff]")
_LEVELS = tuple(
    re.compile(level)
    for level in (
        r"\n\s*\n",
        r"\n",
        r"(?:[\u0f0d-\u0f12\u0f14]+[ \u00a0]*+)++"  # shad, also a double one with a space in it
        r"|[\u17d4-\u17d6\u17da]+\s*|[\u104a\u104b]+\s*|[\u0e2f\u0e5a\u0e5b]+\s+|[.!?。！？…]+[\"'”’)\]]*\s+",
        r"\s+",
        r"[\u0f0b\u0f0c]",  # tsheg
    )
)
_LETTER_CHARS_MAX = 32
# The splitter takes quadratic time on a text without sentences, so it gets no more than this at a time.
_WINDOW_CHUNKS = 8

_JOINERS = frozenset("\u200d\u17d2\u1039\u0f84")  # the next letter is part of the same sign
_FOLLOWERS = frozenset("\u200c\u200d\u0e33\u0eb3")
_VOWELS_IN_FRONT = frozenset("เแโใไເແໂໃໄ")


def cut(protected: Protected, chars_max: int = CHUNK_CHARS) -> Iterator[Protected]:
    """Pieces of at most about *chars_max* characters, in order; mostly *protected* itself."""
    text = protected.text
    if len(text) <= chars_max:
        yield protected
        return
    bounds = sorted({0, *(_outside_signs(text, bound) for bound in _bounds(text, chars_max)), len(text)})
    for start, end in itertools.pairwise(bounds):
        yield protected.slice(start, end)


def batches(items: Sequence[T], chars_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Neighbours together, up to CHUNK_CHARS characters and CHUNK_SEGMENTS_MAX items a batch."""
    batch: list[T] = []
    chars = 0
    for item in items:
        if batch and (chars + chars_of(item) > CHUNK_CHARS or len(batch) == CHUNK_SEGMENTS_MAX):
            yield batch
            batch, chars = [], 0
        batch.append(item)
        chars += chars_of(item)
    if batch:
        yield batch


def _bounds(text: str, chars_max: int) -> Iterator[int]:
    """Where the pieces of *text* begin."""
    start = 0
    is_unspaced = _UNSPACED.search(text) is not None
    while len(text) - start > chars_max:
        if is_unspaced:
            start = _best_bound(text, start, chars_max)
            yield start
            continue
        window = text[start : start + _WINDOW_CHUNKS * chars_max]
        bounds = [start + begin for begin, _ in _splitter(chars_max).chunk_indices(window)][1:]
        yield from bounds
        start = bounds[-1] if bounds else start + chars_max


def _best_bound(text: str, start: int, chars_max: int) -> int:
    """The last good place behind *start* within *chars_max*; not in the first half of that, if there is another."""
    end = start + chars_max
    for level in _LEVELS:
        found = [match.end() for match in level.finditer(text, start + chars_max // 2, end)]
        if found and found[-1] < end:
            return found[-1]
        if len(found) > 1:
            return found[-2]  # the last one may go on behind the end
    bound = _outside_signs(text, end)
    return bound if bound > start else end


def _outside_signs(text: str, bound: int) -> int:
    """*bound*, moved to the start of the sentinel or the letter that it would cut."""
    opening = text.rfind("⟦", max(0, bound - 16), bound)
    sentinel = SENTINEL.match(text, opening) if opening >= 0 else None
    if sentinel and sentinel.end() > bound:
        return opening
    for place in range(bound, max(0, bound - _LETTER_CHARS_MAX), -1):
        if not _is_in_letter(text, place):
            return place
    return bound


def _is_in_letter(text: str, bound: int) -> bool:
    """Whether *bound* stands between a letter and what belongs to it."""
    if bound >= len(text):
        return False
    before, after = text[bound - 1], text[bound]
    if before in _JOINERS or before in _VOWELS_IN_FRONT or after in _FOLLOWERS:
        return True
    if unicodedata.combining(before) == 9 and after.isalpha():  # a virama joins consonants into one sign
        return True
    return (
        unicodedata.category(after)[0] == "M"
        or (before == "\r" and after == "\n")
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= after <= "\U000e007f"  # tags, as in the flag of Scotland
        or ("\U0001f1e6" <= after <= "\U0001f1ff" and "\U0001f1e6" <= before <= "\U0001f1ff")
        or ("\u1160" <= after <= "\u11ff")  # vowels and endings of a Korean syllable
    )


@lru_cache(maxsize=8)
def _splitter(chars_max: int) -> TextSplitter:
    return TextSplitter(chars_max, trim=False)
