"""What the store makes of answers that come in pages."""

from typing import Any

from tests.unit import factories
from worker.rpc import Rpc
from worker.store import JobStore


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
