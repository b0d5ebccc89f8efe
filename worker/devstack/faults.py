"""
Trouble on order: what the stack does wrong on purpose, so that clients can be seen to survive it.

One object holds what is wrong just now; the endpoints ask it at the places named here. Tests in the same process set
its fields. Troubles with a name and an end of their own are in `orders.py`, which sets these fields too.
"""

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

_LOOK_SECONDS = 0.05


@dataclass
class Faults:
    """All off by default; `clear` goes back to that."""

    refuse: str = ""  # whose connections are reset: "realtime", "rest" or "all"
    black_hole: bool = False  # of Realtime: no byte is read or written, and nothing is closed
    rest_status: int = 0  # HTTP status of every REST request, which is not carried out
    rest_delay_ms: float = 0.0
    lose_answers: int = 0  # so many REST requests are carried out and their connection then reset

    upgrade_status: int = 0  # HTTP status instead of the websocket upgrade
    join_delay_ms: float = 0.0
    join_error: str = ""  # the reason every join is refused with
    refusal_delay_ms: float = 0.0  # before a refused join is answered, if that is more than the stack's own
    drop_system_ok: bool = False  # joins succeed, `Subscribed to PostgreSQL` never comes
    capture_error: str = ""  # the `system` error of every subscription; `ok` follows when it is over
    capture_dead: bool = False  # changes are lost and subscriptions wait, without a word

    mute_changes: bool = False  # rows change, nobody hears of it, everything looks green
    mute_table: str = ""  # the same for one table
    drop_change_every: int = 0  # every n-th change is lost
    change_error: int = 0  # each change comes without its row: 400, 401 or 413
    rate_limit: int = 0  # change messages a second above which whole polls are thrown away
    mute_broadcasts: bool = False  # of the database
    mute_event: str = ""  # the same for one event
    drop_broadcast_every: int = 0
    repeat_events: int = 1  # how often each change and each broadcast of the database is told
    mute_all: bool = False  # nothing is sent on any socket, pings are answered

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
                if not self.black_hole:
                    return await handler(request)
                await self.over("black_hole")
                return _reset(request)
            return await self._answer(request, handler)

        return troubled

    async def over(self, name: str) -> None:
        """Wait while the fault *name* is on. It looks now and then, because any thread may set a field."""
        while getattr(self, name):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)

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
