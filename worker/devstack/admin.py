"""Orders for trouble from outside the process: routes that exist only when the stack was given an admin key."""

import dataclasses
import secrets
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from worker.devstack.faults import Faults
from worker.devstack.orders import Order, Orders
from worker.devstack.realtime import Realtime

PREFIX = "/admin"

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class Admin:
    """
    The routes, each guarded by the header `x-admin-key`.

    `GET PATCH DELETE /admin/faults` read, set and clear the fields of `Faults`; `GET POST /admin/orders {"order"}` show
    and place orders, the answer's `at` is when it began, in seconds since 1970; DELETE of either ends orders too.
    `POST /admin/close {"code"}` closes all sockets; `POST /admin/push {"event", "payload", "ref"}` sends a frame to
    every channel; `POST /admin/announce {"table", "record"}` tells of a row that was inserted, or not.
    """

    def __init__(self, admin_key: str, faults: Faults, realtime: Realtime, orders: Orders) -> None:
        self._admin_key = admin_key
        self._faults = faults
        self._realtime = realtime
        self._orders = orders

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{PREFIX}/faults", self._guard(self._show)),
            web.patch(f"{PREFIX}/faults", self._guard(self._order)),
            web.delete(f"{PREFIX}/faults", self._guard(self._clear)),
            web.get(f"{PREFIX}/orders", self._guard(self._show_orders)),
            web.post(f"{PREFIX}/orders", self._guard(self._place)),
            web.delete(f"{PREFIX}/orders", self._guard(self._clear)),
            web.post(f"{PREFIX}/announce", self._guard(self._announce)),
            web.post(f"{PREFIX}/close", self._guard(self._close)),
            web.post(f"{PREFIX}/push", self._guard(self._push)),
        ]

    def _guard(self, handler: _Handler) -> _Handler:
        async def guarded(request: web.Request) -> web.Response:
            if not secrets.compare_digest(request.headers.get("x-admin-key", ""), self._admin_key):
                return web.json_response({"error": "wrong admin key"}, status=403)
            try:
                return await handler(request)
            except (ValueError, KeyError, TypeError) as error:
                return web.json_response({"error": str(error)}, status=400)

        return guarded

    async def _show(self, _request: web.Request) -> web.Response:
        return web.json_response(dataclasses.asdict(self._faults))

    async def _order(self, request: web.Request) -> web.Response:
        self._faults.order(**await request.json())
        return await self._show(request)

    async def _clear(self, request: web.Request) -> web.Response:
        await self._orders.clear()
        return await self._show(request)

    async def _show_orders(self, _request: web.Request) -> web.Response:
        return web.json_response({"orders": self._orders.active})

    async def _place(self, request: web.Request) -> web.Response:
        order = Order.read(str((await request.json())["order"]))
        at = time.time()
        await self._orders.place(order)
        return web.json_response({"order": str(order), "at": at}, status=202)

    async def _announce(self, request: web.Request) -> web.Response:
        order = await request.json()
        for channel in self._realtime.channels:
            channel.invent_insert(dict(order["record"]), str(order["table"]))
        return web.Response(status=204)

    async def _close(self, request: web.Request) -> web.Response:
        await self._realtime.close_sockets(int((await request.json())["code"]))
        return web.Response(status=204)

    async def _push(self, request: web.Request) -> web.Response:
        order = await request.json()
        self._realtime.push_to_all(order["event"], order.get("payload", {}), order.get("ref"))
        return web.Response(status=204)
