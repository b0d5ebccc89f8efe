"""Whoever asks for too much, by mistake or on purpose, gets as much as is his, and nobody else notices."""

import asyncio
import functools
import json
import re
import signal
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.acceptance.conftest import Workers
from tests.acceptance.test_corridor import LISTENING, create, ended, job
from tests.support.database import Database, Row
from tests.support.provider import Provider
from tests.support.waiting import until
from worker import errors
from worker import settings as worker_settings

pytestmark = pytest.mark.timeout(240)

BURST = 60  # of 120 a minute, as shipped
PAGE_KB = 4


def resident_megabytes(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KB / 1024


async def test_a_thousand_creates_in_a_second_are_limited_and_another_user_is_not(
    project: Database, stack: Mapping[str, str]
) -> None:
    greedy, other = project.user(credits=100_000), project.user(credits=100)
    lanes = [[create_request(stack, greedy, lane * 20 + n) for n in range(20)] for lane in range(50)]
    started = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        answering = [tasks.create_task(answered(stack["SUPABASE_URL"], lane)) for lane in lanes]
        others = [await answered(stack["SUPABASE_URL"], [create_request(stack, other, n)]) for n in range(5)]
    seconds = time.monotonic() - started
    answers = [answer for task in answering for answer in task.result()]
    made = sum(answer.status == 200 for answer in answers)

    assert len(answers) == 1000
    assert {(answer.status, bool(answer.details)) for answer in answers} == {(200, False), (429, True)}
    assert all(re.fullmatch(r"rate_limited retry_after_ms=\d+", answer.details) for answer in answers if answer.details)
    assert BURST <= made <= BURST + 2 * seconds + 1
    assert [answer.status for (answer,) in others] == [200] * 5
    assert project.value("select count(*) from public.translation_jobs where user_id = %s", greedy) == made
    reserved = project.value("select sum(amount) from public.translation_credit_ledger where kind = 'reserve'")
    assert reserved == 10 * (made + 5)
    project.check_money()


@dataclass(frozen=True)
class Answer:
    status: int
    details: str


def create_request(stack: Mapping[str, str], user: str, n: int) -> bytes:
    claims = {"sub": user, "role": "authenticated", "exp": int(time.time()) + 3600}
    token = jwt.encode(claims, stack["JWT_SECRET"], "HS256")
    body = json.dumps({"p_content": f"Lamp {n}.", "p_target_languages": ["es"], "p_source_language": "en"})
    head = (
        "POST /rest/v1/rpc/create_translation_job HTTP/1.1",
        f"Host: {urlsplit(stack['SUPABASE_URL']).netloc}",
        f"apikey: {stack['SUPABASE_PUBLISHABLE_KEY']}",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*head, "", body)).encode()


async def answered(url: str, requests: Sequence[bytes]) -> list[Answer]:
    """All *requests* in one go over one connection, without waiting for an answer, and then their answers."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"".join(requests))
    answers = []
    for _ in requests:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        assert length is not None
        said = json.loads(await reader.readexactly(int(length[1])))
        answers.append(Answer(int(head.split()[1]), said.get("details", "")))
    writer.close()
    return answers


async def test_ten_thousand_rows_at_once_are_one_ring_and_keep_nobody_waiting(
    project: Database, workers: Workers, server: Provider
) -> None:
    """In one statement, as an import would; another user's job then starts after two others at most."""
    greedy, other = project.user(), project.user(credits=100)
    async with workers.with_provider(server, MAX_CONCURRENT_JOBS="1", LEASE_SECONDS="30") as worker:
        await worker.says(LISTENING)
        server.hold()
        first = create(project, other, "es", content="The first lamp.")
        await until(lambda: server.now == 1, "the worker is busy")
        told = project.value("select count(*) from realtime.messages where event = 'ready'")
        before = resident_megabytes(worker.process.pid)
        project.run(
            """insert into public.translation_jobs (user_id, content, target_languages, source_language)
               select %s, to_jsonb('Lamp ' || n), '{es}', 'en' from generate_series(1, 10000) as n""",
            greedy,
        )
        assert project.value("select count(*) from realtime.messages where event = 'ready'") == told + 1

        server.release()
        await until(lambda: project.value(_STARTED, greedy) >= 3, "the import is being worked on", seconds=60)
        server.hold()
        await until(lambda: server.now == 1, "one of its jobs is under way", seconds=60)
        mine = create(project, other, "es", content="The other lamp.")
        started = project.value(_STARTED, greedy)
        server.release()
        rows = await ended(project, first, mine, seconds=90)
        after = resident_megabytes(worker.process.pid)

    assert [row["status"] for row in rows] == ["completed"] * 2
    started_before_mine = project.value(
        f"{_STARTED} and a.token < (select min(token) from public.translation_job_attempts where job_id = %s)",
        greedy,
        mine,
    )
    assert started_before_mine - started <= 2
    assert after - before < 40


