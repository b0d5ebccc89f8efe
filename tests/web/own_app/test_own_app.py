"""The code of docs/app.md for one's own app against the stack: a Node process with the blocks as they are printed."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.conftest import INSTALL
from tests.support import npm
from tests.support.database import Database, claim, outcomes
from tests.support.waiting import until
from worker.devstack.orders import Order
from worker.devstack.postgres import Cluster
from worker.devstack.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

HERE = Path(__file__).parent
GUIDE = Path(__file__).parents[3] / "docs/app.md"
INSTALL_SECONDS = 90.0
START_SECONDS = 15.0
LEAVE_SECONDS = 10.0
SHOW_SECONDS = 20.0
LINES_MAX = 60
PASSWORD = "correct horse"

_BLOCK = re.compile(r"^```jsx?\n// (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, str]:
    """The files of the guide, by name."""
    return dict(_BLOCK.findall(GUIDE.read_text()))


@dataclass
class Page:
    """One person's page, and what it has shown so far."""

    process: asyncio.subprocess.Process
    user_id: str
    said: list[dict[str, Any]] = field(default_factory=list)

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said.append(json.loads(line))
        assert await self.process.wait() == 0, "the page broke; what it said is above"  # ends the test at once

    async def do(self, command: str, **what: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"command": command, **what}).encode() + b"\n")
        await self.process.stdin.drain()

    async def ask(self, command: str) -> Any:
        """The answer to a command that gives one, which is under its name."""
        before = len(self.said)
        await self.do(command)
        line = await until(lambda: [said for said in self.said[before:] if command in said], command)
        return line[0][command]

    @property
    def seen(self) -> list[dict[str, Any]]:
        return [line["seen"] for line in self.said if "seen" in line]

    async def shows(self, wanted: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
        """The newest that was told, once it is what is wanted."""
        await until(lambda: self.seen and wanted(self.seen[-1]), what)
        return self.seen[-1]


@dataclass(frozen=True)
class Project:
    stack: Stack
    database: Database

    def job(self, user_id: str, *languages: str, **more: Any) -> str:
        row = self.database.rpc(
            "create_translation_job",
            user_id,
            p_content=f"Good morning, {uuid.uuid4()}.",
            p_target_languages=list(languages or ("es", "fr")),
            **{f"p_{name}": value for name, value in more.items()},
        )
        return str(row["id"])

    def claim(self) -> Any:
        return claim(self.database)

    def record(self, entries: list[dict[str, Any]]) -> None:
        self.database.rpc("record_translation_results", p_worker_id="w1", p_results=entries)

    @asynccontextmanager
    async def trouble(self, order: str) -> AsyncIterator[None]:
        await self.stack.orders.place(Order.read(order))
        try:
            yield
        finally:
            await self.stack.orders.clear()


@pytest.fixture(scope="session")
def home(request: pytest.FixtureRequest) -> Path:
    """A directory with the packages and the section's files."""
    home = npm.install(request, "own-app", (HERE / "package.json").read_text(), seconds=INSTALL_SECONDS)
    for name, code in blocks().items():
        (home / name).write_text(code)
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, home)
    subprocess.run(["node", "jsx.mjs"], cwd=home, check=True, timeout=START_SECONDS)
    return home


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def app_stack(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    directory = tmp_path_factory.mktemp("own-app")
    async with Stack(directory, database="own_app", sql=[INSTALL], changes_idle_ms=20, cluster=cluster) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def project(app_stack: Stack) -> AsyncIterator[Project]:
    database = Database(app_stack.urls.database_url, app_stack.urls.admin_database_url)
    with contextlib.closing(database):
        database.run("truncate public.translation_jobs, public.translation_workers cascade")
        yield Project(app_stack, database)


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(project: Project, home: Path) -> AsyncIterator[Callable[[], Awaitable[Page]]]:
    """Opens a page of a new person; each is left at the end."""
    urls = project.stack.urls
    async with contextlib.AsyncExitStack() as pages, asyncio.TaskGroup() as readers:

        async def opened() -> Page:
            email = f"{uuid.uuid4()}@example.org"
            async with httpx.AsyncClient(base_url=urls.url, headers={"apikey": urls.publishable_key}) as http:
                answer = await http.post("/auth/v1/signup", json={"email": email, "password": PASSWORD})
            process = await asyncio.create_subprocess_exec(
                "node", "page.mjs", cwd=home, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                env={"PATH": os.environ["PATH"], "URL_": urls.url, "PUBLISHABLE": urls.publishable_key,
                     "EMAIL": email, "PASSWORD": PASSWORD},
                limit=2**22,
            )  # fmt: skip
            page = Page(process, answer.json()["user"]["id"])
            readers.create_task(page.read())
            pages.push_async_callback(_left, page)
            await until(lambda: page.said, "a page that is signed in", seconds=START_SECONDS)
            return page

        yield opened
        await pages.aclose()


async def _left(page: Page) -> None:
    """Close it; it must not have broken before."""
    try:
        if page.process.returncode is None:
            await page.do("leave")
        async with asyncio.timeout(LEAVE_SECONDS):
            assert await page.process.wait() == 0
    finally:
        if page.process.returncode is None:
            page.process.kill()


async def test_each_block_is_short() -> None:
    sizes = {name: code.count("\n") + 1 for name, code in blocks().items()}

    assert list(sizes) == ["watch-translation-jobs.js", "use-translation-jobs.js", "notice.jsx"]
    assert max(sizes.values()) <= LINES_MAX, sizes


async def test_one_job_is_followed_to_its_end(project: Project, open_page: Any) -> None:
    page = await open_page()
    job_id = project.job(page.user_id, "es", "fr")
    # So rare a look that only an event can be in time.
    await page.do("show", one=job_id, options={"pollSeconds": 600})
    first = await page.shows(lambda seen: seen["job"] and seen["live"], "the job, live")
    assert first["job"]["id"] == job_id
    assert first["job"]["status"] == "pending"
    assert [item["item"] for item in first["job"]["items"]] == ["es", "fr"]

    claimed = project.claim()
    await page.shows(lambda seen: seen["job"]["status"] == "processing", "the claim")
    project.record(outcomes(claimed, "completed", ["es"]))
    half = await page.shows(lambda seen: seen["job"]["items"][0]["status"] == "completed", "one language")
    assert half["job"]["items"][1]["status"] != "completed"
    project.record(outcomes(claimed, "completed", ["fr"]))
    await page.shows(lambda seen: seen["job"]["status"] == "completed", "the end")

    await until(lambda: not project.stack.realtime.channels, "a channel that is closed because the job has ended")


async def test_jobs_of_a_subject_come_and_change(project: Project, open_page: Any) -> None:
    page, other = await open_page(), await open_page()
    await page.do("show", many={"subject": "card:1"}, options={"pollSeconds": 600})
    await page.shows(lambda seen: seen["live"] and seen["jobs"] == [], "an empty list, live")

    project.job(other.user_id, subject="card:1")
    project.job(page.user_id, subject="card:2")
    older = project.job(page.user_id, subject="card:1")
    newer = project.job(page.user_id, subject="card:1")
    await page.shows(lambda seen: [job["id"] for job in seen["jobs"]] == [newer, older], "both, newest first")
    project.database.rpc("cancel_translation_job", page.user_id, p_job_id=older)
    await page.shows(lambda seen: [job["status"] for job in seen["jobs"]] == ["pending", "cancelled"], "the cancel")


async def test_polls_while_realtime_refuses_and_is_live_when_it_is_back(project: Project, open_page: Any) -> None:
    page = await open_page()
    job_id = project.job(page.user_id)
    async with project.trouble("refuse=realtime"):
        await page.do("show", one=job_id, options={"pollSeconds": 0.1})
        await page.shows(lambda seen: seen["job"], "the job")
        claimed = project.claim()
        await page.shows(lambda seen: seen["job"]["status"] == "processing", "the claim")
        assert not any(seen["live"] for seen in page.seen)

    await page.shows(lambda seen: seen["live"], "live again")
    project.record(outcomes(claimed, "completed"))
    await page.shows(lambda seen: seen["job"]["status"] == "completed", "the end")


@pytest.mark.parametrize("trouble", ["close=1012", "close=1006", "token-expired", "channel-crash"])
async def test_comes_back_after_the_channel_broke(project: Project, open_page: Any, trouble: str) -> None:
    page = await open_page()
    await page.do("watch", pollSeconds=0.1)
    await page.shows(lambda seen: seen["live"], "live")
    before = len(page.seen)
    async with project.trouble(trouble):
        await until(lambda: any(not seen["live"] for seen in page.seen[before:]), "the loss")
        await page.shows(lambda seen: seen["live"], "live again")

    job_id = project.job(page.user_id)
    await page.shows(lambda seen: [job["id"] for job in seen["jobs"]] == [job_id], "the new job")


async def test_finds_what_was_swallowed_in_silence(project: Project, open_page: Any) -> None:
    page = await open_page()
    await page.do("watch", quietSeconds=0.2)
    await page.shows(lambda seen: seen["live"], "live")
    async with project.trouble("lose-changes"):
        job_id = project.job(page.user_id)
        await page.shows(lambda seen: [job["id"] for job in seen["jobs"]] == [job_id], "the new job")
        assert page.seen[-1]["live"]


async def test_says_why_it_sees_nothing_and_keeps_what_it_saw(project: Project, open_page: Any) -> None:
    page = await open_page()
    job_id = project.job(page.user_id)
    await page.do("watch", pollSeconds=0.05, quietSeconds=0.05)
    await page.shows(lambda seen: seen["jobs"], "the job")
    async with project.trouble("rest-status=503"):
        await page.shows(lambda seen: seen["error"] and seen["jobs"][0]["id"] == job_id, "the error, and the job")
    await page.shows(lambda seen: seen["error"] is None, "no error")


async def test_somebody_elses_job_is_not_found(project: Project, open_page: Any) -> None:
    page, other = await open_page(), await open_page()
    await page.do("show", one=project.job(other.user_id))
    seen = await page.shows(lambda seen: seen["error"], "the refusal")

    assert seen["error"]["code"] == "PT404"
    assert seen["job"] is None


async def test_unmounting_unsubscribes(project: Project, open_page: Any) -> None:
    page = await open_page()
    await page.do("show", many={})
    await page.shows(lambda seen: seen["live"], "live")
    assert await page.ask("channels") == 1

    await page.do("unmount")
    await until(lambda: not project.stack.realtime.channels, "no channel on the server")
    assert await page.ask("channels") == 0


async def test_another_question_shows_nothing_of_the_last_one(project: Project, open_page: Any) -> None:
    page = await open_page()
    first, second = project.job(page.user_id), project.job(page.user_id)
    await page.do("show", one=first)
    await page.shows(lambda seen: seen["live"] and seen["job"], "the first")
    before = len(page.seen)
    await page.do("show", one=second)
    await page.shows(lambda seen: seen["job"] and seen["job"]["id"] == second, "the second")

    assert page.seen[before]["job"] is None
    assert {seen["job"]["id"] for seen in page.seen[before:] if seen["job"]} == {second}
    await until(lambda: len(project.stack.realtime.channels) == 1, "one channel")


async def test_the_components_show_it(project: Project, open_page: Any) -> None:
    page = await open_page()
    job_id = project.job(page.user_id, "es", subject="card:9", title="<b>Ferry</b>")

    async def shows(text: str) -> None:
        async with asyncio.timeout(SHOW_SECONDS):
            while text not in await page.ask("html"):
                pass  # each answer takes its time

    await page.do("notice", name="Notice", jobId=job_id)
    await shows("pending: 0 %, 0 languages done")
    project.record(outcomes(project.claim(), "completed"))
    await shows("completed: 100 %, 1 languages done")
    await page.do("notice", name="Notices", subject="card:9")
    await shows("<li>&lt;b&gt;Ferry&lt;/b&gt;: completed</li>")
