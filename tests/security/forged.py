"""
Tokens and keys that are not what they say, and the few that are: one table, tried at every door.

A row says what each door makes of a token. Nobody but the project can sign; a row whose token is signed with the
project's own key says so by what it is called ("signed: …"), and shows what the doors read of it.
"""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from worker.devstack.keys import Keys

OPERATOR_CLAIM: Final = "translation_operator"

# What a door makes of a token.
REFUSED: Final = "refused"
ANON: Final = "anon"
NOBODY: Final = "nobody"
"""A user without a name: sees nothing."""
ADA: Final = "ada"
"""The user whom the claims name."""
SERVICE: Final = "service"
FORWARDED: Final = "forwarded"
"""Let in by the API, and turned away by the gateway, to which the API hands it on."""


@dataclass(frozen=True)
class Forged:
    make: Callable[[Keys, dict[str, Any]], str]
    """The token, from the keys of the project and the claims of a good one."""
    gateway: str = REFUSED
    api: str = REFUSED


def claims(user_id: str, **changed: Any) -> dict[str, Any]:
    """Of a good token; None takes one away."""
    now = int(time.time())
    good = {
        "sub": user_id,
        "aud": "authenticated",
        "role": "authenticated",
        "iss": "https://project.example/auth/v1",
        "iat": now,
        "exp": now + 3600,
        "session_id": str(uuid.uuid4()),
        **changed,
    }
    return {name: value for name, value in good.items() if value is not None}


# How attackers sign


def unsigned(claims: dict[str, Any], **header: Any) -> str:
    return f"{_part({'typ': 'JWT', **header})}.{_part(claims)}."


def hs256(secret: bytes, claims: dict[str, Any], **header: Any) -> str:
    """By hand: PyJWT refuses to sign with a public key or with nothing, which an attacker's tool does not."""
    text = unsigned(claims, alg="HS256", **header)[:-1]
    return f"{text}.{_base64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


def es256(claims: dict[str, Any], **headers: Any) -> str:
    """With a key that is not the project's."""
    return jwt.encode(claims, _STRANGE_KEY, "ES256", headers=headers)


