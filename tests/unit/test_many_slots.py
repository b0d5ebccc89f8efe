"""Five hundred slots: filled by thirds, nothing fetched ahead of them, and what ends together is told together."""

import pytest

from tests.support.waiting import until
from tests.unit.test_claimer import Parts, job, working

SLOTS = 500
THIRD = 167


async def test_a_worker_of_500_slots_holds_500_jobs_and_claims_no_more_than_are_free() -> None:
    async with working(Parts(slots=SLOTS)) as parts:
        parts.answers = [[job() for _ in range(count)] for count in (THIRD, THIRD, SLOTS - 2 * THIRD)]
        await parts.look()
        await parts.look()

        assert [call["limit"] for call in parts.calls] == [THIRD, THIRD, SLOTS - 2 * THIRD]
        assert len(parts.runs) == SLOTS
        assert len(parts.runs.leases()) == SLOTS

        parts.release.set()
        await until(lambda: not len(parts.runs), "all of them end")

        assert sum(map(len, parts.store.recorded)) == SLOTS
        assert len(parts.store.recorded) <= 5


@pytest.mark.parametrize("slots", [49, 50, 51])
async def test_few_slots_are_filled_by_one_claim_of_fifty_at_most(slots: int) -> None:
    async with working(Parts(slots=slots)) as parts:
        await parts.look()

        assert [call["limit"] for call in parts.calls] == [min(slots, 50)]


async def test_a_claim_of_a_third_that_comes_back_short_is_the_last() -> None:
    async with working(Parts(slots=SLOTS)) as parts:
        parts.answers = [[job() for _ in range(THIRD)], [job()]]
        await parts.look()

        assert [call["limit"] for call in parts.calls] == [THIRD, THIRD]
