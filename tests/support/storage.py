"""
A small Storage: objects in memory, and addresses that are good for one of them until they run out.

Owns what the worker and whoever is handed an address see of Supabase Storage: the call that signs, its errors in the
shape of the real one (HTTP 400 with the true status inside), and the address. Not the real one, and not all of it.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass
class StorageServer:
    """*objects* by bucket and path; *lifetimes*: for how many seconds each address was signed."""

    url: str = ""
    key: str = "the-secret-key"
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)
    lifetimes: list[int] = field(default_factory=list)
    answer: web.Response | None = None
    """Given to whoever wants an address, instead of one."""
    behind: str | None = None
    """The address of a project without Storage, which then answers all other calls: one address has both."""
    _signed: dict[str, tuple[str, str]] = field(default_factory=dict)

    async def sign(self, request: web.Request) -> web.Response:
        if self.answer is not None:
            return self.answer
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return _error(403, "Unauthorized", "Invalid key")
        place = request.match_info["bucket"], request.match_info["path"]
        if place not in self.objects:
            return _error(404, "not_found", "Object not found")
        self.lifetimes.append((await request.json())["expiresIn"])
        token = secrets.token_urlsafe(8)
        self._signed[token] = place
        return web.json_response({"signedURL": f"/object/sign/{place[0]}/{place[1]}?token={token}"})

    async def read(self, request: web.Request) -> web.Response:
        place = request.match_info["bucket"], request.match_info["path"]
        if self._signed.get(request.query.get("token", "")) != place:
            return _error(400, "InvalidJWT", "jwt malformed")
        return web.Response(body=self.objects[place])

    async def forward(self, request: web.Request) -> web.Response:
        if self.behind is None or "upgrade" in request.headers:
            raise web.HTTPNotFound
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        async with aiohttp.request(
            request.method, self.behind + request.path_qs, headers=headers, data=await request.read()
        ) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), content_type=answer.content_type, charset="utf-8"
            )


def _error(status: int, error: str, message: str) -> web.Response:
    said: dict[str, Any] = {"statusCode": str(status), "error": error, "message": message}
    return web.json_response(said, status=400)


@asynccontextmanager
async def serving(behind: str | None = None) -> AsyncIterator[StorageServer]:
    storage = StorageServer(behind=behind)
    app = web.Application()
    app.router.add_post("/storage/v1/object/sign/{bucket}/{path:.+}", storage.sign)
    app.router.add_get("/storage/v1/object/sign/{bucket}/{path:.+}", storage.read)
    app.router.add_route("*", "/{rest:.*}", storage.forward)
    async with TestServer(app) as server:
        storage.url = str(server.make_url("")).rstrip("/")
        yield storage
