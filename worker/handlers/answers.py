"""
What somebody answers over HTTP, read with a limit and believed in nothing.

Never keeps more than it was asked to, and gives people one short line of what an error says.
"""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import aiohttp

_MESSAGE_CHARS_MAX: Final = 300
_PIECE_BYTES: Final = 65536


async def read(response: aiohttp.ClientResponse, *, bytes_max: int) -> bytes | None:
    """The whole body; None when it is larger, and then the rest stays unread."""
    body = bytearray()
    async for piece in response.content.iter_chunked(_PIECE_BYTES):
        body += piece
        if len(body) > bytes_max:
            return None
    return bytes(body)


async def lines(response: aiohttp.ClientResponse, *, bytes_max: int) -> AsyncIterator[bytes]:
    """
    The lines of the body as they come, the empty ones left out.

    Raises:
        ValueError: one is larger than *bytes_max*.
    """
    rest = b""
    async for piece in response.content.iter_any():
        *whole, rest = (rest + piece).split(b"\n")
        if max(map(len, (*whole, rest))) > bytes_max:
            raise ValueError("a line is too large")
        for line in whole:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


def decoded(body: bytes) -> Any:
    """
    The JSON value of *body*; None when it is empty, its text when it is text.

    Raises:
        ValueError: it is neither.
    """
    if not body.strip():
        return None
    text = body.decode()
    try:
        return value(text)
    except (ValueError, RecursionError):
        return text


def value(text: str | bytes) -> Any:
    """The JSON value of *text*. Raises ValueError; also for NaN and infinity, which are none."""
    return json.loads(text, parse_constant=_no_number)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def message(document: Any, *, secret: str | None = None) -> str:
    """What an error says, in one line of at most 300 characters without *secret*; empty when it says nothing."""
    found = _words(document) or ""
    if secret:
        found = found.replace(secret, "***")
    return " ".join(found.split())[:_MESSAGE_CHARS_MAX]


def _words(document: Any) -> str | None:
    if isinstance(document, str):
        return document
    if not isinstance(document, Mapping):
        return None
    for name in ("message", "error", "error_description", "msg", "detail", "title"):
        if said := _words(document.get(name)):
            return said
    return None
