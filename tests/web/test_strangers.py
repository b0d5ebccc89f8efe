"""Who is not who they say, and two users on every route: nobody sees or infers what is another's."""

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.web.site import Site, User
from worker.web import jwks

ROUTES = [
    ("GET", "/api/jobs"),
    ("POST", "/api/jobs"),
    ("GET", "/api/jobs/counts"),
    ("POST", "/api/jobs/preview"),
    ("GET", "/api/jobs/{id}"),
    ("DELETE", "/api/jobs/{id}"),
    ("POST", "/api/jobs/{id}/retry"),
    ("GET", "/api/jobs/{id}/source"),
    ("GET", "/api/jobs/{id}/items/es"),
    ("GET", "/api/jobs/{id}/attempts"),
    ("GET", "/api/jobs/{id}/credits"),
    ("GET", "/api/jobs/{id}/stream"),
    ("GET", "/api/stream"),
    ("GET", "/api/credits"),
    ("GET", "/api/languages"),
]
OF_A_JOB = [route for route in ROUTES if "{id}" in route[1]]


def test_every_route_of_a_user_is_tried_here(site: Site) -> None:
    known = {
        (route.method, route.resource.canonical)
        for route in site.app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/api")
    }

    assert known == {(method, path.replace("/items/es", "/items/{item}")) for method, path in ROUTES}


def unsigned(claims: dict[str, Any], **header: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'typ': 'JWT', **header})}.{part(claims)}."


def public_key(site: Site) -> bytes:
    return site.stack.keys.private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def hs256_over(secret: bytes, claims: dict[str, Any], **header: Any) -> str:
    """By hand: PyJWT refuses to sign with a public key, which an attacker's tool does not."""
    import hashlib
    import hmac

    text = unsigned(claims, alg="HS256", **header)[:-1]
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return text + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def es256(claims: dict[str, Any], **headers: Any) -> str:
    return jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256", headers=headers)


Forge = Callable[[Site, str], str]

FORGED: dict[str, Forge] = {
    "no token": lambda site, user: "",
    "no token at all": lambda site, user: "nonsense",
    "three dots": lambda site, user: "a.b.c",
    "very long": lambda site, user: "a" * 8_000,
    "publishable key": lambda site, user: site.stack.urls.publishable_key,
    "secret key": lambda site, user: site.stack.urls.secret_key,
    "expired": lambda site, user: site.token(user, exp=int(time.time()) - 60),
    "expired, legacy": lambda site, user: site.token(user, algorithm="HS256", exp=int(time.time()) - 60),
    "without an end": lambda site, user: site.token(user, exp=None),
    "end that is no number": lambda site, user: site.token(user, exp="never"),
    "without a subject": lambda site, user: site.token(user, sub=None),
    "subject that is no id": lambda site, user: site.token(user, sub="ada"),
    "other audience": lambda site, user: site.token(user, aud="somebody-else"),
    "without audience": lambda site, user: site.token(user, aud=None),
    "service role": lambda site, user: site.token(user, role="service_role"),
    "service role, legacy": lambda site, user: site.token(user, role="service_role", algorithm="HS256"),
    "anon role": lambda site, user: site.token(user, role="anon"),
    "role postgres": lambda site, user: site.token(user, role="postgres"),
    "without a role": lambda site, user: site.token(user, role=None),
    "alg none": lambda site, user: unsigned(site.claims(user), alg="none"),
    "alg None": lambda site, user: unsigned(site.claims(user), alg="None", kid=site.stack.keys.key_id),
    "without alg": lambda site, user: unsigned(site.claims(user)),
    "signature cut off": lambda site, user: site.token(user).rpartition(".")[0] + ".",
    "other secret": lambda site, user: jwt.encode(site.claims(user), "x" * 40, "HS256"),
    "public key as secret": lambda site, user: hs256_over(
        public_key(site), site.claims(user), kid=site.stack.keys.key_id
    ),
    "other key": lambda site, user: es256(site.claims(user)),
    "other key, same name": lambda site, user: es256(site.claims(user), kid=site.stack.keys.key_id),
    "key of its own in the header": lambda site, user: es256(
        site.claims(user), kid=site.stack.keys.key_id, jwk={"kty": "EC"}, jku="http://127.0.0.1:1/"
    ),
    "RSA under the name": lambda site, user: jwt.encode(
        site.claims(user),
        rsa.generate_private_key(65537, 2048),
        "RS256",
        headers={"kid": site.stack.keys.key_id},
    ),
    "claims changed": lambda site, user: swapped(site, user),
}


