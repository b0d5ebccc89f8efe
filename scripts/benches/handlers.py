"""
Loaded into a measured worker by WORKER_MODULES: a handler that does nothing, and stamps of when things happened.

Times are CLOCK_MONOTONIC in nanoseconds, which all processes of a machine share. Each stamp is one datagram to whoever
measures (BENCH_STAMPS, a port of loopback; unset: none), sent after the time was taken, so that it costs nothing that
is measured.
"""

import asyncio
import functools
import json
import os
import socket
import time
from typing import Any

from websockets.asyncio.connection import Connection

from worker.handlers import JobContext, handler
from worker.store import JobStore

_PORT = int(os.environ.get("BENCH_STAMPS", "0"))
_WORK_SECONDS = float(os.environ.get("BENCH_WORK_MS", "0")) / 1000

_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
_heard: dict[str, int] = {}
"""When the last announcement came in on the websocket, and when the last claim was sent and answered."""


@handler("translation")
async def nothing(ctx: JobContext) -> str:
    """The empty job, or one that waits for a provider for BENCH_WORK_MS."""
    started_at = time.monotonic_ns()
    if _PORT:
        stamp = {"job_id": ctx.job.id, "handler": started_at, "tasks": len(asyncio.all_tasks()), **_heard}
        _socket.sendto(json.dumps(stamp).encode(), ("127.0.0.1", _PORT))
    if _WORK_SECONDS:
        await asyncio.sleep(_WORK_SECONDS)
    return ""


def _watch_frames() -> None:
    """Note when the bytes of an announcement arrive, before anybody has looked at them."""
    received = Connection.data_received

    @functools.wraps(received)
    def data_received(self: Connection, data: bytes) -> None:
        if b'"ready"' in data:
            _heard["frame"] = time.monotonic_ns()
        received(self, data)

    Connection.data_received = data_received  # type: ignore[method-assign]


def _watch_claims() -> None:
    claim = JobStore.claim_translation_jobs

    @functools.wraps(claim)
    async def claim_translation_jobs(self: JobStore, **arguments: Any) -> Any:
        sent_at = time.monotonic_ns()
        jobs = await claim(self, **arguments)
        _heard.update(claim_sent=sent_at, claim_answered=time.monotonic_ns())
        return jobs

    JobStore.claim_translation_jobs = claim_translation_jobs  # type: ignore[method-assign]


if _PORT:
    _watch_frames()
    _watch_claims()
