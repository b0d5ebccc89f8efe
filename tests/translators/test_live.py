"""`scripts/test --live` without a key in the environment: says who was not asked, and asks nobody."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_providers_without_a_key_are_named_and_not_asked() -> None:
    environment = {"PATH": os.environ["PATH"], "APERTIUM_MODES": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.live"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    lines = [line.split()[:3] for line in done.stdout.splitlines()]

    assert [line[2] for line in lines if line[:2] == ["NOT", "ASKED"]] == [
        "openai",
        "deepl",
        "libretranslate",
        "google",
        "apertium",
    ]
    assert [line[1] for line in lines if line[0] == "ok"] == ["pseudo"]
