"""Servers that hang up, fall silent, flood or redirect: every call ends, and ends as overloaded."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.providers import ProviderServer, serving
from worker import errors
from worker.translators.wire import ANSWER_BYTES_MAX, Wire


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with serving(lambda call: {"héllo": "wörld"}) as running:
        yield running


async def failure(wire: Wire, url: str) -> errors.ItemError:
    with pytest.raises(errors.ItemError) as failed:
        await wire.call("POST", url, body={})
    return failed.value


async def test_an_answer_is_read_whole(session: aiohttp.ClientSession, server: ProviderServer) -> None:
    reply = await Wire(session, "X", seconds=20).call("POST", server.url, body={"q": "ü…😀"})

    assert (reply.ok, reply.json()) == (True, {"héllo": "wörld"})
    assert server.bodies == [{"q": "ü…😀"}]


async def test_letters_of_other_scripts_are_sent_as_they_are(
    session: aiohttp.ClientSession, server: ProviderServer
) -> None:
    """Escaped, each would be six bytes of a limit that is in bytes."""
    await Wire(session, "X", seconds=20).call("POST", server.url, body={"q": "བོད" * 100})

    assert int(server.calls[0].headers["Content-Length"]) < 1000


async def test_half_a_body_a_reset_and_a_flood_are_overloads(
    session: aiohttp.ClientSession, server: ProviderServer
) -> None:
    server.then_half_a_body()
    server.then_reset()
    server.then_flood(ANSWER_BYTES_MAX + 10 * 65536)

    for _ in range(3):
        assert (await failure(Wire(session, "X", seconds=20), server.url)).error_class == "overloaded"


async def test_headers_that_do_not_come_are_not_waited_for_longer_than_the_limit(
    session: aiohttp.ClientSession, server: ProviderServer
) -> None:
    server.then_silence()

    failed = await failure(Wire(session, "X", seconds=0.05), server.url)
    assert (failed.error_class, failed.message) == ("overloaded", "X did not answer.")


async def test_nobody_there_is_an_overload(session: aiohttp.ClientSession) -> None:
    assert (await failure(Wire(session, "X", seconds=20), "http://127.0.0.1:9/")).error_class == "overloaded"


async def test_a_redirect_is_not_followed_since_the_key_would_go_along(
    session: aiohttp.ClientSession, server: ProviderServer
) -> None:
    server.then(302, "", Location=f"{server.url}/elsewhere")
    reply = await Wire(session, "X", seconds=20).call("POST", server.url, headers={"Authorization": "K"}, body={})

    assert reply.status == 302
    assert len(server.calls) == 1


@pytest.mark.parametrize("body", ["<h1>Just a moment</h1>", "", "[" * 5000])
async def test_what_is_no_json_is_none(session: aiohttp.ClientSession, server: ProviderServer, body: str) -> None:
    server.then(200, body)

    assert (await Wire(session, "X", seconds=20).call("POST", server.url, body={})).json() is None
