"""
Trouble on order: what the stack does wrong on purpose, so that clients can be seen to survive it.

One object holds the orders; the endpoints ask it at the places named here. Tests in the same process set its fields,
others use the admin route (`admin.py`), which exists only when the stack was given an admin key.
"""

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler


@dataclass
class Faults:
    """All off by default; `clear` goes back to that."""

    refuse: str = ""  # whose connections are reset: "realtime", "rest" or "all"
    upgrade_status: int = 0  # HTTP status instead of the websocket upgrade
    rest_status: int = 0  # HTTP status of every REST request, which is not carried out
    rest_delay_ms: float = 0
    lose_answers: int = 0  # so many REST requests are carried out and their connection then reset
    join_delay_ms: float = 0
    join_error: str = ""  # the reason every join is refused with
    drop_system_ok: bool = False  # joins succeed, `Subscribed to PostgreSQL` never comes
    mute_changes: bool = False  # rows change, nobody hears of it, everything looks green
    mute_broadcasts: bool = False
    mute_all: bool = False  # nothing is sent on any socket, pings are answered
    drop_change_every: int = 0  # every n-th change is lost

    def order(self, **changes: Any) -> None:
        """Set several. Raises ValueError for a fault there is not, or a value of the wrong kind."""
        kinds = {field.name: type(field.default) for field in dataclasses.fields(self)}
        for name, value in changes.items():
            if name not in kinds:
                raise ValueError(f"There is no fault {name!r}; there are {', '.join(kinds)}.")
            accepted = (int, float) if kinds[name] is float else kinds[name]
            if not isinstance(value, accepted):
                raise ValueError(f"{name} takes a {kinds[name].__name__}, not {value!r}.")
            setattr(self, name, value)

    def clear(self) -> None:
        """Behave again."""
        self.order(**dataclasses.asdict(Faults()))

    @property
    def middleware(self) -> Any:
        """Carries out the orders that concern whole HTTP requests."""

        @web.middleware
        async def troubled(request: web.Request, handler: Handler) -> web.StreamResponse:
            kind = "realtime" if request.path.startswith(("/realtime/", "/socket/")) else "rest"
            if request.path.startswith("/admin/"):
                return await handler(request)
            if self.refuse in (kind, "all"):
                return _reset(request)
            if kind == "realtime":
                return await handler(request)
            return await self._answer(request, handler)

        return troubled

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.rest_delay_ms:
            await asyncio.sleep(self.rest_delay_ms / 1000)
        if self.rest_status:
            return web.json_response({"message": "on order"}, status=self.rest_status)
        response = await handler(request)
        if self.lose_answers > 0:
            self.lose_answers -= 1
            return _reset(request)
        return response


def _reset(request: web.Request) -> web.Response:
    """Cut the connection; the response is for nobody."""
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()
    return web.Response()
