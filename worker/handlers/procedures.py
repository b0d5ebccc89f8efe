"""
One call of a function of the owner's over the project's own API, with the worker's key.

Directly as /rpc/<name>, so that what the owner set on the function (`alter function … set statement_timeout`) holds for
the call. Owns the limits of a call and never repeats one: what an answer means is its caller's to say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from worker import errors
from worker.handlers import answers

_CONNECT_SECONDS: Final = 5.0
# As many bytes of an answer are read at most; what is larger is not worth its memory, only its size is told.
_ANSWER_BYTES_MAX: Final = 1024 * 1024
_LOOK_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    code: str
    """SQLSTATE or code of PostgREST; empty when it was neither that answered."""
    message: str
    value: Any
    """What the function returned."""
    size_bytes: int | None
    """Of the answer; None when it was more than 1 MB, and then `value` is None as well."""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


class Procedures:
    """Calls as `service_role`. The *session* stays its owner's."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        """*url*: the project's."""
        self._session = session
        self._address = f"{url}/rest/v1/rpc/"
        self._headers = {
            "apikey": key,
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            "Content-Type": "application/json",
            "Content-Profile": "public",
        }

    async def call(self, function: str, arguments: Mapping[str, Any], *, seconds: float) -> Reply:
        """
        Whatever was answered within *seconds*.

        Raises:
            TimeoutError: nothing was; the function may still be running.
            ItemError: overloaded, nobody was there.
        """
        body = json.dumps(dict(arguments), ensure_ascii=False).encode()
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS)
        try:
            async with self._session.post(
                self._address + function, data=body, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as response:
                return _reply(response.status, await answers.read(response, bytes_max=_ANSWER_BYTES_MAX))
        except aiohttp.ConnectionTimeoutError as exc:
            raise errors.ItemError("overloaded", "The database did not answer.") from exc
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError) as exc:
            raise errors.ItemError("overloaded", "The database did not answer.") from exc

    async def listed(self, function: str, name: str) -> Mapping[str, Any] | None:
        """
        The entry of *name* as one of our lists has it now; None when it is not there, or switched off.

        Raises:
            ItemError: overloaded, auth or internal, the list cannot be read.
        """
        try:
            reply = await self.call(function, {"p_names": [name]}, seconds=_LOOK_SECONDS)
        except TimeoutError:
            raise errors.ItemError("overloaded", "The database did not answer.") from None
        if not reply.ok:
            error_class = "auth" if reply.status in (401, 403) else "internal"
            raise errors.ItemError(error_class, f"The list of what jobs may call cannot be read: {reply.status}.")
        return next((row for row in reply.value or () if row.get("enabled")), None)


def _reply(status: int, body: bytes | None) -> Reply:
    try:
        value = None if body is None else answers.decoded(body)
    except ValueError:
        value = None
    size_bytes = None if body is None else len(body)
    if 200 <= status < 300:
        return Reply(status, "", "", value, size_bytes)
    code = value.get("code") if isinstance(value, dict) else None
    return Reply(status, code if isinstance(code, str) else "", answers.message(value), value, size_bytes)
