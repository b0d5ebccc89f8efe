"""
What users reach, put together: the API, the live streams, their description, the panel.

Everything a user asks goes out with the user's own token; only the hub of the streams speaks as the service.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

import worker
from worker import errors
from worker.rpc import Rpc
from worker.web import openapi, routing
from worker.web.api import Api
from worker.web.callers import Caller, Identify
from worker.web.hub import Hub, Watch
from worker.web.panel import PanelConfig
from worker.web.panel import routes as panel_routes
from worker.web.project import Project
from worker.web.streams import Streams

if TYPE_CHECKING:
    from worker.web.tokens import Tokens

_JWKS: Final = "/auth/v1/.well-known/jwks.json"


@dataclass(frozen=True, slots=True)
class Portal:
    """The settings of it."""

    supabase_url: str
    publishable_key: str
    jwt_secret: str | None = None
    """The legacy secret of HS256 tokens; None: such tokens are refused."""
    request_seconds: float = 10.0
    cors_origins: tuple[str, ...] = ()
    """Whose pages may use the API from a browser, beside our own."""
    panel: PanelConfig | None = None
    """None: there is no panel."""

    @asynccontextmanager
    async def opened(self, app: web.Application, service: Rpc) -> AsyncIterator[Hub]:
        """Add the routes to *app*, and run what they need for as long as the block lasts."""
        project = Project(self.supabase_url, self.publishable_key, request_seconds=self.request_seconds)
        try:
            hub = Hub(_watch(service))
            self._add(app, project, hub)
            async with asyncio.TaskGroup() as beside:
                running = beside.create_task(hub.run())
                try:
                    yield hub
                finally:
                    running.cancel()
        finally:
            await project.close()

    def _add(self, app: web.Application, project: Project, hub: Hub) -> None:
        table = [*Api(project).routes(), *Streams(project, hub).routes()]
        described = json.dumps(openapi.document(table, version=worker.__version__)).encode()

        async def description(_: web.Request) -> web.Response:
            return web.Response(body=described, content_type="application/json")

        async def leave(_: web.Application) -> None:
            hub.close()

        app.add_routes(routing.definitions(table, self._identify(project)))
        app.add_routes([web.get("/openapi.json", description, allow_head=False)])
        app.on_shutdown.append(leave)
        if self.panel is not None:
            app.add_routes(panel_routes(self.panel))

    def _identify(self, project: Project) -> Identify:
        tokens: Tokens | None = None

        async def identify(authorization: str | None) -> Caller:
            nonlocal tokens
            if tokens is None:  # cryptography is 9 MB: whoever has no visitors does not carry it
                from worker.web.jwks import Jwks
                from worker.web.tokens import Tokens

                tokens = Tokens(Jwks(project.session, self.supabase_url + _JWKS), secret=self.jwt_secret)
            return await tokens.caller(authorization)

        return identify


def _watch(service: Rpc) -> Watch:
    async def watch(user_ids: list[str], job_ids: list[str], within_ms: int) -> Mapping[str, Any]:
        params = {"p_user_ids": user_ids, "p_job_ids": job_ids, "p_changed_within_ms": within_ms}
        answer = await service.call("watch_translation_users", params)
        if not isinstance(answer, dict):
            raise errors.StoreUnauthorized("the address does not answer like a Supabase project")
        return answer

    return watch
