"""The HTTP side as in use, over a stack: a server on a port of its own, and users who ask it."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from tests.support.database import Database, Row
from tests.support.served import served
from worker.devstack.stack import Stack
from worker.rpc_direct import DirectRpc
from worker.web.hub import Hub
from worker.web.portal import Portal
from worker.web.server import prepared
from worker.web.site import application


class CountingRpc(DirectRpc):
    """The worker's own calls, counted, and broken when told so."""

    def __init__(self, *args: Any, **how: Any) -> None:
        super().__init__(*args, **how)
        self.calls: list[dict[str, Any]] = []
        self.trouble: Exception | None = None

    async def _send(self, function: str, params: dict[str, Any]) -> Any:
        self.calls.append({"function": function, **params})
        if self.trouble is not None:
            raise self.trouble
        return await super()._send(function, params)


@dataclass
class Site:
    url: str
    stack: Stack
    project: Database
    service: CountingRpc
    http: aiohttp.ClientSession
    hub: Hub
    app: web.Application = field(repr=False)

    def user(self, credits: int = 0) -> "User":
        return User(self, self.project.user(credits))

    def claims(self, user_id: str, **changed: Any) -> dict[str, Any]:
        """Of a good token; None takes one away."""
        claims = {
            "sub": user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "exp": int(time.time()) + 3600,
            "session_id": str(uuid.uuid4()),
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, user_id: str, *, algorithm: str = "ES256", **changed: Any) -> str:
        return self.stack.keys.sign(self.claims(user_id, **changed), algorithm=algorithm)

    async def ask(self, method: str, path: str, token: str | None = None, **how: Any) -> "Answer":
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **how.pop("headers", {})}
        async with self.http.request(method, self.url + path, headers=headers, **how) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    @asynccontextmanager
    async def stream(self, path: str, token: str, **how: Any) -> AsyncIterator["EventReader"]:
        headers = {"Authorization": f"Bearer {token}", **how.pop("headers", {})}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self.http.get(self.url + path, headers=headers, timeout=timeout, **how) as answer:
            assert answer.status == 200, await answer.text()
            yield EventReader(answer)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable word of an error, which has the shape that all errors have."""
        error = self.json["error"]
        assert set(error) == {"code", "message", "hint"}
        assert error["message"].endswith(".")
        return str(error["code"])


class User:
    def __init__(self, site: Site, user_id: str) -> None:
        self.site = site
        self.id = user_id
        self.token = site.token(user_id)

    async def ask(self, method: str, path: str, **how: Any) -> Answer:
        return await self.site.ask(method, path, self.token, **how)

    def job(self, *languages: str, content: Any = "Good morning.", **more: Any) -> str:
        """Make a job without the API, and return its id."""
        row: Row = self.site.project.rpc(
            "create_translation_job",
            self.id,
            p_content=content,
            p_target_languages=list(languages or ("es", "fr")),
            **{f"p_{name}": value for name, value in more.items()},
        )
        return str(row["id"])

    @asynccontextmanager
    async def stream(self, path: str = "/api/stream", **how: Any) -> AsyncIterator["EventReader"]:
        async with self.site.stream(path, self.token, **how) as reader:
            yield reader


class EventReader:
    """Reads one stream as the panel does."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer
        self.comments = 0
        self.last_id = ""

    async def next(self, *, seconds: float = 10.0) -> tuple[str, Any]:
        """The next event and its data."""
        name, data = "", ""
        async with asyncio.timeout(seconds):
            while line := await self._line():
                match line.partition(":")[::2]:
                    case ("event", text):
                        name = text.strip()
                    case ("data", text):
                        data = text.strip()
                    case ("id", text):
                        self.last_id = text.strip()
                    case ("", _):
                        self.comments += 1
            if not name:
                return await self.next(seconds=seconds)
        return name, json.loads(data)

    async def _line(self) -> str:
        raw = await self.answer.content.readuntil(b"\n")
        if not raw:
            raise EOFError
        return raw.decode().rstrip("\n")

    async def until(self, wanted: Callable[[str, Any], bool], *, seconds: float = 10.0) -> Any:
        """The data of the first event that is wanted; others are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                name, data = await self.next(seconds=seconds)
                if wanted(name, data):
                    return data

    async def named(self, name: str, *, seconds: float = 10.0) -> Any:
        return await self.until(lambda found, _: found == name, seconds=seconds)

    async def ends(self, *, seconds: float = 10.0) -> None:
        """Read to the end."""
        async with asyncio.timeout(seconds):
            await self.answer.content.read()


@asynccontextmanager
async def running(stack: Stack, project: Database, **options: Any) -> AsyncIterator[Site]:
    """The site over *stack*; options of `Portal` as keyword arguments."""
    service = CountingRpc(stack.urls.url, stack.urls.secret_key)
    settings: dict[str, Any] = {
        "supabase_url": stack.urls.url,
        "publishable_key": stack.urls.publishable_key,
        "jwt_secret": stack.urls.jwt_secret,
        **options,
    }
    portal = Portal(**settings)
    app = application(portal.cors_origins)
    async with portal.opened(app, service) as hub:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as http:
            try:
                async with served(prepared(app)) as url:
                    yield Site(url, stack, project, service, http, hub, app)
            finally:
                await service.close()
