"""
A server that shows the panel every state at once: the panel's real files, and an API that says what a test tells it.

It stands in for `/api` and for the project's Auth, on two ports, as in life two origins. What the real API says of
real jobs is for `test_end_to_end.py`.
"""

import asyncio
import base64
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from tests.support.served import served
from worker.web import panel

Json = dict[str, Any]
ENDED = ("completed", "failed", "cancelled")
ADA: Json = {"id": str(uuid.UUID(int=1)), "email": "ada@example.com"}


def ago(**duration: float) -> str:
    return (datetime.now(UTC) - timedelta(**duration)).isoformat()


def soon(**duration: float) -> str:
    return (datetime.now(UTC) + timedelta(**duration)).isoformat()


def item(name: str, status: str = "pending", **values: Any) -> Json:
    """One language, as the API tells of it."""
    done = status == "completed"
    return {
        "item": name, "status": status, "attempts": 1, "warnings": [], "error": None, "price": 0,
        "credits": 0, "progress": 100 if done else 0, "chunks_done": 0, "chunks_total": 10, "retry_at": None,
        "started_at": None, "completed_at": None, "provider": None, "simulated": False, "cached_chars": 0,
    } | values  # fmt: skip


_numbers = itertools.count(1)


def job(status: str = "pending", *items: Json, **values: Any) -> Json:
    """A job, as the API tells of it; everything but the point of the test has a default."""
    seq = next(_numbers)
    items = items or (item("es", "completed" if status == "completed" else "pending"),)
    failed = sum(one["status"] in ("failed", "cancelled") for one in items)
    whole = {
        "id": str(uuid.UUID(int=1000 + seq)), "seq": seq, "subject": None, "title": f"Job {seq}", "metadata": {},
        "job_type": "translation", "status": status, "priority": 3, "content_kind": "text", "content_chars": 1200,
        "source_language": "en", "target_languages": [one["item"] for one in items], "options": {},
        "progress": 100 if status == "completed" else 0, "progress_message": None, "eta_at": None,
        "eta_seconds": None, "attempts": 1, "max_attempts": 3, "run_at": None,
        "failed_items": failed, "credits_reserved": 0, "credits_consumed": 0, "credits_refunded": 0,
        "credits_open": 0, "error": None, "correlation_id": None, "retry_of": None, "retried_by": None,
        "created_at": ago(minutes=2), "updated_at": ago(seconds=1), "started_at": ago(minutes=1),
        "completed_at": ago(seconds=30) if status in ENDED else None, "cancelled_at": None,
        "chunks_done": 0, "chunks_total": 10, "chunks_per_minute": None, "simulated": False, "items": list(items),
    }  # fmt: skip
    return whole | values


def token(user: Json, *, seconds: float = 3600, serial: int = 0) -> str:
    """What looks like a token; nobody here checks a signature."""
    claims = {"sub": user["id"], "email": user["email"], "exp": int(time.time() + seconds), "n": serial}
    claims |= {"app_metadata": user.get("app_metadata", {})}

    def part(value: Json) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}.x"


class Script:
    """What the server says, changed by tests while it runs."""

    def __init__(self) -> None:
        self.jobs: dict[str, Json] = {}
        self.credits: Json = {"balance": 0, "reserved": 0}
        self.pairs = [["*", "*"]]
        self.source: Any = "The ferry leaves at noon."
        self.results: dict[str, Any] = {}
        self.attempts: list[Json] = []
        self.movements: list[Json] = []
        self.price = 0
        self.away = False
        """While true every connection to the API is cut."""
        self.streamless = False
        """While true the stream is refused; the rest works."""
        self.slow: asyncio.Event | None = None
        """Answers about jobs wait for it on their way, and say what was so when they were asked for."""
        self.failing: set[str] = set()
        """Jobs that are not told when they are asked for alone."""
        self.token_seconds = 3600.0
        self.user = ADA
        """Who signs in."""
        self.ops: dict[str, Json] = {}
        """What operators see, by the last part of the address; an `error` in it is refused with its `status`."""
        self.ops_acts: list[tuple[str, Json]] = []
        self.calls: list[tuple[str, str]] = []
        self.bodies: list[Json] = []
        self.reports: list[Json] = []
        """What browsers say that the policy stopped. Any is a fault."""
        self.streams: set[asyncio.Queue[tuple[str, Any] | None]] = set()
        self.streams_opened = 0
        self.refreshes = 0
        self.refused: set[str] = set()
        """Access tokens that the API refuses."""
        self.url = ""
        self.auth_url = ""

    def put(self, *jobs: Json) -> None:
        """Make or change jobs, and tell every stream."""
        for one in jobs:
            one["updated_at"] = datetime.now(UTC).isoformat()
            self.jobs[one["id"]] = one
            self.tell("job", one)

    def tell(self, event: str, data: Any) -> None:
        for stream in self.streams:
            stream.put_nowait((event, data))

    def cut(self) -> None:
        """End all streams."""
        for stream in self.streams:
            stream.put_nowait(None)

    def asked(self, method: str, path: str) -> int:
        return sum(call == (method, path) for call in self.calls)

    def change(self, one: Json, **values: Any) -> Json:
        """The job with other values, put."""
        changed = {**one, **values}
        self.put(changed)
        return changed


