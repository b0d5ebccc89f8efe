"""Operators see and move the whole queue; nobody else does, and what they do is written down."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support import database
from tests.support.database import Database, Row
from tests.web import site as sites
from tests.web.site import Answer, Site
from worker import errors
from worker.devstack.stack import Stack
from worker.web import ops

CLAIM = "translation_operator"
NOBODYS = "00000000-0000-0000-0000-00000000dead"
LOOKS = ["stats", "alerts", "workers", "failures", "endings", "series", "jobs", "triggers", "actions"]
ROUTES = [
    *(("GET", f"/api/ops/{look}") for look in LOOKS),
    ("POST", "/api/ops/actions"),
    ("POST", "/api/ops/failures/0123456789abcdef/retry"),
    ("POST", f"/api/ops/jobs/{NOBODYS}/reveal"),
    ("POST", "/api/ops/triggers/nightly/run"),
]
SERIES = "translation_private.series, translation_private.rolled_up, public.translation_stats_hours"


class Desk:
    """The site with an operator and a user at it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.project = site.project
        self.operator = site.project.user()
        self.user = site.user(credits=100)
        self.token = self.token_with(app_metadata={CLAIM: True})

    def token_with(self, **claims: Any) -> str:
        return self.site.token(self.operator, **claims)

    async def ask(self, method: str, path: str, **how: Any) -> Answer:
        return await self.site.ask(method, f"/api/ops/{path}", self.token, **how)

    async def look(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    def failed(self, message: str, *languages: str, error_class: str = "overloaded") -> str:
        """A job of the user all of whose items failed."""
        job = self.user.job(*(languages or ("es",)))
        error = {"class": error_class, "message": message}
        results = database.outcomes(database.claim(self.project), "failed", error=error)
        self.project.rpc("record_translation_results", p_worker_id="w1", p_results=results)
        return job

    def actions(self) -> list[Row]:
        return self.project.run("select * from public.translation_operator_actions order by id")


@pytest.fixture
async def desk(web_stack: Stack, web_project: Database) -> AsyncIterator[Desk]:
    web_project.run("truncate public.translation_operator_actions, translation_private.series")
    web_project.run("update public.translation_job_types set price = 0")
    ready: asyncio.Future[Site] = asyncio.get_running_loop().create_future()
    done = asyncio.Event()

    async def hold() -> None:
        async with sites.running(web_stack, web_project, operator_claim=CLAIM) as running:
            ready.set_result(running)
            await done.wait()

    holding = asyncio.create_task(hold())
    holding.add_done_callback(
        lambda task: None if ready.done() else ready.set_exception(task.exception() or EOFError())
    )
    yield Desk(await ready)
    done.set()
    await holding


def test_every_route_of_an_operator_is_tried_here(desk: Desk) -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in desk.site.app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/api/ops")
    }
    generic = {"0123456789abcdef": "{signature}", NOBODYS: "{id}", "nightly": "{name}"}

    def general(path: str) -> str:
        for named, name in generic.items():
            path = path.replace(named, name)
        return path

    assert served == {(method, general(path)) for method, path in ROUTES}


async def test_without_the_setting_there_are_no_such_routes(site: Site) -> None:
    token = site.token(site.project.user(), app_metadata={CLAIM: True})
    for method, path in ROUTES:
        assert (await site.ask(method, path, token)).status == 404
    assert "/api/ops/stats" not in (await site.ask("GET", "/openapi.json")).json["paths"]


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"user_metadata": {CLAIM: True}},
        {CLAIM: True},
        {"app_metadata": {CLAIM: "true"}},
        {"app_metadata": {CLAIM: 1}},
        {"app_metadata": {"role": CLAIM}},
        {"app_metadata": CLAIM},
        {"app_metadata": None, "user_metadata": {"app_metadata": {CLAIM: True}}},
    ],
    ids=str,
)
async def test_whoever_is_no_operator_is_refused(desk: Desk, claims: dict[str, Any]) -> None:
    token = desk.token_with(**claims)
    for method, path in ROUTES:
        answer = await desk.site.ask(method, path, token, **({"json": {}} if method == "POST" else {}))

        assert (answer.status, answer.code) == (403, "operators_only"), (method, path)
    assert desk.site.service.calls == []


async def test_whoever_is_nobody_is_refused(desk: Desk) -> None:
    forged = desk.site.token(desk.operator, app_metadata={CLAIM: True}, exp=int(time.time()) - 60)
    for token in (None, forged, desk.site.stack.urls.secret_key):
        for method, path in ROUTES:
            answer = await desk.site.ask(method, path, token, **({"json": {}} if method == "POST" else {}))

            assert (answer.status, answer.code) == (401, "unauthorized"), (method, path)


async def test_an_operators_own_jobs_are_still_his_own_only(desk: Desk) -> None:
    job = desk.user.job("es")

    assert (await desk.site.ask("GET", f"/api/jobs/{job}", desk.token)).status == 404


