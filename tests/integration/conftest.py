"""One stack for the tests of a module, and a listener that is quicker than in life."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import INSTALL
from worker import canary, reasons, relay
from worker import listener as listening
from worker import session as sessions
from worker.devstack.stack import Stack


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("stack"), sql=[INSTALL], changes_idle_ms=20) as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, seconds in [
        (reasons, "_BASE_SECONDS", 0.05),
        (reasons, "_CAP_SECONDS", 0.2),
        (canary, "_ROW_SECONDS", 0.5),
        (canary, "_AGAIN_SECONDS", 0.2),
        (listening, "_DOUBT_SECONDS", 0.5),
        (relay, "_SUCCESSOR_SECONDS", (0.2, 0.4)),
        (sessions, "_READY_SECONDS", 1.0),
        (sessions, "_PROBE_SECONDS", 0.5),
    ]:
        monkeypatch.setattr(module, name, seconds)
    pauses = {reason: reasons._Pause(min(pause[0], 0.3), 0.1) for reason, pause in reasons._PAUSES.items()}
    monkeypatch.setattr(reasons, "_PAUSES", pauses)


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def behaved(stack: Stack) -> AsyncIterator[None]:
    yield
    stack.faults.clear()
