"""The numbers that stand still as long as all goes well, each moved by its own event."""

import asyncio
import json
from typing import Any

import pytest

from tests.deploy.operating import operated
from tests.support.provider import running_provider
from tests.support.providers import Call, serving
from tests.support.waiting import until
from worker import roads
from worker.devstack.stack import Stack

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("fresh"),
]


def model(call: Call) -> Any:
    sent = json.loads(call.body["messages"][1]["content"])
    said = {"detected_source": "en", "items": [{"id": i["id"], "text": "La lámpara."} for i in sent["items"]]}
    message = {"index": 0, "finish_reason": "stop", "message": {"content": json.dumps(said)}}
    return {"choices": [message], "usage": {"total_tokens": 42}}


async def test_what_a_provider_counts_itself_is_told_in_its_units(stack: Stack) -> None:
    async with serving(model) as server:
        openai = {"openai_url": f"{server.url}/v1", "openai_model": "gpt-test", "openai_api_key": "sk-test-0123456789"}
        async with operated(stack, translator="openai", provider=openai) as worker:
            before = await worker.numbers()
            assert await worker.done(worker.project.user(credits=100), "es", content="The sixth lamp.") == "completed"
            after = await worker.numbers()

    assert before("worker_provider_units_total", provider="openai") == 0
    assert after("worker_provider_units_total", provider="openai") == 42 * len(server.posts)


async def test_a_frame_that_says_nothing_is_counted(stack: Stack) -> None:
    async with operated(stack) as worker:
        before = await worker.numbers()
        for socket in stack.realtime.sockets:
            socket.push_raw("{nonsense")
        await until(lambda: worker.worker.counters.undecoded, "it was noticed")
        after = await worker.numbers()

    assert (before("worker_undecoded_total"), after("worker_undecoded_total")) == (0, 1)


async def test_a_road_that_never_tells_is_counted(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roads, "_PATIENCE_SECONDS", 0.2)
    async with operated(stack, health_check_seconds=1, beat_seconds=0.5) as worker:
        await until(lambda: len(worker.worker.listener.roads) == 2, "both roads are proved")
        before = await worker.numbers()
        stack.faults.order(mute_table="translation_jobs")
        try:
            assert await worker.done(worker.project.user(credits=100), "es", content="The seventh lamp.") == "completed"
            await until(lambda: worker.worker.counters.unheard["changes"], "nobody waits for it any more")
        finally:
            stack.faults.clear()
        after = await worker.numbers()

    assert before("worker_unheard_total") == 0
    assert after("worker_unheard_total", road="changes") == 1


async def test_a_result_that_the_database_does_not_take_grows_old(stack: Stack) -> None:
    async with (
        running_provider() as server,
        operated(stack, translator="libretranslate", libretranslate_url=server.url) as worker,
    ):
        server.hold()
        user = worker.project.user(credits=100)
        job = asyncio.create_task(worker.done(user, "es", content="The eighth lamp."))
        await until(lambda: server.now == 1, "the provider is asked")
        before = await worker.numbers()
        with worker.project.session() as somebody:
            somebody.run("select from public.translation_job_items for update")
            server.release()
            await until(lambda: worker.worker.crew.recorder.lag_seconds > 0, "it is handed in")
            during = await worker.numbers()
        assert await job == "completed"
        after = await worker.numbers()

    assert before("worker_recorder_lag_seconds") == after("worker_recorder_lag_seconds") == 0
    assert during("worker_recorder_lag_seconds") > 0
