"""One stack for the tests of a module."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import INSTALL
from worker.devstack.stack import Stack
from worker.web import queue_metrics


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("stack"), sql=[INSTALL], changes_idle_ms=20) as running:
        yield running


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scrape asks the database."""
    monkeypatch.setattr(queue_metrics, "KEEP_SECONDS", 0.0)
