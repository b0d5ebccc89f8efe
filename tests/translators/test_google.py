"""Google's contract, spoken with a server of ours that behaves as its documentation says."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.providers import Call, ProviderServer, serving
from tests.translators.conftest import asked, refused
from worker.translators.base import TooLong
from worker.translators.google import Google

CODES = ("en", "es", "he", "iw", "zh-CN", "zh-TW", "pt", "pt-PT", "no", "sr", "jw", "tl")


def google_dialect(call: Call) -> Any:
    if call.path.endswith("/languages"):
        return {"data": {"languages": [{"language": code} for code in CODES]}}
    translations: list[dict[str, Any]] = [{"translatedText": f"«{text}»"} for text in call.body["q"]]
    if "source" not in call.body:
        translations = [{**one, "detectedSourceLanguage": "en"} for one in translations]
    return {"data": {"translations": translations}}


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with serving(google_dialect) as running:
        yield running


@pytest.fixture
def google(session: aiohttp.ClientSession, server: ProviderServer) -> Google:
    return Google(session, "SECRET", url=server.url)


async def test_the_key_is_in_a_header_and_the_text_is_text(google: Google, server: ProviderServer) -> None:
    answer = await google.translate(asked("It's ⟦0⟧", "Two"))

    assert answer.texts == ("«It's ⟦0⟧»", "«Two»")
    assert answer.detected_source is None
    call = server.posts[0]
    assert call.path == "/language/translate/v2"
    assert call.headers["X-Goog-Api-Key"] == "SECRET"
    assert call.body == {"q": ["It's ⟦0⟧", "Two"], "source": "en", "target": "es", "format": "text"}


async def test_an_unknown_source_is_detected(google: Google, server: ProviderServer) -> None:
    assert (await google.translate(asked(source=None))).detected_source == "en"
    assert "source" not in server.bodies[0]


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        ("zh", "zh-CN"),
        ("zh-Hans", "zh-CN"),
        ("zh-HK", "zh-TW"),
        ("he", "he"),
        ("nb", "no"),
        ("jv", "jw"),
        ("pt-BR", "pt"),
        ("fil", "tl"),
    ],
)
async def test_a_tag_is_sent_as_googles_code(google: Google, server: ProviderServer, target: str, sent: str) -> None:
    await google.translate(asked(target=target))

    assert server.bodies[0]["target"] == sent


@pytest.mark.parametrize("target", ["sr-Latn", "nn", "tlh", "und"])
async def test_another_script_or_a_near_language_is_refused_without_a_call(
    google: Google, server: ProviderServer, target: str
) -> None:
    assert (await refused(google, asked(target=target))).error_class == "unsupported_language"
    assert server.posts == []


async def test_more_than_fits_is_sent_in_several_calls(google: Google, server: ProviderServer) -> None:
    answer = await google.translate(asked(*["Text"] * 300))

    assert len(answer.texts) == 300
    assert [len(body["q"]) for body in server.bodies] == [128, 128, 44]


def said(code: int, message: str, *reasons: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "errors": [{"reason": one} for one in reasons], **fields}}


@pytest.mark.parametrize(
    ("status", "body", "error_class"),
    [
        (403, said(403, "Daily Limit Exceeded", "dailyLimitExceeded"), "quota_exhausted"),
        (403, said(403, "This API method requires billing", "billingNotEnabled"), "quota_exhausted"),
        (403, said(403, "User Rate Limit Exceeded", "userRateLimitExceeded"), "rate_limited"),
        (403, said(403, "Rate Limit Exceeded", "rateLimitExceeded"), "rate_limited"),
        (403, said(403, "The request is missing a valid API key."), "auth"),
        (403, said(403, "Cloud Translation API has not been used", "accessNotConfigured"), "auth"),
        (400, said(400, "API key not valid. SECRET", "badRequest", details=[{"reason": "API_KEY_INVALID"}]), "auth"),
        (401, "", "auth"),
        (404, "", "auth"),
        (429, said(429, "no", "rateLimitExceeded", status="RESOURCE_EXHAUSTED"), "rate_limited"),
        (429, said(429, "Quota exceeded for quota metric 'x' and limit 'y per day'"), "quota_exhausted"),
        (429, "", "rate_limited"),
        (400, said(400, "Invalid Value", "invalid"), "bad_request"),
        (400, said(400, "Bad language pair: en|xx", "invalid"), "unsupported_language"),
        (400, [said(400, "wrapped")], "bad_request"),
        (400, {"error": "a bare string"}, "bad_request"),
        (500, "", "overloaded"),
        (503, said(503, "The service is currently unavailable.", "backendError"), "overloaded"),
        (200, {"data": {}}, "overloaded"),
        (200, {"data": {"translations": [{"translatedText": 1}]}}, "overloaded"),
        (200, "<html>", "overloaded"),
    ],
)
async def test_an_error_means_a_class(
    google: Google, server: ProviderServer, status: int, body: Any, error_class: str
) -> None:
    server.then(status, body)
    failed = await refused(google)

    assert failed.error_class == error_class
    assert not isinstance(failed, TooLong)


@pytest.mark.parametrize(
    ("status", "body"),
    [(413, ""), (400, said(400, "Text too long")), (400, said(400, "Request payload size is too large"))],
)
async def test_a_request_that_is_too_large_asks_for_less(
    google: Google, server: ProviderServer, status: int, body: Any
) -> None:
    server.then(status, body)

    assert isinstance(await refused(google), TooLong)


async def test_the_wait_inside_the_error_is_read(google: Google, server: ProviderServer) -> None:
    server.then(429, said(429, "no", details=[{"@type": "RetryInfo", "retryDelay": "12s"}]))

    assert (await refused(google)).retry_after_seconds == 12.0
