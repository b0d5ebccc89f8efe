"""
Runs the suite while its processes stand still now and then, as they do on a machine that is too busy.

What a test says must not depend on how fast the machine is: what comes late has to be waited for, and two moments are
never near each other. Every second or so some of the processes that came from the command (tests, servers, workers, a
browser) are stopped, for less than a lease of the tests; which ones, the seed decides.
"""

import argparse
import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

_PR_SET_CHILD_SUBREAPER: Final = 36  # a server that detaches itself becomes our child, not that of init
_BETWEEN_SECONDS: Final = (0.1, 2.0)
_SHARE: Final = 0.4
_END_SECONDS: Final = 10.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/unsteady", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest", type=float, default=1.5, metavar="SECONDS", help="of one standstill")
    parser.add_argument("pytest", nargs=argparse.REMAINDER, help="what pytest is given, e.g. tests/web")
    arguments = parser.parse_args()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nobody may be left standing
    suite = subprocess.Popen([sys.executable, "-m", "pytest", *arguments.pytest])
    try:
        standstills = _disturb(suite, random.Random(arguments.seed), arguments.longest)
    finally:
        _end(suite)
    print(f"{standstills} standstills of up to {arguments.longest:g} s, seed {arguments.seed}")
    return suite.wait()


def _disturb(suite: subprocess.Popen[bytes], dice: random.Random, longest_seconds: float) -> int:
    """How often processes of *suite* stood still before it ended."""
    standstills = 0
    while suite.poll() is None:
        time.sleep(dice.uniform(*_BETWEEN_SECONDS))
        stopped: list[Any] = []
        try:
            stopped.extend(_stop(dice))
            standstills += bool(stopped)
            time.sleep(dice.uniform(0.1, longest_seconds))
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        _bury(suite.pid)
    return standstills


def _end(suite: subprocess.Popen[bytes]) -> None:
    suite.terminate()
    try:
        suite.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        suite.kill()


def _stop(dice: random.Random) -> Iterator[Any]:
    """Some, but none that stood still already: a test may have stopped it and rely on it."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if dice.random() < _SHARE and process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
                process.suspend()
                yield process


def _bury(suite: int) -> None:
    """Take note of the end of those that became our children, as init would."""
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if process.pid != suite and process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, os.WNOHANG)


if __name__ == "__main__":
    sys.exit(main())
