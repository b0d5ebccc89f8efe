"""DeepL's contract, spoken with a server of ours that behaves as its documentation says."""

import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support.providers import Call, ProviderServer, serving
from tests.translators.conftest import asked, refused
from worker.translators.base import TooLong
from worker.translators.deepl import DeepL

SOURCES = ("DE", "EN", "PT", "ZH", "NB")
TARGETS = ("DE", "EN-GB", "EN-US", "PT-BR", "PT-PT", "ZH-HANS", "ZH-HANT", "NB", "ES-419")


def deepl_dialect(call: Call) -> Any:
    if "type=source" in call.path:
        return [{"language": code, "name": code} for code in SOURCES]
    if "type=target" in call.path:
        return [{"language": code, "name": code, "supports_formality": True} for code in TARGETS]
    return {
        "translations": [
            {"detected_source_language": "EN", "text": _aside(text), "billed_characters": len(text)}
            for text in call.body["text"]
        ]
    }


def _aside(text: str) -> str:
    """Its idea of a translation; an ignored element comes back in the longer spelling."""
    return "«" + re.sub(r'<x id="(\d+)"/>', r'<x id="\1"></x>', text) + "»"


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with serving(deepl_dialect) as running:
        yield running


@pytest.fixture
def deepl(session: aiohttp.ClientSession, server: ProviderServer) -> DeepL:
    return DeepL(session, "SECRET:fx", url=server.url)


async def test_markers_travel_as_ignored_elements_and_markup_as_text(deepl: DeepL, server: ProviderServer) -> None:
    answer = await deepl.translate(asked("A ⟦0⟧ & <b>⟦12⟧</b>", "Two", target="de", context="Before."))

    assert answer.texts == ("«A ⟦0⟧ & <b>⟦12⟧</b>»", "«Two»")
    assert (answer.detected_source, answer.units) == ("en", 54)
    call = server.posts[0]
    assert (call.path, call.headers["Authorization"]) == ("/v2/translate", "DeepL-Auth-Key SECRET:fx")
    assert call.body == {
        "text": ['A <x id="0"/> &amp; &lt;b&gt;<x id="12"/>&lt;/b&gt;', "Two"],
        "source_lang": "EN",
        "target_lang": "DE",
        "context": "Before.",
        "tag_handling": "xml",
        "ignore_tags": ["x"],
        "preserve_formatting": True,
        "show_billed_characters": True,
    }


@pytest.mark.parametrize(("formality", "sent"), [("more", "prefer_more"), ("less", "prefer_less"), ("default", None)])
async def test_formality_is_asked_for_as_a_preference(
    deepl: DeepL, server: ProviderServer, formality: str, sent: str | None
) -> None:
    await deepl.translate(asked(target="de", options={"formality": formality}))

    assert server.bodies[0].get("formality") == sent


async def test_glossaries_are_given_with_a_source_only(session: aiohttp.ClientSession, server: ProviderServer) -> None:
    deepl = DeepL(session, "K", url=server.url, glossary_ids=("g1", "g2"))
    await deepl.translate(asked(target="de"))
    await deepl.translate(asked(target="de", source=None))

    assert server.bodies[0]["glossary_ids"] == ["g1", "g2"]
    assert "glossary_ids" not in server.bodies[1]
    assert "source_lang" not in server.bodies[1]
    assert deepl.version != DeepL(session, "K").version

    await DeepL(session, "K", url=server.url, glossary_ids=("g1",)).translate(asked(target="de"))
    assert server.bodies[2]["glossary_id"] == "g1"


