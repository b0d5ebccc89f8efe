"""`worker.testing` and `worker new handler`: what an owner's first hour with handlers is made of, run as written."""

import ast
import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import worker
from tests.test_documented import blocks
from worker import cli, errors, testing
from worker.handlers import own

if TYPE_CHECKING:
    from worker.devstack.stack import StackUrls

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator["StackUrls"]:
    with testing.stack(tmp_path_factory.mktemp("testing")) as urls:
        yield urls


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_registry", {})


# The helper


async def test_a_job_is_made_run_and_shown_with_its_items(stack: "StackUrls") -> None:
    @worker.handler("shown")
    async def shown(ctx: worker.JobContext, payload: dict[str, Any]) -> dict[str, Any]:
        await ctx.item("first", payload)
        ctx.progress(1, 2, "Half")
        return {"of": ctx.items}

    async with testing.project(stack) as project:
        job = await project.run("shown", {"image": "a.png"}, items=["first", "second"], subject="card:42")

    assert (job.status, job.row["subject"], job.row["progress"]) == ("completed", "card:42", 100)
    assert {name: item.result for name, item in job.items.items()} == {
        "first": {"image": "a.png"},
        "second": {"of": ["second"]},
    }
    assert job.result == {"image": "a.png"}


async def test_a_job_that_is_to_be_tried_again_is_run_again_without_the_wait(stack: "StackUrls") -> None:
    given: list[tuple[int, tuple[str, ...]]] = []

    @worker.handler("again")
    async def again(ctx: worker.JobContext) -> str:
        given.append((ctx.attempt, tuple(ctx.items)))
        if ctx.attempt == 1:
            await ctx.item("kept", "from the first run")
            raise worker.RetryLater(3600, "The printer is out of ink.")
        return "from the second"

    async with testing.project(stack) as project:
        first = await project.run("again", items=["kept", "left"])
        second = await project.again(first)

    assert (first.status, second.status) == ("retrying", "completed")
    assert first.items["left"].error == {"class": "internal", "message": "The printer is out of ink."}
    assert [item.result for item in second.items.values()] == ["from the first run", "from the second"]
    assert given == [(1, ("kept", "left")), (2, ("left",))]


async def test_a_job_without_items_has_one_and_its_bad_content_is_refunded(stack: "StackUrls") -> None:
    @worker.handler("strict")
    async def strict(ctx: worker.JobContext, payload: list[int]) -> int:
        return sum(payload)

    async with testing.project(stack) as project:
        good = await project.run("strict", [1, 2, 3])
        bad = await project.run("strict", {"image": "a.png"})

    assert (good.status, good.result, list(good.items)) == ("completed", 6, ["run"])
    assert bad.status == "failed"
    assert bad.items["run"].error is not None
    assert bad.items["run"].error["class"] == "bad_request"
    assert bad.items["run"].error["message"].startswith("The content of this job does not fit: content: ")
    assert bad.row["attempts"] == 1


async def test_a_job_that_does_not_end_in_time_is_given_back_and_said(stack: "StackUrls") -> None:
    @worker.handler("endless")
    async def endless(ctx: worker.JobContext) -> None:
        await asyncio.Event().wait()

    async with testing.project(stack) as project:
        with pytest.raises(TimeoutError, match=r"pending after 0\.5 seconds"):
            await project.run("endless", seconds=0.5)


async def test_a_job_type_that_nobody_knows_is_refused(stack: "StackUrls") -> None:
    async with testing.project(stack) as project:
        with pytest.raises(errors.StoreRefused) as refused:
            await project.run("nobody_knows_this")

    assert refused.value.word == "job_type_unknown"


# What the documents show


def python(code: str, folder: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=100)

    assert ended.returncode == 0, ended.stderr


def test_the_handler_and_the_test_of_the_guide_run(tmp_path: Path) -> None:
    shown = blocks("docs/handlers.md", "python")
    (handler,) = [block for block in shown if block.startswith("# thumbnails.py")]
    (test,) = [block for block in shown if "testing.project(" in block]
    (tmp_path / "thumbnails.py").write_text(handler)

    python(test, tmp_path)


def test_the_test_in_the_package_is_valid() -> None:
    code = textwrap.dedent("\n".join(line for line in (testing.__doc__ or "").splitlines() if line[:4] in ("", "    ")))

    names = {node.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)}
    assert {"project", "run", "items", "result"} <= names


# A first handler


def typed(*words: str) -> Any:
    return CliRunner().invoke(cli.app, ["new", "handler", *words])


def test_a_written_handler_passes_the_test_that_is_written_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    said = typed("thumbnail")

    assert said.exit_code == 0
    assert own.insert_statement("thumbnail") in said.output
    assert "WORKER_MODULES=thumbnail" in said.output
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_thumbnail.py"],
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout


def test_a_handler_may_be_written_into_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    said = typed("thumbnail", "--file", "jobs/pictures.py")

    assert "WORKER_MODULES=jobs.pictures" in said.output
    assert 'modules=["jobs.pictures"]' in (tmp_path / "jobs/test_pictures.py").read_text()
    assert set(own.load(["jobs.pictures"])) == {"thumbnail"}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("Thumb",), "lower-case"),
        (("class",), "Python's own"),
        (("worker",), "none of pydantic, worker"),
        (("json",), "would hide it"),
        (("thumbnail", "--file", "../thumbnail.py"), "below the current directory"),
        (("thumbnail", "--file", "thumb-nail.py"), "Python can import"),
        (("thumbnail", "--file", "thumbnail.txt"), "Python can import"),
    ],
)
def test_a_name_that_cannot_work_is_refused_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], why: str
) -> None:
    monkeypatch.chdir(tmp_path)

    refused = typed(*words).exception

    assert isinstance(refused, errors.ConfigurationError)
    assert why in str(refused)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("existing", ["thumbnail.py", "test_thumbnail.py"])
def test_what_is_there_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / existing).write_text("mine")

    assert isinstance(typed("thumbnail").exception, errors.ConfigurationError)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {existing: "mine"}
