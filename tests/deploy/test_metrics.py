"""Every number moves when, and only when, what it counts happens: a real worker, scraped over HTTP."""

import asyncio

import pytest

from tests.deploy.operating import Numbers, operated
from tests.support.provider import running_provider
from tests.support.waiting import until
from worker.devstack.stack import Stack

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("fresh"),
]

CANCEL = "select public.cancel_translation_job(id) from public.translation_jobs where job_type = 'chore'"


async def test_a_job_moves_what_it_passes_through(stack: Stack) -> None:
    async with operated(stack, health_check_seconds=1, beat_seconds=0.5) as worker:
        await until(lambda: len(worker.worker.listener.roads) == 2, "both roads are proved")
        before = await worker.numbers()
        user = worker.project.user(credits=100)
        assert await worker.done(user, "es", "fr", content="The first lamp.") == "completed"
        after = await worker.numbers()

    assert before("worker_jobs_ended_total", job_type="translation", outcome="completed") == 0
    assert after("worker_jobs_ended_total", job_type="translation", outcome="completed") == 1
    assert after("worker_items_total", outcome="completed") == 2
    assert after("worker_language_seconds_count", language="es") == 1
    assert after("worker_language_seconds_count") == 2
    assert after("worker_jobs_claimed_total") == after("worker_pickup_seconds_count") == 1
    assert after("worker_claims_total") > before("worker_claims_total")
    assert after("worker_rings_total") > before("worker_rings_total")
    assert after("worker_provider_calls_total", provider="pseudo") >= 2
    assert after("worker_provider_characters_total", provider="pseudo") >= 2 * len("The first lamp.")
    assert after("worker_store_calls_total", function="record_translation_results", answer="ok") >= 1
    assert after("worker_store_seconds_total") > before("worker_store_seconds_total")
    assert after("worker_memory_segments_total", answer="miss") == 2
    assert after("worker_ready") == 1
    assert after("worker_mode", mode="realtime") == 1
    assert after("worker_mode_changes_total", mode="realtime") == 1
    assert after("worker_mode_seconds_total", mode="realtime") > before("worker_mode_seconds_total", mode="realtime")
    assert after("worker_mode_age_seconds") > before("worker_mode_age_seconds")
    assert after("worker_road_open") == 2
    assert after("worker_realtime_delay_seconds_count", road="changes") >= 1
    assert after("worker_heard_first_total") == 1
    assert (after("worker_slots"), after("worker_workers")) == (3, 1)
    assert after("worker_store_silent_seconds") < 5
    assert after("worker_loop_lag_seconds_count") > 0
    assert after("worker_queue_stats_up") == 1
    assert after("worker_queue_ended_in_an_hour", status="completed") >= 1
    assert after("worker_queue_workers", mode="realtime") == 1
    assert after("worker_queue_jobs_created_total") == before("worker_queue_jobs_created_total") + 1
    assert _credits(after) == {"reserved": 20, "consumed": 20, "refunded": 0}


def _credits(numbers: Numbers) -> dict[str, float]:
    name = "worker_queue_credits_in_an_hour"
    return {kind: numbers(name, kind=kind) for kind in ("reserved", "consumed", "refunded")}


async def test_failures_and_retries_are_counted_by_their_class(stack: Stack) -> None:
    fail = {"fr": {"class": "content_blocked"}, "de": {"times": 1, "class": "internal"}}
    async with operated(stack) as worker:
        before = await worker.numbers()
        user = worker.project.user(credits=100)
        status = await worker.done(
            user, "es", "fr", "de", content="The second lamp.", p_options={"simulate": {"fail": fail}}
        )
        after = await worker.numbers()

    assert status == "completed"
    assert _credits(after)["refunded"] == _credits(before)["refunded"] + 10
    assert after("worker_items_total", outcome="failed") == 1
    assert after("worker_items_total", outcome="retry") == 1
    assert after("worker_item_errors_total", **{"class": "content_blocked"}) == 1
    assert after("worker_item_errors_total", **{"class": "internal"}) == 1
    assert after("worker_jobs_ended_total", outcome="retrying") == 1
    assert after("worker_provider_failures_total", provider="pseudo", **{"class": "content_blocked"}) >= 1


async def test_what_the_memory_knew_is_a_hit(stack: Stack) -> None:
    async with operated(stack) as worker:
        user = worker.project.user(credits=100)
        await worker.done(user, "es", content="The third lamp.")
        before = await worker.numbers()
        await worker.done(user, "es", content="The third lamp.")
        after = await worker.numbers()

    assert before("worker_memory_segments_total", answer="hit") == 0
    assert after("worker_memory_segments_total", answer="hit") == 1


