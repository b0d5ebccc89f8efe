"""
`worker jobs …`: the queue from a terminal, as the operator (secret key) or as a user (SUPABASE_ACCESS_TOKEN).
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from worker import errors
from worker.terminal import operator

if TYPE_CHECKING:
    from worker.terminal import follow

T = TypeVar("T")

_ENDED: Final = ("completed", "failed", "cancelled")
_LOOK_SECONDS: Final = 1.0
_TOGETHER_SECONDS: Final = 0.5

app = typer.Typer(no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="The job's id.")]


@app.command()
def create(
    text: Annotated[str, typer.Argument(help="What to translate; `-` reads standard input.")],
    to: Annotated[str, typer.Option(help="Target languages, separated by commas.")],
    source: Annotated[str | None, typer.Option("--from", help="Source language; left out: detected.")] = None,
    kind: Annotated[str, typer.Option(help="text, markdown, html or json.")] = "text",
    title: Annotated[str | None, typer.Option(help="What people see.")] = None,
    subject: Annotated[str | None, typer.Option(help="What of yours it is about, e.g. card:42.")] = None,
    priority: Annotated[int | None, typer.Option(help="1 to 10; 10 is first.")] = None,
    run_at: Annotated[str | None, typer.Option(help="Not before this time (ISO 8601).")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key makes one job only.")] = None,
    options: Annotated[str | None, typer.Option(help="Options of the job as JSON.")] = None,
    user: Annotated[str | None, typer.Option(help="As operator: the user whose job it is.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show its progress.")] = False,
) -> None:
    """Create a translation job and print its id."""
    languages = [language.strip() for language in to.split(",") if language.strip()]
    shared = {
        "content": sys.stdin.read() if text == "-" else text,
        "source_language": source,
        "content_kind": kind,
        "title": title,
        "subject": subject,
        "priority": priority,
        "run_at": run_at,
        "idempotency_key": idempotency_key,
        "options": _read_options(options),
    }

    async def call(desk: Any, as_user: bool) -> dict[str, Any]:
        if as_user:
            row = await desk.create_translation_job(target_languages=languages, **shared)
        else:
            row = await desk.enqueue_translation_job(job_type="translation", items=languages, user_id=user, **shared)
        typer.echo(row["id"])
        return await _watch(desk, row["id"]) if watch else row

    _at_desk(call)


@app.command("list")
def list_jobs(
    status: Annotated[str | None, typer.Option(help="Only these states, separated by commas.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only jobs about this.")] = None,
    limit: Annotated[int, typer.Option(help="At most this many.")] = 20,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and show what changes; Ctrl-C leaves.")] = False,
) -> None:
    """List jobs, newest first."""
    from worker.terminal import show

    states = [name.strip() for name in status.split(",")] if status else None

    async def look(desk: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await desk.list_translation_jobs(status=states, subject=subject, limit=limit)
        return rows

    if watch:
        _at_desk(lambda desk, _: _watch_list(lambda: look(desk)))
    else:
        show.table(_at_desk(lambda desk, _: look(desk)))


@app.command("show")
def show_job(job_id: JobId) -> None:
    """Show one job with its languages."""
    from worker.terminal import show

    show.job(_at_desk(lambda desk, _: desk.get_translation_job(job_id)))


@app.command()
def watch(job_id: JobId) -> None:
    """Follow a job with a progress bar per language, until it has ended."""
    _at_desk(lambda desk, _: _watch(desk, job_id))


@app.command()
def cancel(job_id: JobId) -> None:
    """Cancel a job. Finished languages are kept, the others are refunded."""
    row = _at_desk(lambda desk, _: desk.cancel_translation_job(job_id))
    typer.echo(row["status"])


@app.command()
def retry(job_id: JobId) -> None:
    """Make one new job of what failed or was cancelled, and print its id."""
    row = _at_desk(lambda desk, _: desk.retry_translation_job(job_id))
    typer.echo(row["id"])


def _read_options(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        raise errors.ConfigurationError(f"--options is not JSON: {error}.") from error


async def _watch(desk: Any, job_id: str) -> dict[str, Any]:
    """Show bars until the job has ended: from a worker's stream if we know one, else by asking the database."""
    from worker.terminal import show

    with show.Bars() as bars:
        async for job in _live(desk, job_id):
            bars.update(job)
            if job["status"] in _ENDED:
                return job
    raise errors.WorkerError("There is no such job any more.")


async def _live(desk: Any, job_id: str) -> AsyncIterator[dict[str, Any]]:
    if (stream := _stream(f"/api/jobs/{job_id}/stream")) is not None:
        async for name, data in stream.events():
            if name == "job":
                yield data
            elif name == "snapshot":
                yield data["jobs"][0]
        return
    while True:
        yield await desk.get_translation_job(job_id)
        await asyncio.sleep(_LOOK_SECONDS)


async def _watch_list(look: Callable[[], Awaitable[list[dict[str, Any]]]]) -> None:
    """Show the list until somebody leaves. A stream says when to look again; without one it is done all the time."""
    from worker.terminal import show

    changed = asyncio.Event()
    try:
        with show.LiveTable() as table:
            async with asyncio.TaskGroup() as group:
                group.create_task(_note_changes(changed))
                while True:
                    table.update(await look())
                    await changed.wait()
                    changed.clear()
                    await asyncio.sleep(_TOGETHER_SECONDS)  # what changes in the same moment is one look
    except ExceptionGroup as group_of_one:
        raise group_of_one.exceptions[0] from None


async def _note_changes(changed: asyncio.Event) -> None:
    if (stream := _stream("/api/stream")) is not None:
        async for _ in stream.events():
            changed.set()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        changed.set()


def _stream(path: str) -> "follow.Stream | None":
    """The stream of the worker at WORKER_URL, for a signed-in user; None: there is none to follow."""
    from worker import settings
    from worker.terminal import follow

    chosen = settings.load_desk(Path(".env"))
    if chosen.worker_url is None or chosen.supabase_access_token is None:
        return None
    return follow.Stream(chosen.worker_url, chosen.supabase_access_token.get_secret_value(), path)


def _at_desk(call: Callable[[Any, bool], Awaitable[T]]) -> T:
    """Run *call* with a `JobDesk` and whether it speaks for a user; database refusals become sentences."""
    from worker import settings
    from worker.rpc_official import OfficialRpc
    from worker.store import JobDesk

    chosen = settings.load_desk(Path(".env"))
    token = chosen.supabase_access_token

    async def session() -> T:
        desk = JobDesk(
            OfficialRpc(
                chosen.supabase_url,
                chosen.key.get_secret_value(),
                access_token=token.get_secret_value() if token else None,
            )
        )
        try:
            return await call(desk, token is not None)
        finally:
            await desk.close()

    try:
        return operator.answered(session())
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
