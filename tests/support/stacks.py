"""A stack whose event loop is not the tests', as in real use."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.devstack.stack import Stack


@contextmanager
def in_thread(stack: Stack) -> Iterator[Stack]:
    """*stack*, running in a thread of its own for as long as the block lasts."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(stack.__aenter__(), loop).result()
        yield stack
        asyncio.run_coroutine_threadsafe(stack.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
