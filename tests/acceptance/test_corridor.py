"""The corridor walked end to end: a row goes in, translations come out, whatever happens to the worker meanwhile."""

import asyncio
import signal
import time
from typing import Any

import httpx
import pytest
from supabase import AsyncClientOptions, acreate_client

from tests.acceptance.conftest import Workers
from tests.support.database import Database, Row
from tests.support.provider import Provider
from tests.support.proxy import running_proxy
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)

FIVE = ["es", "fr", "de", "it", "pt"]
LISTENING = "Realtime subscription active"


def document(paragraphs: int) -> str:
    """A Markdown document of which no two paragraphs are alike."""
    return "\n\n".join(
        f"## Room {n}\n\nIn room {n} the guide tells the story of lamp number {n}, which hung in the harbour for"
        f" {n + 30} years before the storm took its glass and the museum took the rest of it into its keeping."
        for n in range(paragraphs)
    )


def create(
    project: Database, user: str, *languages: str, content: str = "The lamp is lit at dusk.", **more: Any
) -> str:
    job: Row = project.rpc(
        "create_translation_job",
        user,
        p_content=content,
        p_target_languages=list(languages),
        p_source_language="en",
        **{f"p_{name}": value for name, value in more.items()},
    )
    identifier: str = job["id"]
    return identifier


def job(project: Database, job_id: str) -> Row:
    row: Row = project.rpc("get_translation_job", p_job_id=job_id)
    return row


async def ended(project: Database, *job_ids: str, seconds: float = 30.0) -> list[Row]:
    """Wait until all of them are in a final state."""

    def look() -> list[Row]:
        rows = [job(project, job_id) for job_id in job_ids]
        return rows if all(row["status"] in ("completed", "failed", "cancelled") for row in rows) else []

    return await until(look, f"{len(job_ids)} jobs end", seconds=seconds)


async def test_a_job_is_heard_of_translated_and_settled(project: Database, workers: Workers) -> None:
    user = project.user(credits=100)
    async with workers.start() as worker:
        await worker.says(LISTENING)
        await worker.says("Job processor started")
        (row,) = await ended(project, create(project, user, *FIVE))

    assert (row["status"], row["failed_items"], row["credits_consumed"]) == ("completed", 0, 50)
    assert row["found_by"] in ("broadcast", "changes")
    result = project.rpc("get_translation_result", user, p_job_id=row["id"], p_item="es")
    assert result["simulated"] is True
    assert result["content"] != "The lamp is lit at dusk."
    project.check_money()


