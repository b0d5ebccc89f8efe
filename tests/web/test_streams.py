"""What is live: snapshots, changes, endings, and what one listener costs the others."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.database import claim, outcomes
from tests.support.waiting import until
from tests.web.site import EventReader, Site, User
from worker import errors
from worker.web import events, streams
from worker.web import hub as hubs


def record(site: Site, entries: list[dict[str, Any]]) -> None:
    site.project.rpc("record_translation_results", p_worker_id="w1", p_results=entries)


def progress(site: Site, job: Any, percent: int) -> None:
    items = [{"item": item["item"], "chunks_done": percent, "chunks_total": 100} for item in job["items"]]
    record(site, [{"job_id": job["job_id"], "token": job["token"], "progress": percent, "items": items}])


async def opened(reader: EventReader) -> Any:
    name, data = await reader.next()
    assert name == "snapshot"
    return data


@contextlib.asynccontextmanager
async def shown(user: User, job: str) -> AsyncIterator[tuple[EventReader, EventReader]]:
    """The stream of *user*, who has one job, and the job's own: both have shown it."""
    async with user.stream() as live, user.stream(f"/api/jobs/{job}/stream") as alone:
        assert [[one["id"] for one in (await opened(stream))["jobs"]] for stream in (live, alone)] == [[job], [job]]
        yield live, alone


def date(site: Site, job: str, ago: str) -> None:
    """Let it be so long ago that *job* changed, and ended if it has."""
    site.project.run(
        """update public.translation_jobs set updated_at = now() - %s::interval,
             completed_at = case when completed_at is not null then now() - %s::interval end where id = %s""",
        *(ago, ago, job),
    )


async def test_a_users_stream_shows_what_is_there_what_comes_and_how_it_ends(site: Site, ada: User) -> None:
    old = ada.job("es")
    async with ada.stream() as live:
        snapshot = await opened(live)
        assert [job["id"] for job in snapshot["jobs"]] == [old]
        assert snapshot["credits"] == {"balance": 90, "reserved": 10}

        new = ada.job("fr", "de")
        seen = await live.until(lambda name, data: name == "job" and data["id"] == new)
        assert (seen["status"], seen["credits_open"]) == ("pending", 20)
        assert await live.until(lambda name, data: name == "credits" and data["reserved"] == 30) == {
            "balance": 70,
            "reserved": 30,
        }

        job = claim(site.project)
        progress(site, job, 40)
        seen = await live.until(lambda name, data: name == "job" and data["progress"] == 40)
        assert (seen["id"], seen["status"], seen["chunks_done"], seen["chunks_total"]) == (old, "processing", 40, 100)
        record(site, outcomes(job, "completed"))
        seen = await live.until(lambda name, data: name == "job" and data["status"] == "completed")
        assert (seen["id"], seen["credits_open"]) == (old, 0)


async def test_a_job_that_comes_and_goes_between_two_looks_is_told(site: Site, ada: User) -> None:
    async with ada.stream() as live:
        await opened(live)
        job = ada.job("es")
        record(site, outcomes(claim(site.project), "completed"))

        seen = await live.until(lambda name, data: name == "job" and data["id"] == job)
        assert seen["status"] == "completed"


async def test_a_jobs_stream_ends_with_the_job(site: Site, ada: User) -> None:
    job, other = ada.job("es", "fr"), ada.job("de")
    async with ada.stream(f"/api/jobs/{job}/stream") as live:
        assert [shown["id"] for shown in (await opened(live))["jobs"]] == [job]
        running = claim(site.project)
        record(site, outcomes(running, "completed", ["es"]))
        seen = await live.until(lambda name, data: name == "job" and data["items"][0]["status"] == "completed")
        assert seen["status"] == "processing"
        site.project.rpc("cancel_translation_job", ada.id, p_job_id=other)
        record(site, outcomes(running, "failed", ["fr"]))

        assert (await live.named("job"))["id"] == job
        assert await live.named("close") == {"reason": "finished", "status": "completed"}
        await live.ends()


async def test_a_job_that_has_ended_gives_a_snapshot_and_a_close(site: Site, ada: User) -> None:
    job = ada.job("es")
    site.project.rpc("cancel_translation_job", ada.id, p_job_id=job)
    async with ada.stream(f"/api/jobs/{job}/stream") as live:
        assert (await opened(live))["jobs"][0]["status"] == "cancelled"
        assert await live.next() == ("close", {"reason": "finished", "status": "cancelled"})
        await live.ends()


