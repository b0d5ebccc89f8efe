"""What a wrong configuration gets: one sentence with the cure, and exit 2."""

import pytest

from tests.acceptance.conftest import Workers
from tests.support.database import Database


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SUPABASE_URL": ""}, "SUPABASE_URL"),
        ({"SUPABASE_SECRET_KEY": "sb_secret_wrong"}, "SUPABASE_SECRET_KEY"),
        ({"SUPABASE_SECRET_KEY": "sb_secret_x\r"}, "SUPABASE_SECRET_KEY.*line end"),
        ({"SUPABASE_URL": "http://127.0.0.1:9", "START_SECONDS": "0"}, "SUPABASE_URL"),
        ({"LEASE_SECONDS": "soon"}, "LEASE_SECONDS.*soon"),
        ({"TRANSLATOR": "babelfish"}, "TRANSLATOR.*babelfish"),
        ({"MAX_CONCURRENT_JOBS": "0"}, "MAX_CONCURRENT_JOBS"),
        ({"JOB_TYPES": "translation,thumbnail"}, "JOB_TYPES.*no handler for thumbnail"),
    ],
)
async def test_a_wrong_setting_stops_the_start_with_one_sentence(
    project: Database, workers: Workers, environment: dict[str, str], sentence: str
) -> None:
    async with workers.start(**environment) as worker:
        await worker.says(sentence)
        assert await worker.ended() == 2
    assert not any("Traceback" in line for line in worker.lines)


async def test_a_project_without_the_sql_is_told_what_to_run(project: Database, workers: Workers) -> None:
    hidden = "alter function public.heartbeat_translation_worker(text, jsonb) rename to hidden_heartbeat"
    project.run(f"{hidden}; notify pgrst, 'reload schema'")
    try:
        async with workers.start() as worker:
            await worker.says("worker sql")
            assert await worker.ended() == 2
    finally:
        project.run(
            """alter function public.hidden_heartbeat(text, jsonb) rename to heartbeat_translation_worker;
               notify pgrst, 'reload schema'"""
        )


async def test_an_older_sql_is_told_to_be_upgraded(project: Database, workers: Workers) -> None:
    version = """create or replace function translation_private.schema_version() returns int
                 language sql immutable set search_path = '' as"""
    project.run(f"{version} $$ select 0 $$")
    try:
        async with workers.start() as worker:
            await worker.says("worker sql")
            assert await worker.ended() == 2
    finally:
        project.run(f"{version} $$ select 1 $$")
