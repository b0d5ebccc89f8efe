"""
One call of a stored procedure through the official client, and what its answer means.

The only module that knows PostgREST and httpx. It never looks at the text of a message: codes and HTTP
statuses decide (`failure`). It never repeats a call on its own account: the caller says how long, and may
say so only for procedures that answer a repeated call as they answered the first.
"""

import re
from contextvars import ContextVar
from typing import Any, Final

import httpx
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay

from worker import backoff, errors
from worker import clock as clocks
from worker.counters import Counters

# An idle worker calls every 30 s. Longer than that, so that the claim after a ring finds a warm connection;
# shorter than the 60-75 s after which the usual gateways hang up.
_KEEPALIVE_SECONDS: Final = 50.0
_CONNECT_SECONDS: Final = 5.0

_MISSING: Final = frozenset({"PGRST202", "PGRST203", "PGRST205", "42883", "42P01"})
_UNAUTHORIZED: Final = frozenset({"42501", "PGRST106", "PGRST300", "PGRST301", "PGRST302", "PGRST303"})
# Out of connections, out of time, restarting, or in each other's way: another moment may do.
_PASSING: Final = re.compile(r"^(08|40|53|55|57|58)...$|^PGRST00\d$|^XX")

# APIError does not carry the HTTP status. Requests run in the caller's task, so a context variable set by
# the response hook is this call's own.
_status: ContextVar[int] = ContextVar("status", default=0)


async def _note_status(response: httpx.Response) -> None:
    _status.set(response.status_code)


def http_client(*, request_seconds: float) -> httpx.AsyncClient:
    """
    HTTP/1.1 with kept connections rather than HTTP/2: a worker has one to three calls under way, so there
    is nothing to multiplex, and a dead TCP connection or a GOAWAY then costs one call instead of all of them.
    """
    return httpx.AsyncClient(
        http2=False,
        timeout=httpx.Timeout(request_seconds, connect=min(_CONNECT_SECONDS, request_seconds)),
        limits=httpx.Limits(max_connections=20, keepalive_expiry=_KEEPALIVE_SECONDS),
        event_hooks={"response": [_note_status]},
    )


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
        return errors.StoreTooSlow(code)
    if _PASSING.match(code) or status >= 500 or status in (408, 425, 429):
        return errors.StoreUnavailable(code or str(status))
    if status in (301, 302, 307, 308, 404):  # something answers there, but it is not PostgREST
        return errors.StoreUnauthorized(f"HTTP {status}")
    return errors.StoreRefused(code or str(status), _first_word(details), message or code)


def _first_word(details: Any) -> str:
    found = re.match(r"[a-z][a-z0-9_]*", details) if isinstance(details, str) else None
    return found.group() if found else ""


class Rpc:
    """Calls procedures as one identity: the key's role, or the user of *access_token*."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        access_token: str | None = None,
        request_seconds: float = 10.0,
        counters: Counters | None = None,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        self._http = http_client(request_seconds=request_seconds)
        options = AsyncClientOptions(
            httpx_client=self._http,
            postgrest_client_retry=False,  # it would only ever repeat GETs, and not as we want it
            auto_refresh_token=False,
            persist_session=False,
        )
        if access_token is not None:
            options.headers["Authorization"] = f"Bearer {access_token}"
        self._client = AsyncClient(url, key, options)
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
            response = await self._client.rpc(function, params).execute()
        except APIError as refusal:
            error = failure(refusal.code, refusal.details, refusal.message, _status.get())
            self._count(function, started_at, error)
            raise error from refusal
        except httpx.HTTPError as trouble:
            error = errors.StoreUnavailable(type(trouble).__name__)
            self._count(function, started_at, error)
            raise error from trouble
        except (TypeError, ValueError) as unfit:  # a lone surrogate, NaN, an object: JSON cannot carry it
            error = errors.StoreRefused("json", "not_json", "The value cannot be written as JSON.")
            self._count(function, started_at, error)
            raise error from unfit
        self.answered_at = self._clock.monotonic()
        self._count(function, started_at, None)
        return response.data

    def _count(self, function: str, started_at: float, error: errors.StoreError | None) -> None:
        answer = "ok" if error is None else type(error).__name__
        self._counters.store_calls[function, answer] += 1
        self._counters.store_seconds[function] += self._clock.monotonic() - started_at

    async def close(self) -> None:
        await self._http.aclose()
