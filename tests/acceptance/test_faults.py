"""
Three rows of the fault matrix from end to end, with short periods: nothing is lost, nothing is done twice.

How soon is `scripts/faults`' business, which measures all rows with the default periods.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from scripts.matrix import lane as lanes
from scripts.matrix.rows import JOBS, Row
from tests.acceptance.conftest import QUICK

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

SETTINGS = {**QUICK, "HEALTH_CHECK_SECONDS": "2"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[lanes.Lane]:
    home: Path = tmp_path_factory.mktemp("lane")
    async with lanes.lane(home) as running:
        yield running


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "_LEAD_SECONDS", 2.0)
    monkeypatch.setattr(lanes, "_SETTLED_SECONDS", 1.0)
    monkeypatch.setattr(lanes, "_INSERT_SECONDS", 0.2)


async def test_a_reset_connection_costs_no_job(lane: lanes.Lane) -> None:
    result = await lane.run("reset", Row("reset", ("close=1006",), noticed=20, again=20, settings=SETTINGS))

    assert result.broken == []
    assert result.modes[-1] == "realtime"
    assert (result.noticed is None, result.inserted_in_all > 5) == (False, True)


async def test_a_hung_server_is_found_out_and_the_jobs_are_polled_for(lane: lanes.Lane) -> None:
    result = await lane.run("hung", Row("hung", ("hang:12",), 12, noticed=20, again=20, settings=SETTINGS))

    assert result.broken == []
    assert result.modes[-2:] == ["polling", "realtime"]
    assert result.found["poll"] > 5


async def test_jobs_whose_events_are_lost_in_silence_are_found(lane: lanes.Lane) -> None:
    orders = (f"lose-changes={JOBS}:5", "lose-broadcasts=ready:5")
    result = await lane.run("lost", Row("lost", orders, 5, again=20, settings=SETTINGS))

    assert result.broken == []
    assert result.modes == ["realtime"]
    assert result.found["poll"] > 5
