"""Code that does not let go is named, and does not keep the process."""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from types import CodeType
from typing import Any

import pytest
from loguru import logger

from tests.support.waiting import until
from worker.stuck import LoopWatch


@pytest.fixture
def told() -> Iterator[list[str]]:
    places: list[str] = []
    sink = logger.add(lambda message: places.append(message.record["extra"].get("place", "")), level="ERROR")
    yield places
    logger.remove(sink)


async def test_a_blocked_loop_is_noticed_once_and_named(told: list[str]) -> None:
    watch = asyncio.create_task(LoopWatch(look_seconds=0.02, blocked_seconds=0.1).run())
    await asyncio.sleep(0)

    def hold_everybody_up() -> None:
        deadline = time.monotonic() + 10
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)

    hold_everybody_up()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    await until(lambda: all(thread.name != "loop-watch" for thread in threading.enumerate()), "the watch has ended")

    assert len(told) == 1
    assert "test_stuck.py" in told[0]
    assert "hold_everybody_up" in told[0]


async def test_whoever_the_blocking_code_belongs_to_is_named() -> None:
    fields: list[dict[str, Any]] = []
    sink = logger.add(lambda message: fields.append(message.record["extra"]), level="ERROR")

    def helper() -> None:
        deadline = time.monotonic() + 20
        while not fields and time.monotonic() < deadline:
            time.sleep(0.01)

    async def handler() -> None:
        helper()

    def whose(code: CodeType) -> dict[str, str] | None:
        return {"job_type": "thumbnail"} if code is handler.__code__ else None

    watch = asyncio.create_task(LoopWatch(look_seconds=0.02, blocked_seconds=0.1, whose=whose).run())
    await asyncio.sleep(0)
    await handler()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    logger.remove(sink)

    assert fields[0]["job_type"] == "thumbnail"


@pytest.mark.parametrize(
    "stuck",
    [
        "asyncio.create_task(ignoring())",
        "asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)",
    ],
    ids=["task", "thread"],
)
def test_what_does_not_stop_does_not_keep_the_process(stuck: str) -> None:
    program = f"""
        import asyncio, threading
        from worker import stuck

        async def ignoring():
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass

        async def main():
            kept = {stuck}
            await asyncio.sleep(0.01)

        with asyncio.Runner() as runner:
            runner.run(main())
            stuck.end_process_in(0.1, 7)
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=20, check=False)

    assert ended.returncode == 7
