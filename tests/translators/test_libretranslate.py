"""LibreTranslate's contract, spoken with a server of ours that misbehaves on cue."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.providers import Call, ProviderServer, serving
from tests.translators.conftest import QuickClock, asked, refused
from worker.translators.base import TooLong
from worker.translators.libretranslate import LibreTranslate


def libretranslate_dialect(call: Call) -> Any:
    if call.path == "/languages":
        targets = ["en", "es", "pt-BR", "zh-Hans", "nb", "sr"]
        return [{"code": code, "name": code, "targets": targets} for code in ("en", "es", "pt-BR")]
    answer: dict[str, Any] = {"translatedText": [f"{text} traducido" for text in call.body["q"]]}
    if call.body["source"] == "auto":
        answer["detectedLanguage"] = [{"confidence": 90, "language": "en"} for _ in call.body["q"]]
    return answer


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with serving(libretranslate_dialect) as running:
        yield running


@pytest.fixture
def translator(session: aiohttp.ClientSession, server: ProviderServer) -> LibreTranslate:
    return LibreTranslate(session, server.url + "/", "SECRET")


async def test_a_batch_is_one_call_and_keeps_its_order(translator: LibreTranslate, server: ProviderServer) -> None:
    answer = await translator.translate(asked("One", "Two ⟦0⟧"))

    assert answer.texts == ("One traducido", "Two ⟦0⟧ traducido")
    assert answer.detected_source is None
    assert server.bodies == [
        {"q": ["One", "Two ⟦0⟧"], "source": "en", "target": "es", "format": "text", "api_key": "SECRET"}
    ]


async def test_an_unknown_source_is_detected(translator: LibreTranslate, server: ProviderServer) -> None:
    answer = await translator.translate(asked(source=None))

    assert answer.detected_source == "en"
    assert server.bodies[0]["source"] == "auto"


async def test_more_than_a_server_likes_is_sent_in_several_calls(
    translator: LibreTranslate, server: ProviderServer
) -> None:
    answer = await translator.translate(asked(*map(str, range(60))))

    assert answer.texts == tuple(f"{number} traducido" for number in range(60))
    assert [len(body["q"]) for body in server.bodies] == [25, 25, 10]


async def test_the_languages_are_asked_for_once_a_day_and_kept_while_they_cannot_be_had(
    session: aiohttp.ClientSession, server: ProviderServer, clock: QuickClock
) -> None:
    translator = LibreTranslate(session, server.url, clock=clock)
    for _ in range(2):
        await translator.translate(asked())
    assert [call.path for call in server.calls].count("/languages") == 1
    assert ("pt-BR", "zh-Hans") in translator.languages

    await clock.sleep(24 * 3600)
    await translator.translate(asked())
    assert [call.path for call in server.calls].count("/languages") == 2

    server.dialect = lambda call: {} if call.path == "/languages" else libretranslate_dialect(call)
    await clock.sleep(24 * 3600)
    await translator.translate(asked())
    assert ("pt-BR", "zh-Hans") in translator.languages


@pytest.mark.parametrize(
    ("source", "target", "sent"),
    [("en-GB", "es-MX", ("en", "es")), ("pt_BR", "zh", ("pt-BR", "zh-Hans")), ("en", "no", ("en", "nb"))],
)
async def test_a_tag_is_matched_to_the_servers_own(
    translator: LibreTranslate, server: ProviderServer, source: str, target: str, sent: tuple[str, str]
) -> None:
    await translator.translate(asked(source=source, target=target))

    assert (server.bodies[0]["source"], server.bodies[0]["target"]) == sent


async def test_the_codes_of_old_servers_are_understood(translator: LibreTranslate, server: ProviderServer) -> None:
    old = [{"code": code, "name": code} for code in ("en", "zh", "zt", "pb")]
    server.dialect = lambda call: old if call.path == "/languages" else libretranslate_dialect(call)
    for target in ("zh-TW", "zh", "pt-BR"):
        await translator.translate(asked(target=target))

    assert [body["target"] for body in server.bodies] == ["zt", "zh", "pb"]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("en", "de"),
        ("de", "en"),
        ("en", "nn"),
        ("en", "zh-Hant"),
        ("en", "sr-Latn"),
        ("en", "not a tag!"),
        (None, "jv"),
    ],
)
async def test_a_language_that_is_only_near_is_refused_before_a_call(
    translator: LibreTranslate, server: ProviderServer, source: str | None, target: str
) -> None:
    failure = await refused(translator, asked(source=source, target=target))

    assert failure.error_class == "unsupported_language"
    assert server.posts == []


@pytest.mark.parametrize(
    ("status", "error", "error_class"),
    [
        (400, "Ungültige Anfrage", "bad_request"),
        (400, "Please contact the server operator to get an API key", "auth"),
        (400, "Visit https://portal.example to get an API key", "auth"),
        (403, "Invalid API key SECRET", "auth"),
        (404, "", "auth"),
        (301, "", "auth"),
        (408, "", "overloaded"),
        (429, "Slowdown: 10 per 1 minute", "rate_limited"),
        (500, "Cannot translate text", "overloaded"),
        (503, "", "overloaded"),
    ],
)
async def test_a_status_means_a_class(
    translator: LibreTranslate, server: ProviderServer, status: int, error: str, error_class: str
) -> None:
    server.then(status, {"error": error})

    assert (await refused(translator)).error_class == error_class


@pytest.mark.parametrize(("status", "error"), [(413, ""), (400, "Invalid request: request (9) exceeds text limit (5)")])
async def test_a_request_that_is_too_large_asks_for_less(
    translator: LibreTranslate, server: ProviderServer, status: int, error: str
) -> None:
    server.then(status, {"error": error})

    assert isinstance(await refused(translator), TooLong)


async def test_the_wait_the_server_asks_for_is_read(translator: LibreTranslate, server: ProviderServer) -> None:
    server.then(429, {"error": "Slowdown"}, Retry_After="7")

    assert (await refused(translator)).retry_after_seconds == 7.0


@pytest.mark.parametrize("body", ["<h1>Just a moment</h1>", [], {"translatedText": [None]}, {"translatedText": 3}])
async def test_what_is_no_answer_is_an_overload(translator: LibreTranslate, server: ProviderServer, body: Any) -> None:
    server.then(200, body)

    assert (await refused(translator)).error_class == "overloaded"


async def test_a_wrong_secret_is_answered_with_an_emoji_and_left_to_be_counted(
    translator: LibreTranslate, server: ProviderServer
) -> None:
    server.then(200, {"translatedText": "🤷"})

    assert (await translator.translate(asked("One", "Two"))).texts == ("🤷",)
