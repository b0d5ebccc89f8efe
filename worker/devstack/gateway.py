"""
The REST endpoint: the PostgREST dialect that the official clients speak, under `/rest/v1`.

One request is one transaction as the role that the key or token stands for; whatever Postgres answers is passed on.
Nothing is retried here, not even a serialization failure. The rule: every permission is Postgres's to decide; the
gateway only says who is asking.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from loguru import logger

from worker.devstack import catalog, plans, refusals
from worker.devstack.catalog import EXPOSED_SCHEMA, Catalog
from worker.devstack.keys import Identity, KeyRefused, Keys, TokenRefused
from worker.devstack.pipeline import Disconnected, Pool, PoolExhausted, Refused, Rows, Statement
from worker.devstack.plans import Plan, Wanted
from worker.devstack.refusals import Refusal

_OBJECT = "application/vnd.pgrst.object+json"
_ARRAY = "application/vnd.pgrst.array+json"
_ACCEPTED = ("application/json", _ARRAY, _OBJECT, "*/*", "application/*")
_WRITE_PREFERENCES = {"POST": ("resolution", "missing", "return"), "PATCH": ("return",), "DELETE": ("return",)}
_SETTINGS = (
    "search_path",
    "role",
    "request.jwt.claims",
    "request.method",
    "request.path",
    "request.headers",
    "request.cookies",
)
_RETRY_SECONDS = 0.2
_SEARCH_PATH = '"public", "extensions"'

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class Gateway:
    """The REST endpoint over *pool*, whose connections are role `authenticator`'s."""

    def __init__(self, pool: Pool, keys: Keys) -> None:
        self._pool = pool
        self._keys = keys
        self._catalog = Catalog()
        self.outdated = asyncio.Event()  # set it to have the schema read again
        self.loaded = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.route("*", "/rest/v1/rpc/{name}", self._answer(self._call)),
            web.route("*", "/rest/v1/{name}", self._answer(self._table)),
        ]

    async def run(self) -> None:
        """Read the schema whenever it is outdated, until cancelled."""
        while True:
            await self.outdated.wait()
            self.outdated.clear()
            try:
                await self._reload()
            except (Disconnected, PoolExhausted) as error:
                logger.warning("The REST gateway cannot read the schema yet", error=str(error))
                self.outdated.set()
                await asyncio.sleep(_RETRY_SECONDS)
            self.loaded.set()

    async def _reload(self) -> None:
        async with self._pool.connection() as connection:
            self._pool.outdate()
            self._catalog = await catalog.load(connection)

    # One request

    def _answer(self, handler: Callable[[web.Request, Identity], Awaitable[web.Response]]) -> _Handler:
        async def answered(request: web.Request) -> web.Response:
            try:
                identity = self._keys.identify(request.headers, request.query)
                _check_profile(request)
                return await handler(request, identity)
            except KeyRefused as refused:
                return web.json_response(refused.body, status=401)
            except TokenRefused as refused:
                code = "PGRST303" if refused.expired or refused.untimely else "PGRST301"
                return Refusal(401, code, refused.message).response()
            except Refusal as refusal:
                return refusal.response()
            except PoolExhausted:
                return Refusal(504, "PGRST003", "Timed out acquiring connection from connection pool.").response()
            except Disconnected as error:
                headers = {"Retry-After": "1"}
                message = "Database connection error. Retrying the connection."
                return Refusal(503, "PGRST001", message, str(error), headers=headers).response()

        return answered

    async def _call(self, request: web.Request, identity: Identity) -> web.Response:
        name = request.match_info["name"]
        wanted = _wanted(request)
        query = _query(request)
        if request.method == "POST":
            body = await request.read()
            plan = await self._plan(lambda known: plans.call_by_body(known, name, body, query, wanted))
        elif request.method in ("GET", "HEAD"):
            plan = await self._plan(lambda known: plans.call_by_query(known, name, query, wanted))
        else:
            raise Refusal(405, "PGRST101", f"Cannot use the {request.method} method on RPC")
        rows = await self._execute(request, identity, plan, wanted)
        return _reply(request, rows, plan, wanted)

    async def _table(self, request: web.Request, identity: Identity) -> web.Response:
        wanted = _wanted(request)
        query = _query(request)
        body = await request.read() if request.method in ("POST", "PATCH") else b""

        def planned(known: Catalog) -> Plan:
            table = plans.find_table(known, request.match_info["name"])
            match request.method:
                case "GET" | "HEAD":
                    return plans.read_table(table, query, wanted)
                case "POST":
                    return plans.insert_rows(table, body, query, wanted)
                case "PATCH":
                    return plans.update_rows(table, body, query, wanted)
                case "DELETE":
                    return plans.delete_rows(table, query, wanted)
            raise Refusal(405, "PGRST117", f"Unsupported HTTP method: {request.method}")

        plan = await self._plan(planned)
        rows = await self._execute(request, identity, plan, wanted)
        return _reply(request, rows, plan, wanted)

    async def _plan(self, make: Callable[[Catalog], Plan]) -> Plan:
        """
        A plan by what is known; by what is there now, if that did not do.

        The platform reloads by itself after DDL, a moment later; here the first request after it must not be early.
        """
        try:
            return make(self._catalog)
        except Refusal as refusal:
            if refusal.code not in ("PGRST202", "PGRST204", "PGRST205"):
                raise
        await self._reload()
        return make(self._catalog)

    async def _execute(self, request: web.Request, identity: Identity, plan: Plan, wanted: Wanted) -> Rows:
        role = self._catalog.role_settings.get(identity.role, {})
        settings = {**role, **plan.settings}
        isolation = settings.pop("default_transaction_isolation", None)
        begin = f"begin{f' isolation level {isolation}' if isolation else ''}{' read only' if plan.read_only else ''}"
        values = [
            *(_SEARCH_PATH, identity.role, identity.claims_json, request.method),
            request.path.removeprefix("/rest/v1"),
            json.dumps({name.lower(): value for name, value in request.headers.items()}),
            json.dumps(dict(request.cookies)),
            *settings.values(),
        ]

        def exactly_one(answers: list[Rows]) -> None:
            if _number(answers[1], 1) != 1:
                raise _not_one(_number(answers[1], 1))

        try:
            async with self._pool.connection() as connection:
                _, rows = await connection.transact(
                    Statement(_set_config(*_SETTINGS, *settings), values),
                    Statement(plan.sql, plan.values),
                    begin=begin,
                    verdict=exactly_one if wanted.single and plan.is_table else None,
                )
                return rows
        except Refused as refused:
            raise refusals.from_database(refused, is_anonymous=identity.role == "anon") from None


