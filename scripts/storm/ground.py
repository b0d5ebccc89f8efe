"""
The stack of a chaos run, as a process of its own: SIGUSR1 restarts its Postgres without a checkpoint.

It says `Stack ready`, then `Postgres restarted` each time, and ends with SIGTERM.
"""

import asyncio
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from worker.devstack.stack import Stack
from worker.terminal import install


async def main(home: Path) -> None:
    """Serve in *home*; the addresses and keys go to `stack.env` there."""
    stopped, hurt = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    loop.add_signal_handler(signal.SIGUSR1, hurt.set)
    # A thread that stays, because a server ends with the thread that started it.
    with ThreadPoolExecutor(1) as keeper:
        async with Stack(home / "data", sql=[install.script()], admin_key=os.environ["STACK_ADMIN_KEY"]) as stack:
            _write_private(home / "stack.env", stack.urls.environment())
            print("Stack ready", flush=True)
            restarting = loop.create_task(_restart(hurt, partial(stack.postgres.restart, crash=True), keeper))
            try:
                await asyncio.wait([restarting, loop.create_task(stopped.wait())], return_when="FIRST_COMPLETED")
            finally:
                restarting.cancel()
        if restarting.done() and not restarting.cancelled():
            restarting.result()


async def _restart(hurt: asyncio.Event, restart: "partial[None]", keeper: ThreadPoolExecutor) -> None:
    while True:
        await hurt.wait()
        hurt.clear()
        await asyncio.get_running_loop().run_in_executor(keeper, restart)
        print("Postgres restarted", flush=True)


def _write_private(path: Path, values: dict[str, str]) -> None:
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
