"""A worker with nothing but its two settings speaks to its project and to nobody else, and fetches nothing."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.waiting import until
from worker.devstack.stack import Stack

pytestmark = pytest.mark.timeout(200)

ROOT = Path(__file__).parents[2]

# Python tells of every name that is looked up, every connection and every program, before it happens.
GUARDED = """
import json, sys

def note(event, args):
    if event == "socket.getaddrinfo":
        said = [event, args[0]]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        said = [event, args[1]]
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
        said = [event, str(args[0]) if args else ""]
    else:
        return
    print("NOTED " + json.dumps(said, default=repr), flush=True)

sys.addaudithook(note)
from worker.cli import main
sys.argv = ["worker", "run"]
main()
"""


@pytest.mark.asyncio(loop_scope="module")
async def test_it_connects_to_its_project_only_and_starts_no_program(stack: Stack, tmp_path: Path) -> None:
    project = urlsplit(stack.urls.url)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", GUARDED),
        env={
            "SUPABASE_URL": stack.urls.url,
            "SUPABASE_SECRET_KEY": stack.urls.secret_key,
            "PYTHONPATH": str(ROOT),
            "PATH": os.environ["PATH"],
            "LOG_JSON": "false",
        },
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    lines: list[str] = []
    reading = asyncio.create_task(_read(process, lines))
    try:
        await until(lambda: any("Realtime subscription active" in line for line in lines), "it listens", seconds=90)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
    noted = [json.loads(line.removeprefix("NOTED ")) for line in lines if line.startswith("NOTED ")]

    assert {tuple(where[:2]) for event, where in noted if event == "socket.connect"} == {
        (project.hostname, project.port)
    }
    assert {event for event, _ in noted} <= {"socket.connect", "socket.getaddrinfo"}
    assert {where for event, where in noted if event == "socket.getaddrinfo"} <= {project.hostname}
    assert os.listdir(tmp_path) == []


async def _read(process: Any, lines: list[str]) -> None:
    async for line in process.stdout:
        lines.append(line.decode().rstrip())
