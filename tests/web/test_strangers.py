"""
Two users on every route: nobody sees or infers what is another's.

Who is not who they say is tried at every door in tests/security.
"""

import time
from typing import Any

import pytest

from tests.security.forged import es256
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
