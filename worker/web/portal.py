"""
What users reach, put together: the API, the live streams, their description, the panel; and the routes of operators.

Everything a user asks goes out with the user's own token; only the hub of the streams and what operators ask speak as
the service.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
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
    operator_claim: str = ""
    """What of a token's `app_metadata` makes an operator; empty: there is no operator view."""
    alert_limits: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `translation_alerts`, for operators."""

    @asynccontextmanager
    async def opened(
        self, app: web.Application, service: Rpc, beside: Sequence[routing.Route] = ()
    ) -> AsyncIterator[Hub]:
        """
        Add the routes to *app*, and run what they need for as long as the block lasts. Routes *beside* them are
        described with them, and added by somebody else.
        """
        project = Project(self.supabase_url, self.publishable_key, request_seconds=self.request_seconds)
        try:
            hub = Hub(_watch(service))
            self._add(app, project, hub, service, beside)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(hub.run())
                try:
                    yield hub
                finally:
                    running.cancel()
        finally:
            await project.close()

    def _add(
        self, app: web.Application, project: Project, hub: Hub, service: Rpc, beside: Sequence[routing.Route]
    ) -> None:
        table = [*Api(project).routes(), *Streams(project, hub).routes(), *self._for_operators(service)]

        async def leave(_: web.Application) -> None:
            hub.close()

        app.add_routes(routing.definitions(table, self._identify(project)))
        app.add_routes([openapi.route([*table, *beside], version=worker.__version__)])
        app.on_shutdown.append(leave)
        if self.panel is not None:
            app.add_routes(panel_routes(self.panel))

    def _for_operators(self, service: Rpc) -> list[routing.Route]:
        if not self.operator_claim:
            return []
        from worker.web.ops import Ops  # only who has operators pays for their models

        return Ops(service, self.alert_limits).routes()

    def _identify(self, project: Project) -> Identify:
        tokens: Tokens | None = None

        async def identify(authorization: str | None) -> Caller:
            nonlocal tokens
            if tokens is None:  # cryptography is 9 MB: whoever has no visitors does not carry it
                from worker.web.jwks import Jwks
                from worker.web.tokens import Tokens

                keys = Jwks(project.session, self.supabase_url + _JWKS)
                tokens = Tokens(keys, secret=self.jwt_secret, operator_claim=self.operator_claim)
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
