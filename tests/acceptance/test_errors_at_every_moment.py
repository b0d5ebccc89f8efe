"""
Every class of error at every moment of a try, in a worker that runs: what the user, the ledger and the operator see.

The same table as tests/sql/test_errors_at_every_moment.py, from the other side: there a test plays the worker, here a
provider fails, and a worker is cancelled, killed, taken over or not answered. Nine jobs of two languages each are at
work at once for a moment, a class each; Spanish is done, French meets the error.
"""

import json
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.acceptance.conftest import Workers
from tests.acceptance.test_corridor import LISTENING
from tests.sql.test_errors_at_every_moment import CLASSES, FAILED, RETRY, THROTTLED, Seen, seen
from tests.support import failing, processes
from tests.support.database import Database
from tests.support.failing import Failing, running_failing
from tests.support.proxy import Proxy, running_proxy
from tests.support.waiting import until
from worker.models import Disposition

pytestmark = pytest.mark.timeout(240)

PRICE = 10
CLAIM, RECORD, BEAT = "claim_translation_jobs", "record_translation_results", "heartbeat_translation_worker"

# What no answer of a language model brings about meets a job of an owner's own type.
SPOKEN = ("internal", "unsupported_language")

# With new calls this one alone needs more than one, so it goes first: a provider that refuses is not asked again.
REPEATED = "bad_output"

Call = tuple[str, str, str]
"""Moment, class, language."""
Table = Mapping[Disposition, Seen]
CANCELLED = seen("cancelled cancelled cancelled", 0, "0 20", "cancelled", "")
ENDED = seen("completed completed failed", 1, "10 10", "completed", "")
RETRYING = seen("retrying completed pending", 1, "10 0", "retrying", "")
WAITING = seen("retrying completed pending", 0, "10 0", "retrying", "")
NOTHING_ELSE: Table = {FAILED: ENDED, RETRY: RETRYING, THROTTLED: WAITING}
CANCELLED_LATER: Table = {
    FAILED: ENDED,
    RETRY: seen("cancelled completed cancelled", 1, "10 10", "retrying", ""),
    THROTTLED: seen("cancelled completed cancelled", 0, "10 10", "retrying", ""),
}
CONTINUED: Table = {kind: replace(one, operator=("lost", *one.operator)) for kind, one in NOTHING_ELSE.items()}
TO_THE_END: Table = {
    FAILED: ENDED,
    RETRY: seen("completed completed failed", 3, "10 10", "retrying retrying completed", ""),
    THROTTLED: seen("completed completed failed", 0, "10 10", "retrying retrying completed", ""),
}


