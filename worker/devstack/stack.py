"""
The whole stack on one port: Postgres, REST, Realtime and Auth under the paths of a hosted project.

`Stack` is for tests and tools that run it inside their own process; `serve` is the command: it runs until a signal.
Order is what matters here: whatever answers a request is started before the port is opened and stopped after it is
closed.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Handler
from loguru import logger

from worker.devstack import platform
from worker.devstack.admin import Admin
from worker.devstack.auth import Auth
from worker.devstack.broadcasts import NOTIFY_CHANNEL, DatabaseRoad
from worker.devstack.changes import ChangeFeed
from worker.devstack.door import Door
from worker.devstack.faults import Faults
from worker.devstack.gateway import Gateway
from worker.devstack.hub import Hub
from worker.devstack.keys import Keys
from worker.devstack.notices import Notices
from worker.devstack.orders import Order, Orders, Scene
from worker.devstack.pipeline import Pool
from worker.devstack.postgres import HOST, Cluster
from worker.devstack.postgrest import PostgRest
from worker.devstack.realtime import Realtime

_LOOK_SECONDS = 0.1
_BEFORE_TROUBLE_SECONDS = 5.0
_REQUEST_BYTES_MAX = 32 * 1024 * 1024
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS",
    "Access-Control-Expose-Headers": "Content-Range, Proxy-Status",
}


@dataclass(frozen=True)
class StackUrls:
    """How to reach a running stack."""

    url: str
    publishable_key: str
    secret_key: str
    database_url: str  # as role `postgres`, as plain as on the hosted platform
    admin_database_url: str  # as the superuser
    jwt_secret: str

    def environment(self) -> dict[str, str]:
        """The same under the names that programs read from their environment."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_PUBLISHABLE_KEY": self.publishable_key,
            "SUPABASE_SECRET_KEY": self.secret_key,
            "DATABASE_URL": self.database_url,
            "ADMIN_DATABASE_URL": self.admin_database_url,
            "JWT_SECRET": self.jwt_secret,
        }


