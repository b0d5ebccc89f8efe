"""
How much goes into one call: long texts are cut, short ones travel together.

Owns where a text may be cut: between blocks, then sentences, then words, never inside a sentinel or a letter
with its marks. The rule that keeps it correct: cutting loses nothing, the pieces joined are the text.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TypeVar

from semantic_text_splitter import TextSplitter

from worker.text.protect import SENTINEL, Protected

T = TypeVar("T")

CHUNK_CHARS = 2000
CHUNK_SEGMENTS_MAX = 20


def cut(protected: Protected, chars_max: int = CHUNK_CHARS) -> Iterator[Protected]:
    """Pieces of at most about *chars_max* characters, in order; mostly *protected* itself."""
    text = protected.text
    if len(text) <= chars_max:
        yield protected
        return
    bounds = [start for start, _ in _splitter(chars_max).chunk_indices(text)]
    bounds = sorted({0, *_outside_sentinels(text, bounds), len(text)})
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


def _outside_sentinels(text: str, bounds: Sequence[int]) -> Iterator[int]:
    """Each bound, moved to the start of the sentinel it would cut."""
    for bound in bounds:
        opening = text.rfind("⟦", max(0, bound - 16), bound)
        sentinel = SENTINEL.match(text, opening) if opening >= 0 else None
        yield opening if sentinel and sentinel.end() > bound else bound


@lru_cache(maxsize=8)
def _splitter(chars_max: int) -> TextSplitter:
    return TextSplitter(chars_max, trim=False)
