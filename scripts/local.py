"""The stack and the worker as processes of their own, for the demo and the benches: started, awaited, stopped."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0


@asynccontextmanager
async def running(
    *command: str, home: Path, until: str, environment: Mapping[str, str] | None = None, name: str | None = None
) -> AsyncIterator[int]:
    """
    Run `worker *command*` in *home*, from the line that says *until* on; stopped in order at the end.

    Yields its process id. What it prints goes to a log beside its data, called *name* (default: the command's first
    word).
    """
    name = name or command[0]
    log = home / f"{name}.log"
    with open_log(log) as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker", *command),
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "LOG_JSON": "false", **(environment or {})},
            cwd=home,
            start_new_session=True,  # a Ctrl-C is for us, who stop our processes in order
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while until not in log.read_text():
            if process.returncode is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{log.read_text()}")
            await asyncio.sleep(0.02)
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


def open_log(path: Path) -> IO[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("w")


@asynccontextmanager
async def stack(
    home: Path, *, admin_key: str | None = None, postgrest: Path | None = None
) -> AsyncIterator[dict[str, str]]:
    """
    A stack with its data in *home*; yields what a worker needs in its environment, and more.

    *admin_key* opens the route for faults; *postgrest*, an absolute path, is the program that answers REST, if not the
    stack itself.
    """
    env_file = home / "stack.env"
    command = ("stack", "--data", str(home / "data"), "--env-file", str(env_file), "--port", "0")
    rest = () if postgrest is None else ("--postgrest", str(postgrest))
    # In its environment and not its arguments, where anybody could read it.
    secrets = {} if admin_key is None else {"STACK_ADMIN_KEY": admin_key}
    async with running(*command, *rest, home=home, until="Stack ready", environment=secrets) as pid:
        lines = [*env_file.read_text().splitlines(), f"STACK_PID={pid}"]
        yield dict(line.split("=", 1) for line in lines if "=" in line)


def worker_environment(env: Mapping[str, str], **settings: str) -> dict[str, str]:
    """What a worker gets to know of a stack: its address and the key, nothing more."""
    return {name: env[name] for name in ("SUPABASE_URL", "SUPABASE_SECRET_KEY")} | settings


def free_port() -> int:
    """A port of this machine that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
