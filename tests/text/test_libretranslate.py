"""LibreTranslate's contract, spoken with a real server that misbehaves on cue."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest

from tests.text.conftest import FakeLibreTranslate
from worker import errors
from worker.translators import TranslationRequest
from worker.translators.libretranslate import LibreTranslate


def request(*texts: str, source: str | None = "en", target: str = "es") -> TranslationRequest:
    return TranslationRequest(texts or ("Hello",), source, target, "text")


async def failure_of(translator: LibreTranslate, asked: TranslationRequest | None = None) -> errors.ItemError:
    with pytest.raises(errors.ItemError) as failure:
        await translator.translate(asked or request())
    assert "SECRET" not in failure.value.message
    return failure.value


@pytest.fixture
def translator(session: aiohttp.ClientSession, libretranslate: FakeLibreTranslate) -> LibreTranslate:
    return LibreTranslate(session, libretranslate.url + "/", "SECRET")


async def test_a_batch_is_one_call_and_keeps_its_order(
    translator: LibreTranslate, libretranslate: FakeLibreTranslate
) -> None:
    answer = await translator.translate(request("One", "Two ⟦0⟧"))

    assert answer.texts == ("One traducido", "Two ⟦0⟧ traducido")
    assert answer.detected_source is None
    assert libretranslate.calls == [
        {"q": ["One", "Two ⟦0⟧"], "source": "en", "target": "es", "format": "text", "api_key": "SECRET"}
    ]


async def test_an_unknown_source_is_detected(translator: LibreTranslate, libretranslate: FakeLibreTranslate) -> None:
    answer = await translator.translate(request(source=None))

    assert answer.detected_source == "en"
    assert libretranslate.calls[0]["source"] == "auto"


async def test_the_languages_are_asked_for_once_a_day(
    session: aiohttp.ClientSession, libretranslate: FakeLibreTranslate
) -> None:
    now = 0.0
    translator = LibreTranslate(session, libretranslate.url, monotonic=lambda: now)
    now = 100_000.0
    await translator.translate(request())
    await translator.translate(request())
    assert libretranslate.languages_calls == 1
    assert ("pt-BR", "zh-Hans") in translator.languages

    now += 24 * 3600
    await translator.translate(request())
    assert libretranslate.languages_calls == 2


@pytest.mark.parametrize(
    ("source", "target", "sent"),
    [("en-GB", "es-MX", ("en", "es")), ("pt_BR", "zh", ("pt-BR", "zh-Hans")), ("en", "no", ("en", "nb"))],
)
async def test_a_tag_is_matched_to_the_servers_own(
    translator: LibreTranslate, libretranslate: FakeLibreTranslate, source: str, target: str, sent: tuple[str, str]
) -> None:
    await translator.translate(request(source=source, target=target))

    assert (libretranslate.calls[0]["source"], libretranslate.calls[0]["target"]) == sent


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
    translator: LibreTranslate, libretranslate: FakeLibreTranslate, source: str | None, target: str
) -> None:
    failure = await failure_of(translator, request(source=source, target=target))

    assert failure.error_class == "unsupported_language"
    assert libretranslate.calls == []


@pytest.mark.parametrize(
    ("status", "error", "error_class"),
    [
        (400, "Ungültige Anfrage", "bad_request"),
        (400, "Please contact the server operator to get an API key", "auth"),
        (400, "Visit https://portal.example to get an API key", "auth"),
        (403, "Invalid API key SECRET", "auth"),
        (404, "", "auth"),
        (301, "", "auth"),
        (413, "", "bad_request"),
        (429, "Slowdown: 10 per 1 minute", "rate_limited"),
        (500, "Cannot translate text", "overloaded"),
        (503, "", "overloaded"),
    ],
)
async def test_a_status_means_a_class(
    translator: LibreTranslate, libretranslate: FakeLibreTranslate, status: int, error: str, error_class: str
) -> None:
    libretranslate.then_status(status, error)

    assert (await failure_of(translator)).error_class == error_class


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("2.5", 2.5), ("-3", 0.0), ("soon", None), ("inf", None)])
async def test_the_wait_the_server_asks_for_is_read(
    translator: LibreTranslate, libretranslate: FakeLibreTranslate, header: str, seconds: float | None
) -> None:
    libretranslate.then_status(429, "Slowdown", **{"Retry-After": header})

    assert (await failure_of(translator)).retry_after_seconds == seconds


async def test_the_wait_may_be_a_date(translator: LibreTranslate, libretranslate: FakeLibreTranslate) -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    libretranslate.then_status(503, "", **{"Retry-After": until})
    seconds = (await failure_of(translator)).retry_after_seconds

    assert seconds is not None
    assert 50 < seconds <= 60


async def test_half_an_answer_is_an_overload(translator: LibreTranslate, libretranslate: FakeLibreTranslate) -> None:
    libretranslate.then_half_a_body()

    assert (await failure_of(translator)).error_class == "overloaded"


async def test_a_page_of_a_proxy_is_an_overload(translator: LibreTranslate, libretranslate: FakeLibreTranslate) -> None:
    libretranslate.then_page("<h1>Just a moment</h1>")

    assert (await failure_of(translator)).error_class == "overloaded"


async def test_a_server_that_is_away_is_an_overload(session: aiohttp.ClientSession) -> None:
    assert (await failure_of(LibreTranslate(session, "http://127.0.0.1:9"))).error_class == "overloaded"


async def test_one_text_instead_of_a_list_is_an_answer_to_be_counted(
    translator: LibreTranslate, libretranslate: FakeLibreTranslate
) -> None:
    libretranslate.then_texts(lambda _: "🤷")

    assert (await translator.translate(request("One", "Two"))).texts == ("🤷",)
