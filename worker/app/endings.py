"""
How a process is asked to end, and how it says why it ended.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def signals(on_signal: Callable[[], None]) -> Iterator[None]:
    """For the length of the block, SIGTERM and SIGINT call *on_signal*."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def first_leaf(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that a TaskGroup ended with, whatever followed from it."""
    first = group.exceptions[0]
    return first_leaf(first) if isinstance(first, BaseExceptionGroup) else first