async def test_nobody_hears_of_another(site: Site, ada: User, bob: User) -> None:
    async with ada.stream() as hers, bob.stream() as his:
        await opened(hers)
        await opened(his)
        secret = ada.job("es", title="Hers")
        shared = bob.job("fr", title="His")

        assert (await hers.named("job"))["id"] == secret
        assert (await his.named("job"))["id"] == shared
        cancel = site.project.rpc("cancel_translation_job", bob.id, p_job_id=shared)
        seen = await his.until(lambda name, data: name == "job" and data["status"] == "cancelled")
        assert seen["id"] == cancel["id"]


async def test_all_listeners_together_are_one_question_a_second(site: Site, ada: User, bob: User) -> None:
    job = ada.job("es")
    async with ada.stream() as one, ada.stream() as two, bob.stream() as three, ada.stream(f"/api/jobs/{job}/stream"):
        for live in (one, two, three):
            await opened(live)
        await until(lambda: len(site.service.calls) >= 2, "two questions")
        asked = len(site.service.calls)
        started = time.monotonic()
        await until(lambda: len(site.service.calls) >= asked + 3, "three more")
        assert time.monotonic() - started > 3 * hubs.EVERY_SECONDS - 1.1
        assert {call["function"] for call in site.service.calls} == {"watch_translation_users"}
        assert sorted(site.service.calls[-1]["p_user_ids"]) == sorted([ada.id, bob.id])


async def test_nobody_listens_nothing_is_asked(site: Site, ada: User) -> None:
    async with ada.stream() as live:
        await opened(live)
        await until(lambda: site.service.calls, "a question")
    await until(lambda: site.hub.listeners == 0, "it is known that nobody listens")
    asked = len(site.service.calls)
    async with ada.stream() as live:  # and with somebody there again, the next one comes
        await opened(live)
        assert len(site.service.calls) <= asked + 1
        await until(lambda: len(site.service.calls) > asked, "a question")


async def test_a_job_that_is_deleted_is_gone(site: Site, ada: User) -> None:
    job = ada.job("es")
    async with shown(ada, job) as (live, alone):
        progress(site, claim(site.project), 40)
        await live.named("job")
        site.project.run("delete from public.translation_jobs where id = %s", job)

        assert await live.named("gone") == {"id": job}
        assert await alone.named("close") == {"reason": "gone"}


async def test_a_job_that_has_long_been_quiet_is_told_when_it_is_gone(site: Site, ada: User) -> None:
    job = ada.job("es")
    date(site, job, "2 hours")
    async with shown(ada, job) as (live, alone):
        site.project.run("delete from public.translation_jobs where id = %s", job)

        assert await live.named("gone") == {"id": job}
        assert await alone.named("close") == {"reason": "gone"}


async def test_an_end_is_told_that_is_dated_long_before_it_could_be_seen(site: Site, ada: User) -> None:
    """What ends a job is dated when it begins, and may have to wait for a lock."""
    job = ada.job("es")
    date(site, job, "2 hours")
    async with shown(ada, job) as (live, alone):
        with site.project.transaction():
            site.project.run("select public.cancel_translation_job(%s)", job)
            date(site, job, "1 hour")

        assert (await live.named("job"))["status"] == "cancelled"
        assert await alone.named("close") == {"reason": "finished", "status": "cancelled"}


async def test_who_comes_back_is_told_what_was_missed(site: Site, ada: User) -> None:
    async with ada.stream() as live, ada.stream() as other:
        await opened(live)
        await opened(other)
        job = ada.job("es")
        await live.named("job")
        last_id = live.last_id
        live.answer.close()
        site.project.rpc("cancel_translation_job", ada.id, p_job_id=job)
        await other.until(lambda name, data: name == "job" and data["status"] == "cancelled")
        async with ada.stream(headers={"Last-Event-ID": last_id}) as back:
            missed = await back.named("job")
            assert (missed["id"], missed["status"]) == (job, "cancelled")
            assert (await back.named("snapshot"))["jobs"] == []


async def test_what_happened_while_nobody_listened_is_told_to_who_comes_back(site: Site, ada: User) -> None:
    async with ada.stream() as live:
        await opened(live)
        job = ada.job("es")
        await live.named("job")
        last_id = live.last_id
    await until(lambda: site.hub.listeners == 0, "it is known that nobody listens")
    site.project.rpc("cancel_translation_job", ada.id, p_job_id=job)
    async with ada.stream(headers={"Last-Event-ID": last_id}) as back:
        assert (await back.next())[0] == "snapshot"
        assert (await back.named("job"))["status"] == "cancelled"


@pytest.mark.parametrize("last_id", ["deadbeef-4", "nonsense", "", "-1", "9" * 400])
async def test_who_comes_back_from_elsewhere_is_told_to_look_again(ada: User, last_id: str) -> None:
    async with ada.stream(headers={"Last-Event-ID": last_id}) as live:
        assert await live.next() == ("resync", {})
        assert (await live.next())[0] == "snapshot"