async def test_three_jobs_times_three_languages_run_at_once_and_never_more(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    server.hold()
    async with workers.with_provider(server) as worker:
        await worker.says(LISTENING)
        jobs = [create(project, user, *FIVE, content=f"The lamp of house {n} is lit at dusk.") for n in range(5)]
        await until(lambda: server.now == 9, "nine calls are held")
        # Everything that could have started has had a full heartbeat to do so.
        beat = project.value("select max(last_seen_at) from public.translation_workers")
        await until(
            lambda: project.value("select max(last_seen_at) > %s from public.translation_workers", beat), "another beat"
        )
        assert (server.now, server.most_at_once) == (9, 9)
        server.release()
        rows = await ended(project, *jobs)

    assert [row["status"] for row in rows] == ["completed"] * 5
    assert server.most_at_once == 9
    project.check_money()


async def test_a_killed_worker_is_continued_and_hardly_anything_is_asked_twice(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    server.hold_after_calls = 20
    async with workers.with_provider(server, WORKER_ID="first") as first:
        await first.says(LISTENING)
        long = create(project, user, *FIVE, content=document(120), content_kind="markdown")
        await until(lambda: server.now == 3, "three languages are in the middle of the document")
        async with workers.with_provider(server, WORKER_ID="second") as second:
            await second.says(LISTENING)
            first.signal(signal.SIGKILL)
            await first.ended()
            server.release()
            (row,) = await ended(project, long, seconds=60)

    assert (row["status"], row["failed_items"]) == ("completed", 0)
    assert row["worker_id"] == "second"
    assert project.value("select count(*) from public.translation_job_attempts where outcome = 'lost'") == 1
    assert server.calls > 40
    # What was answered and recorded is never asked again: only the calls under way at the kill are.
    assert server.repeated_calls <= 9
    assert (row["credits_reserved"], row["credits_consumed"], row["credits_refunded"]) == (50, 50, 0)
    project.check_money()


async def test_a_terminated_worker_records_what_is_done_and_gives_back_the_rest(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    async with workers.with_provider(server, WORKER_ID="first") as first:
        await first.says(LISTENING)
        jobs = [create(project, user, "es", "fr", "de", content=f"The lamp of house {n} is lit.") for n in range(3)]
        server.hold()
        more = [create(project, user, "es", "fr", "de", content=f"The door of house {n} is shut.") for n in range(3)]
        await until(lambda: server.now == 9, "nine languages are running", seconds=30)
        started = time.monotonic()
        first.signal(signal.SIGTERM)
        assert await first.ended() == 0
        assert time.monotonic() - started < 10

    assert project.value("select count(*) from public.translation_job_claims") == 0
    states = {row["status"] for row in project.run("select status from public.translation_jobs")}
    assert states <= {"pending", "completed"}
    assert project.value("select max(attempts) from public.translation_job_items where status = 'pending'") == 0
    assert project.value("select max(lost_count) from public.translation_jobs") == 0

    server.release()
    async with workers.with_provider(server, WORKER_ID="second") as second:
        await second.says("Job processor started")
        rows = await ended(project, *jobs, *more)
    assert {row["status"] for row in rows} == {"completed"}
    project.check_money()


async def test_jobs_given_back_start_elsewhere_within_a_second(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    server.hold()
    async with workers.with_provider(server, WORKER_ID="first", SHUTDOWN_GRACE_SECONDS="0") as first:
        await first.says(LISTENING)
        jobs = [create(project, user, "es", "fr", "de", content=f"The lamp of house {n} is lit.") for n in range(3)]
        await until(lambda: server.now == 9, "nine languages are running")
        async with workers.with_provider(server, WORKER_ID="second") as second:
            await second.says(LISTENING)
            first.signal(signal.SIGTERM)
            assert await first.ended() == 0
            await until(
                lambda: (
                    project.value("select count(*) from public.translation_job_claims where worker_id = 'second'") == 3
                ),
                "the second worker holds them",
            )
            waited = project.value(
                """select max(found_ms) from public.translation_job_attempts where worker_id = 'second'"""
            )
            server.release()
            rows = await ended(project, *jobs)

    assert waited < 1000
    assert {row["status"] for row in rows} == {"completed"}
    assert project.value("select max(attempts) from public.translation_jobs") == 1


async def test_with_enough_grace_a_terminated_worker_finishes_first(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    server.hold()
    async with workers.with_provider(server, SHUTDOWN_GRACE_SECONDS="120") as worker:
        await worker.says(LISTENING)
        jobs = [create(project, user, "es", "fr", "de", content=f"The lamp of house {n} is lit.") for n in range(3)]
        await until(lambda: server.now == 9, "nine languages are running")
        worker.signal(signal.SIGTERM)
        await worker.says("(?i)shut|stopping|stop")
        server.release()
        assert await worker.ended() == 0

    assert {job(project, identifier)["status"] for identifier in jobs} == {"completed"}
    project.check_money()


async def test_a_cancelled_job_stops_its_worker_and_keeps_what_was_finished(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    async with workers.with_provider(server, MAX_CONCURRENT_LANGUAGES="1") as worker:
        await worker.says(LISTENING)
        identifier = create(project, user, *FIVE)
        await until(lambda: job(project, identifier)["credits_consumed"] >= 10, "a language is done")
        server.hold()
        answer = project.rpc("cancel_translation_job", user, p_job_id=identifier)
        await until(lambda: server.now == 0, "the worker lets go of its call", seconds=2)
        server.release()
        again = create(project, user, "es", content="Another lamp is lit.")
        (row,) = await ended(project, again)

    assert answer["status"] in ("cancelled", "completed")
    assert answer["credits_consumed"] + answer["credits_refunded"] == 50
    assert row["status"] == "completed"
    project.check_money()


async def test_deaf_from_the_start_it_polls_and_does_every_job(project: Database, workers: Workers) -> None:
    user = project.user(credits=1000)
    async with running_proxy(workers.url) as proxy, workers.start(SUPABASE_URL=proxy.url) as worker:
        await worker.says("Job processor started")
        jobs = [create(project, user, "es", content=f"Lamp {n}.") for n in range(4)]
        rows = await ended(project, *jobs)

    assert {row["status"] for row in rows} == {"completed"}
    assert {row["found_by"] for row in rows} == {"poll"}


async def test_a_worker_that_takes_its_own_job_back_finishes_it(
    project: Database, workers: Workers, server: Provider
) -> None:
    """Even if an answer about the lease that it lost comes after that."""
    beat = "heartbeat_translation_worker"
    user = project.user(credits=1000)
    server.hold()
    async with (
        running_proxy(workers.url) as proxy,
        workers.with_provider(server, SUPABASE_URL=proxy.url, LEASE_SECONDS="60") as worker,
    ):
        await worker.says("Job processor started")
        identifier = create(project, user, "es")
        await until(lambda: server.now == 1, "a call is under way")
        proxy.hold(beat)
        sent, answered = proxy.seen[beat], len(proxy.answers[beat])
        await until(lambda: proxy.seen[beat] > sent, "a beat is on its way")
        project.run("update public.translation_job_claims set lease_until = now()")
        report = {"mode": "polling", "mode_ms": 0, "job_types": ["translation"]}
        project.rpc(beat, p_worker_id="another", p_report=report)
        await until(lambda: job(project, identifier)["deliveries"] == 2, "it is claimed again")
        proxy.let(beat)
        await until(lambda: len(proxy.answers[beat]) > answered, "the beat is answered")
        server.release()
        (row,) = await ended(project, identifier)

    assert (row["status"], row["deliveries"], row["credits_consumed"]) == ("completed", 2, 10)
    project.check_money()


async def test_answers_lost_after_commit_double_nothing_and_leave_nothing_stuck(
    project: Database, workers: Workers
) -> None:
    user = project.user(credits=1000)
    async with running_proxy(workers.url) as proxy:
        proxy.lose.update(
            {"claim_translation_jobs": 3, "record_translation_results": 3, "remember_translation_memory": 2}
        )
        # A lease that a busy machine cannot outlast: a second delivery would be innocent then.
        async with workers.start(SUPABASE_URL=proxy.url, LEASE_SECONDS="15") as worker:
            await worker.says("Job processor started")
            jobs = [create(project, user, *FIVE, content=f"Lamp {n}.") for n in range(4)]
            rows = await ended(project, *jobs)
        assert proxy.lost["claim_translation_jobs"] == 3
        assert proxy.lost["record_translation_results"] == 3

    assert {(row["status"], row["attempts"], row["deliveries"]) for row in rows} == {("completed", 1, 1)}
    assert project.value("select count(*) from public.translation_job_claims") == 0
    assert project.value("select count(*) from public.translation_credit_ledger where kind = 'consume'") == 20
    project.check_money()


async def test_a_create_whose_answer_was_lost_is_repeated_without_a_second_job(
    project: Database, workers: Workers, stack: dict[str, str]
) -> None:
    request = {"p_content": "Hello", "p_target_languages": ["es"], "p_idempotency_key": "click"}
    async with running_proxy(workers.url) as proxy, httpx.AsyncClient() as http:
        proxy.lose["create_translation_job"] = 1
        client = await acreate_client(
            proxy.url, stack["SUPABASE_SECRET_KEY"], options=AsyncClientOptions(httpx_client=http)
        )
        with pytest.raises(httpx.TransportError):
            await client.rpc("create_translation_job", request).execute()
        again: Any = await client.rpc("create_translation_job", request).execute()

    assert again.data["status"] == "pending"
    assert project.value("select count(*) from public.translation_jobs") == 1


async def test_a_handler_that_raises_anything_ends_one_item_not_the_worker(project: Database, workers: Workers) -> None:
    user = project.user(credits=1000)
    simulate = {"fail": {"fr": {"class": "content_blocked"}, "de": {"times": 2, "class": "internal"}}}
    async with workers.start() as worker:
        await worker.says(LISTENING)
        identifier = create(project, user, "es", "fr", "de", options={"simulate": simulate})
        (row,) = await ended(project, identifier)
        (other,) = await ended(project, create(project, user, "es", content="Another lamp."))

    items = {item["item"]: item for item in row["items"]}
    assert (row["status"], row["failed_items"], row["attempts"]) == ("completed", 1, 3)
    assert items["fr"]["error"]["class"] == "content_blocked"
    assert (items["de"]["status"], items["de"]["attempts"]) == ("completed", 3)
    assert (row["credits_consumed"], row["credits_refunded"]) == (20, 10)
    assert other["status"] == "completed"
    project.check_money()


async def test_an_owners_trigger_that_raises_costs_one_job_and_no_other(project: Database, workers: Workers) -> None:
    user = project.user(credits=1000)
    project.run(
        """create function public.refuse_card() returns trigger language plpgsql set search_path = '' as $$
           begin
             if (select subject from public.translation_jobs where id = new.job_id) = 'refuse' then
               raise exception 'Not in my table.';
             end if;
             return null;
           end $$;
           create trigger refuse_card after update of status on public.translation_job_items
             for each row when (new.status = 'completed') execute function public.refuse_card()"""
    )
    try:
        async with workers.start() as worker:
            await worker.says(LISTENING)
            good = [create(project, user, "es", "fr", content=f"Lamp {n}.") for n in range(5)]
            bad = create(project, user, "es", "fr", content="The card nobody wants.", subject="refuse")
            good += [create(project, user, "es", "fr", content=f"Door {n}.") for n in range(5)]
            rows = await ended(project, bad, *good)
    finally:
        project.run("drop trigger refuse_card on public.translation_job_items; drop function public.refuse_card()")

    assert rows[0]["status"] == "failed"
    assert rows[0]["error"]["class"] == "internal"
    assert rows[0]["credits_refunded"] == 20
    assert {row["status"] for row in rows[1:]} == {"completed"}
    project.check_money()


async def test_two_workers_share_a_queue_and_no_language_is_done_twice(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=5000)
    async with workers.with_provider(server) as first, workers.with_provider(server) as second:
        await asyncio.gather(first.says(LISTENING), second.says(LISTENING))
        jobs = [create(project, user, "es", "fr", content=f"The lamp of house {n} is lit.") for n in range(20)]
        rows = await ended(project, *jobs)

    assert {row["status"] for row in rows} == {"completed"}
    assert set(server.asked.values()) == {1}
    assert project.value("select count(*) from public.translation_job_attempts") == 20
    project.check_money()


async def test_a_provider_that_asks_to_wait_is_left_alone_and_nothing_is_counted(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    server.throttle_seconds = 2
    async with workers.with_provider(
        server, MAX_CONCURRENT_JOBS="1", MAX_CONCURRENT_LANGUAGES="1", PROVIDER_WAIT_SECONDS="0"
    ) as worker:
        await worker.says(LISTENING)
        first = create(project, user, "es", content="The lamp is lit.")
        second = create(project, user, "fr", content="The door is shut.")
        await worker.says("Job type paused")
        calls = server.calls
        assert job(project, second)["status"] == "pending"
        server.throttle_seconds = None
        rows = await ended(project, first, second)

    assert calls == 1
    assert {(row["status"], row["attempts"]) for row in rows} == {("completed", 1)}
    assert project.value("select min(completed_at - created_at) >= '2 seconds' from public.translation_jobs")