async def test_the_looks_tell_of_everybodys_jobs_without_a_source(desk: Desk) -> None:
    failed = desk.failed("Status 503 for request 81231.", "es", "fr")
    waiting = desk.user.job("de", content="A secret text.")
    beat = {"mode": "polling", "version": "1.2.3", "slots": 3, "running": 0, "job_types": ["translation"]}
    desk.project.rpc("heartbeat_translation_worker", p_worker_id="w7", p_report=beat)

    stats = await desk.look("stats")
    workers = (await desk.look("workers"))["workers"]
    failures = await desk.look("failures")
    endings = (await desk.look("endings"))["jobs"]
    page = await desk.ask("GET", "jobs")
    alerts = await desk.look("alerts")

    assert stats["live"] == {"pending": 1}
    assert [(one["id"], one["mode"], one["jobs"]) for one in workers] == [("w7", "polling", [])]
    (group,) = failures["groups"]
    assert (group["class"], group["message"]) == ("overloaded", "Status <n> for request <n>.")
    assert (group["items"], group["jobs"], group["retriable"], group["users"]) == (2, 1, 1, 1)
    assert (failures["window_items"], failures["window_hours"]) == (1000, 24)
    assert [one["id"] for one in endings] == [failed]
    assert [one["id"] for one in page.json["jobs"]] == [waiting, failed]
    assert {one["user_id"] for one in page.json["jobs"]} == {desk.user.id}
    assert b"secret" not in page.body
    assert [one["alert"] for one in alerts["alerts"]] == []


async def test_jobs_are_found_by_what_an_operator_knows(desk: Desk) -> None:
    first = desk.failed("No.", error_class="auth")
    second = desk.user.job("es", subject="card:42")
    other = desk.site.user()
    third = other.job("fr")

    async def found(query: str) -> list[str]:
        return [one["id"] for one in (await desk.look(f"jobs?{query}"))["jobs"]]

    assert await found("error_class=auth") == [first]
    assert await found("status=pending") == [third, second]
    assert await found("subject=card:42") == [second]
    assert await found(f"user={other.id}") == [third]
    assert await found(f"user={desk.user.id}&search=card") == [second]
    assert await found("type=http") == []
    assert await found("limit=1") == [third]
    page = await desk.look("jobs?limit=1")
    assert await found(f"limit=2&before={page['next']}") == [second, first]
    for wrong in ("status=lost", "user=ada", "limit=1000", "unknown=1"):
        answer = await desk.ask("GET", f"jobs?{wrong}")
        assert (answer.status, answer.code) == (422, "query_invalid")


async def test_a_group_of_failures_is_retried_and_that_is_written_down(desk: Desk) -> None:
    jobs = {desk.failed(f"Status 503 for request {n}.") for n in range(3)}
    desk.failed("Another fault.")
    group = next(g for g in (await desk.look("failures"))["groups"] if g["items"] == 3)

    path = f"failures/{group['signature']}/retry"
    some = await desk.ask("POST", path, json={"limit": 2})
    rest = await desk.ask("POST", path, json={})
    again = await desk.ask("POST", path, json={})

    assert (some.json["jobs"], some.json["left"]) == (2, 1)
    assert (rest.json["jobs"], rest.json["left"]) == (1, 0)
    assert again.json["jobs"] == 0
    retried = desk.project.run("select retry_of from public.translation_jobs where retry_of is not null")
    assert {str(row["retry_of"]) for row in retried} == jobs
    assert [(row["action"], row["jobs"], row["target"]) for row in desk.actions()] == [
        ("retry_failures", 2, group["signature"]),
        ("retry_failures", 1, group["signature"]),
        ("retry_failures", 0, group["signature"]),
    ]
    told = (await desk.look("actions"))["actions"]
    assert [one["operator_id"] for one in told] == [desk.operator] * 3
    seen = next(g for g in (await desk.look("failures"))["groups"] if g["signature"] == group["signature"])
    assert seen["retriable"] == 0


async def test_a_group_that_is_gone_is_refused(desk: Desk) -> None:
    answer = await desk.ask("POST", "failures/0123456789abcdef/retry", json={})

    assert (answer.status, answer.code) == (422, "signature_unknown")
    assert desk.actions() == []


async def test_jobs_are_cancelled_requeued_and_retried(desk: Desk) -> None:
    later = desk.project.value("select (now() + interval '1 hour')::text")
    waiting, scheduled, failed = desk.user.job("es"), desk.user.job("es", run_at=later), None

    cancelled = await desk.ask("POST", "actions", json={"action": "cancel", "job_ids": [waiting, NOBODYS]})
    requeued = await desk.ask("POST", "actions", json={"action": "requeue", "job_ids": [scheduled]})
    desk.project.rpc("cancel_translation_job", p_job_id=scheduled)
    failed = desk.failed("No.")
    retried = await desk.ask("POST", "actions", json={"action": "retry", "job_ids": [failed, waiting]})

    assert [one.json["jobs"] for one in (cancelled, requeued, retried)] == [1, 1, 2]
    states = {
        str(row["id"]): row["status"] for row in desk.project.run("select id, status from public.translation_jobs")
    }
    assert states[waiting] == "cancelled"
    assert [row["action"] for row in desk.actions()] == ["cancel", "requeue", "retry"]
    for wrong in ({"action": "delete", "job_ids": [waiting]}, {"action": "retry", "job_ids": []}):
        assert (await desk.ask("POST", "actions", json=wrong)).status == 422


