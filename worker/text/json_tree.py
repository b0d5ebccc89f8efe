"""
JSON: string leaves are translated; keys, numbers and everything between stay.

Owns finding the leaves. It scans the JSON text and never rewrites the document, so content given as JSON text
is byte for byte the same outside translated leaves; content given as an object goes through the same scanner
and comes back equal in value with its keys in order. Leaves a translator cannot hold (NUL, half of a
surrogate pair) are left alone. `json.loads` judges whether the text is valid; the scanner then trusts it.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from worker import errors
from worker.text import icu
from worker.text.document import Document, Forms, Render, Slot

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]')
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")

# A longer pointer protects nothing; without a bound, deep documents would cost depth times leaves.
_POINTER_CHARS_MAX = 1000


def parse(content: Any, untouched: Collection[str] = ()) -> Document:
    """
    Find the string leaves of *content*: JSON text (`str`), or an object, list or other value.

    *untouched*: JSON pointers; a leaf at or below one of them is not translated.

    Raises:
        ItemError: bad_request, the text is not JSON.
    """
    if isinstance(content, str):
        _validate(content)
        return Document(content, list(_slots(content, frozenset(untouched))))
    source = json.dumps(content, ensure_ascii=False)
    return Document(source, list(_slots(source, frozenset(untouched))), finish=json.loads)


def _validate(text: str) -> None:
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as exc:
        raise errors.ItemError("bad_request", "The JSON is nested too deeply.") from exc
    except ValueError as exc:
        where = f" at line {exc.lineno}, column {exc.colno}" if isinstance(exc, json.JSONDecodeError) else ""
        raise errors.ItemError("bad_request", f"The content is not valid JSON{where}.") from exc


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


@dataclass(slots=True)
class _Container:
    pointer: str
    is_untouched: bool
    is_list: bool
    index: int = 0
    """Of the element of a list at which the scanner stands."""
    key: str | None = None
    """Of the member of an object at which the scanner stands; None before its key."""

    def here(self) -> str:
        name = str(self.index) if self.is_list else (self.key or "").replace("~", "~0").replace("/", "~1")
        return f"{self.pointer}/{name}"[:_POINTER_CHARS_MAX]


def _slots(text: str, untouched: frozenset[str]) -> Iterator[Slot]:
    escape = text.isascii() and "\\u" in text
    stack: list[_Container] = []
    for token in _TOKEN.finditer(text):
        sign, inner = token[0], stack[-1] if stack else None
        if sign in "{[":
            here = inner.here() if inner else ""
            is_untouched = here in untouched or (inner is not None and inner.is_untouched)
            stack.append(_Container(here, is_untouched, is_list=sign == "["))
        elif sign in "}]":
            stack.pop()
        elif sign == "," and inner:
            inner.index, inner.key = inner.index + 1, None
        elif inner and not inner.is_list and inner.key is None:
            inner.key = _value(sign)
        elif sign != ":" and not (inner and inner.is_untouched):
            here = inner.here() if inner else ""
            if here not in untouched and (slot := _leaf(token.start(), sign, here, escape)):
                yield slot


def _leaf(start: int, raw: str, pointer: str, escape: bool) -> Slot | None:
    value = _value(raw)
    if not value or _UNUSABLE.search(value):
        return None
    slot = icu.slot(start, start + len(raw), value, pointer)
    slot.render = _quoted(raw, value, slot.render, escape)
    return slot


def _value(raw: str) -> str:
    return str(json.loads(raw)) if "\\" in raw else raw[1:-1]


def _quoted(raw: str, value: str, render: Render | None, escape: bool) -> Render:
    def quote(translations: Sequence[str], forms: Forms) -> str:
        translation = render(translations, forms) if render else translations[0]
        return raw if translation == value else json.dumps(translation, ensure_ascii=escape)

    return quote