def _part(value: Any) -> str:
    return _base64(json.dumps(value).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


_STRANGE_KEY: Final = ec.generate_private_key(ec.SECP256R1())
_STRANGE_RSA: Final = rsa.generate_private_key(65537, 2048)
_STRANGE_SECRET: Final = "of another project " * 3
_ELSEWHERE: Final = "http://127.0.0.1:1/keys.json"


def _public(keys: Keys, encoding: serialization.Encoding) -> bytes:
    return keys.private_key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def _changed(**changed: Any) -> Callable[[Keys, dict[str, Any]], str]:
    """Signed by the project, with other claims; a number of seconds is counted from now."""

    def make(keys: Keys, good: dict[str, Any]) -> str:
        return keys.sign({k: v for k, v in {**good, **_timed(changed)}.items() if v is not None})

    return make


def _legacy(**changed: Any) -> Callable[[Keys, dict[str, Any]], str]:
    def make(keys: Keys, good: dict[str, Any]) -> str:
        return keys.sign({**good, **_timed(changed)}, algorithm="HS256")

    return make


def _timed(changed: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    return {k: now + v if k in ("exp", "nbf", "iat") and isinstance(v, int) else v for k, v in changed.items()}


def _another_signature(keys: Keys, good: dict[str, Any]) -> str:
    """A stranger's good signature under the claims."""
    head, _, signature = keys.sign({**good, "sub": str(uuid.uuid4())}).split(".")
    return f"{head}.{_part(good)}.{signature}"


def _named(key_id: Any, secret: bytes = b"") -> Forged:
    """A name of a key that leads to something whose content the attacker knows."""
    return Forged(lambda keys, good: hs256(secret, good, kid=key_id))


TOKENS: Final[dict[str, Forged]] = {
    # What is good
    "signed: good": Forged(_changed(), ADA, ADA),
    "signed: legacy": Forged(_legacy(), ADA, ADA),
    "signed: expired within the skew": Forged(_changed(exp=-10), ADA, ADA),
    "signed: valid in a moment, within the skew": Forged(_changed(nbf=10), ADA, ADA),
    # Who issued it is told by the key: a project has several names, and a self-hosted one says what it likes.
    "signed: other issuer": Forged(_changed(iss="https://else.example/auth/v1"), ADA, ADA),
    # What only looks like a token
    "nothing": Forged(lambda keys, good: "", ANON),
    "nonsense": Forged(lambda keys, good: "nonsense"),
    "three dots": Forged(lambda keys, good: "a.b.c"),
    "not base64": Forged(lambda keys, good: "é.ü.ß".encode().hex() + ".!.!"),
    "claims that are no object": Forged(lambda keys, good: hs256(keys.jwt_secret.encode(), ["service_role"])),  # type: ignore[arg-type]
    "long": Forged(lambda keys, good: "a" * 8_000),
    "longer than a header may be": Forged(lambda keys, good: _changed(more="a" * 100_000)(keys, good)),
    # Its time
    "signed: expired": Forged(_changed(exp=-60)),
    "signed: expired, legacy": Forged(_legacy(exp=-60)),
    "signed: not yet valid": Forged(_changed(nbf=3600)),
    "signed: not yet valid, legacy": Forged(_legacy(nbf=3600)),
    # When it was made says how old it is, and is no promise to the API, whose own clock may be late.
    "signed: issued tomorrow": Forged(_changed(iat=86_400), REFUSED, FORWARDED),
    # The gateway takes one without an end, which is what an old key of the project is.
    "signed: without an end": Forged(_changed(exp=None), ADA),
    "signed: an end that is no number": Forged(_changed(exp="never")),
    "signed: a start that is no number": Forged(_changed(nbf="always")),
    # Whom it names
    "signed: without a subject": Forged(_changed(sub=None), NOBODY),
    "signed: a subject that is no id": Forged(_changed(sub="ada")),
    "signed: a subject that is a number": Forged(_changed(sub=7)),
    "signed: SQL as subject": Forged(_changed(sub="' or true --")),
    # What the gateway does not read, as on the platform, and the API does.
    "signed: other audience": Forged(_changed(aud="somebody-else"), ADA),
    "signed: without audience": Forged(_changed(aud=None), ADA),
    # Its role. Whoever can sign for service_role has the project's key; a user cannot.
    "signed: service role": Forged(_changed(role="service_role"), SERVICE),
    "signed: service role, legacy": Forged(_legacy(role="service_role"), SERVICE),
    "signed: anon role": Forged(_changed(role="anon"), ANON),
    "signed: without a role": Forged(_changed(role=None), ANON),
    "signed: role postgres": Forged(_changed(role="postgres")),
    "signed: role of the gateway itself": Forged(_changed(role="authenticator")),
    "signed: role of the administrator": Forged(_changed(role="supabase_admin")),
    "signed: role none": Forged(_changed(role="none")),
    "signed: SQL as role": Forged(_changed(role='service_role"; set role "service_role')),
    "signed: a list as role": Forged(_changed(role=["authenticated", "service_role"])),
    # Claims of the attacker's own, under all the signatures he can make
    "alg none": Forged(lambda keys, good: unsigned(good, alg="none")),
    "alg None": Forged(lambda keys, good: unsigned(good, alg="None", kid=keys.key_id)),
    "alg NONE, with a signature": Forged(lambda keys, good: unsigned(good, alg="NONE") + "AAAA"),
    "without alg": Forged(lambda keys, good: unsigned(good)),
    "alg that is no text": Forged(lambda keys, good: unsigned(good, alg=["ES256"], kid=keys.key_id)),
    "service role, alg none": Forged(lambda keys, good: unsigned({**good, "role": "service_role"}, alg="none")),
    "signature cut off": Forged(lambda keys, good: keys.sign(good).rpartition(".")[0] + "."),
    "signature of zeros": Forged(lambda keys, good: unsigned(good, alg="ES256", kid=keys.key_id) + _base64(bytes(64))),
    "signature of another token": Forged(_another_signature),
    "service role under a user's signature": Forged(
        lambda keys, good: _another_signature(keys, {**good, "role": "service_role"})
    ),
    "other key": Forged(lambda keys, good: es256(good)),
    "other key, same name": Forged(lambda keys, good: es256(good, kid=keys.key_id)),
    "service role, other key": Forged(lambda keys, good: es256({**good, "role": "service_role"}, kid=keys.key_id)),
    "RSA under the name": Forged(
        lambda keys, good: jwt.encode(good, _STRANGE_RSA, "RS256", headers={"kid": keys.key_id})
    ),
    "other secret": Forged(lambda keys, good: jwt.encode(good, "x" * 40, "HS256")),
    "no secret": Forged(lambda keys, good: hs256(b"", good)),
    "the publishable key as secret": Forged(lambda keys, good: hs256(keys.publishable_key.encode(), good)),
    "of another project": Forged(
        lambda keys, good: jwt.encode(good, _STRANGE_SECRET, "HS256", headers={"kid": str(uuid.uuid4())})
    ),
    "of another project, new keys": Forged(lambda keys, good: es256(good, kid=str(uuid.uuid4()))),
    # The public key, which everybody has, as if it were the secret
    "public key as secret": Forged(
        lambda keys, good: hs256(_public(keys, serialization.Encoding.PEM), good, kid=keys.key_id)
    ),
    "public key as secret, without a name": Forged(
        lambda keys, good: hs256(_public(keys, serialization.Encoding.PEM), good)
    ),
    "public key as secret, stripped": Forged(
        lambda keys, good: hs256(_public(keys, serialization.Encoding.PEM).strip(), good, kid=keys.key_id)
    ),
    "public key as secret, binary": Forged(
        lambda keys, good: hs256(_public(keys, serialization.Encoding.DER), good, kid=keys.key_id)
    ),
    "public key as secret, as published": Forged(
        lambda keys, good: hs256(json.dumps(keys.jwks()["keys"][0]).encode(), good, kid=keys.key_id)
    ),
    # Where the key is said to be
    "key in the header": Forged(
        lambda keys, good: es256(
            good, kid=keys.key_id, jwk=jwt.algorithms.ECAlgorithm.to_jwk(_STRANGE_KEY.public_key(), as_dict=True)
        )
    ),
    "key at an address": Forged(lambda keys, good: es256(good, kid=keys.key_id, jku=_ELSEWHERE, x5u=_ELSEWHERE)),
    "name that is an address": Forged(lambda keys, good: es256(good, kid=_ELSEWHERE)),
    "name that is a path": _named("../../../../../../dev/null"),
    "name that is a path, new keys": Forged(lambda keys, good: es256(good, kid="../../../../../../dev/null")),
    "name that is SQL": _named("' union select 'known' --", b"known"),
    "name that is a command": _named("key; echo known", b"known"),
    "name with a NUL": _named("\0"),
    "name that is nothing": _named(""),
    "name that is an object": Forged(lambda keys, good: unsigned(good, alg="ES256", kid={"$ne": None}) + "AAAA"),
    "name that is long": Forged(lambda keys, good: es256(good, kid="k" * 4_000)),
    # Keys where a token is wanted: at the gateway they say nothing beside the key in `apikey`.
    "publishable key": Forged(lambda keys, good: keys.publishable_key, ANON),
    "secret key": Forged(lambda keys, good: keys.secret_key, ANON),
    "signing secret": Forged(lambda keys, good: keys.jwt_secret),
}


@dataclass(frozen=True)
class Sent:
    """What a request to the gateway carries beside its question; None: nothing."""

    apikey: Callable[[Keys], str] | None
    bearer: Callable[[Keys, str], str] | None = None
    """From the keys and a user's good token."""
    agent: str = "tests"
    is_seen: str = REFUSED
    """As whom."""


KEYS: Final[dict[str, Sent]] = {
    "no key": Sent(None),
    "no key, good token": Sent(None, lambda keys, token: token),
    "no key, secret as token": Sent(None, lambda keys, token: keys.secret_key),
    "publishable": Sent(lambda keys: keys.publishable_key, is_seen=ANON),
    "publishable, good token": Sent(lambda keys: keys.publishable_key, lambda keys, token: token, is_seen=ADA),
    "publishable, secret as token": Sent(
        lambda keys: keys.publishable_key, lambda keys, token: keys.secret_key, is_seen=ANON
    ),
    "secret": Sent(lambda keys: keys.secret_key, is_seen=SERVICE),
    "secret, publishable as token": Sent(
        lambda keys: keys.secret_key, lambda keys, token: keys.publishable_key, is_seen=SERVICE
    ),
    # A user's token wins: it never gets the rights of the key it travels with.
    "secret, good token": Sent(lambda keys: keys.secret_key, lambda keys, token: token, is_seen=ADA),
    "secret, bad token": Sent(lambda keys: keys.secret_key, lambda keys, token: token[:-4] + "AAAA"),
    "secret in a browser": Sent(lambda keys: keys.secret_key, agent="Mozilla/5.0 (X11; Linux x86_64)"),
    "secret of another project": Sent(lambda keys: "sb_secret_" + "x" * 32),
    "publishable with the prefix of a secret": Sent(
        lambda keys: keys.publishable_key.replace("sb_publishable_", "sb_secret_")
    ),
    "secret cut short": Sent(lambda keys: keys.secret_key[:-1]),
    "secret and more": Sent(lambda keys: keys.secret_key + "x"),
    "secret in capitals": Sent(lambda keys: keys.secret_key.upper()),
    "the signing secret": Sent(lambda keys: keys.jwt_secret),
    "SQL": Sent(lambda keys: "' or '1'='1"),
    "service role, alg none": Sent(lambda keys: unsigned({"role": "service_role"}, alg="none")),
    "service role, other secret": Sent(lambda keys: hs256(b"x" * 40, {"role": "service_role"})),
    "service role, public key as secret": Sent(
        lambda keys: hs256(_public(keys, serialization.Encoding.PEM), {"role": "service_role"})
    ),
    "service role, signed": Sent(lambda keys: keys.sign({"role": "service_role"}, algorithm="HS256"), is_seen=SERVICE),
}
