"""Waiting for a state instead of a time."""

import asyncio
import time
from collections.abc import Callable
from typing import Any


async def until(is_so: Callable[[], Any], *, seconds: float, every_seconds: float = 0.1) -> None:
    """Wait until *is_so* (which may be a coroutine function) says yes; TimeoutError after *seconds*."""
    deadline = time.monotonic() + seconds
    while True:
        answer = is_so()
        if await answer if asyncio.iscoroutine(answer) else answer:
            return
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(every_seconds)