_STARTED = """select count(*) from public.translation_job_attempts a join public.translation_jobs j on j.id = a.job_id
              where j.user_id = %s"""


def is_lost(project: Database, job_id: str, times: int) -> bool:
    return bool(job(project, job_id)["lost_count"] == times)


POISON = """
    import os, signal
    import worker

    @worker.handler("poison")
    async def poison(ctx):
        os.kill(os.getpid(), signal.SIGKILL)
"""


async def test_a_job_that_kills_its_worker_each_time_ends_after_three(
    project: Database, workers: Workers, tmp_path: Path
) -> None:
    (tmp_path / "poison_handlers.py").write_text(textwrap.dedent(POISON))
    project.run(
        """insert into public.translation_job_types (name, price, user_may_enqueue, description)
           values ('poison', 7, false, 'Kills.') on conflict do nothing"""
    )
    user = project.user(credits=100)
    own = {"WORKER_MODULES": "poison_handlers", "PYTHONPATH": str(tmp_path), "JOB_TYPES": "poison"}
    quick = {"LEASE_SECONDS": "2", "BEAT_SECONDS": "0.5"}
    try:
        async with workers.start(JOB_TYPES="translation", **quick) as healthy:
            await healthy.says(LISTENING)
            bad = project.rpc(
                "enqueue_translation_job", p_job_type="poison", p_content={}, p_items=["a", "b"], p_user_id=user
            )["id"]
            for lost in (1, 2, 3):
                async with workers.start(**own, **quick) as worker:
                    assert await worker.ended(seconds=60) == -signal.SIGKILL
                lost_again = functools.partial(is_lost, project, bad, lost)
                await until(lost_again, "it is counted as lost", seconds=60)
            (row, good) = await ended(project, bad, create(project, user, "es"), seconds=60)
    finally:
        project.run("delete from public.translation_jobs where job_type = 'poison'")
        project.run("delete from public.translation_job_types where name = 'poison'")

    assert (row["status"], row["deliveries"], row["error"]["class"]) == ("failed", 3, "internal")
    assert (row["credits_reserved"], row["credits_consumed"], row["credits_refunded"]) == (14, 0, 14)
    assert good["status"] == "completed"


async def test_the_largest_source_in_many_languages_is_bounded_in_memory(project: Database, workers: Workers) -> None:
    """A megabyte, in as many languages as run at once and one more."""
    user = project.user(credits=1000)
    sentence = "The lamp number {} of the harbour is lit at dusk and put out at dawn. "
    text = "".join(sentence.format(n) for n in range(14_000))[:999_000]
    async with workers.start(LEASE_SECONDS="30") as worker:
        await worker.says(LISTENING)
        before = resident_megabytes(worker.process.pid)
        most = before
        job_id = create(project, user, "es", "fr", "de", "it", content=text)

        def is_over() -> bool:
            nonlocal most
            most = max(most, resident_megabytes(worker.process.pid))
            return bool(job(project, job_id)["status"] == "completed")

        await until(is_over, "it is translated", seconds=180)
        row: Row = job(project, job_id)

    assert (row["failed_items"], row["credits_consumed"]) == (0, 40)
    assert most - before < 150
    project.check_money()


MODELS = (worker_settings.Settings, worker_settings.DeskSettings, worker_settings.AlertSettings)
NAMES = sorted({name.upper() for model in MODELS for name in model.model_fields})
VALUES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200),
    st.sampled_from(
        [
            *("", " ", "-1", "0", "1e309", "nan", "inf", "9" * 400, "0x10", "true", "null", "[]", "{}", "\n", "\r\n"),
            *("';drop table x;--", "$(reboot)", "{0}", "%s", "file:///etc/passwd", "http://", "https://[::1", "../.."),
            *(
                "http://user:word@host/?q#f",
                "sb_publishable_x",
                "eyJ.eyJ.x",
                "a" * 100_000,
                "\u202e",
                "\udcff",
                "١٢",
                "x\r",
            ),
        ]
    ),
)


@settings(max_examples=150)
@given(changes=st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=4))
def test_no_environment_is_worse_than_one_sentence(changes: dict[str, str]) -> None:
    secret = "sb_secret_of_this_test"
    plain = {"SUPABASE_URL": "https://project.example.test", "SUPABASE_SECRET_KEY": secret}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**plain, **changes}.items():
            patch.setenv(name, value)
        said = [_refusal(load) for load in LOADS]

    for sentence in filter(None, said):
        assert len(sentence) > 1
        assert "Traceback" not in sentence
        assert secret not in sentence
        assert "\n" not in sentence


LOADS = (worker_settings.load, worker_settings.load_desk, worker_settings.load_alerts)


def _refusal(load: Callable[..., object]) -> str | None:
    try:
        load(env_file=None)
    except errors.ConfigurationError as refused:
        return str(refused)
    return None
