"""
`worker new handler NAME`: a handler that runs and a test beside it, to be changed into one's own.

Writes what is not there and nothing else: a file that exists is never touched.
"""

import importlib.util
import keyword
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from worker import errors

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TAKEN: Final = ("pydantic", "worker")  # what the written module imports

HANDLER: Final = '''"""
Jobs of type `{name}`. The worker imports this module when it is started with WORKER_MODULES={module}.
"""

import pydantic

import worker


class Payload(pydantic.BaseModel):
    """What the content of a job must be. Anything else ends the job as bad_request, and it is refunded."""

    text: str


@worker.handler("{name}")
async def {name}(ctx: worker.JobContext, payload: Payload) -> None:
    """
    One run of one job. It may be stopped at any await and run again after a crash, with the items that are still open:
    what it does must bear a repetition.
    """

    async def make(item: str) -> dict[str, str]:
        # Computing for long belongs into asyncio.to_thread: here it would hold up every other job.
        if not payload.text:
            raise worker.GiveUp("There is nothing to do.")  # final; worker.RetryLater(30, "Busy.") tries again
        return {{"item": item, "text": payload.text}}

    await ctx.each(make)  # side by side, each result stored when it is there
'''

TEST: Final = '''"""
What becomes of a job of type `{name}`, on a database of its own. Run it from where the worker is started.
"""

import asyncio

from worker import testing


def test_every_item_has_its_result() -> None:
    async def run() -> testing.Job:
        async with testing.project(modules=["{module}"]) as project:
            return await project.run("{name}", {{"text": "Hello"}}, items=["one", "two"])

    job = asyncio.run(run())

    assert job.status == "completed"
    assert job.items["two"].result == {{"item": "two", "text": "Hello"}}
'''

NEXT: Final = """Written: {file} and {test}

1. Make the job type, in the SQL editor:
     {statement}
2. Try it here:
     python -m pytest {test}
3. Start the worker with it:
     WORKER_MODULES={module}
4. Make a job:
     select public.enqueue_translation_job('{name}', '{{"text": "Hello"}}', array['one', 'two']);"""


@app.callback()
def _new() -> None:
    """Write a first version of something."""


@app.command()
def handler(
    name: Annotated[str, typer.Argument(help="The job type: lower-case letters, digits and underscores.")],
    file: Annotated[Path | None, typer.Option(help="Where, below the current directory; default NAME.py.")] = None,
) -> None:
    """Write a handler of your own for a job type, and a test for it."""
    from worker.handlers import own

    file = file or Path(f"{name}.py")
    _check_name(name)
    module = _module(file)
    test = file.with_name(f"test_{file.name}")
    for path in (file, test):
        if path.exists():
            raise errors.ConfigurationError(f"{path} is there already; choose another with --file.")
    if importlib.util.find_spec(module.partition(".")[0]) is not None and "." not in module:
        raise errors.ConfigurationError(
            f"There is a Python module {module} already, and {file} would hide it; choose another with --file."
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    said = {"name": name, "module": module, "file": file, "test": test, "statement": own.insert_statement(name)}
    file.write_text(HANDLER.format(**said), encoding="utf-8")
    test.write_text(TEST.format(**said), encoding="utf-8")
    typer.echo(NEXT.format(**said))


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name in _TAKEN:
        raise errors.ConfigurationError(
            f"NAME is {name!r}; allowed: 1 to 63 lower-case letters, digits and underscores, the first a letter; no "
            f"word of Python's own, and none of {', '.join(_TAKEN)}."
        )


def _module(file: Path) -> str:
    """As WORKER_MODULES names it."""
    parts = file.with_suffix("").parts
    if file.suffix != ".py" or file.is_absolute() or not all(part.isidentifier() for part in parts):
        raise errors.ConfigurationError(
            f"--file is {str(file)!r}; allowed: a path below the current directory that Python can import, such as "
            "handlers/thumbnail.py."
        )
    return ".".join(parts)
