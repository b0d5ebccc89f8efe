"""
The REST endpoint answered by a real PostgREST, which is a program of its own and comes from elsewhere.

In front of it stands what the platform has there: API keys become the token of their role, a user's token goes through
as it is, and the key goes no further. The rule: PostgREST decides all else, tokens included; nothing of its answer is
changed.
"""

import asyncio
import base64
import io
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import aiohttp
from aiohttp import web
from loguru import logger
from multidict import CIMultiDict
from yarl import URL

from worker.devstack.catalog import EXPOSED_SCHEMA
from worker.devstack.keys import ANONYMOUS, SERVICE, Identity, KeyRefused, Keys
from worker.devstack.plans import MAX_ROWS

_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
_LOOK_SECONDS = 0.05
_PREFIX = "/rest/v1"
# Of one connection; the other side of the front has its own.
_HOP_BY_HOP = ("Connection", "Content-Length", "Host", "Keep-Alive", "Transfer-Encoding")

# A header that nobody sent is not for us to send.
_UNASKED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class PostgRest:
    """
    The same routes as the gateway's, over the PostgREST at *program*.

    Args:
        conninfo: of role `authenticator`, as a URL.
        connections: how many it may open.
    """

    def __init__(self, program: Path, conninfo: str, keys: Keys, *, connections: int = 10) -> None:
        self._program = program
        self._conninfo = conninfo
        self._keys = keys
        self._connections = connections
        # By the secret rather than the users' key: it is checked for every call, and cheaper so.
        self._tokens = {
            id(role): f"Bearer {keys.sign(role.claims, algorithm='HS256')}" for role in (ANONYMOUS, SERVICE)
        }
        self._client: aiohttp.ClientSession | None = None
        self.outdated = asyncio.Event()  # for whoever announces changes; PostgREST listens itself
        self.loaded = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        return [web.route("*", _PREFIX + "/{path:.*}", self._forward)]

    async def run(self) -> None:
        """
        Keep it running until cancelled.

        Raises:
            RuntimeError: it does not start; the message has its last words.
        """
        # A path of its own: that of a socket may not be long.
        with tempfile.TemporaryDirectory(prefix="postgrest-") as home:
            connector = aiohttp.UnixConnector(f"{home}/socket", limit=0)
            async with aiohttp.ClientSession(
                connector=connector, auto_decompress=False, skip_auto_headers=_UNASKED
            ) as self._client:
                while True:
                    await self._live(Path(home))
                    logger.warning("PostgREST ended, and is started again")

    async def _live(self, home: Path) -> None:
        """From its start to its end."""
        log = home / "log"
        with _opened(log) as output:
            process = await asyncio.create_subprocess_exec(
                self._program, env=self._environment(f"{home}/socket"), stdout=output, stderr=output
            )
        try:
            if not await self._load(process):
                raise RuntimeError(f"PostgREST does not start: {_last_words(log)}")
            self.loaded.set()
            await process.wait()
        finally:
            await _stop(process)

    async def _load(self, process: asyncio.subprocess.Process) -> bool:
        """Wait until it has read the schema; false when it has not in time, or has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                while process.returncode is None:
                    if await self._is_ready():
                        return True
                    await asyncio.sleep(_LOOK_SECONDS)
        return False

    async def _is_ready(self) -> bool:
        assert self._client is not None
        with suppress(aiohttp.ClientError):
            async with self._client.head("http://postgrest/") as answer:
                return answer.status != 503
        return False

    def _environment(self, socket: str) -> dict[str, str]:
        """As the platform sets it."""
        return {
            "PATH": os.environ.get("PATH", ""),
            "PGRST_DB_URI": self._conninfo,
            "PGRST_DB_SCHEMAS": EXPOSED_SCHEMA,
            "PGRST_DB_EXTRA_SEARCH_PATH": "extensions",
            "PGRST_DB_ANON_ROLE": ANONYMOUS.role,
            "PGRST_DB_MAX_ROWS": str(MAX_ROWS),
            "PGRST_DB_POOL": str(self._connections),
            "PGRST_JWT_SECRET": json.dumps(_verification_keys(self._keys)),
            "PGRST_SERVER_UNIX_SOCKET": socket,
        }

    # One request

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        try:
            headers = self._headers(request)
        except KeyRefused as refused:
            return web.json_response(refused.body, status=401)
        body = await request.read()
        data = io.BytesIO(body) if body else None  # aiohttp warns of large bodies that are not read piece by piece
        assert self._client is not None
        try:
            async with self._client.request(
                request.method, _address(request), headers=headers, data=data, allow_redirects=False
            ) as answer:
                kept = _without(answer.headers, *_HOP_BY_HOP)
                return web.Response(status=answer.status, body=await answer.read(), headers=kept)
        except aiohttp.ClientError:
            return web.json_response({"message": "PostgREST did not answer, or not so that it can be read"}, status=502)

    def _headers(self, request: web.Request) -> CIMultiDict[str]:
        """Raises `KeyRefused`."""
        key = request.headers.get("apikey") or request.query.get("apikey")
        identity = self._keys.key_identity(key, request.headers.get("User-Agent", ""))
        headers = _without(request.headers, "apikey", *_HOP_BY_HOP)
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or token.startswith("sb_"):
            headers["Authorization"] = self._token(identity, key)
        return headers

    def _token(self, identity: Identity, key: str | None) -> str:
        return self._tokens.get(id(identity), f"Bearer {key}")  # a legacy key is a token


def _verification_keys(keys: Keys) -> dict[str, Any]:
    """What tokens may be signed with: the users' key, and the legacy secret."""
    secret = base64.urlsafe_b64encode(keys.jwt_secret.encode()).rstrip(b"=").decode()
    return {"keys": [*keys.jwks()["keys"], {"kty": "oct", "alg": "HS256", "k": secret}]}


def _address(request: web.Request) -> URL:
    """The same address behind the prefix, to the letter, without the key."""
    path, _, query = request.raw_path.removeprefix(_PREFIX).partition("?")
    kept = "&".join(part for part in query.split("&") if not part.startswith("apikey="))
    return URL(f"http://postgrest{path}{'?' if kept else ''}{kept}", encoded=True)


def _without(headers: Mapping[str, str], *names: str) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in names:
        kept.popall(name, None)
    return kept


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _opened(log: Path) -> IO[bytes]:
    return log.open("wb")


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
