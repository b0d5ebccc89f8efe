"""
Who is asking: API keys, user tokens, and the rule by which the gateway turns them into a database role.

Keys are made once per data directory and stay the same over restarts. New-style keys are opaque and stand for a role;
users get ES256 tokens that the JWKS verifies, HS256 ones with the legacy secret are accepted too. The rule: a user's
token wins over the key beside it, and a key alone is a role, never a user.
"""

import json
import secrets
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

_LEEWAY_SECONDS = 30
_VERIFIED_MAX = 1000


class TokenRefused(Exception):
    """A token that cannot be accepted: *expired*, *untimely* in another way, or *malformed*."""

    def __init__(self, message: str, *, expired: bool = False, untimely: bool = False, malformed: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.expired = expired
        self.untimely = untimely
        self.malformed = malformed


class KeyRefused(Exception):
    """No usable API key came with the request. The body is what the hosted gateway answers with 401."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.body = {"message": message, "hint": hint}


@dataclass(frozen=True, eq=False)
class Identity:
    """A database role and the claims it acts with. One object per key or token, compared as such."""

    role: str
    claims: Mapping[str, Any]

    @cached_property
    def claims_json(self) -> str:
        return json.dumps(self.claims)

    @property
    def expires_at(self) -> float | None:
        """Seconds since the epoch; `None` for an API key."""
        expiry = self.claims.get("exp")
        return float(expiry) if isinstance(expiry, int | float) else None


ANONYMOUS = Identity("anon", {"role": "anon"})
SERVICE = Identity("service_role", {"role": "service_role"})


@dataclass(frozen=True)
class Keys:
    """The keys of one stack."""

    publishable_key: str
    secret_key: str
    jwt_secret: str
    key_id: str
    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    _verified: OrderedDict[str, Identity] = field(default_factory=OrderedDict, repr=False, compare=False)

    @classmethod
    def load(cls, path: Path) -> "Keys":
        """Read the keys from *path*, making them first if it does not exist."""
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(json.dumps(_new_keys(), indent=2))
        saved = json.loads(path.read_text())
        private_key = serialization.load_pem_private_key(saved.pop("private_key").encode(), password=None)
        assert isinstance(private_key, ec.EllipticCurvePrivateKey)
        return cls(**saved, private_key=private_key)

    # Tokens

    def sign(self, claims: Mapping[str, Any], *, algorithm: str = "ES256") -> str:
        """A token with *claims*; `HS256` signs with the legacy secret."""
        if algorithm == "HS256":
            return jwt.encode(dict(claims), self.jwt_secret, algorithm)
        return jwt.encode(dict(claims), self.private_key, algorithm, headers={"kid": self.key_id})

    def verify(self, token: str) -> Identity:
        """
        The identity in *token*.

        Raises:
            TokenRefused: not a token, a wrong signature, or expired.
        """
        identity = self._verified.get(token)
        if identity is None:
            identity = self._decode(token)
            self._verified[token] = identity
            if len(self._verified) > _VERIFIED_MAX:
                self._verified.popitem(last=False)
        if identity.expires_at is not None and identity.expires_at + _LEEWAY_SECONDS <= time.time():
            raise TokenRefused("JWT expired", expired=True)
        return identity

    def _decode(self, token: str) -> Identity:
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            key = self.jwt_secret if algorithm == "HS256" else self.private_key.public_key()
            claims = jwt.decode(
                token,
                key,
                ["HS256" if algorithm == "HS256" else "ES256"],
                leeway=_LEEWAY_SECONDS,
                options={"verify_aud": False, "verify_exp": False},
            )
        except jwt.InvalidSignatureError as error:
            raise TokenRefused("JWSError JWSInvalidSignature") from error
        except jwt.ImmatureSignatureError as error:
            raise TokenRefused("JWT not yet valid", untimely=True) from error
        except jwt.PyJWTError as error:
            raise TokenRefused("JWT could not be decoded", malformed=True) from error
        if not isinstance(claims.get("exp", 0), int | float):  # read as none, it would be good for ever
            raise TokenRefused("The JWT 'exp' claim must be a number", untimely=True)
        return Identity(str(claims.setdefault("role", "anon")), claims)

    def jwks(self) -> dict[str, Any]:
        """The public keys, as served at `/auth/v1/.well-known/jwks.json`."""
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.private_key.public_key(), as_dict=True)
        return {
            "keys": [{**public, "kid": self.key_id, "alg": "ES256", "use": "sig", "key_ops": ["verify"], "ext": True}]
        }

    # The gateway's rule

    def key_identity(self, api_key: str | None, user_agent: str = "") -> Identity:
        """
        What an API key alone may do.

        Raises:
            KeyRefused: missing, unknown, or a secret key in a browser.
        """
        if not api_key:
            raise KeyRefused("No API key found in request", "No `apikey` request header or url param was found.")
        if secrets.compare_digest(api_key, self.publishable_key):
            return ANONYMOUS
        if secrets.compare_digest(api_key, self.secret_key):
            if "Mozilla/" in user_agent:
                raise KeyRefused(
                    "Forbidden use of secret API key in browser",
                    "Secret API keys belong in a protected environment and must never be used in a browser.",
                )
            return SERVICE
        try:
            return self.verify(api_key)  # a legacy key is a token
        except TokenRefused:
            raise KeyRefused("Invalid API key", "Double check the API key that the stack printed.") from None

    def identify(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Identity:
        """
        Whom a request acts as.

        Raises:
            KeyRefused: see `key_identity`.
            TokenRefused: the user token in it does not verify.
        """
        key = self.key_identity(headers.get("apikey") or query.get("apikey"), headers.get("User-Agent", ""))
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token or token.startswith("sb_"):
            return key
        return self.verify(token)


def _new_keys() -> dict[str, str]:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "publishable_key": f"sb_publishable_{secrets.token_urlsafe(16)}",
        "secret_key": f"sb_secret_{secrets.token_urlsafe(24)}",
        "jwt_secret": secrets.token_urlsafe(48),
        "key_id": str(uuid.uuid4()),
        "private_key": pem.decode(),
    }
