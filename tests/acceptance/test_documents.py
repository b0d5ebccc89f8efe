"""A document of three hundred chunks: watched live from another process while its worker is killed in the middle."""

import signal
from collections.abc import Mapping

import pytest

from tests.acceptance.conftest import Workers
from tests.acceptance.test_corridor import create, document
from tests.acceptance.test_portal import portal
from tests.support.database import Database, Row
from tests.support.provider import Provider
from tests.support.waiting import until
from tests.web.site import EventReader

pytestmark = pytest.mark.timeout(300)

CHUNKS = 300
PARAGRAPHS = 3_000


async def test_three_hundred_chunks_are_seen_to_their_end_across_a_kill(
    project: Database, stack: Mapping[str, str], workers: Workers, server: Provider
) -> None:
    """The stream is another worker's, which translates nothing: it shows what the database says."""
    many = {"PROVIDER_CONCURRENCY": "4", "MAX_CONCURRENT_LANGUAGES": "1"}
    server.hold_after_calls = CHUNKS // 2
    async with portal(stack, workers, JOB_TYPES="http") as (_, visitor):
        user = str(project.value("select id from auth.users"))
        project.rpc("grant_translation_credits", p_user_id=user, p_amount=30)
        job_id = create(project, user, "es", content=document(PARAGRAPHS), content_kind="markdown")
        address = f"{visitor.url}/api/jobs/{job_id}/stream"
        async with visitor.http.get(address, headers={"Authorization": f"Bearer {visitor.token}"}) as stream:
            live = EventReader(stream)
            await live.named("snapshot")
            async with workers.with_provider(server, WORKER_ID="first", **many) as first:
                half = await live.until(
                    lambda name, data: name == "job" and data["chunks_done"] > CHUNKS // 4 and data["eta_seconds"],
                    seconds=120,
                )
                await until(lambda: not server.gate.is_set(), "half of the calls are made", seconds=120)
                first.signal(signal.SIGKILL)
                await first.ended()
            server.hold_after_calls = None
            server.release()
            async with workers.with_provider(server, WORKER_ID="second", **many):
                end: Row = await live.until(
                    lambda name, data: name == "job" and data["status"] == "completed", seconds=120
                )
                await live.named("close")

    assert half["chunks_total"] >= CHUNKS
    assert 0 < half["progress"] < 100
    assert end["chunks_done"] == end["chunks_total"] < CHUNKS, "the second one had the rest to do"
    assert end["progress"] == 100
    assert (end["attempts"], end["credits_consumed"], end["credits_refunded"]) == (1, 10, 0)
    assert server.calls >= CHUNKS
    assert server.repeated_calls <= 4, "only what was under way at the kill is asked for again"
    project.check_money()
