"""The HTTP side of a real worker: a user's request goes in, a live stream shows it to its end, a terminal follows."""

import re
import signal
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest

from tests.acceptance.conftest import Workers
from tests.support import processes
from tests.support.database import Database
from tests.web.site import EventReader

pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True)
class Visitor:
    """A signed-in user at a worker's door."""

    url: str
    token: str
    http: aiohttp.ClientSession


@asynccontextmanager
async def portal(
    stack: Mapping[str, str], workers: Workers, **settings: str
) -> AsyncIterator[tuple[processes.Process, Visitor]]:
    key = stack["SUPABASE_PUBLISHABLE_KEY"]
    portal = {"PORT": "0", "HOST": "127.0.0.1", "SUPABASE_PUBLISHABLE_KEY": key, **settings}
    async with workers.start(**portal) as worker, aiohttp.ClientSession() as http:
        port = re.search(r'port"?[=:] ?(\d+)', await worker.says("HTTP listening"))
        assert port
        url = f"http://127.0.0.1:{port[1]}"
        sign_up = {"email": f"{uuid.uuid4().hex}@example.test", "password": "correct horse battery"}
        async with http.post(f"{workers.url}/auth/v1/signup", headers={"apikey": key}, json=sign_up) as answer:
            token = (await answer.json())["access_token"]
        await worker.says("Realtime subscription active")
        yield worker, Visitor(url, token, http)


async def test_a_job_goes_in_by_http_and_is_seen_to_its_end(
    project: Database, stack: Mapping[str, str], workers: Workers
) -> None:
    project.price(0)
    async with portal(stack, workers, LOG_JSON="true") as (worker, visitor):
        headers = {"Authorization": f"Bearer {visitor.token}", "X-Request-ID": "order-4711"}
        async with visitor.http.get(f"{visitor.url}/api/stream", headers=headers) as stream:
            live = EventReader(stream)
            await live.named("snapshot")
            new = {"content": "The ferry leaves at noon.", "target_languages": ["es", "fr"]}
            async with visitor.http.post(f"{visitor.url}/api/jobs", headers=headers, json=new) as answer:
                assert answer.status == 202, await answer.text()
                job_id = (await answer.json())["job_id"]
            seen = await live.until(lambda name, data: name == "job" and data["status"] == "completed", seconds=30)
        async with visitor.http.get(f"{visitor.url}/api/jobs/{job_id}/items/es", headers=headers) as answer:
            result = await answer.json()

        assert (seen["id"], seen["progress"], seen["simulated"]) == (job_id, 100, True)
        assert result["simulated"] is True
        # The same id on the request's own line and on those of the job that came of it.
        lines = [line for line in worker.lines if "order-4711" in line]
        assert any("Request answered" in line for line in lines)
        assert any("Job run ended" in line for line in lines)
        assert not any(visitor.token in line for line in worker.lines)


async def test_a_worker_that_stops_lets_its_streams_go(
    project: Database, stack: Mapping[str, str], workers: Workers
) -> None:
    async with portal(stack, workers) as (worker, visitor):
        headers = {"Authorization": f"Bearer {visitor.token}"}
        async with visitor.http.get(f"{visitor.url}/api/stream", headers=headers) as stream:
            live = EventReader(stream)
            await live.named("snapshot")
            worker.signal(signal.SIGTERM)

            assert await live.named("close") == {"reason": "server stops"}
        assert await worker.ended(seconds=10) == 0


@pytest.mark.parametrize("by_stream", [True, False], ids=["by stream", "by asking"])
async def test_a_terminal_watches_a_job_to_its_end(
    project: Database, stack: Mapping[str, str], workers: Workers, by_stream: bool
) -> None:
    project.price(0)
    async with portal(stack, workers) as (worker, visitor):
        terminal = {
            "SUPABASE_URL": workers.url,
            "SUPABASE_PUBLISHABLE_KEY": stack["SUPABASE_PUBLISHABLE_KEY"],
            "SUPABASE_ACCESS_TOKEN": visitor.token,
            **({"WORKER_URL": visitor.url} if by_stream else {}),
        }
        create = ("jobs", "create", "The ferry leaves at noon.", "--to", "es,fr")
        async with processes.running(*create, environment=terminal) as made:
            job_id = (await made.says(r"^[0-9a-f-]{36}$")).strip()
        async with processes.running("jobs", "watch", job_id, environment=terminal) as watching:
            assert await watching.ended(seconds=30) == 0
            assert "completed" in "\n".join(watching.lines)
        if by_stream:
            assert any("/api/jobs/{id}/stream" in line for line in worker.lines)


async def test_ctrl_c_leaves_a_list_that_is_watched(
    project: Database, stack: Mapping[str, str], workers: Workers
) -> None:
    project.price(0)
    async with portal(stack, workers) as (_, visitor):
        terminal = {
            "SUPABASE_URL": workers.url,
            "SUPABASE_PUBLISHABLE_KEY": stack["SUPABASE_PUBLISHABLE_KEY"],
            "SUPABASE_ACCESS_TOKEN": visitor.token,
            "WORKER_URL": visitor.url,
        }
        async with processes.running("jobs", "list", "--watch", environment=terminal) as watching:
            await watching.says("created")
            headers = {"Authorization": f"Bearer {visitor.token}"}
            new = {"content": "Good evening.", "target_languages": ["es"], "title": "Evening"}
            async with visitor.http.post(f"{visitor.url}/api/jobs", headers=headers, json=new) as answer:
                assert answer.status == 202
            await watching.says("Evening")
            watching.signal(signal.SIGINT)

            assert await watching.ended(seconds=10) == 130
            assert not any("Traceback" in line for line in watching.lines)
