"""
A provider that fails in each of the nine ways, on cue: as a language model in seven, to an owner's handler in the rest.

A text says what becomes of it: *moment class*. Into Spanish everything is translated; into French the text meets its
class. Whatever is asked waits at the gate of its moment until that class is let through.
"""

import asyncio
import json
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from tests.support.served import served

WORDS: Final = "the provider's own words, with sk-SECRET"

# Above what one run waits for itself, so that a call that fails is one call.
_AFTER: Final = {"Retry-After": "31"}

_REFUSALS: Final[Mapping[str, tuple[int, Any]]] = {
    "auth": (401, {"type": "invalid_api_key"}),
    "bad_request": (400, {"type": "invalid_request_error"}),
    "overloaded": (503, {"type": "server_error"}),
    "quota_exhausted": (429, {"type": "insufficient_quota"}),
    "rate_limited": (429, {"type": "requests"}),
}
_ABOUT: Final = re.compile(r"moment (\w+), class (\w+)")


def text(moment: str, error_class: str) -> str:
    """A text that meets *error_class* at *moment*."""
    return f"The lamp of moment {moment}, class {error_class} is lit."


class Failing:
    """What it saw, by moment, class and language, and its gates."""

    def __init__(self) -> None:
        self.url = ""
        self.held: Counter[tuple[str, str, str]] = Counter()
        """Calls that wait now."""
        self.answered: Counter[tuple[str, str, str]] = Counter()
        self._gates: defaultdict[tuple[str, str], asyncio.Event] = defaultdict(asyncio.Event)

    def let(self, moment: str, *classes: str) -> None:
        """Answer what is asked at *moment* about *classes*, from now on."""
        for error_class in classes:
            self._gates[moment, error_class].set()

    def hold(self) -> None:
        """Answer nothing any more."""
        for gate in self._gates.values():
            gate.clear()

    async def _wait(self, words: str, language: str) -> str:
        """At the gate; the class that is due."""
        found = _ABOUT.search(words)
        assert found is not None
        moment, error_class = found.groups()
        self.held[moment, error_class, language] += 1
        try:
            await self._gates[moment, error_class].wait()
        finally:
            self.held[moment, error_class, language] -= 1
        self.answered[moment, error_class, language] += 1
        return error_class if language == "fr" else ""

    async def _complete(self, request: web.Request) -> web.Response:
        asked = json.loads((await request.json())["messages"][1]["content"])
        language, items = asked["target_language"], asked["items"]
        error_class = await self._wait(items[0]["text"], language)
        if error_class in _REFUSALS:
            status, error = _REFUSALS[error_class]
            return web.json_response({"error": {**error, "message": WORDS}}, status=status, headers=_AFTER)
        told = [{"id": item["id"], "text": f"{language.upper()} {item['text']}"} for item in items]
        content = "" if error_class == "bad_output" else json.dumps({"detected_source": "en", "items": told})
        reason = "content_filter" if error_class == "content_blocked" else "stop"
        return web.json_response({"choices": [{"finish_reason": reason, "message": {"content": content}}]})

    async def _speak(self, request: web.Request) -> web.Response:
        asked = await request.json()
        error_class = await self._wait(asked["text"], asked["language"])
        return web.json_response({"said": error_class or f"{asked['language'].upper()} {asked['text']}"})


@asynccontextmanager
async def running_failing() -> AsyncIterator[Failing]:
    """On a free port of loopback."""
    failing = Failing()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", failing._complete)
    app.router.add_post("/speech", failing._speak)
    # A caller that hangs up is no longer held.
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    async with served(runner) as failing.url:
        yield failing
