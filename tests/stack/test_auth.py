"""Signing up, in and out with the official Python client."""

from collections.abc import Awaitable, Callable

import httpx
import jwt
import pytest
from supabase_auth.errors import AuthApiError

from tests.stack.conftest import PASSWORD, Client, User
from worker.devstack.stack import Stack


async def test_a_user_signs_in_with_the_password_and_in_no_other_way(user: User) -> None:
    await user.client.auth.sign_out({"scope": "local"})
    signed_in = await user.client.auth.sign_in_with_password({"email": user.email.upper(), "password": PASSWORD})
    with pytest.raises(AuthApiError) as refused:
        await user.client.auth.sign_in_with_password({"email": user.email, "password": "wrong"})

    assert signed_in.user is not None
    assert signed_in.user.id == user.id
    assert refused.value.code == "invalid_credentials"


async def test_the_token_verifies_against_the_published_keys(stack: Stack, http: httpx.AsyncClient, user: User) -> None:
    published = (await http.get(f"{stack.urls.url}/auth/v1/.well-known/jwks.json")).json()["keys"]
    header = jwt.get_unverified_header(user.access_token)
    key = next(jwt.PyJWK(k) for k in published if k["kid"] == header["kid"])
    claims = jwt.decode(user.access_token, key, ["ES256"], audience="authenticated")

    assert (claims["sub"], claims["role"], claims["email"]) == (user.id, "authenticated", user.email)
    assert "d" not in published[0]


async def test_a_session_is_refreshed_and_its_old_token_is_spent(user: User) -> None:
    session = await user.client.auth.get_session()
    assert session is not None
    refreshed = await user.client.auth.refresh_session()
    with pytest.raises(AuthApiError) as refused:
        await user.client.auth.refresh_session("unknown")

    assert refreshed.session is not None
    assert refreshed.session.refresh_token != session.refresh_token
    assert refreshed.user is not None
    assert refreshed.user.id == user.id
    assert str(refused.value.code) == "refresh_token_not_found"


async def test_a_session_that_was_signed_out_is_not_refreshed(user: User) -> None:
    session = await user.client.auth.get_session()
    assert session is not None
    await user.client.auth.sign_out()
    with pytest.raises(AuthApiError):
        await user.client.auth.refresh_session(session.refresh_token)


async def test_the_user_is_read_and_changed(user: User) -> None:
    changed = await user.client.auth.update_user({"data": {"name": "Ada"}, "password": "another one"})
    read = await user.client.auth.get_user()
    await user.client.auth.sign_in_with_password({"email": user.email, "password": "another one"})

    assert changed.user.user_metadata == {"name": "Ada"}
    assert read is not None
    assert (read.user.email, read.user.user_metadata) == (user.email, {"name": "Ada"})


async def test_an_address_signs_up_once_and_a_password_has_a_length(user: User) -> None:
    for password, code in ((PASSWORD, "user_already_exists"), ("short", "validation_failed")):
        with pytest.raises(AuthApiError) as refused:
            await user.client.auth.sign_up({"email": user.email, "password": password})
        assert refused.value.code == code


async def test_a_visitor_can_be_anonymous(new_user: Callable[[], Awaitable[User]]) -> None:
    visitor = await new_user()
    signed_in = await visitor.client.auth.sign_in_anonymously()

    assert signed_in.user is not None
    assert signed_in.user.is_anonymous
    assert signed_in.user.id != visitor.id


async def test_only_the_service_makes_and_deletes_users(service: Client, user: User) -> None:
    made = await service.auth.admin.create_user(
        {"email": "made@example.org", "password": PASSWORD, "app_metadata": {"tier": "gold"}}
    )
    await service.auth.admin.delete_user(made.user.id)
    with pytest.raises(AuthApiError) as refused:
        await user.client.auth.sign_in_with_password({"email": "made@example.org", "password": PASSWORD})
    with pytest.raises(AuthApiError) as forbidden:
        await user.client.auth.admin.delete_user(user.id)

    assert made.user.app_metadata["tier"] == "gold"
    assert refused.value.code == "invalid_credentials"
    assert forbidden.value.code == "not_admin"
