"""Five hundred slots: nothing is fetched ahead of them, and all that ends together is told together."""

from tests.support.waiting import until
from tests.unit.test_claimer import Parts, job, working

SLOTS = 500


async def test_a_worker_of_500_slots_holds_500_jobs_and_claims_no_more_than_are_free() -> None:
    async with working(Parts(slots=SLOTS)) as parts:
        parts.answers = [[job() for _ in range(SLOTS - 1)], [job()]]
        await parts.look()
        await parts.look()
        await parts.look()

        assert [call["limit"] for call in parts.calls] == [SLOTS, 1]
        assert len(parts.runs) == SLOTS
        assert len(parts.runs.leases()) == SLOTS

        parts.release.set()
        await until(lambda: not len(parts.runs), "all of them end")

        assert sum(map(len, parts.store.recorded)) == SLOTS
        assert len(parts.store.recorded) <= 5
