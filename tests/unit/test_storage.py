"""Objects of Storage: how a content names them, and how a handler gets an address. Against a small server of ours."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support import storage as storages
from tests.support.storage import StorageServer
from worker import errors
from worker.storage import OBJECTS_MAX, Storage, with_addresses


@pytest.fixture
async def server() -> AsyncIterator[StorageServer]:
    async with storages.serving() as server:
        yield server


@pytest.fixture
async def storage(server: StorageServer) -> AsyncIterator[Storage]:
    storage = Storage(server.url, server.key, request_seconds=10)
    yield storage
    await storage.close()


async def test_an_address_reads_the_object_it_was_signed_for(server: StorageServer, storage: Storage) -> None:
    server.objects["videos", "2026/a b&c?.mp4"] = b"film"

    address = await storage.signed_url("videos", "/2026/a b&c?.mp4", 60)

    async with aiohttp.ClientSession() as http, http.get(address.replace("?.mp4", "%3F.mp4")) as answer:
        assert (answer.status, await answer.read()) == (200, b"film")
    assert server.lifetimes == [60]


async def test_an_address_is_good_for_a_week_at_most(server: StorageServer, storage: Storage) -> None:
    server.objects["b", "p"] = b""

    await storage.signed_url("b", "p", 10**9)
    await storage.signed_url("b", "p", 0)

    assert server.lifetimes == [7 * 86_400, 1]


async def test_an_address_is_where_others_reach_the_project(server: StorageServer) -> None:
    server.objects["b", "p"] = b""
    storage = Storage(server.url, server.key, public_url="https://project.example.com")

    address = await storage.signed_url("b", "p")

    assert address.startswith("https://project.example.com/storage/v1/object/sign/b/p?token=")
    await storage.close()


@pytest.mark.parametrize(
    ("answer", "error_class"),
    [
        (None, "bad_request"),
        (web.json_response({"statusCode": "403"}, status=400), "auth"),
        (web.Response(status=401), "auth"),
        (web.Response(status=302, headers={"Location": "http://169.254.169.254/"}), "overloaded"),
        (web.Response(status=503, text="<html>"), "overloaded"),
        (web.json_response([], status=200), "overloaded"),
        (web.json_response({"signedURL": 1}), "overloaded"),
    ],
)
async def test_what_storage_cannot_sign_ends_the_item_in_its_own_class(
    server: StorageServer, storage: Storage, answer: web.Response | None, error_class: str
) -> None:
    server.answer = answer

    with pytest.raises(errors.ItemError) as trouble:
        await storage.signed_url("b", "nothing")

    assert (trouble.value.error_class, trouble.value.speaks_for_provider) == (error_class, False)


async def test_a_storage_that_is_not_there_is_asked_again_later() -> None:
    storage = Storage("http://127.0.0.1:1", "key")

    with pytest.raises(errors.ItemError) as trouble:
        await storage.signed_url("b", "p")

    assert trouble.value.error_class == "overloaded"
    await storage.close()


async def sign(bucket: str, path: str) -> str:
    return f"signed:{bucket}/{path}"


async def test_every_object_a_content_names_gets_an_address_wherever_it_stands() -> None:
    deep: dict[str, Any] = {"storage": {"bucket": "b", "path": "deep"}}
    for _ in range(300):
        deep = {"in": [deep]}
    content = {
        "film": {"storage": {"bucket": "b", "path": "1.mp4", "note": "kept"}},
        "covers": [{"storage": {"bucket": "b", "path": "2.png"}}, {"storage": "a word"}, {"storage": {"bucket": 1}}],
        "deep": deep,
    }

    signed = await with_addresses(content, sign)

    named = {"bucket": "b", "path": "1.mp4", "note": "kept"}
    assert signed["film"]["storage"] == named | {"url": "signed:b/1.mp4"}
    assert content["film"] == {"storage": named}, "a copy"
    assert signed["covers"][0]["storage"]["url"] == "signed:b/2.png"
    assert signed["covers"][1:] == [{"storage": "a word"}, {"storage": {"bucket": 1}}]
    assert "signed:b/deep" in str(signed["deep"])


async def test_a_content_without_objects_is_what_it_was() -> None:
    contents: list[Any] = [None, "text", 7, [], {"storage": None}]
    for content in contents:
        assert await with_addresses(content, sign) == content


async def test_a_content_may_not_name_any_number_of_objects() -> None:
    content = [{"storage": {"bucket": "b", "path": str(n)}} for n in range(OBJECTS_MAX + 1)]

    with pytest.raises(errors.ItemError, match="names 101 Storage objects; 100 may be"):
        await with_addresses(content, sign)
