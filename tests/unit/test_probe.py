"""The probe of `worker verify` in projects that do not do what they must."""

from typing import Any

import pytest

from tests.unit import factories
from worker import errors
from worker.rpc import Rpc
from worker.verify import probe
from worker.verify.probe import Broken, Probe

JOB = "00000000-0000-0000-0000-000000000001"
WELL: dict[str, Any] = {
    "start_translation_probe": JOB,
    "claim_translation_jobs": [factories.claim_row("run", job_id=JOB)],
    "heartbeat_translation_worker": {"schema_version": 1_000_000, "lost": [], "cancelled": []},
    "release_translation_jobs": 1,
    "record_translation_results": [{"answer": "recorded", "job_status": "completed"}],
    "end_translation_probe": None,
    "get_translation_job": errors.StoreRefused("PT404", "job_not_found", "There is no such job."),
}


class Project(Rpc):
    """Does well but for what is said otherwise."""

    def __init__(self, **answers: Any) -> None:
        self._answers = WELL | answers

    async def call(self, function: str, params: dict[str, Any], *, repeat_seconds: float = 0.0) -> Any:
        answer = self._answers[function]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def through(**answers: Any) -> str:
    """All steps of a probe; what was done."""
    tried = Probe(Project(**answers), probe.new_name())
    await tried.start()
    await tried.work()
    await tried.remove()
    return tried.done


async def test_a_project_that_does_well_is_gone_through() -> None:
    assert await through() == "make, claim, heartbeat, release, record, remove"


@pytest.mark.parametrize(
    ("answers", "says", "cure"),
    [
        ({"claim_translation_jobs": []}, "a claim did not get the job", "worker sql"),
        (
            {"heartbeat_translation_worker": {"schema_version": 1_000_000, "lost": [JOB], "cancelled": []}},
            "a heartbeat did not keep the job",
            "translation_job_claims",
        ),
        ({"release_translation_jobs": 0}, "could not be given back", "translation_job_claims"),
        (
            {"record_translation_results": [{"answer": "lost", "job_status": "pending"}]},
            "its result was answered lost, the job is pending",
            "worker sql",
        ),
        (
            {"get_translation_job": {"id": JOB}},
            "still there",
            f"delete from public.translation_jobs where id = '{JOB}'",
        ),
        ({"get_translation_job": errors.StoreUnavailable("gone")}, "look for what is left: gone", JOB),
        ({"start_translation_probe": errors.StoreRefused("PT422", "w", "No.")}, "make: No.", "worker sql"),
        ({"end_translation_probe": errors.StoreUnavailable("")}, "remove: StoreUnavailable", "worker sql"),
    ],
)
async def test_a_step_that_is_not_done_is_named_with_its_cure(answers: dict[str, Any], says: str, cure: str) -> None:
    with pytest.raises(Broken) as broken:
        await through(**answers)

    assert says in broken.value.said
    assert cure in broken.value.cure


async def test_without_a_job_there_is_nothing_to_look_for() -> None:
    await Probe(Project(get_translation_job={"id": JOB}), probe.new_name()).remove()