@pytest.mark.parametrize(
    ("source", "target", "sent"),
    [
        ("en-GB", "en-GB", ("EN", "EN-GB")),
        ("de", "en", ("DE", "EN-US")),
        ("de", "en-AU", ("DE", "EN-GB")),
        ("en", "pt", ("EN", "PT-BR")),
        ("en", "zh", ("EN", "ZH-HANS")),
        ("zh-CN", "zh-TW", ("ZH", "ZH-HANT")),
        ("zh-TW", "de", ("ZH", "DE")),
        ("en", "no", ("EN", "NB")),
        ("en", "es-MX", ("EN", "ES-419")),
    ],
)
async def test_a_source_is_a_base_language_and_a_target_its_variant(
    deepl: DeepL, server: ProviderServer, source: str, target: str, sent: tuple[str, str]
) -> None:
    await deepl.translate(asked(source=source, target=target))

    assert (server.bodies[0]["source_lang"], server.bodies[0]["target_lang"]) == sent


async def test_what_it_does_not_list_is_refused_without_a_call(deepl: DeepL, server: ProviderServer) -> None:
    assert (await refused(deepl, asked(target="jv"))).error_class == "unsupported_language"
    assert (await refused(deepl, asked(source="sr-Latn", target="de"))).error_class == "unsupported_language"
    assert server.posts == []


async def test_its_pairs_are_known_after_the_first_look(deepl: DeepL) -> None:
    assert deepl.languages == (("*", "*"),)
    await deepl.prepare()

    assert {("de", "en-US"), ("de", "en"), ("en", "pt"), ("zh", "zh-TW")} <= set(deepl.languages)
    assert ("en", "ja") not in deepl.languages


async def test_more_than_fits_is_sent_in_several_calls(deepl: DeepL, server: ProviderServer) -> None:
    texts = tuple(f"Text {number}" for number in range(120))
    answer = await deepl.translate(asked(*texts, target="de"))

    assert answer.texts == tuple(f"«{text}»" for text in texts)
    assert [len(body["text"]) for body in server.bodies] == [50, 50, 20]


async def test_one_text_that_does_not_fit_asks_for_less(deepl: DeepL) -> None:
    with pytest.raises(TooLong):
        await deepl.translate(asked("བོད་" * 20_000, target="de"))


@pytest.mark.parametrize(
    ("status", "body", "error_class"),
    [
        (400, {"message": "Bad request. Reason: tag_handling"}, "bad_request"),
        (400, {"message": "Value for 'target_lang' not supported."}, "unsupported_language"),
        (401, "", "auth"),
        (403, {"message": "Wrong key SECRET"}, "auth"),
        (404, "", "auth"),
        (302, "", "auth"),
        (408, "", "overloaded"),
        (429, {"message": "Too many requests"}, "rate_limited"),
        (529, "", "rate_limited"),
        (456, {"message": "Quota exceeded"}, "quota_exhausted"),
        (500, "", "overloaded"),
        (503, "<html>", "overloaded"),
        (504, "", "overloaded"),
        (200, {"translations": [{"text": None}]}, "overloaded"),
        (200, {}, "overloaded"),
        (200, "<html>", "overloaded"),
    ],
)
async def test_a_status_means_a_class(
    deepl: DeepL, server: ProviderServer, status: int, body: Any, error_class: str
) -> None:
    server.then(status, body)

    assert (await refused(deepl, asked(target="de"))).error_class == error_class


@pytest.mark.parametrize("status", [413, 414])
async def test_a_request_that_is_too_large_asks_for_less(deepl: DeepL, server: ProviderServer, status: int) -> None:
    server.then(status, "")

    assert isinstance(await refused(deepl, asked(target="de")), TooLong)


async def test_its_wait_is_read_though_its_own_client_does_not(deepl: DeepL, server: ProviderServer) -> None:
    server.then(429, "", Retry_After="7")

    assert (await refused(deepl, asked(target="de"))).retry_after_seconds == 7.0


async def test_the_kind_of_key_chooses_the_host(session: aiohttp.ClientSession) -> None:
    assert DeepL(session, "abc:fx")._url == "https://api-free.deepl.com"
    assert DeepL(session, "abc")._url == "https://api.deepl.com"