@dataclass
class Stage:
    """The nine jobs of each moment, and what they meet."""

    project: Database
    workers: Workers
    provider: Failing
    call: Callable[..., Any]
    user: str
    jobs: dict[tuple[str, str], str]

    def worker(self, url: str = "", *, lease_seconds: int = 60) -> AbstractAsyncContextManager[processes.Process]:
        """With room for all; behind *url* if given. A busy machine must not end its leases."""
        room = {"MAX_CONCURRENT_JOBS": "40", "MAX_CONCURRENT_LANGUAGES": "2", "PROVIDER_CONCURRENCY": "100"}
        model = {"OPENAI_BASE_URL": f"{self.provider.url}/v1", "OPENAI_MODEL": "m", "PROVIDER_WAIT_SECONDS": "0"}
        own = {"WORKER_MODULES": "tests.acceptance.speaking", "SPEECH_URL": f"{self.provider.url}/speech"}
        behind = {"LEASE_SECONDS": str(lease_seconds), **({"SUPABASE_URL": url} if url else {})}
        return self.workers.start(TRANSLATOR="openai", **room, **model, **own, **behind)

    def create(self, *moments: str) -> None:
        for moment in moments:
            for error_class in CLASSES:
                self.jobs[moment, error_class] = self._create(failing.text(moment, error_class), error_class)

    def _create(self, text: str, error_class: str) -> str:
        if error_class in SPOKEN:
            more = {"p_job_type": "speech", "p_content": text, "p_items": ["es", "fr"], "p_user_id": self.user}
            return str(self.call("enqueue_translation_job", None, **more)["id"])
        languages = {"p_source_language": "en", "p_target_languages": ["es", "fr"]}
        return str(self.call("create_translation_job", self.user, p_content=text, **languages)["id"])

    # What happens

    async def under_way(self, *calls: Call) -> None:
        """Until *calls* wait at their gates, and no other does."""
        await until(lambda: set(+self.provider.held) == set(calls), f"{len(calls)} calls are held", seconds=60)

    def calls(self, moment: str, *languages: str) -> list[Call]:
        return [(moment, name, language) for name in CLASSES for language in languages]

    def repeated(self, moment: str) -> list[Call]:
        """What is asked once more when everything had its answer and nothing was recorded: no memory has speeches."""
        return [*self.calls(moment, "fr"), *((moment, name, "es") for name in SPOKEN)]

    async def answer(self, *moments: str) -> None:
        """Everything that is asked at *moments*."""
        answered = self.provider.answered
        waiting = [moment for moment in moments if self.provider.held[moment, REPEATED, "fr"]]
        twice = {moment: answered[moment, REPEATED, "fr"] + 2 for moment in waiting}
        for moment in moments:
            self.provider.let(moment, REPEATED)
        await until(
            lambda: all(answered[moment, REPEATED, "fr"] >= count for moment, count in twice.items()),
            "what is asked again has its answer",
        )
        for moment in moments:
            self.provider.let(moment, *CLASSES)
        await until(
            lambda: not any(self.provider.held[call] for call in self.provider.held if call[0] in moments),
            "all is answered",
        )

    async def at_rest(self, *moments: str) -> None:
        """Until no job of *moments* is being worked on."""
        ids = [job_id for (moment, _), job_id in self.jobs.items() if moment in moments]
        count = """select count(*) from public.translation_jobs
                   where id = any (%s::uuid[]) and status in ('pending', 'processing')"""
        await until(lambda: self.project.value(count, ids) == 0, f"{len(ids)} jobs are at rest", seconds=60)

    async def remembered(self) -> None:
        """Until the memory has all of a moment that was translated."""
        count = "select count(*) from public.translation_memory"
        wanted = len(CLASSES) - len(SPOKEN)
        await until(lambda: self.project.value(count) == wanted, "what is translated is remembered")

    def end_leases(self) -> None:
        """As the time would: whoever beats next takes the jobs back."""
        self.project.run("update public.translation_job_claims set lease_until = now()")

    def cancel(self, moment: str) -> None:
        for error_class in CLASSES:
            self.call("cancel_translation_job", self.user, p_job_id=self.jobs[moment, error_class])

    # What is seen

    def check(self, moment: str, table: Table) -> None:
        """That each class is seen as *table* says of its disposition."""
        found = {name: self.seen(moment, name) for name in CLASSES}

        assert {name: one for name, one in found.items() if one != table[CLASSES[name]]} == {}

    def seen(self, moment: str, error_class: str) -> Seen:
        job_id = self.jobs[moment, error_class]
        row = self.call("get_translation_job", self.user, p_job_id=job_id)
        items = {item["item"]: item for item in row["items"]}
        spanish, french = items["es"], items["fr"]
        moved = self.project.run(
            "select kind, sum(amount) as sum from public.translation_credit_ledger where job_id = %s group by kind",
            job_id,
        )
        sums = {one["kind"]: int(one["sum"]) for one in moved}
        tries = self.project.run(
            "select outcome from public.translation_job_attempts where job_id = %s order by token", job_id
        )
        if french["status"] == "failed" or row["status"] == "retrying":
            assert french["error"]["class"] == error_class
            assert french["error"]["message"]
            assert "SECRET" not in french["error"]["message"]
        if row["status"] == "retrying":
            assert row["error"] == french["error"]
        return Seen(
            (row["status"], spanish["status"], french["status"]),
            french["attempts"],
            (sums.get("consume", 0), sums.get("refund", 0)),
            tuple(str(one["outcome"]) for one in tries),
            "",
        )


@pytest.fixture
async def stage(project: Database, workers: Workers) -> AsyncIterator[Stage]:
    project.run("insert into public.translation_job_types (name, price) values ('speech', %s)", PRICE)
    async with running_failing() as provider:
        try:
            with project.caller() as call:
                yield Stage(project, workers, provider, call, project.user(credits=10_000), {})
            project.check_money()
        finally:
            project.run("delete from public.translation_jobs where job_type = 'speech'")
            project.run("delete from public.translation_job_types where name = 'speech'")


def told(proxy: Proxy) -> set[str]:
    """What the database made of each result that the worker behind *proxy* handed in."""
    return {one["answer"] for body in proxy.answers[RECORD] for one in json.loads(body) if one.get("item")}


async def test_an_error_alone_or_with_a_cancel_before_the_claim_or_during_the_call(stage: Stage) -> None:
    async with stage.worker() as worker:
        await worker.says(LISTENING)
        stage.create("alone", "before", "during")
        await stage.under_way(
            *(call for moment in ("alone", "before", "during") for call in stage.calls(moment, "es", "fr"))
        )
        stage.cancel("during")
        await stage.under_way(*(call for moment in ("alone", "before") for call in stage.calls(moment, "es", "fr")))
        await stage.answer("alone", "before", "during")
        await stage.at_rest("alone", "before")
        stage.cancel("before")
        alerts = {one["alert"] for one in stage.call("translation_alerts", None)}
        worker.signal(signal.SIGKILL)
        await worker.ended()

    stage.check("alone", NOTHING_ELSE)
    stage.check("before", CANCELLED_LATER)
    stage.check("during", dict.fromkeys(Disposition, CANCELLED))
    assert "quota_exhausted" in alerts


