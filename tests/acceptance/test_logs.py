"""A whole run with everything logged: each line says what it is about, and none says what a customer wrote."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.acceptance.conftest import Workers
from tests.conftest import ROOT
from tests.support.database import Database
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(180)

SAMPLES = ROOT / "scripts/samples"
CARD = json.loads((SAMPLES / "card.json").read_text())
MESSAGES = json.loads((SAMPLES / "messages.json").read_text())
HANDBOOK = (SAMPLES / "handbook.md").read_text()
LOUD = {"path": "the diary of Ada, page 12"}
SEVERITIES = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
# As long as this, a text is nobody's field name and no word of ours.
TEXT_CHARS = 12


def texts(value: Any) -> Iterator[str]:
    """Every string in *value*, and every line of one."""
    if isinstance(value, str):
        yield from (line.strip() for line in value.splitlines() if len(line.strip()) >= TEXT_CHARS)
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


async def test_a_run_at_debug_says_nothing_of_texts_keys_or_addresses(
    project: Database, stack: Mapping[str, str], workers: Workers
) -> None:
    project.run("insert into public.translation_job_types (name, max_attempts) values ('loud', 1), ('nobodys', 1)")
    project.run("select public.enqueue_translation_job('nobodys', '{}')")  # waits, which is an alert here
    user = project.user(credits=1000)
    keys = {
        "SUPABASE_SECRET_KEY": stack["SUPABASE_SECRET_KEY"],
        "SUPABASE_PUBLISHABLE_KEY": stack["SUPABASE_PUBLISHABLE_KEY"],
        "DEEPL_API_KEY": "279a2e9d-planted-deepl:fx",
        "OPENAI_API_KEY": "sk-planted-openai-0123456789",
        "ALERT_WEBHOOK_SECRET": "planted webhook secret",
        "SUPABASE_JWT_SECRET": stack["JWT_SECRET"],
    }
    jobs = _create(project, user)
    async with TestServer(_webhook()) as hook:
        settings = {"LOG_LEVEL": "DEBUG", "LOG_JSON": "", "PORT": "0", "HOST": "127.0.0.1"}
        settings |= {"ALERT_WEBHOOK_URL": str(hook.make_url("/planted-address")), "ALERT_QUEUE_DEPTH": "0"}
        async with workers.start(**settings, **keys, WORKER_MODULES="tests.acceptance.loud") as worker:
            port = json.loads(await worker.says("HTTP listening", seconds=60))["port"]
            await _knock(f"http://127.0.0.1:{port}", stack["SUPABASE_SECRET_KEY"])
            await until(lambda: _ended(project) == len(jobs), "every job has ended", seconds=90)
            await worker.says("Alert told", seconds=60)
            worker.process.terminate()
            assert await worker.ended(seconds=60) == 0

    entries = [json.loads(line) for line in worker.lines]
    whole = "\n".join(worker.lines)
    results = [row["result"] for row in project.run("select result from public.translation_job_items")]
    written = {
        text for one in (CARD, MESSAGES, HANDBOOK, LOUD, "The knock on the door", results) for text in texts(one)
    }
    emails = [row["email"] for row in project.run("select email from auth.users")]

    assert {entry["severity"] for entry in entries} <= SEVERITIES
    assert all(entry["message"] and entry["time"] for entry in entries)
    assert len(written) > 200
    assert [text for text in written if text in whole] == []
    assert [name for name, key in keys.items() if key in whole] == []
    assert [email for email in emails if email in whole] == []
    assert "planted" not in whole
    _every_line_of_a_job_names_it(entries, jobs)


def _create(project: Database, user: str) -> dict[str, str]:
    """Jobs that succeed, are tried again, fail, and break their handler; by id, the correlation id."""
    fails = {"fr": {"times": 1, "class": "internal"}, "de": {"class": "content_blocked"}}
    asks = {
        "card": {"p_content": CARD, "p_content_kind": "json", "p_target_languages": ["es", "ja"]},
        "handbook": {"p_content": HANDBOOK, "p_content_kind": "markdown", "p_target_languages": ["es", "fr", "de"]},
        "messages": {"p_content": MESSAGES, "p_content_kind": "json", "p_target_languages": ["de"]},
    }
    found = {}
    for name, ask in asks.items():
        options = {} if name == "card" else {"simulate": {"fail": fails}}
        more = {"p_title": "The diary of Ada", "p_correlation_id": f"order-{name}", "p_options": options}
        found[project.rpc("create_translation_job", user, p_source_language="en", **ask, **more)["id"]] = (
            f"order-{name}"
        )
    loud = project.rpc("enqueue_translation_job", p_job_type="loud", p_content=LOUD, p_correlation_id="order-loud")
    return {**found, loud["id"]: "order-loud"}


def _webhook() -> web.Application:
    async def take(request: web.Request) -> web.Response:
        return web.Response(status=204)

    site = web.Application()
    site.router.add_post("/planted-address", take)
    return site


async def _knock(url: str, key: str) -> None:
    """Requests that are refused, each with something that nobody shall read."""
    async with aiohttp.ClientSession() as http:
        for headers, body in (
            ({}, b"{The knock on the door"),
            ({"Authorization": f"Bearer {key}"}, b'{"content": "The knock on the door"}'),
            ({"Authorization": "Bearer planted.token.here"}, b"\xff\xfeThe knock on the door"),
            ({"Authorization": "Bearer", "X-Request-ID": "ada@example.test"}, b""),
        ):
            async with http.post(f"{url}/api/jobs?q=planted@example.test", data=body, headers=headers) as answer:
                assert 400 <= answer.status < 500


def _ended(project: Database) -> int:
    ended = "select count(*) from public.translation_jobs where completed_at is not null"
    return int(project.value(ended))


def _every_line_of_a_job_names_it(entries: list[dict[str, Any]], jobs: Mapping[str, str]) -> None:
    about = [entry for entry in entries if "job_id" in entry]

    assert {entry["job_id"]: entry.get("correlation_id") for entry in about} == jobs
    assert [entry for entry in about if entry.get("correlation_id") != jobs[entry["job_id"]]] == []
    assert [entry for entry in about if not isinstance(entry.get("attempt"), int)] == []
    assert {entry["message"] for entry in entries if entry["message"] in ("Handler failed", "Job run ended")} == {
        entry["message"] for entry in about if entry["message"] in ("Handler failed", "Job run ended")
    }
    (broke,) = [entry for entry in entries if entry["message"] == "Handler failed"]
    assert (broke["severity"], broke["error"], broke["attempt"]) == ("ERROR", "RuntimeError", 1)
    tries = [e["attempt"] for e in about if e["message"] == "Job run ended" and e["correlation_id"] == "order-handbook"]
    assert tries == [1, 2]
