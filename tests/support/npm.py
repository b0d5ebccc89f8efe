"""Packages from npm for tests, pinned, kept from run to run in pytest's cache."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def install(request: pytest.FixtureRequest, name: str, manifest: str, *, seconds: float) -> Path:
    """A directory *name* with the packages of *manifest* in it; skips, saying why, where that cannot be had."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        # Whoever tried to install them before the run tells here that it was not for want of trying.
        pytest.skip(os.environ.get("WITHOUT_NODE", "node and npm are not installed"))
    assert request.config.cache is not None
    home = request.config.cache.mkdir(name)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # files that are run side by side may want the same
        _fill(home, name, manifest, seconds=seconds)
    return home


def _fill(home: Path, name: str, manifest: str, *, seconds: float) -> None:
    stamp = home / "installed.json"
    if stamp.exists() and stamp.read_text() == manifest:
        return
    (home / "package.json").write_text(manifest)
    try:
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"],
            cwd=home, check=True, capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"registry: npm install of {name} failed: {str(error.stderr)[-300:]}")
    stamp.write_text(manifest)
