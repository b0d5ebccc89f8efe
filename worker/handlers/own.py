"""
The handlers that the owner of a project writes: one async function does one run of one job.

    @worker.handler("thumbnail", concurrency=2, lease_seconds=120)
    async def thumbnail(ctx: worker.JobContext, payload: Pack) -> dict[str, int]: ...

Owns what can be known of such a function before it ever runs; what cannot work is refused when its module is imported,
with one sentence. Never runs anything by itself. The rule that keeps it correct: a payload is checked against the
annotation before the function sees it, so a job that cannot be done ends at once and is not tried again.
"""

import importlib
import inspect
import os
import re
import sys
import typing
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import CodeType, SimpleNamespace
from typing import Any, Final, TypeVar

import pydantic
import pydantic_core

from worker import errors, models
from worker.handlers.base import JobContext

Function = TypeVar("Function", bound=Callable[..., Awaitable[Any]])

LEASE_SECONDS_MIN: Final = 2.0
LEASE_SECONDS_MAX: Final = 3600.0
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)

_registry: dict[str, "OwnHandler"] = {}


@dataclass(frozen=True, slots=True)
class OwnHandler:
    """A registered function and what was said about it."""

    job_type: str
    function: Callable[..., Any]
    concurrency: int | None
    """How many jobs of this type at once in this process; None: as many as there are slots."""
    lease_seconds: float | None
    """How long a claim lasts without a renewal; None: as long as every other."""
    payload: "pydantic.TypeAdapter[Any] | None"
    """What checks the job's content; None: the function does not want it."""

    async def __call__(self, ctx: JobContext) -> models.ItemResult:
        """
        One run. Returns the result of the items that the function did not hand in itself.

        Raises:
            ItemError: bad_request, the content does not fit the annotation.
        """
        arguments = () if self.payload is None else (_read(self.payload, await ctx.content()),)
        return result_of(await self.function(ctx, *arguments), self.job_type)

    @property
    def code(self) -> CodeType:
        """The owner's own, behind whatever decorates it."""
        code: CodeType = inspect.unwrap(self.function).__code__
        return code

    @property
    def label(self) -> str:
        """Where it is, for people."""
        return f"{self.function.__module__}.{self.function.__qualname__}"


def handler(
    job_type: str, *, concurrency: int | None = None, lease_seconds: float | None = None
) -> Callable[[Function], Function]:
    """
    Let the decorated async function do the jobs of *job_type*: `async def name(ctx)` or `async def name(ctx, payload)`.

    The annotation of the second parameter says what a job's content must be: a pydantic model, or anything else that
    pydantic can check. A job whose content does not fit ends as `bad_request`, refunded.

    Args:
        concurrency: at most this many jobs of the type at once in this process; None: MAX_CONCURRENT_JOBS.
        lease_seconds: how long a claim of the type lasts without a renewal, 2 to 3600; None: LEASE_SECONDS. A longer
            one suits code that holds up the event loop, and is a longer wait for the next worker when this one dies.

    Raises:
        ConfigurationError: the function, its name or a number cannot work; it says which, and what is allowed.
    """
    if not isinstance(job_type, str):
        raise errors.ConfigurationError('A handler names its job type: write @worker.handler("thumbnail").')

    def register(function: Function) -> Function:
        made = _checked(job_type, function, concurrency, lease_seconds)
        older = _registry.get(job_type)
        if older is not None and _place(older) != _place(made):
            raise errors.ConfigurationError(
                f"There are two handlers for {job_type!r}: {older.label} and {made.label}; a job type has one."
            )
        _registry[job_type] = made
        return function

    return register


def registered() -> dict[str, OwnHandler]:
    """A copy: what is registered now, by job type."""
    return dict(_registry)


def whose(code: CodeType) -> dict[str, str] | None:
    """The handler that *code* belongs to, as fields for the log: part of it, or of a file that has no other."""
    beside = [one for one in _registry.values() if one.code.co_filename == code.co_filename]
    inside = [one for one in beside if f"{code.co_qualname}.".startswith(f"{one.code.co_qualname}.")]
    for one in inside or (beside if len(beside) == 1 else ()):
        return {"handler": one.label, "job_type": one.job_type}
    return None


