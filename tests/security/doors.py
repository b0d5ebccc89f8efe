"""The HTTP side with everything it can have, as one server: what a worker with all its settings opens."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from aiohttp import web

from tests.security.forged import OPERATOR_CLAIM
from tests.security.project import Project
from tests.support.served import served
from tests.web.site import Answer
from worker.flags import Flags
from worker.rpc_direct import DirectRpc
from worker.web import health, routing
from worker.web.intake import Intake
from worker.web.internal import Internal
from worker.web.internal_documents import Processed
from worker.web.panel import PanelConfig
from worker.web.portal import Portal
from worker.web.server import prepared
from worker.web.site import application

INTERNAL_KEY: Final = "an internal key of thirty characters"
_DONE: Final = Processed(processed=0, completed=0, failed=0, retrying=0, given_back=0, remaining=0, seconds=0)


@dataclass
class Doors:
    url: str
    project: Project
    http: aiohttp.ClientSession
    app: web.Application = field(repr=False)

    async def ask(
        self, method: str, path: str, bearer: str | None = None, *, more: Mapping[str, str] | None = None, **how: Any
    ) -> Answer:
        """At the HTTP side, with *more* headers; no further than the head of an answer without an end."""
        headers = {**(more or {}), **({} if bearer is None else {"Authorization": f"Bearer {bearer}"})}
        async with self.http.request(method, self.url + path, headers=headers, **how) as answer:
            endless = answer.content_type == "text/event-stream"
            return Answer(answer.status, dict(answer.headers), b"" if endless else await answer.read())

    async def rest(self, method: str, path: str, headers: dict[str, str], **how: Any) -> Answer:
        """At the gateway."""
        url = f"{self.project.stack.urls.url}/rest/v1/{path}"
        async with self.http.request(method, url, headers=headers, **how) as answer:
            return Answer(answer.status, dict(answer.headers), await answer.read())

    def served(self) -> list[str]:
        """Every address, as `GET /path`."""
        return sorted(
            f"{route.method} {route.resource.canonical}"
            for route in self.app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        )


@asynccontextmanager
async def opened(project: Project) -> AsyncIterator[Doors]:
    urls = project.stack.urls
    service = DirectRpc(urls.url, urls.secret_key)

    async def drain(max_jobs: int, max_seconds: float) -> Processed:
        return _DONE

    async def numbers() -> bytes:
        return b""

    internal = Internal(INTERNAL_KEY, Intake(service, Flags(), None), drain)
    portal = Portal(
        supabase_url=urls.url,
        publishable_key=urls.publishable_key,
        jwt_secret=urls.jwt_secret,
        panel=PanelConfig(
            supabase_url=urls.url,
            publishable_key=urls.publishable_key,
            version="1",
            simulated=bool,
            operator_claim=OPERATOR_CLAIM,
        ),
        operator_claim=OPERATOR_CLAIM,
    )
    app = application()
    app.add_routes(health.routes(lambda: health.Readiness(True, "realtime", None), dict, numbers))
    app.add_routes(routing.definitions(internal.routes(), internal.identify))
    async with portal.opened(app, service, internal.routes()):
        try:
            patience = aiohttp.ClientTimeout(total=60)
            async with served(prepared(app)) as url, aiohttp.ClientSession(timeout=patience) as http:
                yield Doors(url, project, http, app)
        finally:
            await service.close()
