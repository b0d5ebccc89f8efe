"""
A translation provider outside the worker: LibreTranslate's wire, which counts and holds on cue.

What it saw is the proof that needs no word of the worker: how many calls were under way at once, and how
often each text was asked for in each language.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tests.support.served import served

LANGUAGES = ("en", "es", "fr", "de", "it", "pt", "nl", "pl", "sv", "da", "ja")


class Provider:
    """The server's state, for the test to read and to steer."""

    def __init__(self) -> None:
        self.url = ""
        self.calls = 0
        self.repeated_calls = 0  # calls that carried something asked before
        self.now = 0
        self.most_at_once = 0
        self.asked: Counter[tuple[str, str]] = Counter()  # (language, text) → times
        self.answered: Counter[tuple[str, str]] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()
        self.hold_after_calls: int | None = None
        self.throttle_seconds: int | None = None  # answer 429 and ask to come back after this
        self.fails: Callable[[str], bool] = lambda language: False
        self.says: Callable[[str, str], str] = lambda language, text: f"{language.upper()} {text}"

    def hold(self) -> None:
        """Answer nothing until `release`."""
        self.gate.clear()

    def release(self) -> None:
        self.gate.set()

    async def _translate(self, request: web.Request) -> web.Response:
        body = await request.json()
        texts = body["q"] if isinstance(body["q"], list) else [body["q"]]
        asked = [(body["target"], text) for text in texts]
        self.calls += 1
        self.now += 1
        self.most_at_once = max(self.most_at_once, self.now)
        self.repeated_calls += any(self.asked[one] for one in asked)
        self.asked.update(asked)
        try:
            if self.calls == self.hold_after_calls:
                self.hold()
            await self.gate.wait()
            if self.throttle_seconds is not None:
                headers = {"Retry-After": str(self.throttle_seconds)}
                return web.json_response({"error": "Slowdown"}, status=429, headers=headers)
            if self.fails(body["target"]):
                return web.json_response({"error": "out of order"}, status=500)
            self.answered.update(asked)
            translated = [self.says(body["target"], text) for text in texts]
            return web.json_response({"translatedText": translated if isinstance(body["q"], list) else translated[0]})
        finally:
            self.now -= 1

    async def _languages(self, request: web.Request) -> web.Response:
        return web.json_response([{"code": code, "name": code, "targets": list(LANGUAGES)} for code in LANGUAGES])


@asynccontextmanager
async def running_provider() -> AsyncIterator[Provider]:
    """A provider on a free port of loopback."""
    provider = Provider()
    app = web.Application(client_max_size=8 * 1024 * 1024)
    app.router.add_post("/translate", provider._translate)
    app.router.add_get("/languages", provider._languages)
    async with served(app) as provider.url:
        try:
            yield provider
        finally:
            provider.release()