def load(modules: Sequence[str]) -> dict[str, OwnHandler]:
    """
    Import *modules*, also from the current directory, and return what is registered then.

    Raises:
        ConfigurationError: one of them cannot be imported, or has a handler that cannot work.
    """
    if modules and os.getcwd() not in sys.path:  # the installed command does not look there by itself
        sys.path.insert(0, os.getcwd())
    for module in modules:
        try:
            importlib.import_module(module)
        except errors.ConfigurationError as error:
            raise errors.ConfigurationError(f"WORKER_MODULES names {module}: {error}") from error
        except Exception as error:
            raise errors.ConfigurationError(
                f"WORKER_MODULES is {','.join(modules)!r}; {module} cannot be imported: "
                f"{type(error).__name__}: {error}."
            ) from error
    return registered()


def result_of(value: Any, provider: str) -> models.ItemResult:
    """
    What a function of the owner returned, as the result of an item.

    Raises:
        ValueError: it is nothing that JSON could say.
    """
    if isinstance(value, models.ItemResult):
        return value
    try:
        return models.ItemResult(content=pydantic_core.to_jsonable_python(value), provider=provider)
    except pydantic_core.PydanticSerializationError as error:
        raise ValueError(f"a result of type {type(value).__name__} cannot be written as JSON") from error


def insert_statement(job_type: str) -> str:
    """The SQL that makes *job_type* a kind of job."""
    return f"insert into public.translation_job_types (name) values ('{job_type}') on conflict (name) do nothing;"


def _read(payload: "pydantic.TypeAdapter[Any]", content: Any) -> Any:
    try:
        return payload.validate_python(content)
    except pydantic.ValidationError as invalid:
        faults = invalid.errors(include_url=False, include_context=False, include_input=False)
        field = ".".join(str(step) for step in faults[0]["loc"]) or "content"
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise errors.ItemError(
            "bad_request", f"The content of this job does not fit: {field}: {faults[0]['msg']}{more}."
        ) from None


def _checked(job_type: str, function: Any, concurrency: int | None, lease_seconds: float | None) -> OwnHandler:
    name = getattr(function, "__qualname__", repr(function))
    if not _NAME.fullmatch(job_type):
        raise errors.ConfigurationError(
            f"{name} is a handler for {job_type!r}; a job type is 1 to 63 lower-case letters, digits and underscores, "
            "the first a letter."
        )
    if not inspect.isfunction(function) or not inspect.iscoroutinefunction(function):
        raise errors.ConfigurationError(
            f"The handler for {job_type!r}, {name}, is not an async function: write async def {name}(ctx, payload)."
        )
    if concurrency is not None and not (type(concurrency) is int and concurrency >= 1):
        raise errors.ConfigurationError(
            f"concurrency of the handler for {job_type!r} is {concurrency!r}; allowed: a whole number from 1."
        )
    if lease_seconds is not None and not _is_lease(lease_seconds):
        raise errors.ConfigurationError(
            f"lease_seconds of the handler for {job_type!r} is {lease_seconds!r}; allowed: seconds, from "
            f"{LEASE_SECONDS_MIN:g} to {LEASE_SECONDS_MAX:g}."
        )
    return OwnHandler(job_type, function, concurrency, lease_seconds, _payload(job_type, function))


def _is_lease(seconds: Any) -> bool:
    return type(seconds) in (int, float) and LEASE_SECONDS_MIN <= seconds <= LEASE_SECONDS_MAX


def _payload(job_type: str, function: Any) -> "pydantic.TypeAdapter[Any] | None":
    """What checks the second parameter; None without one."""
    parameters = list(inspect.signature(function).parameters.values())
    wanted = [one for one in parameters if one.kind in _POSITIONAL]
    if not 1 <= len(wanted) <= 2 or len(wanted) != len(parameters):
        raise errors.ConfigurationError(
            f"The handler for {job_type!r}, {function.__qualname__}, takes {len(parameters)} parameters; allowed: one, "
            "the context, or two, the context and the payload."
        )
    if len(wanted) == 1:
        return None
    annotation = wanted[1].annotation
    if annotation is inspect.Parameter.empty:
        annotation = Any
    try:
        # Only this one: that of the context is often imported for type checkers alone.
        named = SimpleNamespace(__annotations__={"payload": annotation})
        hints = typing.get_type_hints(named, globalns=function.__globals__, include_extras=True)
        return pydantic.TypeAdapter(hints["payload"])
    except (NameError, TypeError, SyntaxError, pydantic.errors.PydanticUserError) as error:
        raise errors.ConfigurationError(
            f"The handler for {job_type!r}, {function.__qualname__}, has a payload that cannot be checked: annotate "
            f"{wanted[1].name} with a pydantic model, dict or Any ({str(error).splitlines()[0]})."
        ) from error


def _place(made: OwnHandler) -> tuple[str, int]:
    """The same when a module was imported again, under another name perhaps."""
    return made.code.co_filename, made.code.co_firstlineno
