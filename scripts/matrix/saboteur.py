"""
Trouble inside the worker, for `WORKER_MODULES`: a signal ends the client's listen task, another makes a callback raise.

It knows the official client's insides and the name of one method of ours, and nothing else.
"""

import asyncio
import signal
from typing import Any

from realtime import AsyncRealtimeClient

from worker.switchboard import Switchboard

_clients: list[Any] = []
_make = AsyncRealtimeClient.__init__
_ring = Switchboard.on_ring
_raise_next: list[bool] = []


def _remembered(self: Any, *args: Any, **kwargs: Any) -> None:
    _clients[:] = [self]
    _make(self, *args, **kwargs)


def _ring_or_raise(self: Switchboard, *args: Any, **kwargs: Any) -> None:
    if _raise_next:
        _raise_next.clear()
        raise RuntimeError("on order")
    _ring(self, *args, **kwargs)


def _end_listening() -> None:
    for client in _clients:
        client._listen_task.cancel()


AsyncRealtimeClient.__init__ = _remembered  # type: ignore[method-assign]
Switchboard.on_ring = _ring_or_raise  # type: ignore[method-assign]
_loop = asyncio.get_running_loop()
_loop.add_signal_handler(signal.SIGUSR1, _end_listening)
_loop.add_signal_handler(signal.SIGUSR2, _raise_next.append, True)
