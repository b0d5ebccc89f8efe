"""
The command line: reads the settings, calls who does the work, and turns errors into sentences and exit codes.

No logic of its own. What a command needs is imported when it runs: `worker run` must stay small.
Exit codes: 0 done, 1 it failed or must be started again, 2 it cannot work like this (the message says why).
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

import worker
from worker import errors
from worker.terminal import alerts, jobs, new, stats, verify

if TYPE_CHECKING:
    from worker.settings import Settings

T = TypeVar("T")

# What a handler's task or thread that does not stop gets after everything else has ended.
_LEAVE_SECONDS = 0.5

app = typer.Typer(
    help="The background worker of a Supabase project.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # plain help; rich would cost `worker run` 5 MB
)
app.add_typer(jobs.app, name="jobs", help="The queue, from a terminal.")
app.add_typer(new.app, name="new", help="A first version of a handler of your own.")
for command in (verify.verify, alerts.alerts, stats.stats):
    app.command()(command)


def main() -> None:
    try:
        app()
    except errors.ConfigurationError as error:
        _leave(error, 2)
    except errors.WorkerError as error:
        _leave(error, 1)


def _leave(error: errors.WorkerError, code: int) -> NoReturn:
    from worker import logs

    if not logs.last_words(str(error)):
        typer.echo(f"worker: {error}", err=True)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(worker.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


@app.command()
def run() -> None:
    """Work: claim jobs and do them, until stopped. Settings come from the environment and .env."""
    _worked(lambda service, chosen: service.run(chosen))


@app.command()
def drain(
    max_jobs: Annotated[int, typer.Option(min=1, max=10_000, help="Work on so many at most.")] = 100,
    max_seconds: Annotated[float, typer.Option(min=1, max=86_400, help="Claim none after so long.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="The report as one JSON object.")] = False,
) -> None:
    """Work until nothing waits, then end: for cron, and for hosts without a process that stays."""
    import dataclasses
    import json

    report = _worked(lambda service, chosen: service.drain(chosen, max_jobs=max_jobs, max_seconds=max_seconds))
    said = dataclasses.asdict(report)
    typer.echo(json.dumps(said) if as_json else ", ".join(f"{name} {value}" for name, value in said.items()))


def _worked(work: "Callable[[Any, Settings], Coroutine[Any, Any, T]]") -> T:
    """What *work* of `worker.app` brings, with the settings of this process; and an end that is one."""
    # httpx imports its own command line, with rich and pygments, unless that fails: 5 MB for nothing.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    from worker import app as service
    from worker import logs, settings, stuck

    logs.configure(level="INFO", json=None)
    chosen = settings.load()
    logs.configure(level=chosen.log_level, json=chosen.log_json, secrets=chosen.secrets)
    with asyncio.Runner() as runner:
        try:
            done = runner.run(work(service, chosen))
        except BaseException:
            stuck.end_process_in(_LEAVE_SECONDS, 1)
            raise
        stuck.end_process_in(_LEAVE_SECONDS, 0)
    return done


@app.command()
def stack(
    env_file: Annotated[Path | None, typer.Option(help="Write the stack's addresses and keys to it.")] = None,
    port: Annotated[int, typer.Option(help="The one port everything is served on; 0 takes a free one.")] = 54321,
    data: Annotated[Path, typer.Option(help="Where the database lives between runs.")] = Path(".stack"),
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=VALUE][:SECONDS]",
            help="Misbehave, 5 s after the first client has joined; may be repeated. `list` prints what there is.",
        ),
    ] = None,
    admin_key: Annotated[
        str | None, typer.Option(envvar="STACK_ADMIN_KEY", help="Open /admin to whoever has this key: for tests.")
    ] = None,
    postgrest: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Let this PostgREST answer REST, not the stack's own gateway."),
    ] = None,
) -> None:
    """Run a local stand-in of a Supabase project, with this project's SQL applied."""
    from worker import logs
    from worker.terminal import install

    try:
        from worker.devstack import orders as troubles
        from worker.devstack import stack as devstack
    except ImportError as error:
        raise errors.ConfigurationError(
            f"The local stack needs more packages ({error.name}): pip install 'supabase-realtime-worker[stack]'."
        ) from error
    if "list" in (fault or ()):
        typer.echo("\n".join(troubles.described()))
        return
    try:
        orders = [troubles.Order.read(text) for text in fault or ()]
    except ValueError as error:
        raise errors.ConfigurationError(str(error)) from None
    logs.configure(level="INFO", json=False)
    try:
        asyncio.run(
            devstack.serve(
                data,
                port=port,
                env_file=env_file,
                sql=[install.script()],
                admin_key=admin_key,
                orders=orders,
                postgrest=postgrest,
            )
        )
    except (RuntimeError, OSError) as error:
        raise errors.WorkerError(f"The stack does not run: {error}") from error


@app.command()
def sql(
    apply: Annotated[
        str | None, typer.Option(metavar="DATABASE_URL", help="Apply it there instead of printing it.")
    ] = None,
) -> None:
    """Print the one script to paste into the SQL editor. Running it again is the upgrade."""
    from worker.terminal import install

    if apply is None:
        typer.echo(install.script(), nl=False)
    else:
        install.apply(apply)
        typer.echo("The translation queue is installed.")