def _set_config(*names: str) -> str:
    return "select " + ", ".join(f"set_config('{name}', ${n}, true)" for n, name in enumerate(names, 1))


# What the request asks for


def _query(request: web.Request) -> list[tuple[str, str]]:
    """The query string. A read may ask for its page in the header `Range` instead."""
    pairs = list(request.query.items())
    page = re.fullmatch(r"(\d+)-(\d*)", request.headers.get("Range", ""))
    if page is None or request.method not in ("GET", "HEAD") or {"limit", "offset"} & request.query.keys():
        return pairs
    first, last = page.groups()
    pairs.append(("offset", first))
    if last:
        pairs.append(("limit", str(max(0, int(last) - int(first) + 1))))
    return pairs


def _is_write(request: web.Request) -> bool:
    return request.method not in ("GET", "HEAD") and not request.path.startswith("/rest/v1/rpc/")


def _profile(request: web.Request) -> str | None:
    return request.headers.get("Accept-Profile" if request.method in ("GET", "HEAD") else "Content-Profile")


def _check_profile(request: web.Request) -> None:
    """Both official clients name the schema; only the exposed one exists."""
    schema = _profile(request)
    if schema is not None and schema != EXPOSED_SCHEMA:
        raise Refusal(
            406,
            "PGRST106",
            f"Invalid schema: {schema}",
            hint=f"Only the following schemas are exposed: {EXPOSED_SCHEMA}",
        )


