"""
The job type `http`: calls to endpoints of the owner's list, an Edge Function or a route of an app. An item is one call.

Owns what an answer means. Never follows a redirect, keeps no cookie, and lets no token into a message. The rule that
keeps it correct: every try of an item carries the same idempotency key, since after a lost answer nobody can know
whether the endpoint did its work.

    content   {"endpoint": a name, "path": "/x/{item}", "method", "body": any JSON, "each": {item: {"path", "body"}}};
              without "endpoint", the items are the names of endpoints
    result    {"result": the JSON that was answered, "status": 200, "duration_ms": how long it took}

An endpoint that works for long may answer line by line (application/x-ndjson): {"progress": 40, "message": "…"} as
often as it likes, and {"result": …} or {"error": {"message": "…", "retry": true}} at the end.
"""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver

from worker import clock as clocks
from worker import errors, models
from worker.handlers import answers, calls, guard
from worker.handlers.base import ItemContext
from worker.handlers.calls import Call, Endpoint
from worker.handlers.procedures import Procedures
from worker.translators import waits

_CONNECT_SECONDS: Final = 10.0
_ANSWER_BYTES_MAX: Final = 256 * 1024
_STREAMED: Final = ("application/x-ndjson", "application/jsonl")
_RETRY_SECONDS_MAX: Final = 86400.0


class HttpHandler:
    def __init__(
        self,
        procedures: Procedures,
        *,
        tokens: Mapping[str, str],
        secrets: Mapping[str, str],
        resolver: AbstractResolver | None = None,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        """*tokens*, *secrets*: the bearer token and the signing secret of an endpoint, by its name."""
        self._procedures = procedures
        self._tokens = tokens
        self._secrets = secrets
        self._resolver = resolver
        self._clock = clock

    async def __call__(self, ctx: ItemContext) -> models.ItemResult:
        content = await ctx.signed_content()
        endpoint = await self._endpoint(calls.endpoint_name(content, ctx.item.name))
        token, secret = self._tokens.get(endpoint.name), self._secrets.get(endpoint.name)
        call = calls.build(ctx, content, endpoint, token=token, secret=secret)
        ctx.progress(done_chars=0, total_chars=100, cached_chars=0, chunks_done=0, chunks_total=0)
        started_at = self._clock.monotonic()
        status, result = await self._send(ctx, call)
        duration_ms = round((self._clock.monotonic() - started_at) * 1000)
        return models.ItemResult(
            content={"result": result, "status": status, "duration_ms": duration_ms}, provider=endpoint.name
        )

    async def _endpoint(self, name: str) -> Endpoint:
        """Raises ItemError when it is not on the list, or not any more."""
        listed = await self._procedures.listed("list_translation_endpoints", name)
        if listed is None:
            raise errors.ItemError("bad_request", f"{name} is not on the list of endpoints that jobs may call.")
        return Endpoint.from_row(listed)

    async def _send(self, ctx: ItemContext, call: Call) -> tuple[int, Any]:
        endpoint = call.endpoint
        timeout = aiohttp.ClientTimeout(total=endpoint.timeout_seconds, sock_connect=_CONNECT_SECONDS)
        connector = guard.connector(allow_private=endpoint.allow_private, resolver=self._resolver)
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=timeout
                ) as session,
                session.request(
                    call.method, call.url, data=call.body, headers=call.headers, allow_redirects=False
                ) as response,
            ):
                return response.status, await self._answer(ctx, endpoint, response)
        except aiohttp.ConnectionTimeoutError as exc:
            raise _failed("overloaded", f"{endpoint.name} could not be reached.") from exc
        except TimeoutError as exc:
            raise _failed(
                "overloaded", f"{endpoint.name} did not answer within {endpoint.timeout_seconds:g} seconds."
            ) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise _unreached(endpoint, exc) from exc

    async def _answer(self, ctx: ItemContext, endpoint: Endpoint, response: aiohttp.ClientResponse) -> Any:
        if 200 <= response.status < 300 and response.content_type in _STREAMED:
            return await _followed(ctx, endpoint, response)
        body = await answers.read(response, bytes_max=_ANSWER_BYTES_MAX)
        try:
            value = None if body is None else answers.decoded(body)
        except ValueError as exc:
            if response.status < 300:
                raise _failed("bad_output", f"{endpoint.name} answered with something that is not JSON.") from exc
            value = None
        if not 200 <= response.status < 300:
            raise self._refused(endpoint, response, value)
        if body is None:
            raise _too_large(endpoint)
        return value

    def _refused(self, endpoint: Endpoint, response: aiohttp.ClientResponse, value: Any) -> errors.ItemError:
        """What a status says about another try."""
        name, status = endpoint.name, response.status
        if status < 400:
            return _failed(
                "bad_request",
                f"{name} redirects to another address ({status}); redirects are not followed: list the address itself.",
            )
        said = answers.message(value, secret=self._tokens.get(name))
        sentence = f"{name} answered {status}{': ' + said if said else '.'}"
        wait_seconds = waits.asked_seconds(response.headers)
        if status in (401, 403):
            return _failed("auth", sentence)
        if status == 429:
            return _failed("rate_limited", sentence, wait_seconds)
        if status in (408, 425) or status >= 500:
            return _failed("overloaded", sentence, wait_seconds)
        return _failed("bad_request", sentence)


