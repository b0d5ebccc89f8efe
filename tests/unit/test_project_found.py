"""What `worker verify` makes of a project's first answer, or of none."""

from typing import Any

import pytest

from worker import errors
from worker.rpc import Rpc
from worker.store import SCHEMA_VERSION, SCHEMA_VERSIONS_AHEAD
from worker.verify import project
from worker.verify.finding import Finding

FACTS = {"functions": {}, "role": "service_role", "schema_version": SCHEMA_VERSION}


class Project(Rpc):
    """Answers with a value, or raises it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def call(self, function: str, params: dict[str, Any], *, repeat_seconds: float = 0.0) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def told(findings: list[Finding]) -> dict[str, tuple[bool | None, str]]:
    return {finding.name: (finding.ok, finding.said) for finding in findings}


@pytest.mark.parametrize(
    ("answer", "name", "says"),
    [
        (["hello"], "address", "it does not answer like a Supabase project"),
        ({"functions_of": "another"}, "address", "it does not answer like a Supabase project"),
        (errors.SqlMissing("PGRST202"), "sql", "not installed"),
        (errors.StoreUnauthorized("PGRST106"), "address", "does not serve the schema public"),
        (errors.StoreUnauthorized("42501"), "role", "may not call translation_self_check"),
        (errors.StoreUnauthorized("HTTP 404"), "address", "something else answers there (HTTP 404)"),
        (errors.StoreUnauthorized("PGRST301"), "role", "the project refuses the key (PGRST301)"),
        (errors.StoreRefused("42703", "", "no such column"), "sql", "the self check fails (42703): no such column"),
        (errors.StoreUnavailable("no route"), "address", "no answer (no route)"),
    ],
)
async def test_a_project_that_tells_nothing_is_told_apart(answer: Any, name: str, says: str) -> None:
    facts, findings = await project.read(Project(answer))
    ok, said = told(findings)[name]

    assert (facts, ok) == (None, False)
    assert says in said


@pytest.mark.parametrize(
    ("changed", "name", "ok"),
    [
        ({}, "role", True),
        ({"role": "authenticated"}, "role", False),
        ({"schema_version": SCHEMA_VERSION - 1}, "sql", False),
        ({"schema_version": SCHEMA_VERSION + SCHEMA_VERSIONS_AHEAD}, "sql", True),
        ({"schema_version": SCHEMA_VERSION + SCHEMA_VERSIONS_AHEAD + 1}, "sql", False),
    ],
)
async def test_a_project_that_tells_is_read(changed: dict[str, Any], name: str, ok: bool) -> None:
    facts, findings = await project.read(Project(FACTS | changed))

    assert facts == FACTS | changed
    assert told(findings)[name][0] == ok


async def test_without_the_job_type_no_translation_can_be_made() -> None:
    found = await project.price(Project(None), {"job_types": {}})

    assert (found.ok, found.said) == (False, "there is no job type translation")