async def test_who_reads_too_slowly_looks_again_and_the_others_miss_nothing(site: Site, ada: User) -> None:
    async with ada.stream() as slow, ada.stream() as quick:
        await opened(slow)
        await opened(quick)
        first, _ = site.hub._channels[ada.id].listeners
        first.resync()  # as when its queue of 64 is full
        job = ada.job("es")
        told: list[list[str]] = [[], []]
        for place, live in enumerate((slow, quick)):
            while not told[place] or told[place][-1] != job:
                name, data = await live.next()
                if name != "credits":
                    told[place].append(data["id"] if name == "job" else name)

        assert sorted(told, key=len) == [[job], ["resync", "snapshot", job]]


def test_a_full_queue_is_emptied_and_says_so() -> None:
    event = events.Event(b"", 1, "job", "a")
    one_job, everything = events.Listener("b"), events.Listener(None)
    for _ in range(events.QUEUE_MAX):
        for listener in (one_job, everything):
            listener.tell(event)
    assert not everything.take_resync()
    everything.tell(event)
    everything.tell(event)

    assert everything.take_resync()
    assert everything.take() == []
    assert not one_job.take_resync()
    everything.tell(event)
    assert everything.take() == [event]


async def test_a_stream_ends_with_its_token_and_says_so_before(site: Site, ada: User) -> None:
    token = site.token(ada.id, exp=int(time.time()) + 2)
    async with site.stream("/api/stream", token) as live:
        await opened(live)
        assert "expires_at" in await live.named("auth-expiring")
        assert await live.named("close") == {"reason": "token expired"}
        await live.ends()


async def test_a_quiet_stream_is_kept_alive(ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEPALIVE_SECONDS", 0.05)
    async with ada.stream() as live:
        await opened(live)
        waiting = asyncio.create_task(live.named("job"))
        await until(lambda: live.comments >= 3, "three signs of life")
        ada.job("es")
        await waiting


async def test_a_server_that_stops_says_goodbye(site: Site, ada: User) -> None:
    async with ada.stream() as live:
        await opened(live)
        site.hub.close()

        assert await live.named("close") == {"reason": "server stops"}
        await live.ends()
    assert (await ada.ask("GET", "/api/stream")).code == "too_many_streams"


async def test_a_database_in_trouble_does_not_end_a_stream(site: Site, ada: User) -> None:
    async with ada.stream() as live:
        await opened(live)
        await until(lambda: site.service.calls, "a question")
        site.service.trouble = errors.StoreUnavailable("503")
        asked = len(site.service.calls)
        await until(lambda: len(site.service.calls) > asked, "a question in vain")
        job = ada.job("es")
        record(site, outcomes(claim(site.project), "completed"))
        site.service.trouble = None

        assert (await live.named("job", seconds=20))["id"] == job


async def test_a_user_may_have_twenty_streams(site: Site, ada: User, bob: User) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(hubs.STREAMS_OF_A_USER_MAX):
            await stack.enter_async_context(ada.stream())
        over = await ada.ask("GET", "/api/stream")
        await stack.enter_async_context(bob.stream())
    await until(lambda: site.hub.listeners == 0, "all have left")

    assert (over.status, over.code) == (429, "too_many_streams")
    assert over.headers["Retry-After"]


async def test_who_does_not_read_at_all_delays_nobody_and_is_dropped(
    site: Site, ada: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of seven megabytes that nobody takes from the socket."""
    monkeypatch.setattr(streams, "_WRITE_SECONDS", 2.5)
    heavy = """select public.enqueue_translation_job(
                 'translation', '"x"', array['es'], p_user_id => %s, p_metadata => %s,
                 p_run_at => case when n > 200 then now() + interval '1 hour' end)
               from generate_series(1, 400) as n"""
    site.project.price(0)
    site.project.run(heavy, ada.id, json.dumps({"notes": "x" * 16_000}))
    address = urlsplit(site.url)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((address.hostname, address.port))
        deaf.send(f"GET /api/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ada.token}\r\n\r\n".encode())
        await until(lambda: site.hub.listeners == 1, "the stream is open")
        async with bob.stream() as live:
            await opened(live)
            for _ in range(2):
                job = bob.job("es")
                await live.until(lambda name, data, job=job: name == "job" and data["id"] == job)  # type: ignore[misc]
            await until(lambda: site.hub.listeners == 1, "who does not read is let go")
            bob.job("fr")
            await live.named("job")


async def test_a_stream_says_how_it_is_to_be_treated(ada: User) -> None:
    async with ada.stream() as live:
        headers = live.answer.headers

    assert headers["Content-Type"] == "text/event-stream"
    assert "no-store" in headers["Cache-Control"]
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["X-Request-ID"]
