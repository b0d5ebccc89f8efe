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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

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
        stopped = _stop([process for process in _descendants(os.getpid()) if dice.random() < _SHARE])
        standstills += bool(stopped)
        try:
            time.sleep(dice.uniform(0.1, longest_seconds))
        finally:
            for process in stopped:
                _send(process, signal.SIGCONT)
        _bury(suite.pid)
    return standstills


def _end(suite: subprocess.Popen[bytes]) -> None:
    suite.terminate()
    try:
        suite.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        suite.kill()


def _stop(processes: Sequence[int]) -> list[int]:
    """Those that were not standing still already: a test may have stopped them and rely on it."""
    return [process for process in processes if _state(process) not in "TZ" and _send(process, signal.SIGSTOP)]


def _bury(suite: int) -> None:
    """Take note of the end of those that became our children, as init would."""
    for process in _children(os.getpid()):
        if process != suite and _state(process) == "Z":
            os.waitpid(process, os.WNOHANG)


def _children(process: int) -> Iterator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def _descendants(process: int) -> Iterator[int]:
    for child in _children(process):
        yield child
        yield from _descendants(child)


def _state(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]
    return "Z"


def _send(process: int, number: signal.Signals) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, number)
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
