"""
The local stack for tests, in a thread of its own: its event loop is not the test's, so neither holds the other up.
"""

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from worker import errors
from worker.terminal import install

if TYPE_CHECKING:
    from worker.devstack.stack import Stack, StackUrls


@contextlib.contextmanager
def stack(data: Path | None = None) -> "Iterator[StackUrls]":
    """
    A running stack with the queue's SQL applied; yields its addresses and keys. Some seconds to start: share it.

    *data*: where its database is kept for the next time, which then starts faster; None: nowhere.

    Raises:
        ConfigurationError: the packages of the local stack are not installed.
    """
    try:
        from worker.devstack.stack import Stack
    except ImportError as error:
        raise errors.ConfigurationError(
            f"worker.testing needs more packages ({error.name}): pip install 'supabase-realtime-worker[stack]'."
        ) from error
    with contextlib.ExitStack() as owned:
        home = data or Path(owned.enter_context(tempfile.TemporaryDirectory(prefix="worker-testing-")))
        running = owned.enter_context(_in_thread(Stack(home, sql=[install.script()])))
        yield running.urls


@contextlib.contextmanager
def _in_thread(stack: "Stack") -> "Iterator[Stack]":
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="worker-testing-stack")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(stack.__aenter__(), loop).result()
        try:
            yield stack
        finally:
            asyncio.run_coroutine_threadsafe(stack.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
