"""
What one item of a job of type `http` calls: an endpoint of the owner's list, with path, body and headers of the job.

Only makes the request, never sends it. The rule that keeps it correct: a job chooses among what is listed and adds to
the end of its path; it can lead to no other host.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from worker import errors, models, signing
from worker.handlers.base import ItemContext

_KEY_CHARS_MAX: Final = 200
# What may stand in a header as it is; everything else, line breaks among it, is percent-encoded.
_PLAIN: Final = "!#$&'()*+,/:;=?@[]~ "


@dataclass(frozen=True, slots=True)
class Endpoint:
    name: str
    url: str
    methods: tuple[str, ...]
    timeout_seconds: float
    allow_private: bool

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        return cls(row["name"], row["url"], tuple(row["methods"]), row["timeout_seconds"], row["allow_private"])


@dataclass(frozen=True, slots=True)
class Call:
    endpoint: Endpoint
    method: str
    url: str
    body: bytes | None
    headers: Mapping[str, str]


def endpoint_name(content: Any, item: str) -> str:
    """The endpoint that the job names; without one, its items are endpoints."""
    named = content.get("endpoint") if isinstance(content, Mapping) else None
    return named if isinstance(named, str) else item


def build(ctx: ItemContext, content: Any, endpoint: Endpoint, *, token: str | None, secret: str | None) -> Call:
    """
    The call that item of *ctx* stands for.

    Raises:
        ItemError: bad_request, the method or the path is not allowed.
    """
    asked: Mapping[str, Any] = content if isinstance(content, Mapping) else {}
    own = (asked.get("each") or {}).get(ctx.item.name) or {}
    method = asked.get("method") or endpoint.methods[0]
    if method not in endpoint.methods:
        raise errors.ItemError("bad_request", f"{endpoint.name} may be called with {', '.join(endpoint.methods)} only.")
    path = own.get("path") or asked.get("path") or ""
    body = None
    if method != "GET":
        value = own["body"] if "body" in own else asked.get("body", {"item": ctx.item.name})
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Call(endpoint, method, _url(endpoint, path, ctx.item.name), body, _headers(ctx, body, token, secret))


def _url(endpoint: Endpoint, path: str, item: str) -> str:
    path = path.replace("{item}", quote(item, safe=""))
    if any(unquote(segment) in (".", "..") for segment in path.split("/")):
        raise errors.ItemError("bad_request", "A path has no dots for a segment.")
    return endpoint.url.rstrip("/") + path if path else endpoint.url


def _headers(ctx: ItemContext, body: bytes | None, token: str | None, secret: str | None) -> dict[str, str]:
    key = idempotency_key(ctx.job, ctx.item.name)
    headers = {
        "Accept": "application/json, application/x-ndjson",
        "Idempotency-Key": key,
        "X-Correlation-Id": _plain(ctx.job.correlation_id or ctx.job.id),
        "X-Job-Id": ctx.job.id,
        "X-Job-Item": _plain(ctx.item.name),
        "X-Job-Attempt": str(ctx.attempt),
    }
    if body is not None:
        headers["Content-Type"] = "application/json"
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    if secret is not None:
        headers |= signing.headers(secret, message_id=key, body=body or b"", at=int(time.time()))
    return headers


def idempotency_key(job: models.Job, item: str) -> str:
    """The same for every try of an item, by whichever worker; another one when its user repeats the job."""
    key = f"{job.id}:{_plain(item)}"
    return key if len(key) <= _KEY_CHARS_MAX else f"{job.id}:{sha256(item.encode()).hexdigest()}"


def _plain(text: str) -> str:
    return quote(text, safe=_PLAIN)
