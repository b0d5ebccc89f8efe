"""
One HTTP call to a provider, with every limit it needs.

Owns the timeouts, the greatest size of an answer and what a call that got no answer means. Never repeats,
never follows a redirect (a key would go with it), and lets nothing of an answer into an exception's message:
an error page may repeat the key or the text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from worker import errors
from worker.translators import waits

CONNECT_SECONDS: Final = 10.0
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    """Case does not matter in its names."""
    text: str

    @property
    def ok(self) -> bool:
        return self.status == 200

    def json(self) -> Any:
        """The decoded body; None when it is no JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    @property
    def wait_seconds(self) -> float | None:
        """How long the provider asks to be left alone; None when it does not say."""
        return waits.asked_seconds(self.headers, None if self.ok else self.json())


class Wire:
    """Calls to one provider. The *session* stays its owner's."""

    def __init__(self, session: aiohttp.ClientSession, provider: str, *, seconds: float) -> None:
        """*provider*: as users know it. *seconds*: how long a whole call may take."""
        self._session = session
        self._provider = provider
        self._timeout = aiohttp.ClientTimeout(total=seconds, connect=CONNECT_SECONDS)

    async def call(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: Any = None) -> Reply:
        """
        Send *body* as JSON and return whatever is answered.

        Raises:
            ItemError: overloaded, there was no answer or only part of one.
        """
        sent = dict(headers or {})
        data = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            # Not escaped: limits are in bytes, and an escaped letter of most scripts has three times as many.
            data = json.dumps(body, ensure_ascii=False).encode("utf-8", errors="replace")
        try:
            async with self._session.request(
                method, url, headers=sent, data=data, timeout=self._timeout, allow_redirects=False
            ) as response:
                text = await self._read(response)
                return Reply(response.status, response.headers, text)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise self.silent() from exc

    async def _read(self, response: aiohttp.ClientResponse) -> str:
        body = bytearray()
        async for part in response.content.iter_chunked(65536):
            body += part
            if len(body) > ANSWER_BYTES_MAX:
                raise self.unreadable()
        return body.decode("utf-8", errors="replace")

    def silent(self) -> errors.ItemError:
        return errors.ItemError("overloaded", f"{self._provider} did not answer.")

    def unreadable(self) -> errors.ItemError:
        return errors.ItemError("overloaded", f"{self._provider}'s answer was not readable.")
