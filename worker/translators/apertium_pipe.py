"""
One pipeline of Apertium's programs, kept open: a text in, a NUL, its translation out.

Owns the processes and the escaping. Whatever does not end with the answer to its own question (a time limit, a
cancelled job, a broken pipe) ends the whole pipeline: an answer that came late would be taken for the next
one's. The next question starts a new one.
"""

import asyncio
import contextlib
import os
import re
import signal
from typing import Final

from worker import errors

ANSWER_SECONDS: Final = 20.0
_START_SECONDS: Final = 15.0
_ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024

# The marks of the format that flows through the programs.
_MARKS: Final = re.compile(r"[\\\[\]{}^$@/<>]")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)

# The last program drops each tilde, escaped or not; what it does not know passes.
_TILDE: Final = "\ue07e"

# An empty aside, a full stop, an empty aside: ends the sentence, so that nothing waits for more of it.
_END: Final = "[].[]"


class Pipe:
    def __init__(self, command: str, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """*command*: a shell pipeline that flushes at every NUL. *answer_seconds*: for one text, once it runs."""
        self._command = command
        self._answer_seconds = answer_seconds
        self._answered = True
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    @property
    def running(self) -> bool:
        """Whether its programs are there."""
        return self._process is not None

    @property
    def busy(self) -> bool:
        return self._turn.locked()

    async def ask(self, text: str) -> str:
        """
        The translation of *text*, which has no line ends.

        Raises:
            ItemError: overloaded, no answer came in time; the pipeline is gone.
        """
        async with self._turn:
            start_seconds = _START_SECONDS if self._process is None else 0.0
            try:
                async with asyncio.timeout(self._answer_seconds + start_seconds):
                    return await self._exchange(text)
            except (TimeoutError, OSError, EOFError, asyncio.LimitOverrunError) as exc:
                raise errors.ItemError("overloaded", "Apertium did not answer.") from exc
            finally:
                if not self._answered:
                    await self._kill()

    async def close(self) -> None:
        await self._kill()

    async def _exchange(self, text: str) -> str:
        self._answered = False
        process = self._process = self._process or await self._start()
        assert process.stdin
        assert process.stdout
        process.stdin.write(_escape(text).encode("utf-8", errors="replace") + b"\0")
        await process.stdin.drain()
        answer = (await process.stdout.readuntil(b"\0"))[:-1]
        self._answered = True
        return _unescape(answer.decode("utf-8", errors="replace"))

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", self._command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=_ANSWER_BYTES_MAX,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},  # none of our keys
            start_new_session=True,  # so that all its programs can be ended at once
        )

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _escape(text: str) -> str:
    return _MARKS.sub(r"\\\g<0>", text.replace("\0", "").replace("~", _TILDE)) + _END


def _unescape(answer: str) -> str:
    end = answer.rfind(_END)
    return _ESCAPED.sub(r"\1", answer[:end] if end >= 0 else answer).replace(_TILDE, "~")
