"""
Objects in Supabase Storage, handed over as signed addresses: what is too large to travel with a job.

A content names them as `{"storage": {"bucket": …, "path": …}}`, anywhere in it. Owns the naming and the one call that
signs; never reads or writes an object. The rule: an address is signed for the moment of its use and stored nowhere.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from worker import errors

URL_SECONDS: Final = 3600
"""How long a signed address is good unless asked otherwise."""

OBJECTS_MAX: Final = 100
"""Of one content: each is a call."""

_URL_SECONDS_MAX: Final = 7 * 86_400
_ANSWER_BYTES_MAX: Final = 65_536

Sign = Callable[[str, str], Awaitable[str]]


class Storage:
    """Signs addresses with the worker's key, which may read every bucket."""

    def __init__(self, url: str, key: str, *, public_url: str | None = None, request_seconds: float = 10.0) -> None:
        """*public_url*: where the project is for those who are handed an address; None: at *url*."""
        self._url = f"{url}/storage/v1"
        self._public_url = f"{public_url or url}/storage/v1"
        self._headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        self._timeout = aiohttp.ClientTimeout(total=request_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def signed_url(self, bucket: str, path: str, seconds: int = URL_SECONDS) -> str:
        """
        An address under which anybody may read one object for *seconds* (a week at most).

        Raises:
            ItemError: there is no such object, or Storage does not answer.
        """
        body = {"expiresIn": max(1, min(seconds, _URL_SECONDS_MAX))}
        address = f"{self._url}/object/sign/{quote(bucket, safe='')}/{quote(path.lstrip('/'))}"
        try:
            async with self._opened().post(address, json=body, allow_redirects=False) as answer:
                status, text = answer.status, await answer.content.read(_ANSWER_BYTES_MAX)
        except (aiohttp.ClientError, TimeoutError, OSError) as trouble:
            raise _trouble("overloaded", f"Storage does not answer ({type(trouble).__name__}).") from trouble
        signed = _said(text).get("signedURL")
        if status == 200 and isinstance(signed, str):
            return self._public_url + "/" + signed.lstrip("/")
        raise _refusal(status, text, bucket)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:  # made inside the loop it will live in, and only if a job needs it
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=self._timeout)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


async def with_addresses(content: Any, sign: Sign) -> Any:
    """
    A copy of *content* in which each object it names has a `url` beside its bucket and path.

    Raises:
        ItemError: it names more than OBJECTS_MAX, or *sign* raised.
    """
    copy = json.loads(json.dumps(content))
    objects = _objects(copy)
    if len(objects) > OBJECTS_MAX:
        raise errors.ItemError(
            "bad_request", f"The content names {len(objects)} Storage objects; {OBJECTS_MAX} may be."
        )
    for named in objects:
        named["url"] = await sign(named["bucket"], named["path"])
    return copy


def _objects(content: Any) -> list[dict[str, Any]]:
    """Where *content* names objects. A loop: what a customer nested deeply must not end our stack."""
    found, rest = [], [content]
    while rest:
        node = rest.pop()
        if isinstance(node, list):
            rest += node[::-1]
        elif isinstance(node, dict):
            named = node.get("storage")
            if isinstance(named, dict) and all(isinstance(named.get(part), str) for part in ("bucket", "path")):
                found.append(named)
            else:
                rest += list(node.values())[::-1]
    return found


def _refusal(status: int, text: bytes, bucket: str) -> errors.ItemError:
    # Storage says 400 for much, and the real status inside.
    said = str(_said(text).get("statusCode") or status)
    if said in ("400", "404"):
        return _trouble("bad_request", f"There is no such object in bucket {bucket[:100]}.")
    if said in ("401", "403"):
        return _trouble("auth", "Storage does not accept the worker's key.")
    return _trouble("overloaded", f"Storage could not sign an address (HTTP {status}).")


def _trouble(error_class: str, message: str) -> errors.ItemError:
    return errors.ItemError(error_class, message, speaks_for_provider=False)


def _said(text: bytes) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
