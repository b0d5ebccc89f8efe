"""Every spelling in which a provider asks to be left alone."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from multidict import CIMultiDict

from worker.translators.waits import asked_seconds, duration

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def date(seconds: float) -> str:
    return format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "2.5"}, 2.5),
        ({"retry-after": "0"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": date(90), "Date": date(0)}, 90.0),
        ({"Retry-After": date(-90), "Date": date(0)}, 0.0),
        ({"Retry-After": "Tue, 99 Nov 2026 25:00:00 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "Retry-After": "2"}, 1.5),
        ({"retry-after-ms": "x", "Retry-After": "2"}, 2.0),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 1.0),
        (
            {
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-requests": "9",
                "x-ratelimit-remaining-tokens": "0",
            },
            360.0,
        ),
        ({"Retry-After": "3", "x-ratelimit-reset-requests": "6m0s"}, 3.0),
    ],
)
def test_headers_say_how_long(headers: dict[str, str], seconds: float | None) -> None:
    assert asked_seconds(CIMultiDict(headers)) == seconds


def test_a_date_without_the_servers_own_is_measured_on_ours() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    seconds = asked_seconds(CIMultiDict({"Retry-After": soon}))

    assert seconds is not None
    assert 50 < seconds <= 60


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"error": {"details": [{"@type": "x"}, {"@type": "type…RetryInfo", "retryDelay": "5s"}]}}, 5.0),
        ([{"error": {"details": [{"retryDelay": "0.5s"}]}}], 0.5),
        ({"error": {"details": [{"retryDelay": 5}]}}, None),
        ({"error": "slow down"}, None),
        (None, None),
    ],
)
def test_the_error_says_how_long(error: Any, seconds: float | None) -> None:
    assert asked_seconds({}, error) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360.0), ("1h2m3s", 3723.0), ("20ms", 0.02), ("1.5s", 1.5), ("1d", 86400.0), ("5", None), ("x5s", None)],
)
def test_a_duration_is_read_whole_or_not_at_all(text: str, seconds: float | None) -> None:
    assert duration(text) == pytest.approx(seconds) if seconds is not None else duration(text) is None
