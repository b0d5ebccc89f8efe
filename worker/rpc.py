"""
One call of a stored procedure over https, and what its answer means.

Owns the meaning: codes and HTTP statuses decide (`failure`), never the text of a message. Never repeats a
call on its own account: the caller says how long, and may say so only for procedures that answer a repeated
call as they answered the first. How a call travels is its two subclasses' business: `rpc_direct` for the
worker, `rpc_official` for the commands at a terminal.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay

from worker import backoff, errors
from worker import clock as clocks
from worker.counters import Counters

# An idle worker calls every 30 s. Longer than that, so that the claim after a ring finds a warm connection;
# shorter than the 60-75 s after which the usual gateways hang up.
KEEPALIVE_SECONDS: Final = 50.0
CONNECT_SECONDS: Final = 5.0

_MISSING: Final = frozenset({"PGRST202", "PGRST203", "PGRST205", "42883", "42P01"})
_UNAUTHORIZED: Final = frozenset({"42501", "PGRST106", "PGRST300", "PGRST301", "PGRST302", "PGRST303"})
# Out of connections, out of time, restarting, or in each other's way: another moment may do.
_PASSING: Final = re.compile(r"^(08|40|53|55|57|58)...$|^PGRST00\d$|^XX")

# Never begun or rolled back for certain. Not PGRST001, 08… or 57P01: a connection that broke may have broken after
# the commit.
_NOT_DONE: Final = re.compile(r"^PGRST00[023]$|^(40|53|55)...$|^57P03$")


class Written(dict[str, Any]):
    """A JSON object beside the text it was written as: written once, however often it is sent."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        """Raises TypeError or ValueError when JSON cannot carry *fields*."""
        super().__init__(fields)
        self.text = write(fields)


def write(value: Any) -> bytes:
    """
    *value* as the JSON that is sent; of a list of what is `Written` already, the texts.

    Raises:
        TypeError, ValueError: JSON cannot carry it: NaN, a lone surrogate, an object.
    """
    if isinstance(value, list) and value and all(isinstance(one, Written) for one in value):
        return b"[" + b",".join(one.text for one in value) + b"]"
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def failure(code: str | None, details: Any, message: str | None, status: int) -> errors.StoreError:
    """What a refusal by PostgREST, Postgres or the gateway in front of them means to us."""
    code = code or ""
    if re.fullmatch(r"PT[45]\d\d", code):
        return errors.StoreRefused(code, _first_word(details), message or code)
    if code in _MISSING:
        return errors.SqlMissing(code)
    if code in _UNAUTHORIZED or status in (401, 403):
        return errors.StoreUnauthorized(code or str(status))
    if code == "57014":
        return errors.StoreTooSlow(code, not_done=True)
    if _PASSING.match(code) or status >= 500 or status in (408, 425, 429):
        return errors.StoreUnavailable(code or str(status), not_done=_NOT_DONE.match(code) is not None)
    if status in (301, 302, 307, 308, 404):  # something answers there, but it is not PostgREST
        return errors.StoreUnauthorized(f"HTTP {status}")
    return errors.StoreRefused(code or str(status), _first_word(details), message or code)


def _first_word(details: Any) -> str:
    found = re.match(r"[a-z][a-z0-9_]*", details) if isinstance(details, str) else None
    return found.group() if found else ""


class Rpc:
    """Calls procedures as one identity: the key's role, or the user of an access token."""

    def __init__(self, *, counters: Counters | None = None, clock: clocks.Clock = clocks.SYSTEM) -> None:
        self._counters = counters or Counters()
        self._clock = clock
        self.answered_at = clock.monotonic()
        """When the database last accepted a call, on the clock's monotonic scale."""

    async def call(self, function: str, params: dict[str, Any], *, repeat_seconds: float = 0.0) -> Any:
        """
        The decoded answer of *function*.

        With *repeat_seconds*, a call that found nobody is repeated for that long with full jitter. Only for
        procedures that answer a repeated call like the first: its first answer may have been lost on the way.

        Raises:
            StoreError: one of its leaves; see `errors`.
        """
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(errors.StoreUnavailable),
            stop=stop_after_delay(repeat_seconds),
            wait=backoff.wait_full_jitter(0.1, 5.0),
            sleep=self._clock.sleep,
            reraise=True,
        ):
            with attempt:
                return await self._call_once(function, params)
        raise AssertionError("unreachable: tenacity returns or raises")

    async def _call_once(self, function: str, params: dict[str, Any]) -> Any:
        started_at = self._clock.monotonic()
        try:
            answer = await self._send(function, params)
        except errors.StoreError as error:
            self._count(function, started_at, error)
            raise
        self.answered_at = self._clock.monotonic()
        self._count(function, started_at, None)
        return answer

    async def _send(self, function: str, params: dict[str, Any]) -> Any:
        """Call once. Raises a leaf of StoreError and nothing else."""
        raise NotImplementedError

    def _count(self, function: str, started_at: float, error: errors.StoreError | None) -> None:
        answer = "ok" if error is None else type(error).__name__
        self._counters.store_calls[function, answer] += 1
        self._counters.store_seconds[function] += self._clock.monotonic() - started_at

    async def close(self) -> None:
        """Give the connections back."""
        raise NotImplementedError


def unfit(_: Exception) -> errors.StoreRefused:
    """For what JSON cannot carry: a lone surrogate, NaN, an object."""
    return errors.StoreRefused("json", "not_json", "The value cannot be written as JSON.")
