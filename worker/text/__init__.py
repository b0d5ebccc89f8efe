"""
The translation pipeline without I/O: content in, segments out, translations in, content out.

Owns parsing by content kind; `protect`, `chunks`, `checks` and `memory_key` are the steps between. Never
calls a provider, a database or a clock. Every kind keeps the bytes around its segments as they are.
"""

from collections.abc import Collection
from typing import Any

from worker import errors
from worker.text import json_tree, markdown, plain
from worker.text.document import Document, Segment

__all__ = ["Document", "Segment", "parse"]


def parse(content: Any, kind: str, untouched: Collection[str] = ()) -> Document:
    """
    Find what is to be translated in *content* of *kind* text, markdown or json.

    *untouched*: for json, the pointers below which nothing is translated.

    Raises:
        ItemError: bad_request, the kind is not supported or the content is not of that kind.
    """
    if kind == "json":
        return json_tree.parse(content, untouched)
    if kind not in ("text", "markdown"):
        raise errors.ItemError("bad_request", f"This worker does not translate content of the kind {kind!r}.")
    if not isinstance(content, str):
        raise errors.ItemError("bad_request", f"Content of the kind {kind} must be a string.")
    return markdown.parse(content) if kind == "markdown" else plain.parse(content)
