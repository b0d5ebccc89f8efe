"""What an error of the project's API means to the user whose call it was."""

from typing import Any

import pytest

from worker.web.project import refused


@pytest.mark.parametrize(
    ("status", "said", "meant"),
    [
        (400, {"code": "22P05"}, (422, "text_unusable")),
        (400, {"code": "22003"}, (422, "value_invalid")),
        (500, {"code": "57014"}, (503, "database_unavailable")),
        (403, {"code": "42501"}, (403, "forbidden")),
        (403, {}, (403, "forbidden")),
        (401, {"code": "42501"}, (401, "unauthorized")),
        (500, {"code": "XX000"}, (503, "database_unavailable")),
        (402, {"code": "PT402", "details": "credits_short need=3"}, (402, "credits_short")),
        (400, {"code": "PT400", "details": 3}, (400, "refused")),
    ],
)
def test_an_error_is_said_in_the_users_terms(status: int, said: dict[str, Any], meant: tuple[int, str]) -> None:
    refusal = refused(status, said)

    assert (refusal.status, refusal.code) == meant


@pytest.mark.parametrize(("details", "seconds"), [("busy retry_after_ms=1500", "2"), ("busy", "30"), (None, "30")])
def test_a_user_who_must_wait_is_told_how_long(details: str | None, seconds: str) -> None:
    assert refused(429, {"code": "PT429", "details": details}).headers == {"Retry-After": seconds}
