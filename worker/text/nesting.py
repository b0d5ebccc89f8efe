"""
Whether tags and links in an answer are nested as in its source.

Sentinels are compared as a multiset elsewhere; here only their order is judged, by what they stand for. What
was not nested in the source is not asked of an answer.
"""

import re
from collections.abc import Sequence

from worker.text import html_tokens

_TAG = re.compile(r"<(/?)([a-zA-Z][\w:-]*)[^>]*?(/?)>")


def is_kept(originals: Sequence[str], order: Sequence[int]) -> bool:
    """Whether *originals*, in the order in which an answer has them, still open and close each other."""
    if len(originals) < 2 or list(order) == list(range(len(originals))):
        return True
    return _nests([originals[number] for number in order]) or not _nests(originals)


def _nests(originals: Sequence[str]) -> bool:
    open_ones: list[str] = []
    for original in originals:
        tag = _TAG.fullmatch(original)
        if original in ("[", "!["):
            open_ones.append("]")
        elif tag and not tag[1] and not tag[3] and tag[2].lower() not in html_tokens.VOID:
            open_ones.append(tag[2].lower())
        elif (tag and tag[1]) or original.startswith(("](", "][")):
            closed = tag[2].lower() if tag else "]"
            if not open_ones or open_ones.pop() != closed:
                return False
    return not open_ones
