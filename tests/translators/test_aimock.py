"""
The language model provider against a server that is not ours: aimock speaks as OpenAI, Azure, Gemini,
OpenRouter and Ollama do, and keeps a journal of what reached it.
"""

import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.support import npm
from tests.translators.conftest import asked
from worker import errors
from worker.translators.base import TooLong
from worker.translators.openai import OpenAI

SERVER = Path(__file__).parent / "aimock/server.cjs"
PACKAGES = json.dumps({"private": True, "dependencies": {"@copilotkit/aimock": "1.43.0"}})
INSTALL_SECONDS = 240.0

Statuses = Callable[[], Awaitable[list[int]]]


@pytest.fixture(scope="session")
def aimock(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a running mock; skipped, visibly, where its package cannot be had."""
    home = npm.install(request, "aimock", PACKAGES, seconds=INSTALL_SECONDS)
    (home / "server.cjs").write_text(SERVER.read_text())  # a module is looked for beside its file
    process = subprocess.Popen(
        ["node", "server.cjs"], cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        assert process.stdin
        url = process.stdout.readline().strip()
        assert url.startswith("http"), "aimock did not start"
        yield url
        process.stdin.close()


@pytest.fixture
async def statuses(aimock: str, session: aiohttp.ClientSession) -> Statuses:
    """Reads what the mock has answered to the calls of this test, by its own journal."""

    async def read() -> list[int]:
        async with session.get(f"{aimock}/__aimock/journal") as response:
            return [entry["response"]["status"] for entry in await response.json()]

    before = len(await read())

    async def since() -> list[int]:
        return (await read())[before:]

    return since


@pytest.fixture
def openai(aimock: str, session: aiohttp.ClientSession) -> OpenAI:
    return OpenAI(session, "gpt-4.1-mini", api_key="k", url=f"{aimock}/v1")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/api/v1",
        "/v1beta/openai",
        "/openai/deployments/mine?api-version=2025-01-01",
    ],
    ids=["openai-and-ollama", "openrouter", "gemini", "azure"],
)
async def test_a_text_is_translated_in_one_call_at_every_kind_of_server(
    aimock: str, session: aiohttp.ClientSession, statuses: Statuses, path: str
) -> None:
    openai = OpenAI(session, "a-model", api_key="k", url=aimock + path)
    answer = await openai.translate(asked("The ferry ⟦0⟧", "leaves"))

    assert answer.texts == ("THE FERRY ⟦0⟧", "LEAVES")
    assert answer.detected_source == "en"
    assert answer.units
    assert len(await statuses()) == 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("text", "error_class"),
    [
        ("OUT OF MONEY", "quota_exhausted"),
        ("TOO FAST", "rate_limited"),
        ("WRONG KEY", "auth"),
        ("FORBIDDEN", "content_blocked"),
        ("BUSY", "overloaded"),
        ("BROKEN", "overloaded"),
        ("GONE", "overloaded"),
    ],
)
async def test_its_errors_mean_what_they_should_after_one_call(
    openai: OpenAI, statuses: Statuses, text: str, error_class: str
) -> None:
    with pytest.raises(errors.ItemError) as failed:
        await openai.translate(asked(text))

    assert failed.value.error_class == error_class
    if text == "TOO FAST":
        assert failed.value.retry_after_seconds == 7.0
    assert len(await statuses()) == 1


@pytest.mark.timeout(300)
@pytest.mark.parametrize("text", ["TOO LONG", "CUT"])
async def test_a_text_or_an_answer_that_is_too_long_asks_for_less(openai: OpenAI, text: str) -> None:
    with pytest.raises(TooLong):
        await openai.translate(asked(text))


@pytest.mark.timeout(300)
async def test_a_server_without_schemas_is_asked_for_any_json(openai: OpenAI, statuses: Statuses) -> None:
    assert (await openai.translate(asked("NO SCHEMA"))).texts == ("NO SCHEMA",)
    await openai.translate(asked("NO SCHEMA, AGAIN"))

    assert await statuses() == [400, 200, 200]