@asynccontextmanager
async def serving(script: Script, **config: Any) -> AsyncIterator[Script]:
    """Serve *script* until the end; *config* goes into the panel's."""
    async with served(_app(_auth(script))) as script.auth_url:
        settings = panel.PanelConfig(
            **{
                "supabase_url": script.auth_url,
                "publishable_key": "sb_publishable_test",
                "version": "0.0.0",
                "simulated": lambda: False,
                "csp_report_uri": "/csp-report",
                **config,
            }
        )
        async with served(_app([*panel.routes(settings), *_api(script)], _fence(script))) as script.url:
            try:
                yield script
            finally:
                script.cut()


def _app(routes: list[web.RouteDef], *middlewares: Any) -> web.Application:
    app = web.Application(middlewares=middlewares)
    app.add_routes(routes)
    return app


def _fence(script: Script) -> Any:
    @web.middleware
    async def fence(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        script.calls.append((request.method, request.path))
        if request.path.startswith("/api"):
            if script.away and request.transport is not None:
                request.transport.abort()
                return web.Response(status=503)
            sent = request.headers.get("Authorization", "")
            if not sent.startswith("Bearer ") or sent.removeprefix("Bearer ") in script.refused:
                return _refusal(401, "unauthorized", "Sign in first.")
        return await handler(request)

    return fence


def _refusal(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message, "hint": None}}, status=status)


def _auth(script: Script) -> list[web.RouteDef]:
    cors = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "apikey, content-type, authorization"}

    async def sign_in(request: web.Request) -> web.Response:
        body = await request.json()
        if body.get("password") == "wrong-password":
            refused = {"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"}
            return web.json_response(refused, status=400, headers=cors)
        if "refresh_token" in body:
            script.refreshes += 1
        answer = {
            "access_token": token(script.user, seconds=script.token_seconds, serial=script.refreshes),
            "refresh_token": f"refresh-{script.refreshes}",
            "expires_in": script.token_seconds,
            "user": script.user,
        }
        return web.json_response(answer, headers=cors)

    async def allowed(_: web.Request) -> web.Response:
        return web.Response(headers=cors)

    return [
        web.post("/auth/v1/token", sign_in),
        web.post("/auth/v1/signup", sign_in),
        web.post("/auth/v1/logout", allowed),
        web.options("/{path:.*}", allowed),
    ]


def _api(script: Script) -> list[web.RouteDef]:
    answers = _Answers(script)
    return [
        web.post("/csp-report", answers.report),
        web.get("/api/jobs", answers.list_jobs),
        web.get("/api/jobs/counts", answers.counts),
        web.post("/api/jobs/preview", answers.preview),
        web.post("/api/jobs", answers.create),
        web.get("/api/jobs/{id}", answers.one),
        web.delete("/api/jobs/{id}", answers.cancel),
        web.post("/api/jobs/{id}/retry", answers.retry),
        web.get("/api/jobs/{id}/source", answers.source),
        web.get("/api/jobs/{id}/items/{item}", answers.result),
        web.get("/api/jobs/{id}/attempts", answers.attempts),
        web.get("/api/jobs/{id}/credits", answers.movements),
        web.get("/api/credits", answers.credits),
        web.get("/api/languages", answers.languages),
        web.get("/api/stream", answers.stream),
        web.get("/api/ops/{look}", answers.ops_look),
        web.post("/api/ops/{path:.+}", answers.ops_act),
    ]


