"""A context that remembers like the database does, and a LibreTranslate that misbehaves on cue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from worker import models


@dataclass
class FakeContext:
    """One item of one job. `memory` may be shared with the context of a later try."""

    job: models.Job
    item: models.Item
    attempt: int = 1
    memory: dict[str, models.Recalled] = field(default_factory=dict)
    remembered: list[Mapping[str, str]] = field(default_factory=list)
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    cancelled: bool = False

    async def content(self) -> Any:
        return self.job.content

    async def recall(self, keys: Sequence[str]) -> Mapping[str, models.Recalled]:
        return {key: self.memory[key] for key in keys if key in self.memory}

    async def remember(self, segments: Mapping[str, str]) -> None:
        await asyncio.sleep(0)
        self.events.append(f"remember {len(segments)}")
        self.remembered.append(dict(segments))
        self.memory |= {key: models.Recalled(target, free=False) for key, target in segments.items()}

    def progress(self, **report: Any) -> None:
        self.reports.append(report)


MakeContext = Callable[..., FakeContext]


@pytest.fixture
def make_context() -> MakeContext:
    def make(
        content: Any,
        target: str = "es",
        *,
        kind: str = "text",
        source: str | None = "en",
        options: Mapping[str, Any] | None = None,
        attempt: int = 1,
        memory: dict[str, models.Recalled] | None = None,
    ) -> FakeContext:
        row = {
            "job_id": "00000000-0000-0000-0000-000000000001",
            "token": 1,
            "seq": 1,
            "job_type": "translation",
            "content_kind": kind,
            "content": content,
            "content_chars": len(str(content)),
            "source_language": source,
            "options": options,
            "max_attempts": 3,
            "lease_ms": 30_000,
            "item_timeout_ms": 60_000,
            "deadline_ms": 3_600_000,
            "items": [{"item": target, "attempts": attempt - 1}],
        }
        job = models.Job.from_row(row)
        return FakeContext(job, job.items[0], attempt, {} if memory is None else memory)

    return make


Reply = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


@dataclass
class FakeLibreTranslate:
    """Answers as LibreTranslate 1.9 does; `replies` are used up first, one a call of /translate."""

    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    languages: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {"code": code, "name": code, "targets": ["en", "es", "pt-BR", "zh-Hans", "nb", "sr"]}
            for code in ("en", "es", "pt-BR")
        ]
    )
    languages_calls: int = 0

    async def serve_languages(self, request: web.Request) -> web.StreamResponse:
        self.languages_calls += 1
        return web.json_response(self.languages)

    async def serve_translate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.calls.append(body)
        if self.replies:
            return await self.replies.pop(0)(request, body)
        return web.json_response(self.translated(body, [f"{text} traducido" for text in body["q"]]))

    @staticmethod
    def translated(body: dict[str, Any], texts: list[str]) -> dict[str, Any]:
        answer: dict[str, Any] = {"translatedText": texts}
        if body["source"] == "auto":
            answer["detectedLanguage"] = [{"confidence": 90, "language": "en"} for _ in texts]
        return answer

    def then_status(self, status: int, error: str = "", **headers: str) -> None:
        async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
            return web.json_response({"error": error}, status=status, headers=headers)

        self.replies.append(reply)

    def then_texts(self, answer: Callable[[list[str]], Any]) -> None:
        async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
            return web.json_response({"translatedText": answer(body["q"])})

        self.replies.append(reply)

    def then_half_a_body(self) -> None:
        async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"translatedText": ["ho')
            assert request.transport
            request.transport.close()
            return response

        self.replies.append(reply)

    def then_page(self, page: str) -> None:
        async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
            return web.Response(text=page, content_type="text/html")

        self.replies.append(reply)


@pytest.fixture
async def libretranslate() -> AsyncIterator[FakeLibreTranslate]:
    fake = FakeLibreTranslate()
    app = web.Application()
    app.router.add_get("/languages", fake.serve_languages)
    app.router.add_post("/translate", fake.serve_translate)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    fake.url = f"http://{host}:{port}"
    yield fake
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened
