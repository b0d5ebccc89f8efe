"""The official JavaScript client against the stack: version 2 frames, and how a browser application sees it."""

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import npm
from worker.devstack.stack import Stack

HERE = Path(__file__).parent / "javascript"
INSTALL_SECONDS = 50.0
SCENARIO_SECONDS = 40.0

Scenario = Callable[[str], Awaitable[Any]]


@pytest.fixture(scope="session")
def installed(request: pytest.FixtureRequest) -> Path:
    """A directory with the pinned client in it, kept from run to run in pytest's cache."""
    manifest = (HERE / "package.json").read_text()
    home = npm.install(request, "stack-javascript", manifest, seconds=INSTALL_SECONDS)
    shutil.copy(HERE / "scenarios.mjs", home)
    return home


@pytest.fixture
def scenario(installed: Path, stack: Stack) -> Scenario:
    """Runs a scenario and returns what it saw."""
    environment = {
        "PATH": os.environ["PATH"],
        "URL_": stack.urls.url,
        "PUBLISHABLE": stack.urls.publishable_key,
        "SECRET": stack.urls.secret_key,
        "ADMIN_KEY": "sesame",
    }

    async def run(name: str) -> Any:
        process = await asyncio.create_subprocess_exec(
            "node", "scenarios.mjs", name, cwd=installed, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(SCENARIO_SECONDS):
            output, errors = await process.communicate()
        assert output, errors.decode()
        answer = json.loads(output)
        assert "failed" not in answer, answer["failed"]
        return answer["saw"]

    return run


async def test_signs_up_in_and_refreshes(scenario: Scenario) -> None:
    saw = await scenario("signs_up_in_and_refreshes")

    assert saw == {"wrong": "invalid_credentials", "same": True, "rotated": True, "name": "Ada"}


async def test_calls_functions_of_every_shape(scenario: Scenario) -> None:
    saw = await scenario("calls_functions_of_every_shape")

    assert saw == {
        "scalar": [200, 11],
        "by_get": [200, 11],
        "nothing": [200, None],
        "json": [200, {"a": [1]}],
        "array": [200, ["a,b", None]],
        "nowhere": [204, None],
        "row": [200, {"a": 1, "b": "x"}],
        "set": [200, [1, 2]],
        "table": [200, [{"i": 1, "source": "s1"}]],
        "refused": [409, "PT409"],
        "missing": [404, "PGRST202"],
    }


async def test_selects_with_filters(scenario: Scenario) -> None:
    saw = await scenario("selects_with_filters")

    assert saw == {
        "inserted": 3,
        "eq": ['c, "d"'],
        "in": ["a", 'c, "d"'],
        "or": ['c, "d"', "a"],
        "contains": ["b"],
        "arrow": ["b"],
        "range": ["b"],
        "single": {"body": "a"},
        "none": None,
        "many": "PGRST116",
        "updated": [{"stars": 9}],
        "deleted": 3,
        "count": 3,
    }


async def test_hears_inserts_and_updates_of_own_rows_only(scenario: Scenario) -> None:
    saw = await scenario("hears_inserts_and_updates_of_own_rows_only")

    assert saw == {"status": "ok", "events": [["INSERT", "for ada", None], ["UPDATE", "for ada", 5]]}


async def test_hears_a_foreign_table_by_its_own_policy(scenario: Scenario) -> None:
    saw = await scenario("hears_a_foreign_table_by_its_own_policy")

    assert saw == {"shelf": True, "title": "lent", "is_public": False}


async def test_hears_private_broadcasts_from_database_and_clients(scenario: Scenario) -> None:
    saw = await scenario("hears_private_broadcasts_from_database_and_clients")

    assert saw["states"] == [["SUBSCRIBED", None], ["SUBSCRIBED", None]]
    assert saw["acknowledged"] == "ok"
    assert saw["heard"] == [{"from": "bob — ü"}, {"id": "given", "from": "database"}]


async def test_is_refused_a_topic_it_may_not_read(scenario: Scenario) -> None:
    saw = await scenario("is_refused_a_topic_it_may_not_read")

    assert saw == {"status": "CHANNEL_ERROR", "says_why": True}


async def test_comes_back_after_the_server_closed(scenario: Scenario) -> None:
    saw = await scenario("comes_back_after_the_server_closed")

    assert saw == {"readies": ["ok", "ok"], "told": "after"}
