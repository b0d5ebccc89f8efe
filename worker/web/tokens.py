"""
Who is asking: a user's access token of the project, verified here before anything is forwarded.

Asymmetric tokens verify against the project's published keys (JWKS), legacy ones against SUPABASE_JWT_SECRET. The
rule: the key decides the algorithm, never the token. No secret of ours and no `none` ever verifies a token that names
an asymmetric algorithm, and the other way round. The database verifies the same token again.
"""

import uuid
from typing import Any, Final

import aiohttp
import jwt

from worker.web.callers import Caller
from worker.web.jwks import Jwks
from worker.web.refusals import Refusal, unauthorized

LEEWAY_SECONDS: Final = 30
_TOKEN_CHARS_MAX: Final = 16_384
_CLAIMS: Final = ("exp", "sub", "aud", "role")


class Tokens:
    def __init__(self, jwks: Jwks, *, secret: str | None = None, operator_claim: str = "") -> None:
        """
        *secret*: the legacy JWT secret; None: HS256 is refused. *operator_claim*: what of `app_metadata` is `true` for
        an operator; empty: nobody is one.
        """
        self._jwks = jwks
        self._secret = secret
        self._operator_claim = operator_claim

    async def caller(self, authorization: str | None) -> Caller:
        """
        Whom the `Authorization` header names.

        Raises:
            Refusal: 401 with the reason; 503 while the keys cannot be fetched.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise unauthorized("Send the user's access token: Authorization: Bearer ….")
        if token.startswith("sb_"):
            raise unauthorized("That is an API key: send the access token of a signed-in user.")
        if len(token) > _TOKEN_CHARS_MAX or not token.isascii():
            raise unauthorized("The access token cannot be read.")
        return _caller(token, await self._verified(token), self._operator_claim)

    async def _verified(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            key, algorithm = await self._key(header.get("alg"), header.get("kid"))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience="authenticated",
                leeway=LEEWAY_SECONDS,
                options={"require": list(_CLAIMS), "verify_iat": False},
            )
        except jwt.ExpiredSignatureError:
            raise unauthorized("The access token has expired: refresh it.") from None
        except jwt.InvalidAudienceError:
            raise unauthorized("The access token is meant for somebody else.") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            # Whatever else is wrong with it: a forger is not told what.
            raise unauthorized("The access token is not valid for this project.") from None
        return claims

    async def _key(self, algorithm: Any, key_id: Any) -> tuple[Any, str]:
        if algorithm == "HS256":
            if self._secret is None:
                raise jwt.InvalidAlgorithmError
            return self._secret, "HS256"
        try:
            found = await self._jwks.key(key_id) if isinstance(key_id, str) else None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Refusal(
                503,
                "keys_unavailable",
                "The project's keys cannot be fetched at the moment: try again in a few seconds.",
                headers={"Retry-After": "5"},
            ) from error
        if found is None or found.algorithm_name != algorithm:
            raise jwt.InvalidKeyError
        return found.key, found.algorithm_name


def _caller(token: str, claims: dict[str, Any], operator_claim: str) -> Caller:
    if claims["role"] != "authenticated":
        raise unauthorized("The access token is not a user's: sign in.")
    try:
        user_id = str(uuid.UUID(str(claims["sub"])))
        expires_at = float(claims["exp"])
    except ValueError:
        raise unauthorized("The access token is not valid for this project.") from None
    return Caller(user_id, token, expires_at, operator=_is_operator(claims, operator_claim))


def _is_operator(claims: dict[str, Any], name: str) -> bool:
    # Only app_metadata: a user writes his own user_metadata. And only true: a text "false" would be as good as it.
    given = claims.get("app_metadata")
    return bool(name) and isinstance(given, dict) and given.get(name) is True