@dataclass(eq=False, repr=False)
class Stack:
    """
    A running stack, as an async context manager. In-process for tests; `serve` is the command around it.

    Args:
        data_dir: where Postgres and the keys live; made on first use, kept afterwards.
        port: of the HTTP server on 127.0.0.1; 0 takes a free one.
        database: the database served; made if it does not exist.
        sql: scripts applied in order as role `postgres`, each as one message, as the SQL editor would.
        broadcast_delay_ms: held back between the commit of a database broadcast and its frame.
        changes_idle_ms: the pause after a poll for row changes that found nothing; the hosted server's is 500.
        refusal_delay_ms: before a refused connection or join is answered; the hosted server's is 2 000 and 5 000.
        token_seconds: how long a user's access token lives.
        legacy_grants: new objects in `public` are open to the API roles, as in projects made before 2026.
        rest_connections: how many database connections REST requests share.
        admin_key: opens the admin route for faults; in this process, use `faults`.
        cluster: a running Postgres to use, which is left running; without it one is started in *data_dir*.
        postgrest: the program of a real PostgREST, which then answers REST requests.
    """

    data_dir: Path
    port: int = 0
    database: str = "postgres"
    sql: Sequence[str] = ()
    broadcast_delay_ms: float = 0
    changes_idle_ms: float = 500
    refusal_delay_ms: float = 0
    token_seconds: int = 3600
    legacy_grants: bool = False
    rest_connections: int = 10
    admin_key: str | None = None
    cluster: Cluster | None = None
    postgrest: Path | None = None

    # While it runs:
    faults: Faults = field(default_factory=Faults, init=False)
    postgres: Cluster = field(init=False)  # the one given, or its own
    urls: StackUrls = field(init=False)
    keys: Keys = field(init=False)  # to sign tokens with
    realtime: Realtime = field(init=False)  # to close sockets and push frames by hand
    orders: Orders = field(init=False)  # faults by name, with an end

    _stopping: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _running: asyncio.Task[None] | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # A task of its own, because fixtures enter and leave from different ones.
        self._running = asyncio.create_task(self._run(ready))
        try:
            await asyncio.wait([self._running, ready], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._running.cancel()
            raise
        if not ready.done():
            await self._running
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._running is not None
        self._stopping.set()
        await self._running

    async def last_until(self, event: asyncio.Event) -> None:
        """Wait for *event*, or for the end of the stack if a part of it breaks: leaving raises what it was."""
        assert self._running is not None
        waiting = asyncio.create_task(event.wait())
        await asyncio.wait([waiting, self._running], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _run(self, ready: asyncio.Future[None]) -> None:
        async with AsyncExitStack() as owned:
            cluster = self.cluster
            if cluster is None:
                cluster = await owned.enter_async_context(Cluster(self.data_dir / "postgres"))
            self.postgres = cluster
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self.keys = Keys.load(self.data_dir / "keys.json")
            await self._prepare_database(cluster)
            async with self._services(cluster) as door, self._http(door):
                self.urls = self._urls(cluster, door.port)
                ready.set_result(None)
                await self._stopping.wait()

    async def _prepare_database(self, cluster: Cluster) -> None:
        if not await cluster.has_database(self.database):
            await cluster.create_database(self.database)
        await platform.install(cluster, self.database, legacy_grants=self.legacy_grants)
        for script in self.sql:
            await platform.apply_sql(cluster, self.database, script)

    @asynccontextmanager
    async def _services(self, cluster: Cluster) -> AsyncIterator[Door]:
        """Everything behind the routes, running; the door to it is still closed."""
        admin_url = cluster.url(database=self.database)
        rest_url = cluster.url("authenticator", self.database)
        rest_pool = Pool(rest_url, size=self.rest_connections)
        admin_pool = Pool(admin_url, size=8)
        gateway: Gateway | PostgRest = Gateway(rest_pool, self.keys)
        if self.postgrest is not None:
            gateway = PostgRest(self.postgrest, rest_url, self.keys, connections=self.rest_connections)
        feed = ChangeFeed(admin_url, admin_pool, self.faults, idle_ms=self.changes_idle_ms)
        hub = Hub(self.keys, admin_pool, feed, self.faults, refusal_seconds=self.refusal_delay_ms / 1000)
        road = DatabaseRoad(admin_pool, hub.send, self.faults, delay_ms=self.broadcast_delay_ms)
        self.realtime = Realtime(hub)

        def connected() -> None:
            gateway.outdated.set()  # a reload may have been announced meanwhile
            hub.database_road_open.set()

        notices = Notices(
            admin_url,
            {"pgrst": lambda _: gateway.outdated.set(), NOTIFY_CHANNEL: road.announced},
            connected=connected,
            lost=hub.database_road_open.clear,
        )
        auth = Auth(admin_pool, self.keys, token_seconds=self.token_seconds)
        app = web.Application(client_max_size=_REQUEST_BYTES_MAX, middlewares=[_cross_origin, self.faults.middleware])
        for part in (gateway, self.realtime, auth):
            app.add_routes(part.routes())
        app.add_routes([web.get("/health", _health)])
        door = Door(app, HOST, self.port)
        self.orders = Orders(Scene(self.faults, self.realtime, feed, door))
        if self.admin_key is not None:
            app.add_routes(Admin(self.admin_key, self.faults, self.realtime, self.orders).routes())
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(part.run()) for part in (gateway, feed, road, notices, self.orders)]
                await gateway.loaded.wait()
                await hub.database_road_open.wait()
                yield door
                for task in running:
                    task.cancel()
        except ExceptionGroup as group:
            # Of what runs here only PostgREST may not start, and it says why: one sentence for whoever asked for it.
            if [type(error) for error in group.exceptions] == [RuntimeError]:
                raise group.exceptions[0] from None
            raise
        finally:
            await rest_pool.close()
            await admin_pool.close()

    @asynccontextmanager
    async def _http(self, door: Door) -> AsyncIterator[None]:
        """The open port; its sockets are closed first on the way out, so that nothing waits for them."""
        await door.set_up()
        try:
            await door.open()
            yield
            await self.orders.clear()
            await door.close()
            await self.realtime.close_sockets(1001)
        finally:
            await door.tear_down()

    def _urls(self, cluster: Cluster, port: int) -> StackUrls:
        return StackUrls(
            url=f"http://{HOST}:{port}",
            publishable_key=self.keys.publishable_key,
            secret_key=self.keys.secret_key,
            database_url=cluster.url("postgres", self.database),
            admin_database_url=cluster.url(database=self.database),
            jwt_secret=self.keys.jwt_secret,
        )


async def serve(
    data_dir: Path,
    *,
    port: int = 0,
    env_file: Path | None = None,
    sql: Sequence[str] = (),
    admin_key: str | None = None,
    orders: Sequence[Order] = (),
    postgrest: Path | None = None,
) -> None:
    """
    Run a stack until SIGINT or SIGTERM: print how to reach it, and write that to *env_file*, once it is ready.

    Args:
        orders: faults to watch. They begin soon after the first client has joined a channel; the log says when.
        postgrest: as in `Stack`.

    Raises:
        RuntimeError: Postgres or PostgREST does not start, or not again; the message says why.
        OSError: the port is taken.
        psycopg.Error: one of the scripts was refused.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    started_at = time.monotonic()
    async with Stack(data_dir, port, sql=sql, admin_key=admin_key, postgrest=postgrest) as stack:
        lines = [f"{name}={value}" for name, value in stack.urls.environment().items()]
        if env_file is not None:
            _write_private(env_file, "\n".join(lines) + "\n")
        print(*lines, "Stack ready", sep="\n", flush=True)  # noqa: T201 — this is the command's output
        logger.info("Stack ready", url=stack.urls.url, seconds=round(time.monotonic() - started_at, 2))
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(_trouble(stack, orders))
            await stack.last_until(stopped)
            watching.cancel()


async def _trouble(stack: Stack, orders: Sequence[Order]) -> None:
    """Place *orders* once somebody is there to suffer them."""
    if not orders:
        return
    logger.info("Faults wait for a client", orders=", ".join(map(str, orders)))
    while not stack.realtime.channels:  # noqa: ASYNC110 — clients come and go by themselves
        await asyncio.sleep(_LOOK_SECONDS)
    await asyncio.sleep(_BEFORE_TROUBLE_SECONDS)
    for order in orders:
        await stack.orders.place(order)


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, and readable by the owner only: whoever waits for the file may read it at once."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)


@web.middleware
async def _cross_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Browsers may call from any page, as on the platform."""
    if request.method == "OPTIONS":
        asked = request.headers.get("Access-Control-Request-Headers", "*")
        return web.Response(status=204, headers={**_CORS, "Access-Control-Allow-Headers": asked})
    response = await handler(request)
    if not response.prepared:
        response.headers.update(_CORS)
    return response


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})
