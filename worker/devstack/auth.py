"""
The Auth endpoint: enough for the official clients to sign up, sign in, refresh, read and change the user, sign out.

Every address is taken as confirmed, nothing is mailed. Access tokens are ES256 and verify against the served JWKS.
The rule: a refresh token works once, and using up one of a session that was signed out gets nothing.
"""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from worker.devstack.keys import SERVICE, Identity, KeyRefused, Keys, TokenRefused
from worker.devstack.pipeline import Disconnected, Pool, PoolExhausted, Refused, Rows, Statement

_PASSWORD_LENGTH_MIN = 6
_SCRYPT_COST = 2**12

_Handler = Callable[[web.Request], Awaitable[web.Response]]


class AuthRefused(Exception):
    """An error reply with the stable word that clients match."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": status, "error_code": code, "msg": message}


class Auth:
    """
    The endpoint over *pool*, whose connections are the superuser's.

    Args:
        token_seconds: how long an access token lives.
    """

    def __init__(self, pool: Pool, keys: Keys, *, token_seconds: int = 3600) -> None:
        self._pool = pool
        self._keys = keys
        self._token_seconds = token_seconds

    def routes(self) -> list[web.RouteDef]:
        answer = self._answer
        return [
            web.get("/auth/v1/.well-known/jwks.json", self._jwks),
            web.get("/auth/v1/health", self._health),
            web.post("/auth/v1/signup", answer(self._sign_up)),
            web.post("/auth/v1/token", answer(self._token)),
            web.get("/auth/v1/user", answer(self._get_user)),
            web.put("/auth/v1/user", answer(self._update_user)),
            web.post("/auth/v1/logout", answer(self._sign_out)),
            web.post("/auth/v1/admin/users", answer(self._create_user)),
            web.delete("/auth/v1/admin/users/{id}", answer(self._delete_user)),
        ]

    def _answer(self, handler: _Handler) -> _Handler:
        async def answered(request: web.Request) -> web.Response:
            try:
                self._keys.key_identity(request.headers.get("apikey") or request.query.get("apikey"))
                return await handler(request)
            except KeyRefused as refused:
                return web.json_response(refused.body, status=401)
            except TokenRefused as refused:
                return _refusal(AuthRefused(403, "bad_jwt", f"invalid JWT: {refused.message}"))
            except AuthRefused as refused:
                return _refusal(refused)
            except Refused as refused:
                return _refusal(AuthRefused(500, "unexpected_failure", f"Database error: {refused.message}"))
            except (Disconnected, PoolExhausted):
                return _refusal(AuthRefused(503, "unexpected_failure", "The database is away"))

        return answered

    # Routes

    async def _jwks(self, _request: web.Request) -> web.Response:
        return web.json_response(self._keys.jwks())

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"name": "GoTrue", "description": "the local stack's stand-in", "version": "v2"})

    async def _sign_up(self, request: web.Request) -> web.Response:
        body = await _body(request)
        email, password = body.get("email"), body.get("password")
        if not email and not password:
            user = await self._insert_user(None, None, body.get("data"))
        else:
            user = await self._insert_user(_text(email), _text(password), body.get("data"))
        return web.json_response(await self._session(request, user))

    async def _token(self, request: web.Request) -> web.Response:
        body = await _body(request)
        match request.query.get("grant_type"):
            case "password":
                user = await self._check_password(_text(body.get("email")), _text(body.get("password")))
                return web.json_response(await self._session(request, user))
            case "refresh_token":
                user, session_id = await self._use_refresh_token(_text(body.get("refresh_token")))
                return web.json_response(await self._session(request, user, session_id))
        raise AuthRefused(400, "validation_failed", "unsupported grant_type")

    async def _get_user(self, request: web.Request) -> web.Response:
        return web.json_response(await self._user(str(self._signed_in(request).claims["sub"])))

    async def _update_user(self, request: web.Request) -> web.Response:
        user_id = str(self._signed_in(request).claims["sub"])
        body = await _body(request)
        hashed = await _hash(_text(body["password"])) if body.get("password") else None
        email = body.get("email")
        data = json.dumps(body.get("data") or {})
        await self._run(_UPDATE_USER, user_id, hashed, email and _text(email).lower(), data)
        return web.json_response(await self._user(user_id))

    async def _sign_out(self, request: web.Request) -> web.Response:
        claims = self._signed_in(request).claims
        everywhere = request.query.get("scope", "global") == "global"
        await self._run(_END_SESSIONS, str(claims["sub"]), None if everywhere else str(claims["session_id"]))
        return web.Response(status=204)

    async def _create_user(self, request: web.Request) -> web.Response:
        self._service_only(request)
        body = await _body(request)
        user = await self._insert_user(
            _text(body.get("email")), body.get("password"), body.get("user_metadata"), body.get("app_metadata")
        )
        return web.json_response(user)

    async def _delete_user(self, request: web.Request) -> web.Response:
        self._service_only(request)
        await self._run("delete from auth.users where id = $1", request.match_info["id"])
        return web.json_response({})

    # Who is asking

    def _signed_in(self, request: web.Request) -> Identity:
        identity = self._keys.identify(request.headers, request.query)
        if "sub" not in identity.claims:
            raise AuthRefused(401, "no_authorization", "This endpoint requires a Bearer token")
        return identity

    def _service_only(self, request: web.Request) -> None:
        if self._keys.identify(request.headers, request.query).role != SERVICE.role:
            raise AuthRefused(403, "not_admin", "User not allowed")

    # Users and sessions

    async def _insert_user(
        self, email: str | None, password: str | None, data: Any, app_data: Any = None
    ) -> dict[str, Any]:
        if password is not None and len(password) < _PASSWORD_LENGTH_MIN:
            message = f"Password should be at least {_PASSWORD_LENGTH_MIN} characters."
            raise AuthRefused(422, "validation_failed", message)
        hashed = await _hash(password) if password is not None else None
        metadata = {"provider": "email", "providers": ["email"], **(app_data or {})} if email else app_data or {}
        values = [email and email.lower(), hashed, json.dumps(metadata), json.dumps(data or {})]
        try:
            rows = await self._run(_INSERT_USER, *values)
        except Refused as refused:
            if refused.sqlstate == "23505":
                raise AuthRefused(422, "user_already_exists", "User already registered") from None
            raise
        return await self._user(rows.text(0, 0) or "")

    async def _check_password(self, email: str, password: str) -> dict[str, Any]:
        rows = await self._run("select id, encrypted_password from auth.users where email = $1", email.lower())
        if not len(rows) or not await _matches(password, rows.text(0, 1)):
            raise AuthRefused(400, "invalid_credentials", "Invalid login credentials")
        return await self._user(rows.text(0, 0) or "")

    async def _use_refresh_token(self, token: str) -> tuple[dict[str, Any], str]:
        rows = await self._run(_USE_REFRESH_TOKEN, token)
        if not len(rows):
            raise AuthRefused(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
        return await self._user(rows.text(0, 0) or ""), rows.text(0, 1) or ""

    async def _session(
        self, request: web.Request, user: dict[str, Any], session_id: str | None = None
    ) -> dict[str, Any]:
        now = int(time.time())
        session_id = session_id or str(uuid.uuid4())
        claims = {
            "iss": f"{request.scheme}://{request.host}/auth/v1",
            "sub": user["id"],
            "aud": "authenticated",
            "role": "authenticated",
            "iat": now,
            "exp": now + self._token_seconds,
            "email": user["email"] or "",
            "phone": "",
            "app_metadata": user["app_metadata"],
            "user_metadata": user["user_metadata"],
            "aal": "aal1",
            "amr": [{"method": "anonymous" if user["is_anonymous"] else "password", "timestamp": now}],
            "session_id": session_id,
            "is_anonymous": user["is_anonymous"],
        }
        refresh_token = secrets.token_urlsafe(16)
        await self._run(_SIGNED_IN, refresh_token, user["id"], session_id)
        return {
            "access_token": self._keys.sign(claims),
            "token_type": "bearer",
            "expires_in": self._token_seconds,
            "expires_at": claims["exp"],
            "refresh_token": refresh_token,
            "user": user,
        }

    async def _user(self, user_id: str) -> dict[str, Any]:
        rows = await self._run(_USER, user_id)
        if not len(rows):
            raise AuthRefused(403, "user_not_found", "User from sub claim in JWT does not exist")
        user: dict[str, Any] = json.loads(rows.get(0, 0) or b"{}")
        return user

    async def _run(self, sql: str, *values: str | None) -> Rows:
        async with self._pool.connection() as connection:
            (rows,) = await connection.transact(Statement(sql, values))
            return rows


def _refusal(refused: AuthRefused) -> web.Response:
    return web.json_response(refused.body, status=refused.status)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise AuthRefused(400, "bad_json", "Could not read the request body as a JSON object")
    return body


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise AuthRefused(422, "validation_failed", "A required value is missing or is not a string")
    return value


async def _hash(password: str, salt: str | None = None) -> str:
    salt = salt or secrets.token_hex(16)
    derived = await asyncio.to_thread(
        hashlib.scrypt, password.encode(), salt=bytes.fromhex(salt), n=_SCRYPT_COST, r=8, p=1
    )
    return f"{salt}${derived.hex()}"


async def _matches(password: str, hashed: str | None) -> bool:
    salt, _, derived = (hashed or "").partition("$")
    return bool(derived) and hmac.compare_digest(await _hash(password, salt), f"{salt}${derived}")


_USER = """
select json_build_object(
  'id', id, 'aud', aud, 'role', role, 'email', email, 'phone', '', 'email_confirmed_at', email_confirmed_at,
  'confirmed_at', email_confirmed_at, 'last_sign_in_at', last_sign_in_at,
  'app_metadata', coalesce(raw_app_meta_data, '{}'), 'user_metadata', coalesce(raw_user_meta_data, '{}'),
  'identities', '[]'::json, 'created_at', created_at, 'updated_at', updated_at, 'is_anonymous', is_anonymous)
from auth.users where id = $1
"""

_INSERT_USER = """
insert into auth.users
  (email, encrypted_password, raw_app_meta_data, raw_user_meta_data, email_confirmed_at, is_anonymous)
values ($1, $2, $3, $4, now(), $1::text is null) returning id
"""

_UPDATE_USER = """
update auth.users set encrypted_password = coalesce($2, encrypted_password), email = coalesce($3, email),
  raw_user_meta_data = coalesce(raw_user_meta_data, '{}') || $4::jsonb, updated_at = now()
where id = $1
"""

_SIGNED_IN = """
with token as (insert into auth.refresh_tokens (token, user_id, session_id) values ($1, $2, $3))
update auth.users set last_sign_in_at = now() where id = $2
"""

# A client that refreshes twice at once is not an attacker: for ten seconds the used token still works.
_USE_REFRESH_TOKEN = """
update auth.refresh_tokens set used_at = coalesce(used_at, now())
where token = $1 and (used_at is null or used_at > now() - interval '10 seconds')
returning user_id, session_id
"""

_END_SESSIONS = "delete from auth.refresh_tokens where user_id = $1 and ($2::uuid is null or session_id = $2::uuid)"
