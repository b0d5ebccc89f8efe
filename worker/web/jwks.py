"""
The project's public keys, fetched when they are needed and kept.

A token may name a key that we do not know, because the project has a new one or because somebody makes names up: so
an unknown name fetches again, but not more often than every 30 seconds, and everybody waits for the same fetch. Only
asymmetric keys count. What was fetched once is used until something better comes.
"""

import asyncio
import json
from typing import Any, Final

import aiohttp
import jwt

from worker import clock as clocks

_REQUEST_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 30.0
_FRESH_SECONDS: Final = 600.0
_BYTES_MAX: Final = 65_536
_ALGORITHMS: Final = frozenset({"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "EdDSA"})


class Jwks:
    def __init__(self, session: aiohttp.ClientSession, address: str, *, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._session = session
        self._address = address
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] | None = None
        self._asked_at = -_FRESH_SECONDS
        self._asking = asyncio.Lock()

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """
        The key of that name; None when the project has none.

        Raises:
            ClientError, TimeoutError, OSError: no key was ever fetched, and it cannot be done now.
        """
        async with self._asking:
            age_seconds = self._clock.monotonic() - self._asked_at
            unknown = self._keys is None or key_id not in self._keys
            if age_seconds >= (_AGAIN_SECONDS if unknown and self._keys is not None else _FRESH_SECONDS) or (
                self._keys is None
            ):
                await self._ask()
        return (self._keys or {}).get(key_id)

    async def _ask(self) -> None:
        try:
            keys = await self._fetched()
        except (aiohttp.ClientError, TimeoutError, OSError):
            if self._keys is None:
                raise
        else:
            self._keys = keys
        self._asked_at = self._clock.monotonic()

    async def _fetched(self) -> dict[str, jwt.PyJWK]:
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        async with self._session.get(self._address, timeout=timeout, allow_redirects=False) as answer:
            answer.raise_for_status()
            text = await answer.content.read(_BYTES_MAX)
        try:
            return _read(json.loads(text))
        except ValueError as error:
            raise aiohttp.ClientPayloadError("not a key set") from error


def _read(document: Any) -> dict[str, jwt.PyJWK]:
    found = {}
    for entry in document.get("keys", []) if isinstance(document, dict) else []:
        try:
            key = jwt.PyJWK(entry)
        except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
            continue  # of a kind that we do not know
        if key.algorithm_name in _ALGORITHMS and isinstance(key.key_id, str):
            found[key.key_id] = key
    return found
