"""One stack as a process for all acceptance tests; every test starts with empty tables."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager

import pytest

from tests.conftest import EXAMPLE
from tests.support import processes, provider
from tests.support.database import Database

READY_SECONDS = 150.0
COMMAND = (sys.executable, "-m", "worker", "stack")
ADMIN_KEY = "trouble"  # orders faults of the stack

# Short periods, so that a lost lease is found while somebody waits; the proportions are the defaults'.
QUICK = {
    "LEASE_SECONDS": "3",
    "BEAT_SECONDS": "1",
    "HEALTH_CHECK_SECONDS": "3",
    "POLL_SECONDS": "0.5",
    "LOG_LEVEL": "DEBUG",
}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment of a running `worker stack`."""
    home = tmp_path_factory.mktemp("stack")
    env_file, log = home / "stack.env", home / "stack.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*COMMAND, "--data", str(home / "data"), "--env-file", str(env_file), "--port", "0"],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=processes.ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "STACK_ADMIN_KEY": ADMIN_KEY},
        )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while "Stack ready" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield dict(line.split("=", 1) for line in env_file.read_text().splitlines() if "=" in line)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@contextlib.contextmanager
def emptied(stack: Mapping[str, str]) -> Iterator[Database]:
    """The stack's database, without a job, a user or a worker."""
    database = Database(stack["DATABASE_URL"], stack["ADMIN_DATABASE_URL"])
    with contextlib.closing(database):
        database.run(EXAMPLE)
        database.run(
            """truncate public.translation_jobs, public.translation_workers, public.translation_memory,
                 public.museum_cards, public.translation_credits, public.translation_credit_ledger,
                 translation_private.create_budget cascade"""
        )
        database.run("delete from auth.users")
        database.price(10)
        yield database


@pytest.fixture
def project(stack: Mapping[str, str]) -> Iterator[Database]:
    with emptied(stack) as database:
        yield database


class Workers:
    """Starts workers against the stack."""

    def __init__(self, stack: Mapping[str, str]) -> None:
        self.url = stack["SUPABASE_URL"]
        self._environment = {**QUICK, **{name: stack[name] for name in ("SUPABASE_URL", "SUPABASE_SECRET_KEY")}}

    def start(self, **environment: str) -> AbstractAsyncContextManager[processes.Process]:
        """A worker; settings as keyword arguments win over the quick ones."""
        return processes.running("run", environment={**self._environment, **environment})

    def command(self, *arguments: str, **environment: str) -> AbstractAsyncContextManager[processes.Process]:
        """Another command of the worker's."""
        return processes.running(*arguments, environment={**self._environment, **environment})

    def with_provider(
        self, server: provider.Provider, **environment: str
    ) -> AbstractAsyncContextManager[processes.Process]:
        """A worker that asks *server*."""
        return self.start(TRANSLATOR="libretranslate", LIBRETRANSLATE_URL=server.url, **environment)


@pytest.fixture
def workers(stack: Mapping[str, str]) -> Workers:
    return Workers(stack)


@pytest.fixture
async def server() -> AsyncIterator[provider.Provider]:
    async with provider.running_provider() as running:
        yield running
