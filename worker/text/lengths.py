"""
How long a translation usually is, by the density of the two scripts.

Bands for a pair of alphabets, into dense scripts (Chinese, Japanese, Korean) and out of them. The usual band is
for a reader to look at; far outside of it something is missing or was made up, and the answer is refused.
"""

from worker.text import scripts

_USUAL_CHARS_MIN = 20
_FAR_CHARS_MIN = 100
_FAR = 4.0


def is_usual(source: str, translation: str) -> bool:
    """Whether a reader need not look; true for short texts, whose lengths say nothing."""
    if len(source) <= _USUAL_CHARS_MIN:
        return True
    if 0.8 * len(source) <= len(translation) <= 1.2 * len(source):
        return True  # in every band
    low, high = _band(source, translation)
    return low * len(source) <= len(translation) <= high * len(source)


def is_far_off(source: str, translation: str) -> bool:
    """Whether *translation* cannot be all of *source*, or holds much beside it."""
    chars = len(source)
    if chars <= len(translation) <= 2 * chars:
        return False
    low, high = _band(source, translation)
    if len(translation) > high * _FAR * max(chars, _FAR_CHARS_MIN):
        return True
    return chars > _FAR_CHARS_MIN and len(translation) * _FAR < low * chars


def _band(source: str, translation: str) -> tuple[float, float]:
    dense_source, dense_translation = scripts.is_dense(source), scripts.is_dense(translation)
    if dense_translation and not dense_source:
        return 0.15, 1.2
    if dense_source and not dense_translation:
        return 0.8, 6.0
    return 0.4, 2.5
