"""
What a Realtime socket says, read without trust: anything may arrive, nothing raises.

The official client drops with one log line what its types do not allow: a change without a timestamp, a message
without a `ref`. Here such a frame still says what it can, and one that says nothing readable is None: the
listener takes that as "something happened".
"""

import json
from dataclasses import dataclass
from typing import Any, Final

# What we are sent has some hundred bytes. A larger frame is news too, and not worth the time to read it.
_BYTES_MAX: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    topic: str
    event: str
    payload: dict[str, Any]
    """Empty when it was no object."""


def read(data: bytes) -> Frame | None:
    """The frame in *data*, or None when it is none."""
    if len(data) > _BYTES_MAX:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):  # not JSON, not even text, or nested without end
        return None
    if not isinstance(value, dict):
        return None
    topic, event = value.get("topic"), value.get("event")
    if not isinstance(topic, str) or not isinstance(event, str):
        return None
    return Frame(topic, event, object_in(value, "payload"))


def object_in(value: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under *key*; empty when there is none."""
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def text_in(value: dict[str, Any], key: str) -> str:
    """The string under *key*; empty when there is none."""
    found = value.get(key)
    return found if isinstance(found, str) else ""
