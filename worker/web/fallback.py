"""
The old way: the endpoint that did the work before there was a queue, called with the request as it came.

Called once and never repeated: whoever sent the request may do that, under the same idempotency key. No redirects: the
token is for the address that the operator named, and for its origin alone.
"""

from collections.abc import Mapping
from typing import Final

import aiohttp
from loguru import logger
from yarl import URL

from worker.web.refusals import Refusal

_CONNECT_SECONDS: Final = 5.0
_CONNECTIONS_MAX: Final = 50


class Fallback:
    def __init__(self, url: str, *, token: str | None = None, seconds: float = 60.0) -> None:
        """*seconds*: how long one call may take in all."""
        self._url = URL(url)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(_CONNECT_SECONDS, seconds))
        self._session: aiohttp.ClientSession | None = None

    def address(self, wanted: str | None) -> URL:
        """
        Where a request goes that names *wanted*; None: to the one address of the settings.

        Raises:
            Refusal: 422, it is not of the same origin.
        """
        if wanted is None:
            return self._url
        try:
            url = URL(wanted)
            is_ours = url.user is None and url.origin() == self._url.origin()
        except ValueError:
            is_ours = False
        if not is_ours:
            raise Refusal(422, "fallback_url_foreign", "fallback_url must be of the same origin as FALLBACK_URL.")
        return url

    async def call(self, url: URL, body: bytes, headers: Mapping[str, str]) -> int:
        """
        The status that the fallback answered, below 300.

        Raises:
            Refusal: 502, it answered otherwise or not at all.
        """
        headers = {**headers, "Content-Type": "application/json", **self._headers}
        try:
            async with self._opened().post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as trouble:
            logger.error("Fallback not reached", error=type(trouble).__name__)
            raise _failed("The fallback did not answer.") from trouble
        if status >= 300:
            logger.error("Fallback failed", status=status)
            raise _failed(f"The fallback answered {status}.")
        return status

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:  # made inside the loop it will live in
            connector = aiohttp.TCPConnector(limit=_CONNECTIONS_MAX)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _failed(message: str) -> Refusal:
    return Refusal(502, "fallback_failed", message, hint="Send the request again with the same idempotency key.")
