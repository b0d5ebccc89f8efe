"""
The HTTP side put together: the routes that are always there, the portal if there is one, and what stands around each.
"""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiohttp import web

from worker.rpc import Rpc
from worker.web import middleware, server

if TYPE_CHECKING:
    from worker.web.portal import Portal  # heavy: only who has one pays for it

_BODY_BYTES_MAX = 2**20


async def serve(routes: Iterable[web.RouteDef], portal: "Portal | None", *, service: Rpc, host: str, port: int) -> None:
    """
    Serve *routes*, and with a *portal* what users reach, until cancelled.

    *service* calls as `service_role`: for the live streams and nothing else.
    """
    async with AsyncExitStack() as stack:
        app = application(portal.cors_origins if portal else ())
        app.add_routes(routes)
        if portal is not None:
            await stack.enter_async_context(portal.opened(app, service))
        await server.serve(app, host=host, port=port)


def application(cors_origins: Iterable[str] = ()) -> web.Application:
    """An application without routes: ids, errors and headers are the same for whatever is added."""
    origins = frozenset(cors_origins)
    around: list[Any] = [middleware.cross_origin(origins)] if origins else []
    app = web.Application(middlewares=[*around, middleware.guard], client_max_size=_BODY_BYTES_MAX)
    app.on_response_prepare.append(middleware.sign)
    app.on_response_prepare.append(middleware.sign_cross_origin)
    return app
