"""
Code that does not let go: noticed while it holds up the event loop, and not waited for when the process ends.

Owns a thread that looks at the loop from outside, because nothing on a blocked loop can. It names the place, and the
handler if it is one, so that whoever wrote it knows what to move to a thread; it never stops anything.
"""

import asyncio
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Final

from loguru import logger

_LOOK_SECONDS: Final = 1.0
_BLOCKED_SECONDS: Final = 2.0  # a heartbeat still comes in time, but nothing else does
_FRAMES: Final = 3


class LoopWatch:
    """Says once for each time that the event loop did not turn for *blocked_seconds*, and where it was."""

    def __init__(
        self,
        *,
        look_seconds: float = _LOOK_SECONDS,
        blocked_seconds: float = _BLOCKED_SECONDS,
        on_turn: Callable[[float], None] = lambda _: None,
        whose: Callable[[CodeType], Mapping[str, str] | None] = lambda _: None,
    ) -> None:
        """
        *on_turn* is told at each look how many seconds later than asked the loop came round.
        *whose* names who is to blame for a piece of code, as fields for the log; None: nobody in particular.
        """
        self._on_turn = on_turn
        self._whose = whose
        self._look_seconds = look_seconds
        self._blocked_seconds = blocked_seconds
        self._turned_at = time.monotonic()
        self._over = threading.Event()

    async def run(self) -> None:
        watched = threading.get_ident()
        thread = threading.Thread(target=self._watch, args=(watched,), name="loop-watch", daemon=True)
        thread.start()
        try:
            while True:
                self._turned_at = time.monotonic()
                await asyncio.sleep(self._look_seconds)
                self._on_turn(max(0.0, time.monotonic() - self._turned_at - self._look_seconds))
        finally:
            self._over.set()

    def _watch(self, watched: int) -> None:
        is_told = False
        while not self._over.wait(self._look_seconds):
            silent_seconds = time.monotonic() - self._turned_at - self._look_seconds
            is_blocked = silent_seconds > self._blocked_seconds
            if is_blocked and not is_told:
                frame = sys._current_frames().get(watched)
                logger.error(
                    "Event loop blocked; nothing else is done",
                    seconds=round(silent_seconds, 1),
                    place=_place(frame),
                    **self._blame(frame),
                )
            is_told = is_blocked

    def _blame(self, frame: FrameType | None) -> Mapping[str, str]:
        """Of the innermost frame that belongs to somebody."""
        while frame is not None:
            if found := self._whose(frame.f_code):
                return found
            frame = frame.f_back
        return {}


def _place(frame: FrameType | None) -> str:
    """The innermost frames, outermost first; no values, which might be a customer's."""
    summaries = traceback.extract_stack(frame)[-_FRAMES:] if frame else []
    return " > ".join(f"{os.path.basename(one.filename)}:{one.lineno} {one.name}" for one in summaries)


def end_process_in(seconds: float, code: int) -> None:
    """
    End the process with *code* in *seconds*, if it has not ended by itself by then.

    A task that ignores its cancellation, or a thread that never returns, is waited for at the end of a Python program,
    for ever; a service manager would then kill it, and call it a failure.
    """
    timer = threading.Timer(seconds, os._exit, [code])
    timer.daemon = True
    timer.start()
