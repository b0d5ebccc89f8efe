"""Reading what a socket says: anything may arrive."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from worker import frames

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
NAMES = st.sampled_from(["topic", "event", "payload", "ref"])


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    frames.read(data)


@given(JSON | st.dictionaries(NAMES, JSON))
def test_no_json_raises_and_a_payload_is_always_an_object(value: Any) -> None:
    frame = frames.read(json.dumps(value).encode())

    assert frame is None or isinstance(frame.payload, dict)


def test_a_frame_is_read_without_what_nobody_needs() -> None:
    frame = frames.read(b'{"topic": "realtime:x", "event": "broadcast", "payload": {"a": 1}}')

    assert frame == frames.Frame("realtime:x", "broadcast", {"a": 1})


def test_a_very_large_frame_is_not_read() -> None:
    data = json.dumps({"topic": "t", "event": "e", "payload": {"text": "x" * 300_000}}).encode()

    assert frames.read(data) is None
