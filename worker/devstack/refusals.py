"""
Errors as the REST gateway answers them: one table from SQLSTATE to status, one body of four keys.

Nothing here decides anything; it words what Postgres or the gateway has decided.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from worker.devstack.pipeline import Refused

_BY_SQLSTATE = {
    "21000": 500, "22023": 400, "25006": 405, "42501": 403, "42883": 404, "42P01": 404, "42P17": 500,
    "23503": 409, "23505": 409, "53400": 500, "57P01": 503, "P0001": 400, "P0002": 500, "P0003": 500, "P0004": 500,
}  # fmt: skip
_BY_CLASS = {
    "08": 503, "09": 500, "0L": 403, "0P": 403, "25": 500, "28": 403, "2D": 500, "38": 500, "39": 500, "3B": 500,
    "40": 500, "53": 503, "54": 500, "55": 500, "57": 500, "58": 500, "F0": 500, "HV": 500, "XX": 500,
}  # fmt: skip


@dataclass(eq=False)
class Refusal(Exception):
    """An error reply: HTTP status and the four keys of its body, unset ones null."""

    status: int
    code: str
    message: str
    details: str | None = None
    hint: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None

    def response(self) -> web.Response:
        body = {"code": self.code, "details": self.details, "hint": self.hint, "message": self.message}
        headers = {"Proxy-Status": f"PostgREST; error={self.code}", **self.headers}
        if self.status == 401:
            said = (
                f' error="invalid_token", error_description="{self.message}"' if self.code.startswith("PGRST30") else ""
            )
            headers.setdefault("WWW-Authenticate", f"Bearer{said}")
        return web.json_response(body, status=self.status, reason=self.reason, headers=headers)


def from_database(refused: Refused, *, is_anonymous: bool) -> Refusal:
    """What the API answers when the database refused."""
    code = refused.sqlstate
    if code == "PGRST":
        return _custom(refused)
    return Refusal(_status(code, refused.message, is_anonymous), code, refused.message, refused.detail, refused.hint)


def _status(code: str, message: str, is_anonymous: bool) -> int:
    if re.fullmatch(r"PT[1-5]\d\d", code):
        return int(code[2:])
    if code == "42501" and is_anonymous:
        return 401
    if code == "21000" and message.endswith("requires a WHERE clause"):
        return 400
    if code == "22023" and message.startswith("role ") and message.endswith("does not exist"):
        return 401
    return _BY_SQLSTATE.get(code) or _BY_CLASS.get(code[:2], 400)


def _custom(refused: Refused) -> Refusal:
    """`raise sqlstate 'PGRST'`: message and detail are JSON and give status, headers and body."""
    try:
        body = json.loads(refused.message)
        answer = json.loads(refused.detail or "")
        return Refusal(
            int(answer["status"]),
            str(body["code"]),
            str(body["message"]),
            body.get("details"),
            body.get("hint"),
            {str(name): str(value) for name, value in answer["headers"].items()},
            answer.get("status_text"),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refusal(
            500,
            "PGRST121",
            "Could not parse JSON in the \"RAISE SQLSTATE 'PGRST'\" error",
            refused.detail or refused.message,
            "MESSAGE must be an object with `code` and `message`, DETAIL one with `status` and `headers`.",
        )
