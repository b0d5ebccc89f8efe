"""However a provider misbehaves, its key and the text stay out of errors, logs and conditions."""

import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from loguru import logger

from tests.support.providers import ProviderServer, serving
from tests.translators.conftest import QuickClock, asked
from tests.translators.test_deepl import deepl_dialect
from tests.translators.test_google import google_dialect
from tests.translators.test_libretranslate import libretranslate_dialect
from tests.translators.test_openai import model
from worker import errors, translators
from worker.translators import TranslatorOptions

KEY = "sk-SECRET-KEY"
TEXT = "A PRIVATE TEXT"

DIALECTS = {
    "openai": model,
    "deepl": deepl_dialect,
    "google": google_dialect,
    "libretranslate": libretranslate_dialect,
}


def misbehave_with(status: int) -> Callable[[ProviderServer], None]:
    said = {"error": {"message": f"{KEY} may not say {TEXT}", "code": KEY, "errors": [{"reason": KEY}]}}
    return lambda server: server.then(status, said, Retry_After=KEY)


MISBEHAVIOURS: list[Callable[[ProviderServer], None]] = [
    *(misbehave_with(status) for status in (200, 302, 400, 401, 403, 404, 413, 422, 429, 456, 500, 503)),
    ProviderServer.then_half_a_body,
    ProviderServer.then_reset,
    lambda server: server.then(200, f"<html>{KEY} {TEXT}"),
]


@pytest.fixture(params=sorted(DIALECTS))
async def server(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, ProviderServer]]:
    async with serving(DIALECTS[request.param]) as running:
        yield request.param, running


def options(url: str) -> TranslatorOptions:
    return TranslatorOptions(
        openai_api_key=KEY, openai_url=url, openai_model="m", deepl_api_key=KEY, deepl_url=url,
        google_api_key=KEY, google_url=url, libretranslate_url=url, libretranslate_api_key=KEY,
    )  # fmt: skip


async def test_neither_key_nor_text_leaves_through_a_failure(
    session: aiohttp.ClientSession, server: tuple[str, ProviderServer], clock: QuickClock
) -> None:
    name, running = server
    written: list[Any] = []
    sink = logger.add(written.append, level="TRACE", format="{message} {extra} {exception}", backtrace=True)
    failures = 0
    for misbehave in MISBEHAVIOURS:
        translator = translators.build(name, session=session, options=options(running.url), clock=clock)
        running.replies.clear()
        misbehave(running)
        try:
            await translator.translate(asked(TEXT, target="en-GB" if name == "deepl" else "es"))
        except errors.ItemError as error:
            failures += 1
            written.append("".join(traceback.format_exception(error)))
        written.append(repr(translator.condition()))
    logger.remove(sink)

    assert failures >= 7
    assert not [line for line in map(str, written) if KEY in line or TEXT in line]
