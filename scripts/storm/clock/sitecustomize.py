"""
A wall clock that can be moved while the process runs, for workers of the chaos run: this folder is on PYTHONPATH.

The file named in CLOCK_SHIFT_FILE holds how many seconds the clock is ahead; it is looked at again every tenth of a
second. The monotonic clock is left alone, as it is by whoever sets a machine's clock.
"""

import datetime
import os
import time
from typing import Any

_FILE = os.environ.get("CLOCK_SHIFT_FILE", "")
_LOOK_SECONDS = 0.1
_time, _time_ns, _monotonic = time.time, time.time_ns, time.monotonic
_Real = datetime.datetime
_looked_at = float("-inf")
_ahead = 0.0


def _shift() -> float:
    global _looked_at, _ahead
    now = _monotonic()
    if now - _looked_at > _LOOK_SECONDS:
        _looked_at = now
        try:
            with open(_FILE) as file:
                _ahead = float(file.read() or 0)
        except OSError:
            _ahead = 0.0
    return _ahead


class _AnyDatetime(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _Real)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, _Real)


class _Shifted(_Real, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return _Real.now(tz) + datetime.timedelta(seconds=_shift())

    @classmethod
    def utcnow(cls) -> Any:
        return _Real.now(datetime.UTC).replace(tzinfo=None) + datetime.timedelta(seconds=_shift())

    @classmethod
    def today(cls) -> Any:
        return cls.now()


if _FILE:
    _Shifted.__name__ = _Shifted.__qualname__ = "datetime"
    time.time = lambda: _time() + _shift()
    time.time_ns = lambda: _time_ns() + int(_shift() * 1e9)
    datetime.datetime = _Shifted  # type: ignore[misc]
