"""Handlers of the owner's: what is refused before they ever run, and what becomes of what they take and return."""

import dataclasses
import datetime
import inspect
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pydantic
import pytest

import worker
from tests.unit import factories
from worker import errors, models
from worker.handlers import JobContext, own


class Pack(pydantic.BaseModel):
    image: str
    width: int = 64


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, own.OwnHandler]:
    """An empty one for each test."""
    handlers: dict[str, own.OwnHandler] = {}
    monkeypatch.setattr(own, "_registry", handlers)
    return handlers


def context(content: Any) -> JobContext:
    async def read() -> Any:
        return content

    return cast(JobContext, SimpleNamespace(job=factories.job(), content=read))


async def result(content: Any) -> models.ItemResult:
    """What the one registered handler makes of *content*."""
    (made,) = own.registered().values()
    return await made(context(content))


async def plain(ctx: worker.JobContext) -> None:
    """The simplest there is."""


def sync(ctx: worker.JobContext) -> None: ...


async def none() -> None: ...


async def three(ctx: worker.JobContext, payload: Pack, more: int) -> None: ...


async def any_number(ctx: worker.JobContext, *payloads: Pack) -> None: ...


async def strange(ctx: worker.JobContext, payload: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821


async def unfit(ctx: worker.JobContext, payload: Iterator[SimpleNamespace]) -> None: ...


class Callable:
    async def __call__(self, ctx: worker.JobContext) -> None: ...


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (sync, {}, "not an async function"),
    (Callable(), {}, "not an async function"),
    (none, {}, "takes 0 parameters"),
    (three, {}, "takes 3 parameters"),
    (any_number, {}, "takes 2 parameters"),
    (strange, {}, "payload that cannot be checked"),
    (unfit, {}, "payload that cannot be checked"),
    (plain, {"job_type": "Thumb nail"}, "lower-case letters"),
    (plain, {"job_type": "t" * 64}, "1 to 63"),
    (plain, {"concurrency": 0}, "a whole number from 1"),
    (plain, {"concurrency": True}, "a whole number from 1"),
    (plain, {"lease_seconds": 1}, "from 2 to 3600"),
    (plain, {"lease_seconds": float("nan")}, "from 2 to 3600"),
]


@pytest.mark.parametrize(
    ("function", "said", "why"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_cannot_work_is_refused_when_it_is_imported(function: Any, said: dict[str, Any], why: str) -> None:
    said = {"job_type": "thumbnail", **said}
    with pytest.raises(errors.ConfigurationError, match=why) as refused:
        worker.handler(said.pop("job_type"), **said)(function)

    assert "\n" not in str(refused.value)
    assert own.registered() == {}


def test_a_decorator_without_its_job_type_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="write @worker"):
        worker.handler(plain)  # type: ignore[arg-type]


def test_a_job_type_has_one_handler() -> None:
    async def other(ctx: worker.JobContext) -> None: ...

    worker.handler("thumbnail")(plain)
    with pytest.raises(errors.ConfigurationError, match=r"test_own\.plain and .*other"):
        worker.handler("thumbnail")(other)


def test_a_module_that_is_imported_again_is_no_second_handler() -> None:
    for _ in range(2):
        worker.handler("thumbnail")(plain)

    assert set(own.registered()) == {"thumbnail"}


async def test_the_payload_is_what_the_annotation_says() -> None:
    @worker.handler("thumbnail")
    async def thumbnail(ctx: worker.JobContext, payload: Pack) -> str:
        return f"{payload.image} {payload.width}"

    assert (await result({"image": "cards/42.png"})).content == "cards/42.png 64"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "image: Field required."),
        ({"image": 7, "width": "wide"}, r"image: .* \(and 1 more\)"),
        (None, "content: "),
        ([], "content: "),
    ],
)
async def test_a_content_that_does_not_fit_ends_the_job_and_names_the_field(content: Any, says: str) -> None:
    @worker.handler("thumbnail")
    async def thumbnail(ctx: worker.JobContext, payload: Pack) -> None:
        raise AssertionError("it must not run")

    with pytest.raises(errors.ItemError, match=says) as refused:
        await result(content)

    assert refused.value.error_class == "bad_request"
    assert models.DISPOSITIONS["bad_request"] is models.Disposition.FAILED


