"""
What no server should say, for clients that must survive it: one of each kind for the channels of a socket.

Only data; nothing here sends. `text` and `binary` are whole frames, `RAW` is bytes that break the framing itself.
"""

import json
from collections.abc import Sequence
from typing import Any

BINARY: Sequence[bytes] = (
    b"",
    b"\x00",
    b"\x00\x01\x02\x03",
    b"\xff" * 300,
    b"\x04\x01\x01\x00\x01te",  # a server's broadcast that ends in the middle
    b'{"topic":"phoenix","event":"phx_reply","payload":{},"ref":null}',
)

# A frame that announces 4 kB and has eight bytes of it: what follows is read as the rest.
HALF = b"\x81\x7e\x10\x00" + b'{"topic"'
# Text that is not UTF-8; the client must close with 1007.
UTF8 = b"\x81\x04\xff\xfe\xfd\xfc"

JSON: Sequence[str] = (
    "",
    " ",
    "not json",
    "{",
    '{"topic":',
    "[1,2",
    "null",
    "true",
    "42",
    '"text"',
    "[]",
    "{}",
    "[[]]",
)

RAW = {"half": HALF, "utf8": UTF8}
KINDS = ("all", "binary", "json", "events", "fields", *RAW)


def texts(kind: str, topics: Sequence[str]) -> list[str]:
    """The text frames of *kind* about the *topics* that a client has joined."""
    told: list[str] = []
    if kind in ("all", "json"):
        told += JSON
    for topic in (*topics, "phoenix", "realtime:nobody-joined-this", ""):
        if kind in ("all", "events"):
            told += [json.dumps(frame) for frame in _events(topic)]
        if kind in ("all", "fields"):
            told += [json.dumps(frame) for frame in _fields(topic)]
    return told


def _events(topic: str) -> list[dict[str, Any]]:
    events = ("presence_state", "presence_diff", "phx_unheard_of", "INSERT", "", "phx_reply", "heartbeat", "phx_join")
    return [{"topic": topic, "event": event, "payload": {}, "ref": None} for event in events]


def _fields(topic: str) -> list[Any]:
    """Known events, with fields that are missing or of another type."""
    frames: list[Any] = [{"topic": topic}, {"event": "system"}, {"topic": topic, "event": "system"}]
    row = {"type": "INSERT", "schema": "public", "table": "t", "record": None, "columns": None, "errors": "no"}
    payloads: dict[str, list[Any]] = {
        "postgres_changes": [
            {},
            None,
            [],
            {"ids": "1", "data": {}},
            {"ids": [1], "data": None},
            {"ids": [1], "data": row},
        ],
        "broadcast": [{}, None, "text", {"type": "broadcast"}, {"type": "broadcast", "event": 7, "payload": []}],
        "system": [{}, None, {"status": "ok"}, {"extension": 1, "status": None, "message": []}],
        "phx_reply": [None, {"status": "ok"}, {"response": {}}, {"status": "perhaps", "response": []}],
    }
    for event, wrong in payloads.items():
        frames += [{"topic": topic, "event": event, "payload": payload, "ref": None} for payload in wrong]
        frames.append({"topic": topic, "event": event, "payload": {}})  # no ref at all
        frames.append({"topic": topic, "event": event, "payload": {}, "ref": {"a": 1}})
    return frames
