"""One request put to one server, and what is compared of its answer: status, the headers clients read, the body."""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import jwt
import psycopg
from psycopg.rows import TupleRow
from yarl import URL

from tests.conformance.requests import ADA, GROUND, Request
from worker.devstack.keys import Keys
from worker.devstack.stack import Stack

HEADERS = (
    *("Content-Type", "Content-Range", "Content-Profile", "Location", "Preference-Applied", "Allow"),
    *("Retry-After", "WWW-Authenticate", "Proxy-Status", "X-Seen", "X-Injected"),
)

Answer = dict[str, Any]
"""By name of the part: `status`, a header, `body` or `body.message` and the like; what is not there is left out."""


class Ground:
    """The rows that both find: laid anew after whatever may have changed them."""

    def __init__(self, owner: psycopg.Connection[TupleRow]) -> None:
        self._owner = owner
        self._is_touched = True

    def change(self, statements: str) -> None:
        """Run *statements* as the owner, as the SQL editor would."""
        self._owner.execute(statements.encode())

    def lay_for(self, request: Request) -> None:
        if self._is_touched:
            self.change(GROUND)
        self._is_touched = request.may_write


class Server:
    """One of the two."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession, ground: Ground) -> None:
        self.stack = stack
        self._http = http
        self._ground = ground

    async def answer(self, request: Request) -> Answer:
        self._ground.lay_for(request)
        url = URL(f"{self.stack.urls.url}/rest/v1{request.path}", encoded=True)
        raw = isinstance(request.body, bytes) or request.body is None
        data = request.body if raw else json.dumps(request.body, ensure_ascii=False).encode()
        headers = {"User-Agent": "conformance", **headers_of(request.who, self.stack.keys)}
        if data is not None:
            headers["Content-Type"] = "application/json"
        async with self._http.request(
            request.method, url, headers={**headers, **request.headers}, data=data, skip_auto_headers=["Content-Type"]
        ) as got:
            kept = {name: got.headers[name] for name in HEADERS if name in got.headers}
            return {"status": got.status, **kept, **_body(await got.read(), only_shape=request.only_shape)}


def differences(stand_in: Answer, postgrest: Answer) -> dict[str, tuple[Any, Any]]:
    """What each says where they differ, by part; None where it says nothing."""
    return {
        part: (stand_in.get(part), postgrest.get(part))
        for part in sorted({*stand_in, *postgrest})
        if stand_in.get(part) != postgrest.get(part)
    }


def headers_of(who: str, keys: Keys) -> dict[str, str]:
    """Key and token of *who*."""
    if who == "service":
        return {"apikey": keys.secret_key}
    if who == "anon":
        return {"apikey": keys.publishable_key}
    if who == "legacy key":
        return {"apikey": keys.sign({"role": "service_role"}, algorithm="HS256")}
    key = keys.secret_key if who == "ada, secret key" else keys.publishable_key
    return {"apikey": key, "Authorization": f"Bearer {_TOKENS.get(who, _junk(who))(keys)}"}


def _user(**changed: Any) -> Mapping[str, Any]:
    claims = {"sub": ADA, "aud": "authenticated", "role": "authenticated", "exp": 4_102_444_800, **changed}
    return {name: value for name, value in claims.items() if value is not None}


def _junk(text: str) -> Callable[[Keys], str]:
    return lambda _: text


_ELSEWHERE = "x" * 32
_TOKENS: Mapping[str, Callable[[Keys], str]] = {
    "ada": lambda keys: keys.sign(_user()),
    "ada, HS256": lambda keys: keys.sign(_user(), algorithm="HS256"),
    "ada, secret key": lambda keys: keys.sign(_user()),
    "expired": lambda keys: keys.sign(_user(exp=1)),
    "early": lambda keys: keys.sign(_user(nbf=int(time.time()) + 3600)),
    "foreign": lambda _: jwt.encode(dict(_user()), _ELSEWHERE),
    "foreign service": lambda _: jwt.encode({"role": "service_role"}, _ELSEWHERE),
    "alg none": lambda _: jwt.encode(dict(_user()), "", algorithm="none"),
    "unknown role": lambda keys: keys.sign(_user(role="nobody_knows")),
    "postgres": lambda keys: keys.sign(_user(role="postgres")),
    "no role": lambda keys: keys.sign(_user(role=None)),
    "nobody's": lambda keys: keys.sign(_user(sub="00000000-0000-4000-8000-00000000000a")),
}


def _body(body: bytes, *, only_shape: bool) -> Answer:
    """A refusal's four keys one by one, any other JSON as a value, and what is no JSON as its bytes."""
    try:
        value = json.loads(body, parse_float=str)  # 1.10 is not 1.1
    except ValueError:
        return {"body": body.decode(errors="replace")} if body else {}
    if isinstance(value, dict) and {"code", "message"} <= value.keys():
        return {f"body.{name}": said for name, said in value.items() if said is not None}
    return {"body": _shape(value) if only_shape else value}


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    return [_shape(inner) for inner in value] if isinstance(value, list) else type(value).__name__
