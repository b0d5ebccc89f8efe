"""A project with the tester of docs/testing.md in it, for all scenarios of a module."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.acceptance.conftest import ADMIN_KEY, Workers, emptied
from tests.acceptance.scenarios import guide
from tests.support.database import Database

TESTER = {"email": "tester@example.com", "password": "correct-horse-battery"}
LISTENING = "Realtime subscription active"

Follow = Callable[[str], guide.Walk]


@pytest.fixture(scope="module")
def ground(stack: Mapping[str, str]) -> Iterator[Database]:
    """The database, with the tester signed up; one try too few or a price is put back at the end."""
    with emptied(stack) as database:
        key = {"apikey": stack["SUPABASE_PUBLISHABLE_KEY"]}
        httpx.post(f"{stack['SUPABASE_URL']}/auth/v1/signup", headers=key, json=TESTER, timeout=30).raise_for_status()
        for block in guide.blocks("Before you start"):
            if block.language == "sql":
                database.run(block.code)
        yield database
        database.run("update public.translation_job_types set max_attempts = 3, price = 10 where name = 'translation'")


@pytest.fixture(scope="module")
def crew(stack: Mapping[str, str]) -> Workers:
    return Workers(stack)


@pytest.fixture
def follow(stack: Mapping[str, str], ground: Database, tmp_path: Path) -> Iterator[Follow]:
    """`follow("4A")`: somebody who does what the page says, with the environment it says."""
    tester = ground.value("select id from auth.users where email = %s", TESTER["email"])
    environment = {**stack, "TESTER": str(tester), "STACK_ADMIN_KEY": ADMIN_KEY}
    with psycopg.connect(ground.url, autocommit=True) as editor:
        yield lambda section: guide.Walk(section, editor, environment, tmp_path)
    # Also when it was left in the middle: what follows finds a stack that behaves.
    orders = f"{stack['SUPABASE_URL']}/admin/orders"
    httpx.delete(orders, headers={"x-admin-key": ADMIN_KEY}, timeout=30).raise_for_status()
    ground.check_money()