def _wanted(request: web.Request) -> Wanted:
    media = _media(request)
    preferences = _preferences(request)
    resolution = preferences.get("resolution")
    return Wanted(
        single=media.startswith(_OBJECT),
        strip_nulls="nulls=stripped" in media,
        count="count" in preferences,
        body=preferences.get("return") == "representation" if _is_write(request) else request.method != "HEAD",
        merge_duplicates=resolution == "merge-duplicates",
        ignore_duplicates=resolution == "ignore-duplicates",
        missing_default=preferences.get("missing") == "default",
    )


def _media(request: web.Request) -> str:
    """The first kind of answer it accepts that there is."""
    accepted = [part.strip() for part in request.headers.get("Accept", "*/*").split(",")]
    media = next((part for part in accepted if part.split(";")[0].strip() in _ACCEPTED), None)
    if media is None:
        raise Refusal(406, "PGRST107", f"None of these media types are available: {', '.join(accepted)}")
    return media


def _preferences(request: web.Request) -> Mapping[str, str]:
    parts = ",".join(request.headers.getall("Prefer", [])).split(",")
    pairs = (part.strip().partition("=") for part in parts)
    return {name: value for name, _, value in pairs}


# What it gets


def _reply(request: web.Request, rows: Rows, plan: Plan, wanted: Wanted) -> web.Response:
    count = _number(rows, 1)
    total = _number(rows, 2) if rows.get(0, 2) is not None else None
    headers = {
        "Content-Range": _content_range(request, count, total, plan),
        **_said_back(request),
        **_own_headers(rows),
    }
    status = int(rows.text(0, 4) or 0) or _status(request, count, total, plan, wanted)
    if status == 204 or not (wanted.body or wanted.single or request.method == "HEAD"):
        return web.Response(status=status, headers=headers)
    media = _media(request)
    media = media if media.startswith("application/vnd.pgrst.") and media != _ARRAY else "application/json"
    headers.setdefault("Content-Type", f"{media}; charset=utf-8")
    body = None if request.method == "HEAD" else rows.get(0, 0)
    return web.Response(body=body, status=status, headers=headers)


def _said_back(request: web.Request) -> dict[str, str]:
    """What of the request's wishes was seen to."""
    allowed = _WRITE_PREFERENCES.get(request.method, ()) if _is_write(request) else ()
    given = _preferences(request)
    applied = ", ".join(f"{name}={given[name]}" for name in (*allowed, "count") if name in given)
    profile = _profile(request)
    return ({"Preference-Applied": applied} if applied else {}) | ({"Content-Profile": profile} if profile else {})


def _own_headers(rows: Rows) -> dict[str, str]:
    """Those that the function set."""
    try:
        pairs = [(str(name), str(value)) for pair in _json(rows, 3) or [] for name, value in pair.items()]
    except (ValueError, TypeError, AttributeError):
        message = "response.headers guc must be a JSON array composed of objects with a single key and a string value"
        raise Refusal(500, "PGRST111", message) from None
    return dict(pairs)


def _status(request: web.Request, count: int, total: int | None, plan: Plan, wanted: Wanted) -> int:
    if not request.path.startswith("/rest/v1/rpc/"):
        if request.method == "POST":
            return 201
        if request.method in ("PATCH", "DELETE"):
            return 200 if wanted.body or wanted.single else 204
    if plan.returns_void:
        return 204
    if total is not None and plan.offset and plan.offset >= total:
        raise Refusal(
            416,
            "PGRST103",
            "Requested range not satisfiable",
            f"An offset of {plan.offset} was requested, but there are only {total} rows.",
            headers={"Content-Range": f"*/{total}", **_said_back(request)},
        )
    return 206 if total is not None and count < total else 200


def _content_range(request: web.Request, count: int, total: int | None, plan: Plan) -> str:
    known = "*" if total is None else str(total)
    if count == 0 or (request.method in ("POST", "DELETE") and "/rpc/" not in request.path):
        return f"*/{known}"
    return f"{plan.offset}-{plan.offset + count - 1}/{known}"


def _not_one(count: int) -> Refusal:
    message = "Cannot coerce the result to a single JSON object"
    return Refusal(406, "PGRST116", message, f"The result contains {count} rows")


def _number(rows: Rows, column: int) -> int:
    return int(rows.get(0, column) or 0)


def _json(rows: Rows, column: int) -> Any:
    text = rows.get(0, column)
    return None if text is None else json.loads(text)