async def test_a_throttle_and_a_held_job_are_seen_while_they_last(stack: Stack) -> None:
    async with (
        running_provider() as server,
        operated(stack, translator="libretranslate", libretranslate_url=server.url) as worker,
    ):
        user = worker.project.user(credits=100)
        server.hold()
        job = asyncio.create_task(worker.done(user, "es", content="The fourth lamp."))
        await until(lambda: server.now == 1, "the provider is asked")
        during = await worker.numbers()
        server.throttle_seconds = 1
        server.release()
        await until(lambda: worker.worker.counters.items["throttled"] == 1, "the provider asked to wait")
        server.throttle_seconds = None
        assert await job == "completed"
        after = await worker.numbers()

    assert (during("worker_jobs_running"), during("worker_provider_running")) == (1, 1)
    assert during("worker_queue_claims") == during("worker_queue_jobs", status="processing") == 1
    assert after("worker_jobs_running") == after("worker_provider_running") == 0
    assert after("worker_provider_failures_total", provider="libretranslate", **{"class": "rate_limited"}) == 1
    assert after("worker_items_total", outcome="throttled") == 1


async def test_an_open_breaker_and_its_reason_show(stack: Stack) -> None:
    async with operated(stack, translator="libretranslate", libretranslate_url="http://127.0.0.1:9") as worker:
        breaker = worker.worker.speaks.providers
        # Nobody listens there: five calls in a row without an answer open it.
        user = worker.project.user(credits=100)
        job = worker.project.rpc(
            "create_translation_job",
            user,
            p_content="The fifth lamp.",
            p_target_languages=["es", "fr", "de"],
            p_source_language="en",
        )
        await until(lambda: breaker()[0].reason == "overloaded", "it is left alone", seconds=60)
        after = await worker.numbers()
        health = await worker.health()
        worker.project.rpc("cancel_translation_job", user, p_job_id=job["id"])

    assert after("worker_provider_open", provider="libretranslate", reason="overloaded") == 1
    assert after("worker_provider_open", provider="libretranslate", reason="auth") == 0
    assert health["providers"] == [{"provider": "libretranslate", "breaker": "open", "reason": "overloaded"}]


async def test_a_cut_connection_is_a_reconnect_and_time_spent_polling(stack: Stack) -> None:
    async with operated(stack) as worker:
        before = await worker.numbers()
        await stack.realtime.close_sockets(1006)
        await until(lambda: worker.worker.listener.reconnects == 1, "the cut is noticed")
        await until(lambda: worker.worker.listener.mode == "realtime", "it hears again")
        after = await worker.numbers()

    assert before("worker_realtime_reconnects_total") == 0
    assert after("worker_realtime_reconnects_total") == 1
    assert after("worker_realtime_sessions_ended_total") == 1
    assert after("worker_mode_changes_total", mode="polling") == 1
    assert after("worker_mode_seconds_total", mode="polling") > 0


async def test_waiting_jobs_are_seen_by_type_with_the_age_of_the_oldest(stack: Stack) -> None:
    async with operated(stack) as worker:
        worker.project.run("select public.enqueue_translation_job('chore', '{}', array['one'])")
        after = await worker.numbers()
        worker.project.run(
            "select public.cancel_translation_job(id) from public.translation_jobs where job_type = 'chore'"
        )
        empty = await worker.numbers()

    assert after("worker_queue_waiting", job_type="chore") == 1
    assert after("worker_queue_jobs", status="pending") == 1
    assert after("worker_queue_oldest_waiting_seconds") > 0
    assert empty("worker_queue_waiting") == empty("worker_queue_oldest_waiting_seconds") == 0


async def test_a_job_whose_claim_is_over_counts_as_stuck(stack: Stack) -> None:
    async with operated(stack) as worker:
        worker.project.run("select public.enqueue_translation_job('chore', '{}', array['one'])")
        worker.project.run(
            """select public.claim_translation_jobs('gone', 1, 1000, array['chore'], gen_random_uuid(), 'poll');
               update public.translation_job_claims set lease_until = now() - interval '1 minute'"""
        )
        stuck = await worker.numbers()
        worker.project.run(
            "select public.cancel_translation_job(id) from public.translation_jobs where job_type = 'chore'"
        )
        cured = await worker.numbers()

    assert stuck("worker_queue_stuck") == 1
    assert cured("worker_queue_stuck") == 0


async def test_an_unscraped_worker_never_asks_for_the_queues_numbers(stack: Stack) -> None:
    async with operated(stack, health_check_seconds=1, beat_seconds=0.5) as worker:
        calls = worker.worker.counters.store_calls
        beats = calls["heartbeat_translation_worker", "ok"]
        await until(lambda: calls["heartbeat_translation_worker", "ok"] >= beats + 2, "it lives")

        assert calls["translation_queue_stats", "ok"] == 0
        await worker.numbers()
        assert calls["translation_queue_stats", "ok"] == 1


async def test_health_says_how_it_hears_what_it_holds_and_who_translates(stack: Stack) -> None:
    async with operated(stack) as worker:
        health = await worker.health()

    assert (health["status"], health["mode"], health["running"], health["slots"]) == ("ok", "realtime", 0, 3)
    assert health["mode_for_seconds"] >= 0
    assert health["providers"] == [{"provider": "pseudo", "breaker": "closed", "reason": None}]
