"""Every address of the HTTP side, asked by everybody: it answers whom `permissions.toml` says and nobody else."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.security.doors import INTERNAL_KEY, Doors
from tests.security.permissions import PERMISSIONS
from tests.security.project import Project

pytestmark = pytest.mark.asyncio(loop_scope="session")

JOB = "/{id}"
CALLERS = ["nobody", "publishable", "secret", "internal", "ada", "bob", "operator"]
USERS = ("ada", "bob", "operator")
LET_IN = 0


def bearer(project: Project, who: str) -> str | None:
    if who in USERS:
        return project.keys.sign(project.claims(who))
    keys = {
        "publishable": project.keys.publishable_key,
        "secret": project.keys.secret_key,
        "internal": INTERNAL_KEY,
    }
    return keys.get(who)


def expected(route: str, whose: str, who: str) -> int:
    """The status for *who*; LET_IN: anything that no stranger gets."""
    if whose == "anyone":
        return LET_IN
    if whose == "internal":
        return LET_IN if who == "internal" else 403 if who in USERS else 401
    if who not in USERS:
        return 401
    if whose == "operator":
        return LET_IN if who == "operator" else 403
    return 404 if JOB in route and who != "ada" else LET_IN


def asked() -> Iterator[tuple[str, str]]:
    for whose, routes in PERMISSIONS.routes.items():
        for route in routes:
            yield whose, route


def addressed(path: str, job_id: str) -> str:
    return path.format(id=job_id, item="es", signature="0" * 16, name="none", build="b", path="p")


async def test_every_address_stands_on_the_page(doors: Doors) -> None:
    assert doors.served() == sorted(route for _, route in asked())


@pytest.mark.parametrize("who", CALLERS)
async def test_an_address_answers_whom_the_page_names(doors: Doors, who: str) -> None:
    """Of ada's finished job, with bodies that say nothing: whoever is let in changes nothing."""
    job = doors.project.done["ada"]
    token = bearer(doors.project, who)
    for whose, route in asked():
        method, path = route.split()
        status = expected(route, whose, who)
        how: dict[str, Any] = {"json": {}} if method == "POST" else {}
        answer = await doors.ask(method, addressed(path, job), token, **how)
        if status == LET_IN:
            assert answer.status not in (401, 403, 500), (route, answer)
        else:
            assert answer.status == status, (route, answer)
            # And it does not tell whether there is such a job.
            assert answer.body == (await doors.ask(method, addressed(path, str(uuid.uuid4())), token, **how)).body, (
                route
            )
