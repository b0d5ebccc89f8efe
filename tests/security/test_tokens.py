"""Every token and key of `forged.py` at every door: the gateway, the HTTP API, and a private topic of Realtime."""

import asyncio
import uuid

import pytest

from tests.security.doors import INTERNAL_KEY, Doors
from tests.security.forged import ADA, ANON, FORWARDED, KEYS, NOBODY, OPERATOR_CLAIM, REFUSED, SERVICE, TOKENS, claims
from tests.security.permissions import PERMISSIONS
from tests.security.project import Project
from tests.web.site import Answer

pytestmark = pytest.mark.asyncio(loop_scope="session")

WHOSE = "translation_jobs?select=user_id"
REFUSALS = (400, 401, 403)
# Of one job and of none, of reading, writing and a stream: whoever is refused at one is refused at all, since they
# share what identifies (test_routes tries them all).
ADDRESSES = ["GET /api/jobs", "GET /api/jobs/{id}", "DELETE /api/jobs/{id}", "GET /api/stream", "GET /api/ops/stats"]


def seen_as(project: Project, answer: Answer) -> str:
    """Whom the gateway took for the sender, by the rows it gave."""
    if answer.status == 401 and answer.json.get("code") == "42501":
        return ANON  # who has no right to the table
    if answer.status in REFUSALS:
        return REFUSED
    assert answer.status == 200, answer.body
    owners = {row["user_id"] for row in answer.json}
    if not owners:
        return NOBODY
    return ADA if owners == {project.ids["ada"]} else SERVICE


@pytest.mark.parametrize("name", TOKENS)
async def test_a_token_is_taken_for_what_it_is_at_every_door(doors: Doors, name: str) -> None:
    project, row = doors.project, TOKENS[name]
    token = row.make(project.keys, claims(project.ids["ada"]))

    asked = await doors.rest("GET", WHOSE, {"apikey": project.keys.publishable_key, "Authorization": f"Bearer {token}"})
    assert seen_as(project, asked) == row.gateway, asked.body

    # Whoever is let into the API is its user and no more.
    if row.api != REFUSED:
        operators = await doors.ask("GET", "/api/ops/stats", token)
        assert (operators.status, operators.code) == (403, "operators_only")
    if row.api == ADA:
        own = await doors.ask("GET", "/api/jobs", token)
        assert {job["id"] for job in own.json["jobs"]} == project.jobs["ada"]
    else:
        for address in ADDRESSES[: -1 if row.api == FORWARDED else None]:
            method, path = address.split()
            answer = await doors.ask(method, path.format(id=min(project.jobs["ada"])), token)
            assert answer.status in (400, 401), (address, answer.body)
            assert project.ids["ada"].encode() not in answer.body

    reply = await join(doors, PERMISSIONS.private_topics[0], token) if len(token) < 8_000 else "error"
    assert reply == ("ok" if row.gateway == SERVICE else "error")


async def join(doors: Doors, topic: str, token: str, apikey: str = "") -> str:
    """The status of the reply to a join of a private topic."""
    urls = doors.project.stack.urls
    address = f"{urls.url}/realtime/v1/websocket?vsn=1.0.0&apikey={apikey or urls.publishable_key}"
    config = {"broadcast": {}, "private": True}
    join = {"topic": f"realtime:{topic}", "event": "phx_join", "ref": "1", "join_ref": "1"}
    async with asyncio.timeout(20), doors.http.ws_connect(address) as ws:
        await ws.send_json({**join, "payload": {"config": config, "access_token": token}})
        while (frame := await ws.receive_json())["event"] != "phx_reply":
            pass
        return str(frame["payload"]["status"])


@pytest.mark.parametrize("name", KEYS)
async def test_a_key_is_taken_for_what_it_is(doors: Doors, name: str) -> None:
    project, row = doors.project, KEYS[name]
    good = project.keys.sign(claims(project.ids["ada"]))
    headers = {"User-Agent": row.agent}
    if row.apikey is not None:
        headers["apikey"] = row.apikey(project.keys)
    if row.bearer is not None:
        headers["Authorization"] = f"Bearer {row.bearer(project.keys, good)}"

    assert seen_as(project, await doors.rest("GET", WHOSE, headers)) == row.is_seen
    # The API's own door takes users' tokens in one header and keys in none.
    if row.bearer is None:
        assert (await doors.ask("GET", "/api/jobs", more=headers)).status == 401


async def test_operators_are_made_by_the_project_alone(doors: Doors) -> None:
    """Every way in which a user could name himself one: what he writes of himself is in `user_metadata`."""
    project = doors.project
    good = claims(project.ids["ada"], user_metadata={OPERATOR_CLAIM: True}, **{OPERATOR_CLAIM: True})
    token = project.keys.sign(good)
    headers = {"apikey": project.keys.publishable_key, "Authorization": f"Bearer {token}"}

    assert (await doors.ask("GET", "/api/ops/stats", token)).status == 403
    changed = {"data": {OPERATOR_CLAIM: True}, "app_metadata": {OPERATOR_CLAIM: True}, "role": "service_role"}
    async with doors.http.put(f"{project.stack.urls.url}/auth/v1/user", headers=headers, json=changed) as answer:
        user = await answer.json()
    assert (OPERATOR_CLAIM in user["app_metadata"], user["role"]) == (False, "authenticated")


@pytest.mark.parametrize(
    ("bearer", "status"),
    [
        ("", 401),
        ("wrong", 401),
        (INTERNAL_KEY[:-1], 401),
        (INTERNAL_KEY + "x", 401),
        (INTERNAL_KEY.upper(), 401),
        ("é" * 8, 401),
        ("' or '1'='1", 401),
        ("ada", 403),
        ("operator", 403),
        ("publishable", 401),
        ("secret", 401),
    ],
)
async def test_only_its_own_key_opens_the_internal_api(doors: Doors, bearer: str, status: int) -> None:
    project = doors.project
    keys = {"publishable": project.keys.publishable_key, "secret": project.keys.secret_key}
    tokens = {who: project.keys.sign(project.claims(who)) for who in ("ada", "operator")}
    before = project.database.value("select count(*) from public.translation_jobs")
    for path in ("/api/internal/jobs", "/api/internal/process"):
        answer = await doors.ask("POST", path, {**keys, **tokens}.get(bearer, bearer), json={})
        assert answer.status == status, answer.body

    assert project.database.value("select count(*) from public.translation_jobs") == before


async def test_the_internal_key_opens_nothing_else(doors: Doors) -> None:
    for address in ADDRESSES:
        method, path = address.split()
        assert (await doors.ask(method, path.format(id=uuid.uuid4()), INTERNAL_KEY)).status == 401
    headers = {"apikey": doors.project.keys.publishable_key, "Authorization": f"Bearer {INTERNAL_KEY}"}
    assert (await doors.rest("GET", WHOSE, headers)).status == 401
    assert (await doors.rest("GET", WHOSE, {"apikey": INTERNAL_KEY})).status == 401
