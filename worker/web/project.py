"""
The project as a user sees it: every call carries the user's own token, so the database decides.

Owns the connections of user calls and what an answer of PostgREST means to a browser. Never the secret key: the
publishable one only names the project. A call is made once; the user decides about repeating.
"""

import io
import json
import math
import re
from typing import Any, Final

import aiohttp

from worker.web.callers import Caller
from worker.web.refusals import Refusal, job_not_found, unauthorized, unavailable

_CONNECTIONS_MAX: Final = 50
_CONNECT_SECONDS: Final = 5.0
_BYTES_AT_ONCE_MAX: Final = 2**20
_WORD: Final = re.compile(r"[a-z][a-z0-9_]*")
_RETRY_AFTER: Final = re.compile(r"retry_after_ms=(\d+)")


class Project:
    def __init__(self, url: str, publishable_key: str, *, request_seconds: float) -> None:
        self._address = f"{url}/rest/v1/rpc/"
        self._headers = {
            "apikey": publishable_key,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Content-Profile": "public",
        }
        timeout = aiohttp.ClientTimeout(total=request_seconds, sock_connect=min(_CONNECT_SECONDS, request_seconds))
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS_MAX)
        # No cookies: one user's session must not carry anything of another's.
        self.session = aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())

    async def call(self, caller: Caller, function: str, **params: Any) -> Any:
        """
        The decoded answer of *function*, called as *caller*; *params* without their `p_`, None left out.

        Raises:
            Refusal: the database's, or 503 without it.
        """
        body = json.dumps(
            {f"p_{name}": value for name, value in params.items() if value is not None},
            allow_nan=False,
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()
        headers = {**self._headers, "Authorization": f"Bearer {caller.token}"}
        data = body if len(body) < _BYTES_AT_ONCE_MAX else io.BytesIO(body)
        try:
            async with self.session.post(
                self._address + function, data=data, headers=headers, allow_redirects=False
            ) as answer:
                status, text = answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as trouble:
            raise unavailable() from trouble
        return _decoded(status, text)

    async def close(self) -> None:
        await self.session.close()


def _decoded(status: int, text: bytes) -> Any:
    try:
        document = json.loads(text) if text else None
    except ValueError:
        raise unavailable() from None
    if status < 300:
        return document
    said = document if isinstance(document, dict) else {}
    raise refused(status, said)


def refused(status: int, said: dict[str, Any]) -> Refusal:
    """What an error of PostgREST means to the user who caused it."""
    code = str(said.get("code") or "")
    if re.fullmatch(r"PT[45]\d\d", code):
        return _own(int(code[2:]), said)
    if status == 401 or code in ("PGRST301", "PGRST302", "PGRST303"):
        return unauthorized("The project does not accept the access token: sign in again.")
    if code == "22P05":  # NUL has no place in a text of Postgres
        return Refusal(422, "text_unusable", "A text holds a NUL character, which cannot be stored: take it out.")
    if code.startswith("22"):
        return Refusal(422, "value_invalid", "A value is out of range, or not of its kind.")
    if code == "57014":
        return unavailable("The database took too long: ask for less, or try again in a few seconds.")
    if code == "42501" or status == 403:
        return Refusal(403, "forbidden", "The project does not let this user do that.")
    return unavailable()


def _own(status: int, said: dict[str, Any]) -> Refusal:
    details, hint = said.get("details"), said.get("hint")
    word = _WORD.match(details) if isinstance(details, str) else None
    code = word.group() if word else "refused"
    if code == "job_not_found":
        return job_not_found()
    headers = {}
    if status == 429:
        wait = _RETRY_AFTER.search(details or "")
        headers["Retry-After"] = str(max(1, math.ceil(int(wait[1]) / 1000)) if wait else 30)
    return Refusal(
        status,
        code,
        str(said.get("message") or code),
        hint=hint if isinstance(hint, str) and hint else None,
        headers=headers,
    )