async def test_an_error_whose_record_is_not_answered_is_recorded_once(stage: Stage) -> None:
    async with running_proxy(stage.workers.url) as proxy, stage.worker(proxy.url) as worker:
        proxy.lose_first.add(RECORD)
        await worker.says("Job processor started")
        stage.create("unheard")
        await stage.under_way(*stage.calls("unheard", "es", "fr"))
        await stage.answer("unheard")
        await stage.at_rest("unheard")
        worker.signal(signal.SIGTERM)
        assert await worker.ended() == 0

    stage.check("unheard", NOTHING_ELSE)
    assert told(proxy) == {"already"}


async def test_an_error_of_a_worker_that_dies_is_met_by_the_next_one(stage: Stage) -> None:
    """Some of its calls are under way then, others have their answer and are not recorded."""
    async with running_proxy(stage.workers.url) as proxy, stage.worker(proxy.url) as first:
        proxy.hold(RECORD)
        await first.says("Job processor started")
        stage.create("calling", "answered")
        await stage.under_way(*stage.calls("calling", "es", "fr"), *stage.calls("answered", "es", "fr"))
        await stage.answer("answered")
        await stage.remembered()
        first.signal(signal.SIGKILL)
        await first.ended()
    stage.end_leases()
    stage.provider.hold()
    async with stage.worker() as second:
        await second.says(LISTENING)
        await stage.under_way(*stage.calls("calling", "es", "fr"), *stage.repeated("answered"))
        await stage.answer("calling", "answered")
        await stage.at_rest("calling", "answered")

    stage.check("calling", CONTINUED)
    stage.check("answered", CONTINUED)


async def test_an_error_of_a_worker_that_was_taken_over_changes_nothing(stage: Stage) -> None:
    async with running_proxy(stage.workers.url) as proxy, stage.worker(proxy.url) as first:
        await first.says("Job processor started")
        stage.create("overtaken")
        await stage.under_way(*stage.calls("overtaken", "es", "fr"))
        proxy.hold(CLAIM, RECORD, BEAT)
        await stage.answer("overtaken")
        await stage.remembered()
        stage.provider.hold()
        async with stage.worker() as second:
            await second.says(LISTENING)
            stage.end_leases()
            await stage.under_way(*stage.repeated("overtaken"))
            proxy.let(RECORD, BEAT)
            await until(lambda: told(proxy), "the first one has its answer")
            before = {name: stage.seen("overtaken", name) for name in CLASSES}
            await stage.answer("overtaken")
            await stage.at_rest("overtaken")

    assert told(proxy) == {"lost"}
    assert {one.user[2] for one in before.values()} <= {"pending", "processing"}
    assert {one.tries_counted for one in before.values()} == {0}
    assert {one.ledger[1] for one in before.values()} == {0}
    assert {one.operator for one in before.values()} == {("lost", "None")}
    stage.check("overtaken", CONTINUED)


async def test_an_error_that_comes_after_the_lease_counts_if_nobody_took_over(stage: Stage) -> None:
    expired = "select count(*) from public.translation_job_claims where lease_until < now()"
    async with running_proxy(stage.workers.url) as proxy, stage.worker(proxy.url, lease_seconds=4) as worker:
        await worker.says("Job processor started")
        stage.create("late")
        await stage.under_way(*stage.calls("late", "es", "fr"))
        proxy.hold(RECORD, BEAT)
        await stage.answer("late")
        await until(lambda: stage.project.value(expired) == len(CLASSES), "their leases are over")
        proxy.let(RECORD)
        await stage.at_rest("late")
        worker.signal(signal.SIGKILL)
        await worker.ended()

    stage.check("late", NOTHING_ELSE)
    assert told(proxy) == {"recorded"}


async def test_an_error_that_comes_each_time_ends_with_the_tries_or_the_deadline(stage: Stage) -> None:
    """Each try is another worker's, since this one's provider would not be asked again for a while."""
    stage.create("end")
    asked = stage.calls("end", "es", "fr")
    for _ in range(3):
        async with stage.worker() as worker:
            await worker.says(LISTENING)
            await stage.under_way(*asked)
            if stage.seen("end", "auth").operator == ("retrying", "retrying", "None"):
                stage.project.run("update public.translation_jobs set deadline_at = now() where completed_at is null")
            await stage.answer("end")
            await stage.at_rest("end")
        stage.provider.hold()
        asked = [("end", name, "fr") for name, kind in CLASSES.items() if kind is not FAILED]
        stage.call("requeue_translation_jobs", None, p_job_ids=list(stage.jobs.values()))

    stage.check("end", TO_THE_END)
