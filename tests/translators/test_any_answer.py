"""Whatever a provider answers, it ends as an answer or as an error of a known class: never as a crash of ours."""

import json
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.translators.conftest import asked
from worker import errors
from worker.translators import deepl, google, libretranslate, openai_errors
from worker.translators.base import Provider
from worker.translators.deepl import DeepL
from worker.translators.google import Google
from worker.translators.libretranslate import LibreTranslate
from worker.translators.openai import OpenAI
from worker.translators.wire import Reply, Wire

NAMES = st.sampled_from(
    ["error", "errors", "message", "code", "type", "details", "reason", "data", "translations", "text", "choices"]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
BODIES = ANYTHING.map(json.dumps) | st.text(max_size=50) | st.just("[" * 900 + "]" * 900) | st.just('{"error":' * 900)
REPLIES = st.builds(
    Reply,
    status=st.integers(100, 599),
    headers=st.dictionaries(st.sampled_from(["Retry-After", "retry-after-ms", "Date"]), st.text(max_size=12)),
    text=BODIES,
)


@given(REPLIES)
def test_every_refusal_has_a_class(reply: Reply) -> None:
    for refusal in (openai_errors.refusal, deepl._refusal, google._refusal, libretranslate._refusal):
        error = refusal(reply)

        assert isinstance(error, errors.ItemError)
        assert error.retry_after_seconds is None or error.retry_after_seconds >= 0


class Answers(Wire):
    """Every call is answered with the same."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._provider = "X"

    async def call(self, method: str, url: str, **_: Any) -> Reply:
        return self._reply


@given(BODIES)
async def test_every_good_status_is_an_answer_or_an_error(body: str) -> None:
    async with aiohttp.ClientSession() as session:
        providers: list[Provider] = [
            OpenAI(session, "m"),
            DeepL(session, "k"),
            Google(session, "k"),
            LibreTranslate(session, "http://x"),
        ]
        for provider in providers:
            provider._wire = Answers(Reply(200, {}, body))  # type: ignore[attr-defined]
            try:
                answer = await provider.translate(asked())
            except errors.ItemError:
                continue
            assert all(isinstance(text, str) for text in answer.texts)


@pytest.mark.parametrize("depth", [10, 900, 5000])
def test_deep_nesting_is_no_crash(depth: int) -> None:
    reply = Reply(429, {}, '{"error":[' * depth + "1" + "]}" * depth)

    assert openai_errors.refusal(reply).error_class == "rate_limited"
