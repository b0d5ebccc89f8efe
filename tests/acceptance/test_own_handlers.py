"""An owner's handlers in a real worker: an image pack survives a kill, types keep their limits, blockers are named."""

import signal
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Workers
from tests.acceptance.test_corridor import ended, job
from tests.support.database import Database
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)

WIDTHS = ("16", "32", "64", "128", "256", "512")

# What it made is counted in a file each, so that two workers can be asked; `gate` is a file a test makes.
HANDLERS = """
    import asyncio, pathlib, time
    import pydantic
    import worker

    HOME = pathlib.Path(__file__).parent


    class Picture(pydantic.BaseModel):
        path: str


    def note(line):
        with (HOME / "made.txt").open("a") as book:
            book.write(line + "\\n")


    async def gate(name):
        while not (HOME / name).exists():
            await asyncio.sleep(0.02)


    @worker.handler("image_pack", lease_seconds=4)
    async def image_pack(ctx: worker.JobContext, picture: Picture) -> None:
        for done, width in enumerate(ctx.items):
            if width == "128":
                await gate("go")
            note(width)
            await ctx.item(width, {"path": f"{width}/{picture.path}"})
            ctx.progress(done + 1, len(ctx.job.items), f"{width} pixels")


    @worker.handler("one_at_a_time", concurrency=1)
    async def one_at_a_time(ctx: worker.JobContext) -> None:
        note("in")
        await asyncio.sleep(0.05)
        note("out")


    @worker.handler("blocking", lease_seconds=120)
    async def blocking(ctx: worker.JobContext) -> None:
        while not (HOME / "told").exists():
            time.sleep(0.05)
"""
TYPES = ("image_pack", "one_at_a_time", "blocking")


@pytest.fixture
def own(project: Database, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a worker with these handlers; their types are there."""
    (tmp_path / "own_handlers.py").write_text(textwrap.dedent(HANDLERS))
    for name in TYPES:
        project.run("insert into public.translation_job_types (name) values (%s) on conflict do nothing", name)
    yield {"WORKER_MODULES": "own_handlers", "PYTHONPATH": str(tmp_path), "SHUTDOWN_GRACE_SECONDS": "0"}
    project.run("delete from public.translation_jobs where job_type = any (%s)", list(TYPES))
    project.run("delete from public.translation_job_types where name = any (%s)", list(TYPES))


def enqueue(project: Database, job_type: str, **more: Any) -> str:
    call = {"p_job_type": job_type, "p_content": {}} | {f"p_{name}": value for name, value in more.items()}
    return str(project.rpc("enqueue_translation_job", **call)["id"])


def made(tmp_path: Path) -> list[str]:
    book = tmp_path / "made.txt"
    return book.read_text().split() if book.exists() else []


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_a_pack_of_six_images_goes_on_where_it_was(
    project: Database, workers: Workers, own: dict[str, str], tmp_path: Path, end: signal.Signals
) -> None:
    job_id = enqueue(project, "image_pack", content={"path": "cards/42.png"}, items=list(WIDTHS))
    async with workers.start(**own) as first:
        await until(
            lambda: sum(item["status"] == "completed" for item in job(project, job_id)["items"]) == 3,
            "three of the six are stored while the others are still to be made",
        )
        first.signal(end)
        await first.ended()
    (tmp_path / "go").touch()
    async with workers.start(**own):
        (row,) = await ended(project, job_id)

    assert (row["status"], row["progress"], row["deliveries"]) == ("completed", 100, 2)
    assert made(tmp_path) == list(WIDTHS), "nothing is made twice"
    results = {item["item"]: item["status"] for item in row["items"]}
    assert results == dict.fromkeys(WIDTHS, "completed")
    assert project.rpc("get_translation_result", p_job_id=job_id, p_item="512")["content"] == {
        "path": "512/cards/42.png"
    }


async def test_a_type_with_a_limit_never_runs_more_often_at_once(
    project: Database, workers: Workers, own: dict[str, str], tmp_path: Path
) -> None:
    jobs = [enqueue(project, "one_at_a_time") for _ in range(8)]
    async with workers.start(MAX_CONCURRENT_JOBS="6", **own):
        rows = await ended(project, *jobs)

    assert {row["status"] for row in rows} == {"completed"}
    assert made(tmp_path) == ["in", "out"] * 8


async def test_a_handler_that_blocks_is_named_and_harms_nobody(
    project: Database, workers: Workers, own: dict[str, str], tmp_path: Path
) -> None:
    """The lease of its type outlasts it, and what came meanwhile is done afterwards."""
    async with workers.start(**own) as worker:
        await worker.says("Job processor started")
        blocking = enqueue(project, "blocking")
        line = await worker.says("Event loop blocked")
        other = enqueue(project, "image_pack", content={"path": "a"}, items=["16"])
        (tmp_path / "told").touch()
        rows = await ended(project, blocking, other)

    assert "handler=own_handlers.blocking" in line
    assert "job_type=blocking" in line
    assert [(row["status"], row["deliveries"]) for row in rows] == [("completed", 1)] * 2


async def test_a_handler_without_its_type_is_named_with_the_statement(
    project: Database, workers: Workers, own: dict[str, str]
) -> None:
    project.run("delete from public.translation_job_types where name = 'blocking'")
    async with workers.start(**own) as worker:
        await worker.says("Job processor started")
        line = await worker.says("has no job type in the database")

    assert "insert into public.translation_job_types (name) values ('blocking')" in line
    assert Counter("has no job type" in one for one in worker.lines)[True] == 1


async def test_a_module_that_cannot_work_stops_the_start_with_one_sentence(
    project: Database, workers: Workers, own: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "bad_handlers.py").write_text("import worker\n@worker.handler('blocking')\ndef blocking(ctx): ...\n")
    async with workers.start(**own | {"WORKER_MODULES": "own_handlers,bad_handlers"}) as worker:
        status = await worker.ended()

    assert status == 2
    assert "bad_handlers" in worker.lines[-1]
    assert "is not an async function" in worker.lines[-1]
    assert not any("Traceback" in line for line in worker.lines)
