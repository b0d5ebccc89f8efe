"""
The HTTP side put together: the routes that are always there, the portal if there is one, and what stands around each.
"""

from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from aiohttp import web

import worker
from worker.rpc import Rpc
from worker.web import middleware, openapi, routing, server

if TYPE_CHECKING:
    from worker.web.internal import Internal
    from worker.web.portal import Portal  # heavy: only who has one pays for it

_BODY_BYTES_MAX = 2**20


async def serve(
    routes: Iterable[web.RouteDef],
    portal: "Portal | None",
    internal: "Internal | None" = None,
    *,
    service: Rpc,
    host: str,
    port: int,
) -> None:
    """
    Serve *routes*, with a *portal* what users reach, and what the project's own servers ask, until cancelled.

    *service* calls as `service_role`: for the live streams and for operators.
    """
    async with AsyncExitStack() as stack:
        app = application(portal.cors_origins if portal else ())
        app.add_routes(routes)
        beside = internal.routes() if internal is not None else []
        if internal is not None:
            app.add_routes(routing.definitions(beside, internal.identify))
        if portal is not None:
            await stack.enter_async_context(portal.opened(app, service, beside))
        elif beside:
            app.add_routes([openapi.route(beside, version=worker.__version__)])
        await server.serve(app, host=host, port=port)


def application(cors_origins: Iterable[str] = ()) -> web.Application:
    """An application without routes: ids, errors and headers are the same for whatever is added."""
    origins = frozenset(cors_origins)
    around: list[Any] = [middleware.cross_origin(origins)] if origins else []
    app = web.Application(middlewares=[*around, middleware.guard], client_max_size=_BODY_BYTES_MAX)
    app.on_response_prepare.append(middleware.sign)
    app.on_response_prepare.append(middleware.sign_cross_origin)
    return app
