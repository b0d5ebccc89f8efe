"""Whole systems on triggers and drains: an image pack of a user, and a rollout with each of its switches."""

import json
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.acceptance import outside
from tests.acceptance.conftest import Workers
from tests.acceptance.test_on_request import KEY, ON_REQUEST, door
from tests.support.database import Database
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)

SIZES = ["16", "32", "64", "128", "256", "512"]
TOKEN = "the-fallback-s-own-token"

# Each picture is made by an endpoint of the owner's, which is another process.
PACK = """
    import os
    import aiohttp, pydantic
    import worker


    class Picture(pydantic.BaseModel):
        path: str


    @worker.handler("drained_pack", concurrency=2)
    async def drained_pack(ctx: worker.JobContext, picture: Picture) -> None:
        async with aiohttp.ClientSession() as http:
            async def make(size):
                said = {"path": picture.path, "size": size}
                async with http.post(os.environ["IMAGES_URL"] + "/" + size, json=said) as answer:
                    answer.raise_for_status()
                    return {"url": size + "/" + picture.path}

            await ctx.each(make)
"""


@pytest.fixture
async def endpoint() -> AsyncIterator[outside.Outside]:
    async with outside.running("endpoint") as running:
        yield running


async def calls(endpoint: outside.Outside) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as http, http.get(endpoint.url) as answer:
        return list(await answer.json())


@pytest.fixture
def pack(project: Database, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a worker that makes packs."""
    (tmp_path / "drained_packs.py").write_text(textwrap.dedent(PACK))
    project.run("insert into public.translation_job_types (name, price) values ('drained_pack', 2)")
    yield {"WORKER_MODULES": "drained_packs", "PYTHONPATH": str(tmp_path)}
    project.run("delete from public.translation_jobs where job_type = 'drained_pack'")
    project.run("delete from public.translation_job_types where name = 'drained_pack'")


def polled(project: Database, user: str, job_id: str) -> str:
    """As a browser asks: with the user's own token."""
    return str(project.rpc("get_translation_job", user, p_job_id=job_id)["status"])


async def test_image_packs_of_six_are_made_by_a_worker_that_a_clock_wakes(
    project: Database, workers: Workers, endpoint: outside.Outside, pack: dict[str, str]
) -> None:
    ada, bob = project.user(credits=100), project.user(credits=100)
    made = {
        user: project.rpc(
            "enqueue_translation_job",
            p_job_type="drained_pack",
            p_content={"path": f"{user}.png"},
            p_items=SIZES,
            p_user_id=user,
        )["id"]
        for user in (ada, bob)
    }
    async with (
        workers.start(**ON_REQUEST, **pack, IMAGES_URL=endpoint.url) as worker,
        door(worker) as there,
        outside.running("clock", f"{there.url}/api/internal/process", "not the key") as burglar,
        outside.running("clock", f"{there.url}/api/internal/process", KEY) as cron,
    ):
        refused = json.loads(await burglar.line())
        for user, job_id in made.items():
            await until(lambda: polled(project, user, job_id) == "completed", "the pack is made", seconds=60)  # noqa: B023
        drains = [json.loads(await cron.line())]
        while drains[-1][1].get("remaining") != 0:
            drains.append(json.loads(await cron.line()))

    assert (refused[0], refused[1]["error"]["code"]) == (401, "unauthorized")
    assert sum(said["completed"] for status, said in drains if status == 200) == 2
    asked = [(call["body"]["path"], call["body"]["size"]) for call in await calls(endpoint)]
    assert sorted(asked) == sorted((f"{user}.png", size) for user in (ada, bob) for size in SIZES)
    assert project.rpc("list_translation_jobs", ada)[0]["id"] == made[ada]
    assert len(project.rpc("list_translation_jobs", ada)) == 1
    picture = project.rpc("get_translation_result", ada, p_job_id=made[ada], p_item="64")
    assert picture["content"] == {"url": f"64/{ada}.png"}
    with pytest.raises(Exception, match="job_not_found"):
        project.rpc("get_translation_job", bob, p_job_id=made[ada])
    project.check_money()


@pytest.mark.parametrize(
    ("switches", "on"),
    [
        ({"JOBS_ENABLED": "per-trigger"}, set()),
        (
            {"USE_BG_JOBS_GLOBAL": "per-trigger", "USE_BG_JOBS_CRON": "true", "JOBS_ENABLED_MATCH": "true"},
            {"cron", "match"},
        ),
        ({"JOBS_ENABLED": "off", "JOBS_ENABLED_ADMIN": "true", "JOBS_ENABLED_CRON": "true"}, set()),
    ],
    ids=["each off", "admin off", "all off"],
)
async def test_what_is_switched_off_goes_the_old_way_once_and_everything_else_becomes_a_job(
    project: Database, workers: Workers, endpoint: outside.Outside, switches: dict[str, str], on: set[str]
) -> None:
    environment = {**ON_REQUEST, **switches, "FALLBACK_URL": f"{endpoint.url}/old", "FALLBACK_TOKEN": TOKEN}
    sent = {}
    async with workers.start(**environment) as worker, door(worker) as there:
        for kind in ("admin", "cron", "match"):
            body = {"kind": kind, "job_type": "translation", "content": f"The {kind} asks.", "items": ["es"]}
            headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": f"{kind}-1"}
            headers["X-Correlation-Id"] = f"of-{kind}"
            async with there.http.post(f"{there.url}/api/internal/jobs", headers=headers, json=body) as answer:
                sent[kind] = (answer.status, (await answer.json())["status"])
        drained = (await there.process())[1]
    found = await calls(endpoint)
    went = {call["body"]["kind"]: call for call in found}
    jobs = project.run("select correlation_id, status, idempotency_key from public.translation_jobs order by seq")

    assert sent == {kind: (202, "pending") if kind in on else (200, "fallback") for kind in ("admin", "cron", "match")}
    assert drained["completed"] == len(on)
    assert jobs == [
        {"correlation_id": f"of-{kind}", "status": "completed", "idempotency_key": f"{kind}-1"} for kind in sorted(on)
    ]
    assert set(went) == {"admin", "cron", "match"} - on
    assert len(found) == len(went), "once each"
    for kind, call in went.items():
        told = (call["path"], call["Authorization"], call["Idempotency-Key"])
        assert told == ("/old", f"Bearer {TOKEN}", f"{kind}-1")