def swapped(site: Site, user: str) -> str:
    """A stranger's good signature under the claims of *user*."""
    head, _, signature = site.token(site.project.user()).split(".")
    _, claims, _ = site.token(user).split(".")
    return f"{head}.{claims}.{signature}"


@pytest.mark.parametrize("name", FORGED)
async def test_a_token_that_is_none_opens_nothing(site: Site, ada: User, name: str) -> None:
    """On every route, for a job that exists: 401, the same as for one that does not."""
    job = ada.job("es")
    token = FORGED[name](site, ada.id)
    for method, path in ROUTES:
        body = {"json": {"content": "x", "target_languages": ["es"]}} if method == "POST" else {}
        answer = await site.ask(method, path.format(id=job), token, **body)
        nobodys = await site.ask(method, path.format(id="00000000-0000-0000-0000-00000000dead"), token, **body)

        assert (answer.status, answer.code) == (401, "unauthorized"), (method, path, answer.body)
        assert nobodys.body == answer.body
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert site.project.value("select status from public.translation_jobs where id = %s", job) == "pending"


async def test_tokens_of_both_kinds_are_taken_within_the_skew(site: Site, ada: User) -> None:
    just_over = int(time.time()) - 10
    for token in (
        site.token(ada.id),
        site.token(ada.id, algorithm="HS256"),
        site.token(ada.id, exp=just_over),
    ):
        assert (await site.ask("GET", "/api/credits", token)).status == 200


@pytest.mark.parametrize(("method", "path"), OF_A_JOB)
async def test_anothers_job_is_not_there(site: Site, ada: User, bob: User, method: str, path: str) -> None:
    theirs = await bob.ask(method, path.format(id=ada.job("es")))
    nobodys = await bob.ask(method, path.format(id="00000000-0000-0000-0000-00000000dead"))

    assert theirs.status == 404
    assert theirs.code in ("job_not_found", "item_not_found")
    assert theirs.body == nobodys.body
    assert site.project.value("select count(*) from public.translation_jobs where status <> 'pending'") == 0


async def test_lists_counts_and_credits_are_ones_own(ada: User, bob: User) -> None:
    ada.job("es", subject="card:1")

    assert (await bob.ask("GET", "/api/jobs?subject=card:1")).json["jobs"] == []
    assert (await bob.ask("GET", "/api/jobs?search=card")).json["jobs"] == []
    assert sum((await bob.ask("GET", "/api/jobs/counts")).json["active"].values()) == 0
    assert (await bob.ask("GET", "/api/credits")).json == {"balance": 100, "reserved": 0}


async def test_a_job_cannot_wait_for_anothers(ada: User, bob: User) -> None:
    answer = await bob.ask(
        "POST", "/api/jobs", json={"content": "x", "target_languages": ["es"], "after": [ada.job("es")]}
    )

    assert (answer.status, answer.code) == (404, "parent_not_found")


async def test_a_made_up_key_name_does_not_fetch_the_keys_again_and_again(
    site: Site, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    fetch = jwks.Jwks._fetched

    async def counted(self: jwks.Jwks) -> Any:
        nonlocal asked
        asked += 1
        return await fetch(self)

    monkeypatch.setattr(jwks.Jwks, "_fetched", counted)
    for number in range(20):
        await site.ask("GET", "/api/credits", es256(site.claims(ada.id), kid=f"key-{number}"))

    assert asked == 1
    assert (await ada.ask("GET", "/api/credits")).status == 200
