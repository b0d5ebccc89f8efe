"""Alive means working: who cannot reach the database says so, and then makes room for somebody who can."""

import contextlib
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import INSTALL
from tests.support.processes import running
from tests.support.waiting import until
from worker.devstack.stack import Stack

pytestmark = pytest.mark.timeout(90)

QUICK = {
    "EXIT_SECONDS": "5",
    "UNREADY_SECONDS": "1",
    "HEALTH_CHECK_SECONDS": "1",
    "BEAT_SECONDS": "0.5",
    "PORT": "0",
    "HOST": "127.0.0.1",
}


async def test_a_worker_whose_database_is_gone_is_not_ready_and_then_ends_with_1(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as project, contextlib.AsyncExitStack() as mine:
        stack = await project.enter_async_context(Stack(tmp_path, sql=[INSTALL]))
        environment = {"SUPABASE_URL": stack.urls.url, "SUPABASE_SECRET_KEY": stack.urls.secret_key, **QUICK}
        worker = await mine.enter_async_context(running("run", environment=environment))
        http = await mine.enter_async_context(aiohttp.ClientSession())
        (port,) = re.findall(r"port=(\d+)", await worker.says("HTTP listening"))
        await worker.says("Realtime subscription active")
        assert await _status(http, port, "ready") == 200
        await project.aclose()

        async def is_unready() -> bool:
            return await _status(http, port, "ready") == 503

        look: Callable[[], bool | Awaitable[bool]] = is_unready
        await until(look, "it is not ready")
        assert await _status(http, port, "health") == 200
        assert await worker.ended() == 1
        assert "has accepted nothing for" in worker.lines[-1]


async def _status(http: aiohttp.ClientSession, port: str, path: str) -> int:
    async with http.get(f"http://127.0.0.1:{port}/{path}") as answer:
        return answer.status
