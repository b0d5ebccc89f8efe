"""What a running worker does for the whole project: messages of a queue become jobs, and old jobs go."""

import json
from collections.abc import Iterator, Mapping

import psycopg
import pytest

from tests.acceptance.conftest import Workers
from tests.support import pgmq
from tests.support.database import Database
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def queue(project: Database, stack: Mapping[str, str]) -> Iterator[Database]:
    """A queue `notices` of a stand-in for pgmq, into which workers look each second."""
    admin_url = stack["ADMIN_DATABASE_URL"]
    pgmq.install(admin_url)
    project.run("select pgmq.create('notices')")
    project.run(
        """insert into public.translation_queues (name, job_type, defaults, worker_seconds)
           values ('notices', 'translation', '{"items": ["es"]}', 1)"""
    )
    yield project
    project.run("delete from public.translation_queues")
    project.run("delete from public.translation_queue_refusals")
    with psycopg.connect(admin_url, autocommit=True) as admin:
        admin.execute("drop schema pgmq cascade")


async def test_messages_become_jobs_that_are_done_and_each_of_them_once(queue: Database, workers: Workers) -> None:
    def send(*messages: object) -> None:
        for message in messages:
            queue.run("select pgmq.send('notices', %s::jsonb)", json.dumps(message))

    done = "select count(*) from public.translation_jobs where status = 'completed'"
    send({"content": "The ferry leaves at noon."}, "no object")
    async with workers.start(), workers.start():
        await until(lambda: queue.value(done) == 1, "the first message is a finished job", seconds=40)
        send(*({"content": f"The ferry leaves at {hour}."} for hour in range(1, 9)))
        await until(lambda: queue.value(done) == 9, "the others too", seconds=40)

    assert queue.value("select count(*) from public.translation_jobs") == 9
    assert queue.value("select count(*) from pgmq.q_notices") == 0
    assert queue.value("select count(*) from pgmq.a_notices") == 10
    assert queue.run("select word from public.translation_queue_refusals") == [{"word": "message_malformed"}]


async def test_old_jobs_go_by_themselves(project: Database, workers: Workers) -> None:
    project.run("update translation_private.chores set due_at = now() where name = 'purge'")
    project.run(
        """insert into public.translation_jobs (job_type, status, revision, completed_at)
           select 'translation', 'completed', 1, now() - make_interval(days => 89 + 2 * (n % 2))
           from generate_series(1, 20) as n"""
    )
    left = "select count(*) from public.translation_jobs"
    async with workers.start() as worker:
        await until(lambda: project.value(left) == 10, "what ended 91 days ago is deleted", seconds=40)
        await worker.says("Old jobs deleted")

    assert project.value("select due_at > now() from translation_private.chores where name = 'purge'")
