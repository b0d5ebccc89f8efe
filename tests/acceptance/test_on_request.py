"""A worker that works only while a request is open: it does what the service does, and leaves nothing behind."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.acceptance.conftest import Workers
from tests.acceptance.test_corridor import create, job
from tests.support import processes
from tests.support.database import Database
from tests.support.provider import Provider
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)

KEY = "an internal key for the tests"
QUIET = {"PORT": "0", "HOST": "127.0.0.1", "INTERNAL_API_KEY": KEY, "SHUTDOWN_GRACE_SECONDS": "0.5"}
ON_REQUEST = {**QUIET, "WORK_ON": "request"}


@dataclass(frozen=True)
class Door:
    url: str
    http: aiohttp.ClientSession

    async def process(self, **limits: Any) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with self.http.post(f"{self.url}/api/internal/process", headers=headers, json=limits) as answer:
            return answer.status, await answer.json()

    async def ready(self) -> tuple[int, str]:
        async with self.http.get(f"{self.url}/ready") as answer:
            return answer.status, (await answer.json())["mode"]


@asynccontextmanager
async def door(worker: processes.Process) -> AsyncIterator[Door]:
    (port,) = re.findall(r"port=(\d+)", await worker.says("HTTP listening"))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        yield Door(f"http://127.0.0.1:{port}", http)


def report(**jobs: int) -> dict[str, int]:
    return {"processed": 0, "completed": 0, "failed": 0, "retrying": 0, "given_back": 0, "remaining": 0, **jobs}


def in_jobs(answer: tuple[int, dict[str, Any]]) -> dict[str, int]:
    status, said = answer
    assert status == 200, said
    assert said.pop("seconds") >= 0
    return said


async def test_a_drain_does_what_waits_within_its_limits_and_says_good_bye(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    made = [create(project, user, "es", "fr", content=f"Lamp {n} is lit.") for n in range(5)]
    async with workers.with_provider(server, **ON_REQUEST) as worker, door(worker) as there:
        assert await there.ready() == (200, "request")
        first = in_jobs(await there.process(max_jobs=2))
        states = [job(project, job_id)["status"] for job_id in made]
        second = in_jobs(await there.process())
        third = in_jobs(await there.process())
        seen = project.run("select mode, running from public.translation_workers")
        worker.signal(signal.SIGTERM)

        assert await worker.ended() == 0

    assert first == report(processed=2, completed=2, remaining=3)
    assert sorted(states) == ["completed"] * 2 + ["pending"] * 3
    assert second == report(processed=3, completed=3)
    assert third == report()
    assert seen == [{"mode": "stopping", "running": 0}]
    assert project.value("select count(*) from public.translation_job_claims") == 0
    assert not any("Realtime" in line for line in worker.lines)
    project.check_money()


async def test_a_second_request_is_told_so_and_one_that_goes_away_ends_the_drain_in_order(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    made = create(project, user, "es")
    server.hold()
    async with workers.with_provider(server, **ON_REQUEST) as worker, door(worker) as there:
        gone = asyncio.create_task(there.process(max_seconds=3000))
        await until(lambda: server.now == 1, "it works")
        second = await there.process()
        gone.cancel()
        await until(lambda: job(project, made)["status"] == "pending", "the job is given back")
        await worker.says("Drained")
        server.release()

        async def again() -> int:  # the first one may be saying good-bye
            return 1 if (await there.process())[0] == 200 else 0

        await until(again, "the next request is served")

    assert (second[0], second[1]["error"]["code"]) == (409, "drain_running")
    assert (job(project, made)["status"], job(project, made)["lost_count"]) == ("completed", 0)


async def test_a_sigterm_in_a_drain_gives_its_jobs_back_and_answers(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    made = create(project, user, "es")
    server.hold()
    async with workers.with_provider(server, **ON_REQUEST) as worker, door(worker) as there:
        asked = asyncio.create_task(there.process())
        await until(lambda: server.now == 1, "it works")
        worker.signal(signal.SIGTERM)

        assert in_jobs(await asked) == report(processed=1, given_back=1, remaining=1)
        assert await worker.ended() == 0

    assert (job(project, made)["status"], job(project, made)["lost_count"]) == ("pending", 0)
    server.release()


async def test_a_worker_that_always_works_tells_whoever_asks(project: Database, workers: Workers) -> None:
    user = project.user(credits=1000)
    async with workers.start(**QUIET) as worker, door(worker) as there:
        await worker.says("Job processor started")
        made = [create(project, user, "es", content=f"Lamp {n} is lit.") for n in range(3)]
        answer = in_jobs(await there.process())

    assert answer["remaining"] == 0
    assert {job(project, job_id)["status"] for job_id in made} == {"completed"}


async def test_the_drain_command_works_until_nothing_waits(project: Database, workers: Workers) -> None:
    user = project.user(credits=1000)
    made = [create(project, user, "es", content=f"Lamp {n} is lit.") for n in range(2)]
    async with workers.command("drain", "--max-jobs", "10", "--json") as worker:
        assert await worker.ended() == 0
        said = json.loads(next(line for line in worker.lines if line.startswith("{")))

    said.pop("seconds")
    assert said == report(processed=2, completed=2)
    assert {job(project, job_id)["status"] for job_id in made} == {"completed"}
