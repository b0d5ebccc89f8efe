"""Steps that wait for each other, in real processes: a film becomes words, a procedure and a page."""

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import test_kinds
from tests.acceptance.conftest import Workers
from tests.acceptance.test_corridor import job
from tests.acceptance.test_kinds import Outside
from tests.support import storage as storages
from tests.support.database import Database, Row
from tests.support.storage import StorageServer
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)

outside = test_kinds.outside

# What was begun is written into a book, in its order; `words` of a film that waits go on until they are cancelled.
STEPS = """
    import asyncio, pathlib
    import aiohttp
    import worker

    BOOK = pathlib.Path(__file__).parent / "book.txt"


    def note(line):
        with BOOK.open("a") as book:
            book.write(line + "\\n")


    async def post(address, body):
        async with aiohttp.ClientSession() as http, http.post(address, json=body) as answer:
            answer.raise_for_status()


    @worker.handler("transcribe")
    async def transcribe(ctx: worker.JobContext, asked: dict):
        film = (await ctx.signed_content())["film"]["storage"]
        note(f"transcribe {asked['name']}")
        async with aiohttp.ClientSession() as http, http.get(film["url"]) as answer:
            answer.raise_for_status()
            read = await answer.read()
        if asked.get("waits"):
            await asyncio.Event().wait()
        return {"words": read[:18].decode(), "bytes": len(read)}


    @worker.handler("cover")
    async def cover(ctx: worker.JobContext, asked: dict):
        note(f"cover {asked['name']}")
        raise worker.GiveUp("There is no face in it.")


    @worker.handler("procedure")
    async def procedure(ctx: worker.JobContext, asked: dict):
        note(f"procedure {asked['name']}")
        (words,) = await ctx.parents()
        return {"steps": words.items["run"].content["words"].split()}


    @worker.handler("upload")
    async def upload(ctx: worker.JobContext, asked: dict):
        note(f"upload {asked['name']}")
        before = {one.name: (one.status, one.items["run"].content) for one in await ctx.parents()}
        await post(asked["to"], before)
        return "uploaded"


    @worker.handler("tidy")
    async def tidy(ctx: worker.JobContext, asked: dict):
        (last,) = await ctx.parents()
        note(f"tidy {asked['name']} {last.status}")
        await post(asked["to"] + "/tidied", {"name": asked["name"]})
"""
TYPES = ["transcribe", "cover", "procedure", "upload", "tidy"]
FILM = b"Open, turn, close." + bytes(2_000_000)


