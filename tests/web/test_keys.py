"""The project's published keys: fetched when they are needed, kept while they are good, and nothing else believed."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.served import served
from tests.unit.fake_clock import FakeClock
from worker.web.jwks import Jwks
from worker.web.refusals import Refusal
from worker.web.tokens import Tokens

PRIVATE = ec.generate_private_key(ec.SECP256R1())
PUBLISHED = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(PRIVATE.public_key())), "kid": "one", "alg": "ES256"}


@dataclass
class Published:
    """What the project answers, and how often it was asked."""

    document: Any = field(default_factory=lambda: {"keys": [PUBLISHED]})
    status: int = 200
    asked: int = 0
    url: str = ""

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(text=json.dumps(self.document), status=self.status)


@pytest.fixture
async def published() -> AsyncIterator[Published]:
    found = Published()
    app = web.Application()
    app.router.add_get("/jwks.json", found.answer)
    async with served(app) as url:
        found.url = f"{url}/jwks.json"
        yield found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def jwks(published: Published, clock: FakeClock) -> AsyncIterator[Jwks]:
    async with aiohttp.ClientSession() as session:
        yield Jwks(session, published.url, clock=clock)


async def test_keys_are_fetched_once_and_again_when_they_are_old(
    jwks: Jwks, published: Published, clock: FakeClock
) -> None:
    for seconds in (0, 599, 1):
        await clock.advance(seconds)
        assert await jwks.key("one") is not None

    assert published.asked == 2


async def test_keys_that_cannot_be_fetched_again_are_kept(jwks: Jwks, published: Published, clock: FakeClock) -> None:
    await jwks.key("one")
    published.status = 500
    await clock.advance(600)

    assert await jwks.key("one") is not None
    assert published.asked == 2


async def test_without_any_key_everybody_is_told_until_there_are_some(jwks: Jwks, published: Published) -> None:
    published.status = 503
    with pytest.raises(aiohttp.ClientError):
        await jwks.key("one")
    with pytest.raises(Refusal) as refused:
        await Tokens(jwks).caller(f"Bearer {jwt.encode({}, PRIVATE, 'ES256', headers={'kid': 'one'})}")
    published.status = 200

    assert (refused.value.status, refused.value.code) == (503, "keys_unavailable")
    assert await jwks.key("one") is not None


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "one", "alg": "HS256"},
        {**PUBLISHED, "kid": None},
        {"kty": "unheard of", "kid": "one"},
        "a text",
    ],
)
async def test_a_key_that_is_secret_nameless_or_unknown_is_none(jwks: Jwks, published: Published, key: Any) -> None:
    published.document = {"keys": [key, {**PUBLISHED, "kid": "two"}]}

    assert await jwks.key("one") is None
    assert await jwks.key("two") is not None


@pytest.mark.parametrize("document", [[], {}, {"keys": []}])
async def test_a_document_without_keys_has_none(jwks: Jwks, published: Published, document: Any) -> None:
    published.document = document

    assert await jwks.key("one") is None


async def test_a_legacy_token_is_refused_where_no_secret_is_known(jwks: Jwks, published: Published) -> None:
    with pytest.raises(Refusal) as refused:
        await Tokens(jwks).caller(f"Bearer {jwt.encode({}, 'x' * 32, 'HS256')}")

    assert (refused.value.status, published.asked) == (401, 0)


@pytest.mark.parametrize("token", ["é.é.é", "a" * 16_385])
async def test_what_cannot_be_a_token_is_not_looked_at(jwks: Jwks, published: Published, token: str) -> None:
    with pytest.raises(Refusal, match="cannot be read"):
        await Tokens(jwks).caller(f"Bearer {token}")

    assert published.asked == 0
