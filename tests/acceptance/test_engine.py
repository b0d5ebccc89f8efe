"""The translation engine through the whole worker: what is asked of a provider, what is paid, what comes back."""

import re
import signal
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Workers
from tests.acceptance.test_corridor import LISTENING, create, document, ended, job
from tests.support.database import Database, Row
from tests.support.provider import Provider
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)


def result(project: Database, user: str, job_id: str, item: str = "es") -> Any:
    return project.rpc("get_translation_result", user, p_job_id=job_id, p_item=item)["content"]


async def settled(project: Database, user: str, *languages: str, content: Any, **more: Any) -> Row:
    (row,) = await ended(project, create(project, user, *languages, content=content, **more), seconds=60)
    return row


async def test_whoever_continues_after_a_kill_asks_for_nothing_that_was_checked(
    project: Database, workers: Workers, server: Provider
) -> None:
    """Three workers are killed, each in the middle of a call; only those three calls are made again."""
    user = project.user(credits=1000)
    job_id = create(project, user, "es", "fr", content=document(60), content_kind="markdown")
    one_call_at_a_time = {"MAX_CONCURRENT_LANGUAGES": "1"}
    for number in range(3):
        server.hold_after_calls = server.calls + 3
        server.release()
        async with workers.with_provider(server, WORKER_ID=f"killed-{number}", **one_call_at_a_time) as worker:
            await until(lambda: not server.gate.is_set(), "a call is under way", seconds=30)
            worker.signal(signal.SIGKILL)
            await worker.ended()
    server.hold_after_calls = None
    server.release()
    async with workers.with_provider(server, WORKER_ID="last", **one_call_at_a_time):
        (row,) = await ended(project, job_id, seconds=60)

    assert (row["status"], row["failed_items"], row["worker_id"]) == ("completed", 0, "last")
    assert server.repeated_calls <= 3
    assert max(server.asked.values()) <= 2
    assert (row["credits_consumed"], row["credits_refunded"]) == (20, 0)
    project.check_money()


