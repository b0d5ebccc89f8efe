"""
The translation pipeline without I/O: content in, segments out, translations in, content out.

Owns parsing by content kind; `protect`, `chunks`, `checks` and `memory_key` are the steps between. Never
calls a provider, a database or a clock. Every kind keeps the bytes around its segments as they are.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from worker import errors
from worker.text import html, json_tree, markdown, plain
from worker.text.document import Document, Segment

__all__ = ["KINDS", "Document", "Segment", "parse"]

_PARSERS: Mapping[str, Callable[[str], Document]] = {
    "text": plain.parse,
    "markdown": markdown.parse,
    "html": html.parse,
}
KINDS = frozenset({*_PARSERS, "json"})

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def parse(content: Any, kind: str, untouched: Collection[str] = ()) -> Document:
    """
    Find what is to be translated in *content* of *kind* text, markdown, html or json.

    *untouched*: for json, the pointers below which nothing is translated.

    Raises:
        ItemError: bad_request, the kind is not supported or the content is not of that kind.
    """
    if kind == "json":
        return json_tree.parse(content, untouched)
    if kind not in _PARSERS:
        raise errors.ItemError("bad_request", f"This worker does not translate content of the kind {kind!r}.")
    if not isinstance(content, str):
        raise errors.ItemError("bad_request", f"Content of the kind {kind} must be a string.")
    if _UNSTORABLE.search(content):
        raise errors.ItemError(
            "bad_request", "The content holds characters that cannot be stored: NUL, or half of a surrogate pair."
        )
    return _PARSERS[kind](content)
