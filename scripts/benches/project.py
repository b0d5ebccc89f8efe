"""What the benches need of a project around the worker: a user, orders for the stack, stamps from the worker."""

import argparse
import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import psycopg
from psycopg.rows import TupleRow
from supabase import AsyncClient, acreate_client

from scripts import local
from scripts.benches import worker_process

CREATES_A_MINUTE = 100_000
ENQUEUE = "select id from public.enqueue_translation_job('translation', '\"Good morning.\"', array['es'])"

Owner = psycopg.AsyncConnection[TupleRow]
Stamp = dict[str, Any]


class Stamps(asyncio.DatagramProtocol):
    """Receives what `scripts.benches.handlers` sends, by job."""

    def __init__(self) -> None:
        self.port = 0
        self._by_job: dict[str, Stamp] = {}
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        stamp = json.loads(data)
        self._by_job.setdefault(stamp["job_id"], stamp)
        self._news.set()

    async def of(self, job_id: str, *, seconds: float) -> Stamp:
        """The stamp of *job_id*, which comes within *seconds*."""
        async with asyncio.timeout(seconds):
            while job_id not in self._by_job:
                self._news.clear()
                await self._news.wait()
        return self._by_job.pop(job_id)


class Stack:
    """A running stack with its admin route open."""

    def __init__(self, env: dict[str, str], admin_key: str, http: aiohttp.ClientSession, owner: Owner) -> None:
        self.env = env
        self.owner = owner
        """Role `postgres`, a transaction a statement."""
        self._headers = {"x-admin-key": admin_key}
        self._http = http

    async def order(self, **faults: Any) -> None:
        """Misbehave like this from now on."""
        url = f"{self.env['SUPABASE_URL']}/admin/faults"
        async with self._http.patch(url, headers=self._headers, json=faults) as answer:
            assert answer.status == 200, await answer.text()

    async def behave(self) -> None:
        async with self._http.delete(f"{self.env['SUPABASE_URL']}/admin/faults", headers=self._headers) as answer:
            assert answer.status == 200, await answer.text()

    async def close_sockets(self, code: int) -> None:
        """End every Realtime connection with *code*; 1006 cuts them."""
        url = f"{self.env['SUPABASE_URL']}/admin/close"
        async with self._http.post(url, headers=self._headers, json={"code": code}) as answer:
            assert answer.status == 204, await answer.text()

    def cpu_seconds(self) -> dict[str, float]:
        return cpu_seconds(self.env)

    async def value(self, statement: str, *params: Any) -> Any:
        row = await (await self.owner.execute(statement, params or None)).fetchone()
        return row[0] if row else None

    async def mode(self, worker_id: str) -> str | None:
        return cast(
            "str | None", await self.value("select mode from public.translation_workers where id = %s", worker_id)
        )


def accept_postgrest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--postgrest", type=_program, metavar="PROGRAM", help="answers REST, not the stack itself")


def _program(text: str) -> Path:
    return Path(text).resolve(strict=True)


def cpu_seconds(env: Mapping[str, str]) -> dict[str, float]:
    """Processor time so far of the stack in *env*: its own process, PostgREST where that answers REST, Postgres."""
    pid = int(env["STACK_PID"])
    whole, own = (worker_process.cpu_seconds(pid, of_children=of_children) for of_children in (True, False))
    rest = {}
    for one in worker_process.children(pid, "postgrest"):
        rest["postgrest"] = worker_process.cpu_seconds(one)
    return {"gateway": own, **rest, "postgres": whole - own - sum(rest.values())}


@asynccontextmanager
async def stack(home: Path, *, postgrest: Path | None = None) -> AsyncIterator[Stack]:
    """A stack as its own process, whose users may create as much as they like."""
    admin_key = secrets.token_hex(16)
    async with (
        local.stack(home, admin_key=admin_key, postgrest=postgrest) as env,
        aiohttp.ClientSession() as http,
        await psycopg.AsyncConnection.connect(env["DATABASE_URL"], autocommit=True) as owner,
    ):
        await owner.execute(
            """update public.translation_job_types
               set creates_per_minute = %(many)s, max_waiting_per_user = %(many)s where name = 'translation'""",
            {"many": CREATES_A_MINUTE},
        )
        yield Stack(env, admin_key, http, owner)


@dataclass(frozen=True)
class User:
    """A signed-in user, with the official client."""

    id: str
    client: AsyncClient


async def sign_up(env: Mapping[str, str]) -> User:
    client = await acreate_client(env["SUPABASE_URL"], env["SUPABASE_PUBLISHABLE_KEY"])
    email = f"bench-{secrets.token_hex(6)}@example.test"
    signed = await client.auth.sign_up({"email": email, "password": "correct horse battery"})
    assert signed.user is not None
    return User(signed.user.id, client)


@asynccontextmanager
async def stamps() -> AsyncIterator[Stamps]:
    transport, received = await asyncio.get_running_loop().create_datagram_endpoint(Stamps, local_addr=("127.0.0.1", 0))
    try:
        yield received
    finally:
        transport.close()


def worker_environment(env: Mapping[str, str], stamps_port: int = 0, **settings: str) -> dict[str, str]:
    """A worker at its defaults whose handler does nothing, and tells *stamps_port* when it starts."""
    return (
        local.worker_environment(
            env, WORKER_MODULES="scripts.benches.handlers", PYTHONPATH=str(local.ROOT), BENCH_STAMPS=str(stamps_port)
        )
        | settings
    )
