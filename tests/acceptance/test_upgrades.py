"""The script under running workers, and workers beside a script that is newer than they."""

import pytest

from tests.acceptance.conftest import Workers
from tests.conftest import INSTALL
from tests.support.database import Database
from tests.support.provider import Provider
from tests.support.waiting import until
from worker.store import SCHEMA_VERSION

pytestmark = pytest.mark.timeout(180)

VERSION = """create or replace function translation_private.schema_version() returns int
             language sql immutable set search_path = '' as"""


def create(project: Database, user: str, *languages: str) -> str:
    asked = {"p_content": "The lamp is lit at dusk.", "p_target_languages": list(languages), "p_source_language": "en"}
    return str(project.rpc("create_translation_job", user, **asked)["id"])


async def ended(project: Database, job_id: str) -> str:
    status = "select status from public.translation_jobs where id = %s and completed_at is not null"
    return str(await until(lambda: project.value(status, job_id), "the job ends", seconds=60))


async def test_the_script_is_pasted_again_while_a_job_runs(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=100)
    server.hold()
    async with workers.with_provider(server) as worker:
        await worker.says("Realtime subscription active", seconds=60)
        job = create(project, user, "es", "fr")
        await until(lambda: server.now == 2, "the provider is asked", seconds=60)
        project.run(INSTALL)
        server.release()

        assert await ended(project, job) == "completed"
        assert await ended(project, create(project, user, "de")) == "completed"
        assert not [line for line in worker.lines if "ERROR" in line]
    assert project.rpc("get_translation_credits", user) == {"balance": 70, "reserved": 0}
    project.check_money()


async def test_sql_that_is_one_release_newer_is_worked_with_and_two_are_told_of(
    project: Database, workers: Workers
) -> None:
    user = project.user(credits=100)
    told = {}
    for ahead in (1, 2):
        project.run(f"{VERSION} $$ select {SCHEMA_VERSION + ahead} $$")
        try:
            async with workers.start() as worker:
                await worker.says("Realtime subscription active", seconds=60)
                assert await ended(project, create(project, user, "es")) == "completed"
        finally:
            project.run(INSTALL)
        told[ahead] = [line for line in worker.lines if "ERROR" in line]

    assert told[1] == []
    assert len(told[2]) == 1
    assert "Start a newer worker" in told[2][0]
