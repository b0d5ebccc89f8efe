"""
How the API says no: one shape for every error, whoever found it.

Codes are stable words: the database's own (`credits_short`, …; REALTIME.md has them) and those of the HTTP side, which
stand here. A refusal never says whether another user's job exists, and never quotes what was sent.
"""

import json
from collections.abc import Mapping

from aiohttp import web

UNAUTHORIZED = "unauthorized"


class Refusal(Exception):
    """An answer that is an error. *message* is a sentence; *hint* says more; *headers* go with it."""

    def __init__(
        self, status: int, code: str, message: str, *, hint: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.hint = hint
        self.headers = dict(headers or {})

    def response(self) -> web.Response:
        body = {"error": {"code": self.code, "message": self.message, "hint": self.hint}}
        return web.Response(
            status=self.status, body=json.dumps(body).encode(), content_type="application/json", headers=self.headers
        )


def unauthorized(message: str) -> Refusal:
    return Refusal(401, UNAUTHORIZED, message, headers={"WWW-Authenticate": "Bearer"})


def job_not_found() -> Refusal:
    """The same for a job of somebody else, one that never was, and an id that is none."""
    return Refusal(404, "job_not_found", "There is no such job.")


def unavailable(message: str = "The database does not answer: try again in a few seconds.") -> Refusal:
    return Refusal(503, "database_unavailable", message, headers={"Retry-After": "5"})


def of_http(error: web.HTTPException) -> Refusal:
    """What aiohttp found wrong before a handler of ours was asked."""
    match error.status:
        case 404:
            return Refusal(404, "not_found", "There is nothing at this address: the addresses are in /openapi.json.")
        case 405:
            allowed = error.headers.get("Allow", "")
            return Refusal(
                405, "method_not_allowed", f"This address answers to {allowed} only.", headers={"Allow": allowed}
            )
        case 413:
            return too_large()
        case status:
            return Refusal(status, "bad_request", "The request cannot be understood.")


def too_large() -> Refusal:
    return Refusal(413, "body_too_large", "A request may have 1 MB at most: split the source into several jobs.")