async def test_a_document_translated_twice_is_asked_for_and_paid_once(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    text = document(40)
    async with workers.with_provider(server) as worker:
        await worker.says(LISTENING)
        first = await settled(project, user, "es", "fr", content=text, content_kind="markdown")
        calls_for_all = server.calls
        again = await settled(project, user, "es", "fr", content=text, content_kind="markdown")
        calls_for_the_same = server.calls - calls_for_all
        changed = text.replace("lamp number 7,", "lantern number 7,")
        third = await settled(project, user, "es", "fr", content=changed, content_kind="markdown")
        calls_for_the_change = server.calls - calls_for_all - calls_for_the_same

    assert calls_for_all > 2
    assert (calls_for_the_same, calls_for_the_change) == (0, 2)  # one a language
    # 10 credits a language: all of it, nothing, and the one paragraph's share rounded up
    assert [row["credits_consumed"] for row in (first, again, third)] == [20, 0, 2]
    assert all(row["status"] == "completed" for row in (first, again, third))
    assert result(project, user, first["id"]) == result(project, user, again["id"])
    cached = [item["cached_chars"] for item in again["items"]]
    assert cached[0] == cached[1] > 1000
    project.check_money()


async def test_two_jobs_with_the_same_text_at_once_make_the_calls_of_one(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    text = document(30)
    jobs = [create(project, user, "es", "fr", content=text, content_kind="markdown") for _ in range(3)]
    async with workers.with_provider(server):
        rows = await ended(project, *jobs, seconds=60)

    assert {row["status"] for row in rows} == {"completed"}
    assert max(server.asked.values()) == 1
    assert len({result(project, user, job_id) for job_id in jobs}) == 1


async def test_a_users_glossary_is_kept_in_every_provider(
    project: Database, workers: Workers, server: Provider
) -> None:
    user, other = project.user(credits=1000), project.user(credits=1000)
    direction = {"p_source_language": "en", "p_target_language": "es"}
    project.rpc("set_translation_term", user, **direction, p_term="lamp", p_translation="farol")
    project.rpc("set_translation_term", user, **direction, p_term="Harbour Museum", p_do_not_translate=True)
    content = "The lamp of the Harbour Museum is lit at dusk."
    async with workers.with_provider(server) as worker:
        await worker.says(LISTENING)
        mine = await settled(project, user, "es", "fr", content=content)
        theirs = await settled(project, other, "es", content=content)

    assert "farol" in result(project, user, mine["id"])
    assert "Harbour Museum" in result(project, user, mine["id"])
    assert "lamp" in result(project, user, mine["id"], "fr")
    assert not any("Harbour Museum" in text for language, text in server.asked if language == "es" and "⟦" in text)
    assert "lamp" in result(project, other, theirs["id"])
    assert mine["items"][0]["warnings"] == []


async def test_too_many_warnings_are_refunded(project: Database, workers: Workers, server: Provider) -> None:
    user = project.user(credits=1000)
    server.says = lambda language, text: re.sub(r"\d", "x", f"{language.upper()} {text}")
    options = {"max_warnings": 0}
    async with workers.with_provider(server) as worker:
        await worker.says(LISTENING)
        row = await settled(project, user, "es", content="Room 7 is open until 9.", options=options)

    assert (row["status"], row["credits_consumed"], row["credits_refunded"]) == ("failed", 0, 10)
    assert row["items"][0]["error"]["class"] == "bad_output"
    assert server.calls == 2
    project.check_money()


async def test_an_unknown_second_provider_is_refunded(project: Database, workers: Workers) -> None:
    user = project.user(credits=1000)
    options = {"max_warnings": 0, "second_provider": "deepl"}
    async with workers.start() as worker:
        await worker.says(LISTENING)
        row = await settled(project, user, "es", content="Room 7 is open.", options=options)

    assert (row["status"], row["credits_refunded"]) == ("failed", 10)
    assert row["items"][0]["error"]["class"] == "bad_request"


# Scripts that put no spaces between words, and those that run from right to left

TEXTS = {
    "bo": "བཀྲ་ཤིས་བདེ་ལེགས། འདི་ནི་དཔེ་མཛོད་ཁང་ཡིན། ཁྱེད་རང་ཕེབས་པར་དགའ་བསུ་ཞུ།",
    "th": "ยินดีต้อนรับสู่พิพิธภัณฑ์ท่าเรือ โคมไฟดวงนี้ส่องสว่างมาเป็นเวลาสามสิบปี",
    "km": "សូមស្វាគមន៍មកកាន់សារមន្ទីរ។ ចង្កៀងនេះបានភ្លឺអស់រយៈពេលសាមសិបឆ្នាំ។",
    "ja": "港の博物館へようこそ。このランプは三十年間、入り江を照らしてきました。",
    "zh-Hans": "欢迎来到港口博物馆。这盏灯照亮海湾三十年了。",
    "ar": "أهلاً بكم في متحف الميناء. أضاء هذا المصباح الخليج ثلاثين عاماً.",
    "hi": "बंदरगाह संग्रहालय में आपका स्वागत है। यह दीपक तीस वर्षों से जल रहा है।",
    "en": "Welcome to the harbour museum. This lamp has lit the bay for thirty years.",
}


def pieces(simulated: str, language: str) -> list[str]:
    """What the simulated translator was given, piece by piece: letters that are not Latin it leaves as they are."""
    return re.findall(rf"\[{language}: (.*?)\]", simulated, re.DOTALL)


async def test_every_script_goes_through_in_both_directions(project: Database, workers: Workers) -> None:
    user = project.user(credits=1000)
    async with workers.start() as worker:
        await worker.says(LISTENING)
        jobs = {}
        for language, text in TEXTS.items():
            targets = ["en"] if language != "en" else [tag for tag in TEXTS if tag != "en"]
            content = f"# {text}\n\n{text} `code` {{name}}\n\n- {text}\n"
            jobs[language] = project.rpc(
                "create_translation_job",
                user,
                p_content=content,
                p_target_languages=targets,
                p_source_language=language,
                p_content_kind="markdown",
            )["id"]
        rows = await ended(project, *jobs.values(), seconds=60)

    assert [(row["status"], row["failed_items"]) for row in rows] == [("completed", 0)] * len(TEXTS)
    for language, job_id in jobs.items():
        if language != "en":
            content = result(project, user, job_id, "en")
            assert pieces(content, "en") == [TEXTS[language], f"{TEXTS[language]} `code` {{name}}", TEXTS[language]]
    assert "`code`" in result(project, user, jobs["en"], "bo")
    project.check_money()


async def test_a_long_tibetan_text_is_cut_at_its_own_sentence_ends(project: Database, workers: Workers) -> None:
    user = project.user(credits=1000)
    sentence = "འདི་ནི་དཔེ་མཛོད་ཁང་ཡིན། "
    text = (sentence * 400).strip()
    async with workers.start() as worker:
        await worker.says(LISTENING)
        job_id = project.rpc(
            "create_translation_job", user, p_content=text, p_target_languages=["en"], p_source_language="bo"
        )["id"]
        (row,) = await ended(project, job_id)
        content = result(project, user, job_id, "en")

    assert row["status"] == "completed"
    sent = pieces(content, "en")
    assert len(sent) > 1
    assert all(piece.endswith("།") for piece in sent)
    assert " ".join(sent) == text


# Handlers of the owner's that do not behave

STUBBORN = """
    import asyncio, time
    import worker

    @worker.handler("stubborn")
    async def stubborn(ctx):
        if ctx.items == ["thread"]:
            await asyncio.to_thread(time.sleep, 600)
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                pass
"""


@pytest.mark.parametrize("item", ["task", "thread"])
async def test_a_handler_that_ignores_the_stop_does_not_hold_the_shutdown_up(
    project: Database, workers: Workers, tmp_path: Path, item: str
) -> None:
    (tmp_path / "stubborn_handlers.py").write_text(textwrap.dedent(STUBBORN))
    project.run(
        """insert into public.translation_job_types (name, item_timeout_seconds, user_may_enqueue, description)
           values ('stubborn', 600, false, 'Never ends.') on conflict do nothing"""
    )
    job_id = project.rpc("enqueue_translation_job", p_job_type="stubborn", p_content={}, p_items=[item])["id"]
    own = {"WORKER_MODULES": "stubborn_handlers", "PYTHONPATH": str(tmp_path), "SHUTDOWN_GRACE_SECONDS": "0"}
    async with workers.start(**own) as worker:
        await until(lambda: job(project, job_id)["status"] == "processing", "the handler runs")
        started = time.monotonic()
        worker.signal(signal.SIGTERM)
        status = await worker.ended()
        seconds = time.monotonic() - started

    assert status == 0
    assert seconds < 10
    assert job(project, job_id)["status"] == "pending"
    assert project.value("select count(*) from public.translation_job_claims") == 0
    project.run("delete from public.translation_jobs where job_type = 'stubborn'")
    project.run("delete from public.translation_job_types where name = 'stubborn'")