class _Answers:
    def __init__(self, script: Script) -> None:
        self.script = script

    async def report(self, request: web.Request) -> web.Response:
        self.script.reports.append(json.loads(await request.text()))
        return web.Response(status=204)

    async def list_jobs(self, request: web.Request) -> web.Response:
        query = request.query
        wanted = set(filter(None, query.get("status", "").split(",")))
        found = [
            one
            for one in sorted(self.script.jobs.values(), key=lambda one: -one["seq"])
            if (not wanted or _state(one) in wanted)
            and query.get("search", "").lower() in f"{one['title']} {one['subject']}".lower()
            and query.get("subject") in (None, one["subject"])
            and one["seq"] < int(query.get("before", 10**9))
        ]
        limit = int(query.get("limit", 50))
        page = found[:limit]
        await self._travel()
        return web.json_response({"jobs": page, "next": page[-1]["seq"] if len(found) > limit else None})

    async def _travel(self) -> None:
        if self.script.slow is not None:
            await self.script.slow.wait()

    async def counts(self, request: web.Request) -> web.Response:
        subject = request.query.get("subject")
        states = [_state(one) for one in self.script.jobs.values() if subject in (None, one["subject"])]
        active = ("pending", "scheduled", "blocked", "processing", "retrying")
        return web.json_response(
            {
                "active": {name: states.count(name) for name in active},
                "finished": {name: states.count(name) for name in ("completed", "partly", "failed", "cancelled")},
                "capped": 1000,
            }
        )

    async def preview(self, request: web.Request) -> web.Response:
        body = await request.json()
        languages = body["target_languages"]
        items = [{"item": one, "credits": self.script.price} for one in languages]
        answer = {"credits": self.script.price * len(languages), "items": items}
        return web.json_response(answer | {"balance": self.script.credits["balance"]})

    async def create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.script.bodies.append(body)
        made = job("pending", *map(item, body["target_languages"]), title=body.get("title"))
        self.script.put(made)
        return web.json_response({"job_id": made["id"], "status": "pending", "message": "Created."}, status=202)

    async def one(self, request: web.Request) -> web.Response:
        found = self.script.jobs.get(request.match_info["id"])
        await self._travel()
        if request.match_info["id"] in self.script.failing:
            return _refusal(503, "unavailable", "The project does not answer.")
        return web.json_response(found) if found else _refusal(404, "job_not_found", "There is no such job of yours.")

    async def cancel(self, request: web.Request) -> web.Response:
        found = self.script.jobs[request.match_info["id"]]
        if found["status"] in ENDED:
            return _refusal(409, "job_finished", "The job has already ended.")
        items = [one if one["status"] == "completed" else {**one, "status": "cancelled"} for one in found["items"]]
        refund = sum(one["price"] for one in items if one["status"] == "cancelled")
        changed = self.script.change(
            found, status="cancelled", items=items, credits_refunded=refund, credits_open=0, cancelled_at=ago(seconds=0)
        )
        return web.json_response(changed)

    async def retry(self, request: web.Request) -> web.Response:
        found = self.script.jobs[request.match_info["id"]]
        again = [item(one["item"]) for one in found["items"] if one["status"] in ("failed", "cancelled")]
        made = job("pending", *again, title=found["title"], retry_of=found["id"])
        self.script.change(found, retried_by=made["id"])
        self.script.put(made)
        return web.json_response({"job_id": made["id"], "status": "pending", "message": "Retried."}, status=202)

    async def source(self, request: web.Request) -> web.Response:
        found = self.script.jobs[request.match_info["id"]]
        return web.json_response({"content": self.script.source, "content_kind": found["content_kind"]})

    async def result(self, request: web.Request) -> web.Response:
        name = request.match_info["item"]
        found = next(one for one in self.script.jobs[request.match_info["id"]]["items"] if one["item"] == name)
        if found["status"] != "completed":
            return _refusal(409, "item_not_finished", "This language is not finished.")
        content = self.script.results.get(name, f"[{name}] {self.script.source}")
        told = {"item": name, "content": content, "provider": "deepl", "simulated": False, "cached_chars": 0}
        return web.json_response(told | {"source_language": "en", "warnings": [], "credits": 0})

    async def attempts(self, _: web.Request) -> web.Response:
        return web.json_response({"attempts": self.script.attempts})

    async def movements(self, _: web.Request) -> web.Response:
        return web.json_response({"movements": self.script.movements})

    async def credits(self, _: web.Request) -> web.Response:
        return web.json_response(self.script.credits)

    async def languages(self, _: web.Request) -> web.Response:
        return web.json_response({"pairs": self.script.pairs})

    async def ops_look(self, request: web.Request) -> web.Response:
        found = self.script.ops[request.match_info["look"]]
        if "error" in found:
            return web.json_response({"error": found["error"]}, status=found["status"])
        if request.match_info["look"] == "jobs":
            wanted = request.query.get("status")
            found = {**found, "jobs": [one for one in found["jobs"] if wanted in (None, one["status"])]}
        return web.json_response(found)

    async def ops_act(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.script.ops_acts.append((path, await request.json() if request.can_read_body else {}))
        if path.endswith("/reveal"):
            return web.json_response({"content": self.script.source, "content_kind": "text"})
        if path.endswith("/run"):
            return web.json_response({"job_id": str(uuid.UUID(int=77)), "status": "pending"}, status=202)
        return web.json_response({"jobs": 36, "refused": {"credits_short": 1}, "left": 1})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        script = self.script
        if script.streamless:
            return _refusal(503, "unavailable", "No streams today.")
        script.streams_opened += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        queue: asyncio.Queue[tuple[str, Any] | None] = asyncio.Queue()
        active = [one for one in script.jobs.values() if one["status"] not in ENDED]
        queue.put_nowait(("snapshot", {"jobs": active, "credits": script.credits}))
        script.streams.add(queue)
        try:
            await response.write(b"retry: 3000\n\n")
            for number in itertools.count(1):
                told = await queue.get()
                if told is None:
                    break
                event, data = told
                await response.write(f"id: 1-{number}\nevent: {event}\ndata: {json.dumps(data)}\n\n".encode())
        except ConnectionError:
            pass
        finally:
            script.streams.discard(queue)
        return response


def _state(one: Json) -> str:
    return "partly" if one["status"] == "completed" and one["failed_items"] else str(one["status"])
