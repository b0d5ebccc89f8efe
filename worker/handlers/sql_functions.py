"""
The job type `sql_functions`: functions of the owner's, called side by side. An item is the name of one.

Only what stands on the owner's list is called, and the list is asked before every call. The rule that keeps it correct:
a call is made once a try and never repeated in it, since nobody can know how far the last one came.

    content   {"args": {arguments of all}, "each": {"one of them": {its own, on top}}}
    result    {"result": what it returned, "duration_ms": how long the call took}
"""

from collections.abc import Mapping
from typing import Any, Final

from worker import clock as clocks
from worker import errors, models
from worker.handlers.base import ItemContext
from worker.handlers.procedures import Procedures, Reply

CEILING_SECONDS: Final = 60.0
"""What a hosted project's gateway gives one request; a statement_timeout above it never comes true."""

# The answer of a function that was stopped at the ceiling still has to arrive.
_CALL_SECONDS: Final = CEILING_SECONDS + 5
# From here on a gateway that gave up did so because it was the function that took long.
_GATEWAY_SECONDS: Final = 50.0
# Who is stopped before this part of its own limit was stopped by another one.
_EARLY: Final = 0.9
_RESULT_BYTES_MAX: Final = 64 * 1024

_TOO_SLOW: Final = (
    "public.{name} ran into its statement_timeout{own}. Up to 60 seconds can be had with: alter function"
    " public.{name} set statement_timeout = '60s'. What takes longer is for pg_cron: select cron.schedule('{name}',"
    " '0 3 * * *', 'select public.{name}()')."
)


class SqlFunctionsHandler:
    def __init__(self, procedures: Procedures, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._procedures = procedures
        self._clock = clock

    async def __call__(self, ctx: ItemContext) -> models.ItemResult:
        name = ctx.item.name
        timeout_ms = await self._allowed(name)
        arguments = _arguments(await ctx.content(), name)
        started_at = self._clock.monotonic()
        try:
            reply = await self._procedures.call(name, arguments, seconds=_CALL_SECONDS)
        except TimeoutError:
            raise _too_slow(name, timeout_ms) from None
        seconds = self._clock.monotonic() - started_at
        if not reply.ok:
            raise _refused(name, reply, seconds, timeout_ms)
        return _result(reply, seconds)

    async def _allowed(self, name: str) -> int | None:
        """The function's own statement_timeout in ms. Raises ItemError when it may not be called, or not any more."""
        listed = await self._procedures.listed("list_translation_functions", name)
        if listed is None:
            raise errors.ItemError("bad_request", f"{name} is not on the list of SQL functions that jobs may call.")
        timeout_ms: int | None = listed.get("timeout_ms")
        if timeout_ms is not None and timeout_ms > CEILING_SECONDS * 1000:
            raise _too_slow(name, timeout_ms)
        return timeout_ms


def _arguments(content: Any, name: str) -> Mapping[str, Any]:
    asked = content if isinstance(content, Mapping) else {}
    common, own = asked.get("args") or {}, (asked.get("each") or {}).get(name) or {}
    return {**common, **own}


def _result(reply: Reply, seconds: float) -> models.ItemResult:
    value, warnings = reply.value, []
    if reply.size_bytes is None or reply.size_bytes > _RESULT_BYTES_MAX:
        value = None
        warnings.append(
            {"code": "result_too_large", "message": "The function returned more than 64 kB; it is not kept."}
        )
    return models.ItemResult(
        content={"result": value, "duration_ms": round(seconds * 1000)}, provider="postgres", warnings=tuple(warnings)
    )


def _refused(name: str, reply: Reply, seconds: float, timeout_ms: int | None) -> errors.ItemError:
    """What a refusal is worth: final where asking again cannot help, else another try."""
    if reply.code == "57014" or (reply.status == 504 and not reply.code and seconds > _GATEWAY_SECONDS):
        early = timeout_ms is not None and seconds * 1000 < min(timeout_ms, _GATEWAY_SECONDS * 1000) * _EARLY
        return _too_early(name, seconds) if early else _too_slow(name, timeout_ms)
    if reply.code in ("PGRST202", "PGRST203", "42883"):
        return errors.ItemError("bad_request", f"There is no one function public.{name} that takes these arguments.")
    if reply.code == "42501":
        return errors.ItemError(
            "bad_request",
            f"{reply.message}. If it is the function itself: grant execute on function public.{name} to service_role.",
        )
    return _trouble(reply)


def _trouble(reply: Reply) -> errors.ItemError:
    said = f"{reply.code}: {reply.message}" if reply.code else f"The API answered {reply.status}."
    if reply.status in (401, 403):
        return errors.ItemError("auth", said)
    if reply.status == 429:
        return errors.ItemError("rate_limited", said, speaks_for_provider=False)
    if reply.code.startswith("PT4"):  # the function itself says that it is the request's fault
        return errors.ItemError("bad_request", reply.message)
    return errors.ItemError("overloaded" if reply.status in (502, 503, 504) else "internal", said)


def _too_early(name: str, seconds: float) -> errors.ItemError:
    """The database knows of the function's own limit and the API does not: it hears of a change a moment later."""
    return errors.ItemError(
        "internal",
        f"public.{name} was stopped after {seconds:.0f} s, before its own statement_timeout. Where the API does not"
        " know of that yet: notify pgrst, 'reload schema'.",
    )


def _too_slow(name: str, timeout_ms: int | None) -> errors.ItemError:
    own = "" if timeout_ms is None else f" of {min(timeout_ms / 1000, 86400):g} s"
    return errors.ItemError("bad_request", _TOO_SLOW.format(name=name, own=own))
