"""
How a mutant ends, and the processes it lives in: each is forked from this one and ends with its tests.

Whatever a mutant does to its process is gone with it. A process that does not end in time is killed, which kills the
mutant too.
"""

import json
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from scripts.mutation.mutants import Place

KILLED: Final = "killed"
TIMED_OUT: Final = "timed out"
SURVIVED: Final = "survived"
UNSETTLED: Final = "unsettled"
"""Patience ended before the tests did: nobody knows, and it is tried again another time."""
INVALID: Final = "invalid"
"""It cannot be read, or nothing of the tests could begin: no mutant."""

PATIENCE_SECONDS: Final = 300.0
"""How long tests go on without a failure."""
LIMIT_SECONDS: Final = 600.0
"""Of a process that does not come back at all."""


@dataclass(frozen=True, slots=True)
class Verdict:
    ending: str
    by: str = ""
    seconds: float = 0.0


def in_a_child(work: Callable[[], Any], limit_seconds: float = LIMIT_SECONDS) -> Any:
    """What *work* returns in a forked process, through JSON. None: it did not end in time, or without a word."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _be_child(work, writing)
    os.close(writing)
    answer = _read(reading, time.monotonic() + limit_seconds)
    os.close(reading)
    if answer is None:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    said = json.loads(answer) if answer else {"answer": None}
    if "trouble" in said:
        raise RuntimeError(said["trouble"])
    return said["answer"]


def _be_child(work: Callable[[], Any], writing: int) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    try:
        said = {"answer": work()}
    except BaseException:
        said = {"trouble": traceback.format_exc()}
    try:
        with os.fdopen(writing, "w") as pipe:
            json.dump(said, pipe)
    finally:
        os._exit(0)


def _read(reading: int, deadline: float) -> bytes | None:
    """Everything until its end; None when that did not come in time, or nothing was said."""
    said = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            return None
        if not (piece := os.read(reading, 65536)):
            return said or None
        said += piece
    return None


class Results:
    """A file that grows by one line with each verdict, so that an interrupted run was not for nothing."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a")

    def add(self, place: Place, verdict: Verdict) -> None:
        line = {
            **{"file": place.file, "unit": place.unit, "print": place.print, "number": place.number},
            **{"ending": verdict.ending, "by": verdict.by, "seconds": round(verdict.seconds, 2)},
        }
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
