"""
Phoenix frames on the wire, in both versions the official clients speak.

Version 1 is JSON objects (Python), version 2 JSON arrays plus a binary form for broadcasts (JavaScript). Payloads go
out as JSON text that is already made, so one row or message is serialised once for all who hear it.
"""

import json
from dataclasses import dataclass
from typing import Any

V1 = "1.0.0"
V2 = "2.0.0"

_CLIENT_BROADCAST = 3
_SERVER_BROADCAST = 4
_AS_JSON = 1


class Malformed(Exception):
    """A frame that cannot be read; the real server logs it, drops it and keeps the socket."""


@dataclass(frozen=True)
class Frame:
    """What a client sent. A broadcast's inner payload may be bytes."""

    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: dict[str, Any]


def decode(data: str | bytes, version: str) -> Frame:
    """Raises `Malformed`."""
    try:
        if isinstance(data, bytes):
            return _decode_broadcast(data)
        parsed = json.loads(data)
        if version == V2:
            frame = Frame(*parsed)
        else:
            frame = Frame(parsed.get("join_ref"), parsed["ref"], parsed["topic"], parsed["event"], parsed["payload"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise Malformed(str(error)) from error
    if not (isinstance(frame.topic, str) and isinstance(frame.event, str) and isinstance(frame.payload, dict)):
        raise Malformed("topic, event or payload of the wrong type")
    return frame


def encode(
    version: str, topic: str, event: str, payload: str, ref: str | None = None, join_ref: str | None = None
) -> str:
    """A text frame; *payload* is JSON text. Version 1 clients never see a join_ref."""
    if version == V2:
        return f"[{json.dumps(join_ref)},{json.dumps(ref)},{json.dumps(topic)},{json.dumps(event)},{payload}]"
    return f'{{"topic":{json.dumps(topic)},"event":{json.dumps(event)},"payload":{payload},"ref":{json.dumps(ref)}}}'


def encode_binary_broadcast(topic: str, event: str, payload: bytes) -> bytes:
    """A broadcast of raw bytes. There is no such frame in version 1."""
    head = [topic.encode(), event.encode()]
    sizes = bytes([_SERVER_BROADCAST, len(head[0]), len(head[1]), 0, 0])
    return sizes + b"".join(head) + payload


def _decode_broadcast(data: bytes) -> Frame:
    kind, *sizes, encoding = data[:7]
    if kind != _CLIENT_BROADCAST:
        raise Malformed(f"binary frame of kind {kind}")
    position = 7
    parts = []
    for size in sizes:
        parts.append(data[position : position + size].decode())
        position += size
    join_ref, ref, topic, event, _metadata = parts
    body = data[position:]
    payload = json.loads(body) if encoding == _AS_JSON else body
    return Frame(
        join_ref or None, ref or None, topic, "broadcast", {"type": "broadcast", "event": event, "payload": payload}
    )