async def test_a_source_is_shown_when_asked_for_and_that_is_written_down(desk: Desk) -> None:
    job = desk.user.job("es", content="The ferry leaves at noon.")

    shown = await desk.ask("POST", f"jobs/{job}/reveal")
    missing = await desk.ask("POST", f"jobs/{uuid.uuid4()}/reveal")

    assert shown.json == {"content": "The ferry leaves at noon.", "content_kind": "text"}
    assert (missing.status, missing.code) == (404, "job_not_found")
    assert [(row["action"], row["target"]) for row in desk.actions()] == [("reveal", job)]


async def test_a_trigger_is_run_now_and_its_job_is_seen(desk: Desk) -> None:
    desk.project.run("delete from public.translation_triggers where true")
    desk.project.run(
        """insert into public.translation_triggers (name, kind, job_type, content, items)
           values ('nightly', 'cron', 'translation', '"Good night."', array['es'])"""
    )
    before = (await desk.look("triggers"))["triggers"]
    run = await desk.ask("POST", "triggers/nightly/run", json={"idempotency_key": "tonight"})
    again = await desk.ask("POST", "triggers/nightly/run", json={"idempotency_key": "tonight"})
    unknown = await desk.ask("POST", "triggers/daily/run", json={})
    after = (await desk.look("triggers"))["triggers"]

    assert [(one["name"], one["state"]) for one in before] == [("nightly", "never")]
    assert run.status == 202
    assert run.json["job_id"] == again.json["job_id"]
    assert [(one["name"], one["state"], one["last_job_id"]) for one in after] == [
        ("nightly", "running", run.json["job_id"])
    ]
    assert (unknown.status, unknown.code) == (404, "trigger_not_found")
    assert [(row["action"], row["target"]) for row in desk.actions()] == [("run_trigger", "nightly")] * 2


async def test_the_plots_are_told_for_three_ranges(desk: Desk) -> None:
    desk.project.run(
        "update translation_private.rolled_up set until = translation_private.clock(), depth = '-infinity'"
    )
    desk.user.job("es")

    for name, points, step in (("hour", 60, 60), ("day", 144, 600), ("week", 168, 3600)):
        series = await desk.look(f"series?range={name}")

        assert (series["points"], series["step_seconds"]) == (points, step)
        for labels in series["measures"].values():
            assert {len(values) for values in labels.values()} == {points}
        assert series["measures"]["depth"]["pending"][-1] == 1
    assert (await desk.ask("GET", "series?range=year")).status == 422


async def test_many_open_pages_ask_the_database_as_often_as_one(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.ask("GET", "stats") for _ in range(10)))

    assert {answer.status for answer in answers} == {200}
    asked = [call for call in desk.site.service.calls if call["function"] == "translation_queue_stats"]
    # As long as the ten are not spread over more than the time for which an answer is kept.
    assert len(asked) < 10


@pytest.mark.parametrize(
    ("trouble", "status", "code"),
    [
        (errors.StoreTooSlow("57014"), 503, "statistics_late"),
        (errors.StoreUnavailable("ConnectionError"), 503, "database_unavailable"),
        (errors.SqlMissing("PGRST202"), 503, "database_unavailable"),
        (errors.StoreRefused("22023", "", "value"), 422, "value_invalid"),
    ],
    ids=["too slow", "away", "old", "refused"],
)
async def test_a_database_in_trouble_is_said_to_be(desk: Desk, trouble: Exception, status: int, code: str) -> None:
    desk.site.service.trouble = trouble
    answer = await desk.ask("GET", "stats")
    desk.site.service.trouble = None

    assert (answer.status, answer.code) == (status, code)
    assert (await desk.ask("GET", "stats")).status == 200


async def test_an_answer_that_takes_too_long_is_not_waited_for(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "READ_SECONDS", 0.2)
    with desk.project.session() as session:
        session.run("reset role")
        session.run("lock table public.translation_operator_actions")
        answer = await desk.ask("GET", "actions")

    assert (answer.status, answer.code) == (503, "statistics_late")


async def test_the_description_names_the_routes_of_operators(desk: Desk) -> None:
    described = (await desk.site.ask("GET", "/openapi.json")).json["paths"]
    names = [operation["operationId"] for methods in described.values() for operation in methods.values()]

    assert {path for path in described if path.startswith("/api/ops")} >= {f"/api/ops/{look}" for look in LOOKS}
    assert len(set(names)) == len(names)