async def test_a_payload_may_be_left_open_or_out() -> None:
    seen = []

    async def open_one(ctx: worker.JobContext, payload) -> None:  # type: ignore[no-untyped-def]
        seen.append(payload)

    async def dict_one(ctx: worker.JobContext, payload: dict[str, Any]) -> None:
        seen.append(payload)

    for function in (open_one, dict_one, plain):
        own._registry.clear()
        worker.handler("thumbnail")(function)
        await result({"image": 1})

    assert seen == [{"image": 1}] * 2


@dataclasses.dataclass
class Size:
    width: int


@pytest.mark.parametrize(
    ("returned", "stored"),
    [
        (None, None),
        ({"width": 64}, {"width": 64}),
        (Pack(image="a"), {"image": "a", "width": 64}),
        (Size(3), {"width": 3}),
        (
            [datetime.date(2026, 1, 2), uuid.UUID(int=1), Path("cards/42.png")],
            ["2026-01-02", "00000000-0000-0000-0000-000000000001", "cards/42.png"],
        ),
    ],
)
def test_what_is_returned_becomes_json(returned: Any, stored: Any) -> None:
    assert own.result_of(returned, "thumbnail") == models.ItemResult(content=stored, provider="thumbnail")


def test_an_item_result_is_taken_as_it_is() -> None:
    whole = models.ItemResult(content=1, provider="mine", warnings=({"code": "blurry", "message": "Blurry."},))

    assert own.result_of(whole, "thumbnail") is whole


def test_what_json_cannot_say_is_an_error_of_the_handler() -> None:
    with pytest.raises(ValueError, match="object cannot be written as JSON"):
        own.result_of(object(), "thumbnail")


def test_code_of_a_handler_is_known_as_its(registry: dict[str, own.OwnHandler]) -> None:
    async def other(ctx: worker.JobContext) -> None: ...

    @worker.handler("thumbnail")
    async def thumbnail(ctx: worker.JobContext) -> Any:
        async def small(item: str) -> None: ...

        return small

    inner = next(one for one in thumbnail.__code__.co_consts if inspect.iscode(one))
    blamed = {"handler": registry["thumbnail"].label, "job_type": "thumbnail"}
    assert own.whose(thumbnail.__code__) == own.whose(inner) == own.whose(other.__code__) == blamed

    worker.handler("other")(other)
    assert own.whose(inner) == blamed
    assert own.whose(plain.__code__) is None, "two in this file: nobody knows whose it is"
    assert own.whose(inspect.getmodule.__code__) is None


def write(folder: Path, name: str, source: str) -> str:
    (folder / f"{name}.py").write_text(source)
    return name


def test_modules_are_also_found_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    name = write(tmp_path, "found_here", "import worker\n@worker.handler('found')\nasync def found(ctx): ...\n")

    assert set(own.load([name])) == {"found"}


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import does_not_exist_anywhere", "ModuleNotFoundError: No module named 'does_not_exist_anywhere'"),
        ("1 / 0", "ZeroDivisionError"),
        ("this is no Python", "SyntaxError"),
        ("import worker\n@worker.handler('x')\ndef f(ctx): ...\n", "not an async function"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, why: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(errors.ConfigurationError, match=why) as refused:
        own.load([write(tmp_path, "broken_handlers", source)])

    assert "WORKER_MODULES" in str(refused.value)
    assert "broken_handlers" in str(refused.value)


def test_importing_worker_loads_nothing_else() -> None:
    program = "import sys, worker; assert not {'pydantic', 'worker.handlers', 'worker.testing'} & set(sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_what_an_owner_needs_is_in_the_package_by_name() -> None:
    assert (worker.handler, worker.GiveUp, worker.RetryLater) == (own.handler, errors.GiveUp, errors.RetryLater)
    assert worker.JobContext is JobContext
    with pytest.raises(AttributeError, match="has no attribute 'hander'"):
        worker.hander  # type: ignore[attr-defined]  # noqa: B018
