"""`worker jobs …` and `worker sql` as they are typed, where no worker runs."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from typer.testing import CliRunner

import worker
from tests.conftest import INSTALL
from tests.support.served import served
from tests.verify.conftest import Sql
from worker import cli, errors
from worker.devstack.stack import Stack
from worker.terminal import install

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(60)]

Typed = Callable[..., Any]


@pytest.fixture
def typed(stack: Stack, editor: Sql, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Typed]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SUPABASE_URL", stack.urls.url)
    monkeypatch.setenv("SUPABASE_SECRET_KEY", stack.urls.secret_key)
    yield lambda *words, **how: CliRunner().invoke(cli.app, words, **how)
    editor("delete from public.translation_jobs where title like 'typed%'")


async def create(typed: Typed, *more: str, text: str = "The lamp is lit.", **how: Any) -> str:
    done = await asyncio.to_thread(
        typed, "jobs", "create", text, "--to", "es, fr", "--from", "en", "--title", "typed", *more, **how
    )
    assert done.exit_code == 0, done.output
    return str(done.output.strip())


async def test_a_job_is_made_listed_shown_and_cancelled(typed: Typed) -> None:
    job_id = await create(typed, "--options", '{"formality": "more"}', "--priority", "7")
    listed = await asyncio.to_thread(typed, "jobs", "list", "--status", "pending", "--limit", "5")
    shown = await asyncio.to_thread(typed, "jobs", "show", job_id)
    cancelled = await asyncio.to_thread(typed, "jobs", "cancel", job_id)
    watched = await asyncio.to_thread(typed, "jobs", "watch", job_id)

    assert job_id in listed.output
    assert "es,fr" in listed.output
    assert f"{job_id}  pending  0%" in shown.output
    assert [line.split()[:2] for line in shown.output.splitlines()[2:]] == [["es", "pending"], ["fr", "pending"]]
    assert (cancelled.exit_code, cancelled.output) == (0, "cancelled\n")
    assert watched.exit_code == 0


async def test_a_text_comes_from_the_standard_input(typed: Typed, editor: Sql) -> None:
    job_id = await create(typed, text="-", input="The door is shut.")

    editor(f"select 1 / (content = '\"The door is shut.\"')::int from public.translation_jobs where id = '{job_id}'")


async def test_a_job_that_failed_is_shown_with_its_reason_and_made_again(typed: Typed, editor: Sql) -> None:
    job_id = await create(typed)
    editor(
        f"""select public.claim_translation_jobs('w1', 100, 60000, array['translation'], gen_random_uuid());
            select public.record_translation_results('w1', jsonb_agg(jsonb_build_object(
              'job_id', c.job_id, 'token', c.token, 'item', item, 'outcome', 'failed',
              'error', '{{"class": "bad_output", "message": "It has [no] words."}}'::jsonb)))
            from public.translation_job_claims c, unnest(array['es', 'fr']) as item where c.job_id = '{job_id}'"""
    )
    shown = await asyncio.to_thread(typed, "jobs", "show", job_id)
    again = [(await asyncio.to_thread(typed, "jobs", "retry", job_id)).output.strip() for _ in range(2)]

    assert f"{job_id}  failed  0%" in shown.output
    assert "bad_output: It has [no] words." in shown.output
    assert again[0] == again[1] != job_id


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("create", "x", "--to", "es", "--options", "{"), errors.ConfigurationError, "--options is not JSON"),
        (("create", "x", "--to", "no language"), errors.WorkerError, "language"),
        (("show", "00000000-0000-0000-0000-00000000dead"), errors.WorkerError, "no such job"),
        (("watch", "00000000-0000-0000-0000-00000000dead"), errors.WorkerError, "no such job"),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_sentence(
    typed: Typed, words: tuple[str, ...], error: type[Exception], says: str
) -> None:
    done = await asyncio.to_thread(typed, "jobs", *words)

    assert isinstance(done.exception, error)
    assert says in str(done.exception)


async def test_the_script_is_printed_or_applied(typed: Typed, stack: Stack) -> None:
    printed = await asyncio.to_thread(typed, "sql")
    applied = await asyncio.to_thread(typed, "sql", "--apply", stack.urls.database_url)
    nowhere = await asyncio.to_thread(typed, "sql", "--apply", "postgresql://postgres@127.0.0.1:1/postgres")

    assert printed.output == INSTALL
    assert (applied.exit_code, applied.output) == (0, "The translation queue is installed.\n")
    assert isinstance(nowhere.exception, errors.ConfigurationError)
    assert "cannot be reached" in str(nowhere.exception)


async def test_a_database_that_refuses_the_script_is_named_with_its_reason(typed: Typed, stack: Stack) -> None:
    read_only = f"{stack.urls.database_url}?options=-c%20default_transaction_read_only%3Don"

    refused = await asyncio.to_thread(typed, "sql", "--apply", read_only)

    assert isinstance(refused.exception, errors.WorkerError)
    assert "refused the script" in str(refused.exception)
    assert "read-only" in str(refused.exception)


async def test_without_psycopg_the_script_is_to_be_pasted(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    cannot = await asyncio.to_thread(typed, "sql", "--apply", "postgresql://localhost/postgres")

    assert isinstance(cannot.exception, errors.ConfigurationError)
    assert "worker sql" in str(cannot.exception)


async def test_an_installation_without_the_script_says_so(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "__file__", "/elsewhere/worker/terminal/install.py")

    assert "install.sql" in str((await asyncio.to_thread(typed, "sql")).exception)


async def test_the_version_is_printed(typed: Typed) -> None:
    assert (await asyncio.to_thread(typed, "--version")).output == f"{worker.__version__}\n"


ROW = {"id": "00000000-0000-0000-0000-000000000001", "created_at": "2026-11-29T00:00:00Z", "progress": 0}


def event(name: str, data: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


def seen(status: str) -> dict[str, Any]:
    return {**ROW, "status": status, "items": [{"item": "es", "status": status}]}


@pytest_asyncio.fixture(loop_scope="package")
async def streaming(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[list[bytes]]]:
    """A worker whose streams say, one after the other, what a test puts into the list; then it refuses."""
    streams: list[list[bytes]] = []

    async def stream(request: web.Request) -> web.StreamResponse:
        if not streams:
            error = {"code": "unauthorized", "message": "Sign in again.", "hint": None}
            return web.json_response({"error": error}, status=401)
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for frame in streams.pop(0):
            await answer.write(frame)
        return answer

    app = web.Application()
    app.router.add_get("/api/{path:.*}", stream)
    async with served(app) as url:
        monkeypatch.setenv("WORKER_URL", url)
        monkeypatch.setenv("SUPABASE_ACCESS_TOKEN", "eyJ.eyJ.abc")
        yield streams


async def test_a_job_is_followed_through_the_stream_of_a_worker(typed: Typed, streaming: list[list[bytes]]) -> None:
    streaming.append(
        [
            event("snapshot", {"jobs": [seen("pending")]}),
            event("credits", {"balance": 1}),
            event("job", seen("processing")),
            event("job", seen("completed")),
        ]
    )
    done = await asyncio.to_thread(typed, "jobs", "watch", ROW["id"])

    assert done.exit_code == 0, done.exception


async def test_a_job_that_is_gone_while_it_is_followed_is_said(typed: Typed, streaming: list[list[bytes]]) -> None:
    streaming.append([event("snapshot", {"jobs": [seen("pending")]}), event("close", {"reason": "gone"})])
    done = await asyncio.to_thread(typed, "jobs", "watch", ROW["id"])

    assert "There is no such job any more." in str(done.exception)


async def test_a_worker_that_refuses_a_stream_is_believed(typed: Typed, streaming: list[list[bytes]]) -> None:
    done = await asyncio.to_thread(typed, "jobs", "watch", ROW["id"])

    assert "Sign in again." in str(done.exception)
