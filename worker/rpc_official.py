"""
Procedure calls through the official client: the road that every other program takes, and `worker jobs` with it.

The service itself takes `rpc_direct`, which costs a third of the processor time a call (`scripts/bench rpc`).
"""

from contextvars import ContextVar
from typing import Any

import httpx
from postgrest.exceptions import APIError
from supabase import AsyncClient, AsyncClientOptions

from worker import errors
from worker.rpc import CONNECT_SECONDS, KEEPALIVE_SECONDS, Rpc, failure, unfit

# APIError does not carry the HTTP status. Requests run in the caller's task, so a context variable set by
# the response hook is this call's own.
_status: ContextVar[int] = ContextVar("status", default=0)


class OfficialRpc(Rpc):
    def __init__(
        self, url: str, key: str, *, access_token: str | None = None, request_seconds: float = 10.0, **how: Any
    ) -> None:
        super().__init__(**how)
        self._http = _http_client(request_seconds)
        options = AsyncClientOptions(
            httpx_client=self._http,
            postgrest_client_retry=False,  # it would only ever repeat GETs, and not as we want it
            auto_refresh_token=False,
            persist_session=False,
        )
        if access_token is not None:
            options.headers["Authorization"] = f"Bearer {access_token}"
        self._client = AsyncClient(url, key, options)

    async def _send(self, function: str, params: dict[str, Any]) -> Any:
        try:
            return (await self._client.rpc(function, params).execute()).data
        except APIError as refusal:
            raise failure(refusal.code, refusal.details, refusal.message, _status.get()) from refusal
        except httpx.HTTPError as trouble:
            raise errors.StoreUnavailable(type(trouble).__name__) from trouble
        except (TypeError, ValueError) as error:
            raise unfit(error) from error

    async def close(self) -> None:
        await self._http.aclose()


async def _note_status(response: httpx.Response) -> None:
    _status.set(response.status_code)


def _http_client(request_seconds: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        http2=False,
        timeout=httpx.Timeout(request_seconds, connect=min(CONNECT_SECONDS, request_seconds)),
        limits=httpx.Limits(max_connections=20, keepalive_expiry=KEEPALIVE_SECONDS),
        event_hooks={"response": [_note_status]},
    )
