"""The Edge Function of docs/triggers.md, as it is printed: a Node process with Deno's names, and the real client."""

import asyncio
import os
import re
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.web.own_app.test_own_app import Project, app_stack, home, project

__all__ = ["app_stack", "home", "project"]

pytestmark = pytest.mark.asyncio(loop_scope="session")

START_SECONDS = 30.0


async def test_an_edge_function_makes_one_job_with_one_call(project: Project, home: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"^```ts\n(.*?)^```$", (ROOT / "docs/triggers.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "index.ts").write_text(code)
    urls = project.stack.urls
    process = await asyncio.create_subprocess_exec(
        *("node", "edge.mjs", str(tmp_path / "index.ts")),
        cwd=home,
        stdout=asyncio.subprocess.PIPE,
        env={
            "PATH": os.environ["PATH"],
            "SUPABASE_URL": urls.url,
            "SUPABASE_SERVICE_ROLE_KEY": urls.secret_key,
        },
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            port = int(await process.stdout.readline())
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
            notice = {"id": 7, "revision": 1, "body": "The ferry leaves at noon."}
            first, again = [await http.post("/", json=notice) for _ in range(2)]
            empty = await http.post("/", json={"id": 8, "revision": 1, "body": " "})
    finally:
        process.kill()
        await process.wait()
    (job,) = project.database.run("select id, subject, status from public.translation_jobs")

    assert (first.status_code, first.json()) == (202, {"job_id": str(job["id"]), "status": "pending"})
    assert again.json() == first.json()
    assert job["subject"] == "notice:7"
    assert (empty.status_code, empty.json()) == (400, {"error": "content_empty"})