@pytest.fixture
def steps(project: Database, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a worker that knows the steps; each costs a credit."""
    (tmp_path / "film_steps.py").write_text(textwrap.dedent(STEPS))
    for name in TYPES:
        project.run("insert into public.translation_job_types (name, price) values (%s, 1)", name)
    modules = {"WORKER_MODULES": "film_steps", "PYTHONPATH": str(tmp_path), "JOB_TYPES": ",".join(TYPES)}
    yield {**modules, "LEASE_SECONDS": "30"}
    project.run("delete from public.translation_jobs where job_type = any (%s)", TYPES)
    project.run("delete from public.translation_job_types where name = any (%s)", TYPES)


@pytest.fixture
async def films(workers: Workers, stack: dict[str, str]) -> AsyncIterator[StorageServer]:
    """A Storage with two films, in front of the stack, which has none."""
    async with storages.serving(behind=workers.url) as storage:
        storage.key = stack["SUPABASE_SECRET_KEY"]
        storage.objects = {("films", f"{name}.mp4"): FILM for name in ("lamp", "door")}
        yield storage


def enqueue(project: Database, user: str, film: str, to: str, *, priority: int, **more: Any) -> dict[str, str]:
    """The chain of one film, told from its end. Ids by step."""

    def step(name: str, job_type: str, *after: str, **said: Any) -> Row:
        content = {"name": film, "to": to, **said.pop("content", {})}
        step = {"p_name": name, "p_job_type": job_type, "p_after_names": after, "p_content": content}
        return step | {"p_user_id": user, "p_priority": priority, "p_subject": f"film:{film}", "p_options": said}

    named = {"film": {"storage": {"bucket": "films", "path": f"{film}.mp4"}}} | more
    made = project.rpc(
        "enqueue_translation_chain",
        p_jobs=[
            step("tidy", "tidy", "page", after_failure="run"),
            step("page", "upload", "words", "guide", "cover", after_failure={"cover": "run"}),
            step("guide", "procedure", "words"),
            step("cover", "cover"),
            step("words", "transcribe", content=named),
        ],
    )
    return {name: str(one["id"]) for name, one in made.items()}


async def all_ended(project: Database) -> None:
    """In a thread: the front of the stack runs in this loop, and would stand still while the database is asked."""
    left = "select count(*) from public.translation_jobs where completed_at is null"
    await until(lambda: asyncio.to_thread(lambda: project.value(left) == 0), "every job has ended", seconds=60)


async def test_films_become_pages_step_by_step_the_urgent_one_first(
    project: Database, workers: Workers, steps: dict[str, str], films: StorageServer, outside: Outside, tmp_path: Path
) -> None:
    """The last step sees the results of all before it, and that an optional one failed. One job runs at once."""
    user = project.user(credits=10)
    enqueue(project, user, "lamp", f"{outside.url}/page", priority=3)
    soon = enqueue(project, user, "door", f"{outside.url}/page", priority=8)
    assert project.rpc("get_translation_credits", user) == {"balance": 0, "reserved": 10}
    async with workers.start(SUPABASE_URL=films.url, MAX_CONCURRENT_JOBS="1", **steps):
        await all_ended(project)

    assert {name: job(project, one)["status"] for name, one in soon.items()} == {
        "words": "completed", "guide": "completed", "cover": "failed",
        "page": "completed", "tidy": "completed"}  # fmt: skip
    book = (tmp_path / "book.txt").read_text().splitlines()
    assert {line.split()[1] for line in book[:5]} == {"door"}, "the urgent film is done before the other is begun"
    order = ["transcribe lamp", "procedure lamp", "upload lamp", "tidy lamp completed"]
    assert [line for line in book if line in order] == order
    calls = outside.calls()
    assert [call["path"] for call in calls] == ["/page", "/page/tidied"] * 2
    assert json.loads(calls[0]["body"]) == {
        "words": ["completed", {"words": "Open, turn, close.", "bytes": len(FILM)}],
        "cover": ["failed", None],
        "guide": ["completed", {"steps": ["Open,", "turn,", "close."]}],
    }
    assert project.rpc("get_translation_credits", user) == {"balance": 2, "reserved": 0}, "two covers are refunded"
    project.check_money()


async def test_a_cancelled_film_leaves_nothing_waiting_and_is_tidied_up(
    project: Database, workers: Workers, steps: dict[str, str], films: StorageServer, outside: Outside, tmp_path: Path
) -> None:
    user = project.user(credits=5)
    chain = enqueue(project, user, "lamp", f"{outside.url}/page", priority=5, waits=True)
    book = tmp_path / "book.txt"
    async with workers.start(SUPABASE_URL=films.url, **steps):
        await until(lambda: book.exists() and "transcribe lamp" in book.read_text(), "the first step runs")
        project.rpc("cancel_translation_job", user, p_job_id=chain["words"])
        await all_ended(project)

    rows = {name: job(project, one) for name, one in chain.items()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "words": "cancelled", "guide": "cancelled", "cover": "failed",
        "page": "cancelled", "tidy": "completed"}  # fmt: skip
    assert [one["status"] for one in rows["page"]["parents"]] == ["failed", "cancelled", "cancelled"]
    assert [call["path"] for call in outside.calls()] == ["/page/tidied"]
    assert book.read_text().splitlines()[-1] == "tidy lamp cancelled"
    assert project.rpc("get_translation_credits", user) == {"balance": 4, "reserved": 0}
    project.check_money()
