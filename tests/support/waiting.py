"""Waiting for a state, with a limit: never for a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def until(look: Callable[[], Awaitable[T]], what: str, *, seconds: float = 20.0) -> T: ...
@overload
async def until(look: Callable[[], T], what: str, *, seconds: float = 20.0) -> T: ...
async def until(look: Callable[[], Any], what: str, *, seconds: float = 20.0) -> Any:
    """Look again and again until the answer is true, and return it; fail saying *what* did not happen."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        answer = await seen if isinstance(seen, Awaitable) else seen
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {seconds:g} s: {what} (last seen: {answer!r})")
        await asyncio.sleep(0.02)
