"""What the official client never sends to Auth, over plain HTTP."""

from typing import Any

import httpx
import pytest

from tests.stack.conftest import Client, User
from worker.devstack.stack import Stack


async def post(stack: Stack, http: httpx.AsyncClient, path: str, **more: Any) -> tuple[int, str]:
    """Status and code of the answer, asked with the publishable key."""
    answer = await http.post(f"{stack.urls.url}/auth/v1{path}", headers={"apikey": stack.urls.publishable_key}, **more)
    return answer.status_code, answer.json()["error_code"]


async def test_another_kind_of_grant_is_refused(stack: Stack, http: httpx.AsyncClient) -> None:
    assert await post(stack, http, "/token?grant_type=pkce", json={}) == (400, "validation_failed")


@pytest.mark.parametrize("body", ["{", "[]", "3"])
async def test_a_body_that_is_no_object_is_refused(stack: Stack, http: httpx.AsyncClient, body: str) -> None:
    assert await post(stack, http, "/signup", content=body) == (400, "bad_json")


@pytest.mark.parametrize("body", [{"email": 3, "password": "long enough"}, {"email": "a@example.org", "password": ""}])
async def test_a_value_that_is_no_text_is_refused(
    stack: Stack, http: httpx.AsyncClient, body: dict[str, object]
) -> None:
    assert await post(stack, http, "/signup", json=body) == (422, "validation_failed")


async def test_what_the_database_cannot_store_is_its_error(stack: Stack, http: httpx.AsyncClient) -> None:
    assert await post(stack, http, "/signup", json={"data": {"name": "\0"}}) == (500, "unexpected_failure")


async def test_a_key_alone_is_nobody(stack: Stack, http: httpx.AsyncClient) -> None:
    asked = await http.get(f"{stack.urls.url}/auth/v1/user", headers={"apikey": stack.urls.publishable_key})

    assert (asked.status_code, asked.json()["error_code"]) == (401, "no_authorization")


async def test_a_token_outlives_its_user_but_means_nobody(
    stack: Stack, http: httpx.AsyncClient, service: Client, user: User
) -> None:
    await service.auth.admin.delete_user(user.id)
    headers = {"apikey": stack.urls.publishable_key, "authorization": f"Bearer {user.access_token}"}
    asked = await http.get(f"{stack.urls.url}/auth/v1/user", headers=headers)

    assert (asked.status_code, asked.json()["error_code"]) == (403, "user_not_found")
