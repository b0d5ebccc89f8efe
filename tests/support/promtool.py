"""promtool, Prometheus' own judge of rules and of metrics, where Debian's `prometheus` is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_SECONDS = 30


def promtool(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run it with *text* on its standard input; the test is skipped, visibly, where there is none."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip(os.environ.get("WITHOUT_PROMTOOL", "promtool (Debian's prometheus) is not installed"))
    return subprocess.run(
        [program, *map(str, arguments)], input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
