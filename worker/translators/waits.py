"""
How long a provider asks to be left alone, in every spelling that is in use.

`Retry-After` as whole or broken seconds or as an HTTP date, `retry-after-ms`, the durations of OpenAI's
`x-ratelimit-reset-*` ("6m0s"), Google's RetryInfo ("5s") inside the error. Only reading: what is done about it
is decided elsewhere. A value that makes no sense counts as none.
"""

import math
import re
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from worker.translators import bodies

_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_UNIT_SECONDS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def asked_seconds(headers: Mapping[str, str], error: Any = None) -> float | None:
    """Seconds to wait from now, or None when nobody said. *error* is the answer's decoded JSON."""
    for found in _spellings(headers, error):
        if found is not None:
            return max(0.0, found)
    return None


def _spellings(headers: Mapping[str, str], error: Any) -> Iterator[float | None]:
    milliseconds = _number(headers.get("retry-after-ms", ""))
    yield None if milliseconds is None else milliseconds / 1000
    after = headers.get("Retry-After", "")
    yield _number(after)
    yield _until(after, headers.get("Date", ""))
    yield _retry_info(error)
    yield _reset(headers)


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _until(value: str, server_date: str) -> float | None:
    """Measured on the server's own clock where it says what that shows: ours may be wrong."""
    moment = _timestamp(value)
    if moment is None:
        return None
    now = _timestamp(server_date)
    return moment - (time.time() if now is None else now)


def _timestamp(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _reset(headers: Mapping[str, str]) -> float | None:
    """Of the limits that are used up the longest; if none says that it is, the shortest."""
    resets: dict[str, float] = {}
    for limit in ("requests", "tokens"):
        seconds = duration(headers.get(f"x-ratelimit-reset-{limit}", ""))
        if seconds is not None:
            resets[limit] = seconds
    used_up = [seconds for limit, seconds in resets.items() if headers.get(f"x-ratelimit-remaining-{limit}") == "0"]
    return max(used_up) if used_up else min(resets.values(), default=None)


def duration(text: str) -> float | None:
    """Seconds of "6m0s", "1.5s", "20ms"; None for anything else."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        return None
    return math.fsum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def _retry_info(error: Any) -> float | None:
    return next(
        (seconds for delay in bodies.words(error, "retryDelay") if (seconds := duration(delay)) is not None), None
    )
