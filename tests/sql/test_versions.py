"""The life of a job on the older Postgres versions that projects run, from the script to the sums."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import INSTALL, REGISTRY
from tests.support.database import TEST_CLOCK, Database, Row, claiming, outcomes
from worker.devstack import platform
from worker.devstack.postgres import Cluster

DEBIAN = Path("/usr/lib/postgresql/15/bin")


@pytest.fixture(scope="module", params=[15, 16])
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A project on Postgres 15 or 16, the script applied twice."""
    if request.param == 15 and not (DEBIAN / "postgres").exists():
        pytest.skip(f"{REGISTRY}no package index has Postgres 15; Debian 12 has, in {DEBIAN}")
    bin_dir = DEBIAN if request.param == 15 else None
    with Cluster(tmp_path_factory.mktemp("old"), major=request.param, bin_dir=bin_dir) as cluster:

        async def make() -> None:
            await platform.install(cluster)
            for script in (INSTALL, INSTALL, TEST_CLOCK):
                await platform.apply_sql(cluster, "postgres", script)

        asyncio.run(make())
        database = Database(cluster.url("postgres"), cluster.url())
        assert database.value("show server_version_num").startswith(str(request.param))
        yield database
        database.close()


def test_a_job_lives_and_is_paid_for_on_older_versions(old: Database) -> None:
    old.price(10)
    user = old.user(credits=100)
    create = creator(old, user)
    done, cancelled, lost = create(), create(), create()

    held = claim(old, "w1", 3)
    beat = {"job_types": ["translation"], "leases": held[:2], "progress": [held[0] | {"progress": 50, "items": []}]}
    assert old.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=beat)["lost"] == []
    results = outcomes(held[0], "completed", ["es"]) + outcomes(held[0], "failed", ["fr"])
    answers = old.rpc("record_translation_results", p_worker_id="w1", p_results=results)
    old.rpc("cancel_translation_job", user, p_job_id=cancelled)
    for _ in range(3):
        old.forward("31 seconds")
        old.rpc("rescue_translation_jobs")
        claim(old, "w2", 1)

    assert [answer["answer"] for answer in answers] == ["recorded", "recorded"]
    assert {job["id"]: job["status"] for job in old.rpc("list_translation_jobs", user)} == {
        done: "completed",
        cancelled: "cancelled",
        lost: "failed",
    }
    assert old.rpc("get_translation_credits", user) == {"balance": 90, "reserved": 0}
    old.check_money()


def test_a_retry_and_a_child_go_on_on_older_versions(old: Database) -> None:
    user = old.user(credits=100)
    create = creator(old, user)
    parent = create(p_idempotency_key="once")
    child = create(p_after=[parent])
    assert create(p_idempotency_key="once") == parent

    old.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(claim(old, "w1", 2)[0], "retry"))
    old.forward("10 minutes")
    old.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(claim(old, "w1", 2)[0], "completed"))

    assert [job["job_id"] for job in claim(old, "w1", 2)] == [child]


def creator(database: Database, user: str) -> Callable[..., str]:
    def create(**more: object) -> str:
        request = {"p_content": "Hello", "p_target_languages": ["es", "fr"]} | more
        return str(database.rpc("create_translation_job", user, **request)["id"])

    return create


def claim(database: Database, worker: str, limit: int) -> list[Row]:
    rows: list[Row] = database.rpc("claim_translation_jobs", **claiming(worker, limit))
    return rows
