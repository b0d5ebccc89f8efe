"""
The live stream of a worker, as a terminal follows it: events, again and again, until there is nothing more to say.

Owns the connection and its repetition. What is shown is up to who reads. A worker that is away for a moment is waited
for with growing pauses; one that says no is believed.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from worker import backoff, errors

_CONNECT_SECONDS: Final = 10.0
# A stream says something every 15 s, if only that it lives.
_SILENT_SECONDS: Final = 45.0
_FRAME_BYTES_MAX: Final = 16 * 2**20


@dataclass(slots=True)
class Stream:
    """`GET` *path* of the worker at *url*, as the user of *token*."""

    url: str
    token: str = field(repr=False)
    path: str
    _last_id: str | None = None
    _failures: int = 0

    async def events(self) -> AsyncIterator[tuple[str, Any]]:
        """
        (name, data), through interruptions, until the server closes for good.

        Raises:
            WorkerError: the worker refuses; the message is its own.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=_FRAME_BYTES_MAX) as http:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type((aiohttp.ClientError, TimeoutError, OSError, _Again)), wait=self._pause
            ):
                with attempt:
                    async for name, data in self._connected(http):
                        yield name, data
                        if name == "close" and data.get("reason") in ("finished", "gone"):
                            return
                    raise _Again

    def _pause(self, _: RetryCallState) -> float:
        self._failures += 1
        return backoff.full_jitter(self._failures, base_seconds=1.0, cap_seconds=30.0)

    async def _connected(self, http: aiohttp.ClientSession) -> AsyncIterator[tuple[str, Any]]:
        headers = {"Authorization": f"Bearer {self.token}"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        async with http.get(self.url.rstrip("/") + self.path, headers=headers) as answer:
            if answer.status in (429, 500, 502, 503, 504):
                raise _Again
            if answer.status != 200:
                raise errors.WorkerError(await _said(answer))
            self._failures = 0
            name = ""
            async for line in answer.content:
                head, _, rest = line.decode().rstrip("\n").partition(": ")
                match head:
                    case "id":
                        self._last_id = rest
                    case "event":
                        name = rest
                    case "data":
                        yield name, json.loads(rest)


class _Again(Exception):
    """The stream ended, or could not begin, for a reason that passes."""


async def _said(answer: aiohttp.ClientResponse) -> str:
    try:
        return str((await answer.json())["error"]["message"])
    except (ValueError, KeyError, TypeError, aiohttp.ClientError):
        return f"WORKER_URL answers {answer.status}: it must be the address of a worker that serves the API."
