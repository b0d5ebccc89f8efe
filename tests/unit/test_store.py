"""What the store makes of answers that come in pages, and of answers that no project of ours gives."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit import factories
from worker import errors
from worker.rpc import Rpc
from worker.store import JobDesk, JobStore


class Pages(Rpc):
    """Answers as a glossary of *count* terms would."""

    def __init__(self, count: int) -> None:
        self.asked_after: list[int] = []
        self._rows = [
            {"id": n, "source_language": "en", "target_language": "es", "term": f"term {n}", "translation": "término"}
            for n in range(1, count + 1)
        ]

    async def call(self, function: str, params: dict[str, Any], *, repeat_seconds: float = 0.0) -> Any:
        self.asked_after.append(params["p_after_id"])
        return [row for row in self._rows if row["id"] > params["p_after_id"]][:1000]


async def test_a_glossary_is_read_to_its_end() -> None:
    rpc = Pages(2500)
    terms = await JobStore(rpc, "w1").recall_translation_glossary(factories.job(), ["es"])

    assert [term.term for term in terms] == [f"term {n}" for n in range(1, 2501)]
    assert rpc.asked_after == [0, 1000, 2000]


async def test_a_small_glossary_is_one_call() -> None:
    rpc = Pages(3)

    assert len(await JobStore(rpc, "w1").recall_translation_glossary(factories.job(), ["es"])) == 3
    assert len(rpc.asked_after) == 1


class Parents(Rpc):
    """Answers as a job that came after *count* others would."""

    def __init__(self, count: int) -> None:
        self._rows = [
            {"seq": n, "id": f"job {n}", "job_type": "chore", "status": "completed", "items": []}
            for n in range(1, count + 1)
        ]

    async def call(self, function: str, params: dict[str, Any], *, repeat_seconds: float = 0.0) -> Any:
        return [row for row in self._rows if row["seq"] > params["p_after_seq"]][:50]


@pytest.mark.parametrize("count", [0, 49, 50, 120])
async def test_parents_are_read_to_their_end(count: int) -> None:
    parents = await JobStore(Parents(count), "w1").get_translation_parents("child")

    assert [parent.id for parent in parents] == [f"job {n}" for n in range(1, count + 1)]


class Answering(Rpc):
    def __init__(self, answer: Any) -> None:
        self._answer = answer

    async def call(self, function: str, params: dict[str, Any], *, repeat_seconds: float = 0.0) -> Any:
        return self._answer


STRANGE: list[tuple[Any, Callable[[Rpc], Awaitable[Any]]]] = [
    ("hello", lambda rpc: JobStore(rpc, "w1").heartbeat_translation_worker({})),
    ({}, lambda rpc: JobStore(rpc, "w1").record_translation_results([])),
    ([], lambda rpc: JobStore(rpc, "w1").do_translation_chores()),
    (None, lambda rpc: JobDesk(rpc).list_translation_jobs()),
]


@pytest.mark.parametrize(("answer", "call"), STRANGE)
async def test_an_answer_of_another_shape_is_no_supabase_project(
    answer: Any, call: Callable[[Rpc], Awaitable[Any]]
) -> None:
    with pytest.raises(errors.StoreUnauthorized, match="does not answer like a Supabase project"):
        await call(Answering(answer))


async def test_a_segment_that_comes_with_a_stale_token_is_not_stored() -> None:
    with pytest.raises(errors.LeaseLost):
        await JobStore(Answering(-1), "w1").remember_translation_memory(factories.job(), "es", {"key": "target"})