async def _followed(ctx: ItemContext, endpoint: Endpoint, response: aiohttp.ClientResponse) -> Any:
    """The result at the end of an answer that comes line by line; progress on the way."""
    try:
        async for line in answers.lines(response, bytes_max=_ANSWER_BYTES_MAX):
            said = answers.value(line)
            if not isinstance(said, dict):
                raise ValueError("no object")
            if "result" in said:
                return said["result"]
            if "error" in said:
                raise _gave_up(endpoint, said["error"])
            _tell(ctx, said)
    except (ValueError, RecursionError) as exc:
        raise _failed("bad_output", f"{endpoint.name} sent a line that is no JSON object of at most 256 kB.") from exc
    raise _failed("overloaded", f"{endpoint.name} ended its answer before the result.")


def _tell(ctx: ItemContext, said: Mapping[str, Any]) -> None:
    percent, message = said.get("progress"), said.get("message")
    if isinstance(percent, int | float) and not isinstance(percent, bool) and 0 <= percent <= 100:
        ctx.progress(
            done_chars=int(percent),
            total_chars=100,
            cached_chars=0,
            chunks_done=0,
            chunks_total=0,
            message=message[:200] if isinstance(message, str) else None,
        )


def _gave_up(endpoint: Endpoint, said: Any) -> errors.WorkerError:
    message = answers.message(said) or f"{endpoint.name} gave no reason."
    if isinstance(said, Mapping) and said.get("retry") is True:
        wait = said.get("retry_after_seconds")
        wait_seconds = float(wait) if isinstance(wait, int | float) else 0.0
        return errors.RetryLater(min(max(wait_seconds, 0.0), _RETRY_SECONDS_MAX), message)
    return _failed("bad_request", message)


def _unreached(endpoint: Endpoint, error: Exception) -> errors.ItemError:
    if isinstance(getattr(error, "os_error", error), guard.AddressRefused):
        return _failed(
            "bad_request",
            f"{endpoint.name} leads to a private address. If it is meant to: set allow_private in"
            " translation_http_endpoints. Link-local addresses are never called.",
        )
    if isinstance(error, aiohttp.InvalidURL):
        return _failed("bad_request", f"The address of {endpoint.name} is not valid.")
    return _failed("overloaded", f"{endpoint.name} could not be reached.")


def _too_large(endpoint: Endpoint) -> errors.ItemError:
    return _failed(
        "bad_output", f"{endpoint.name} answered with more than 256 kB: let it store that, and answer where."
    )


def _failed(error_class: str, message: str, retry_after_seconds: float | None = None) -> errors.ItemError:
    """One endpoint's trouble is no other's: it never pauses the whole type."""
    return errors.ItemError(error_class, message, retry_after_seconds, speaks_for_provider=False)
