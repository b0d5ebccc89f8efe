"""Alerts reach a webhook once, signed, whatever the webhook does; without one nobody looks."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from loguru import logger

from tests.support.database import TEST_CLOCK, Database
from worker import clock as clocks
from worker.alerting import AlertWebhook
from worker.devstack.stack import Stack
from worker.rpc_direct import DirectRpc

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

SECRET = "a long random word"
LATE = "select public.enqueue_translation_job('translation', '\"Hello\"', array['es'])"
GONE = "select public.cancel_translation_job(id) from public.translation_jobs where status = 'pending'"


@dataclass
class Receiver:
    url: str = ""
    statuses: list[int] = field(default_factory=list)
    """What to answer next; then 204."""
    got: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.got.append((request.headers.copy(), await request.read()))
        status = self.statuses.pop(0) if self.statuses else 204
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 307 else {})

    def told(self) -> list[tuple[str, str]]:
        """(alert, state) of everything that came, and forget it."""
        bodies = [json.loads(body) for _, body in self.got]
        self.got.clear()
        return [(one["alert"], one["state"]) for body in bodies for one in body["alerts"]]


@pytest_asyncio.fixture(loop_scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    site = web.Application()
    site.router.add_route("*", "/{path:.*}", receiver.take)
    async with TestServer(site) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver


class Hurried(clocks.SystemClock):
    """Waits for nothing, and knows for how long it should have."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@dataclass
class Scene:
    project: Database
    rpc: DirectRpc
    http: aiohttp.ClientSession
    receiver: Receiver
    clock: Hurried = field(default_factory=Hurried)

    def webhook(self, name: str = "w1", **more: Any) -> AlertWebhook:
        settings = {"url": self.receiver.url, "secret": SECRET, "limits": {"p_pending_seconds": 300}}
        return AlertWebhook(self.rpc, worker_id=name, clock=self.clock, **{**settings, **more})

    async def look(self, webhook: AlertWebhook) -> list[tuple[str, str]]:
        """One look of *webhook*; what the receiver was told by it."""
        await webhook.look(self.http)
        return self.receiver.told()

    def late(self) -> None:
        self.project.run(LATE)
        self.project.forward("6 minutes")


@pytest_asyncio.fixture(loop_scope="module")
async def scene(stack: Stack, receiver: Receiver) -> AsyncIterator[Scene]:
    project = Database(stack.urls.database_url, stack.urls.admin_database_url)
    project.run(TEST_CLOCK)
    rpc = DirectRpc(stack.urls.url, stack.urls.secret_key)
    async with aiohttp.ClientSession() as http:
        yield Scene(project, rpc, http, receiver)
    await rpc.close()
    project.run(GONE)
    project.run("truncate translation_private.alert_notices, translation_private.alert_watch")
    project.close()


async def test_a_webhook_hears_of_an_alert_when_it_fires_each_hour_and_when_it_is_over(scene: Scene) -> None:
    webhook = scene.webhook()
    assert await scene.look(webhook) == []
    scene.late()

    assert await scene.look(webhook) == [("jobs_pending", "fired")]
    assert await scene.look(webhook) == []
    scene.project.forward("61 minutes")
    assert await scene.look(webhook) == [("jobs_pending", "lasting")]
    scene.project.run(GONE)
    assert await scene.look(webhook) == [("jobs_pending", "cleared")]
    assert await scene.look(webhook) == []
    assert await webhook.look(scene.http) == 60


async def test_what_is_sent_says_who_speaks_and_what_a_chat_shows(scene: Scene) -> None:
    scene.late()
    await scene.webhook(now=lambda: 1_700_000_000.4).look(scene.http)
    ((headers, body),) = scene.receiver.got

    said = f"{headers['webhook-id']}.1700000000.".encode() + body
    signature = base64.b64encode(hmac.new(SECRET.encode(), said, hashlib.sha256).digest()).decode()
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"] == f"v1,{signature}"
    assert json.loads(body)["text"].startswith("critical: Jobs have waited for up to 3")


async def test_without_a_secret_it_is_not_signed(scene: Scene) -> None:
    scene.late()
    await scene.webhook(secret=None).look(scene.http)
    ((headers, _),) = scene.receiver.got

    assert [name for name in headers if name.lower().startswith("webhook-")] == []


async def test_several_workers_tell_it_once(scene: Scene) -> None:
    workers = [scene.webhook(f"w{number}") for number in range(3)]
    scene.late()

    assert [await scene.look(worker) for worker in workers] == [[("jobs_pending", "fired")], [], []]
    assert [round(await worker.look(scene.http)) > 60 for worker in workers] == [False, True, True]


async def test_when_the_one_that_tells_dies_another_one_goes_on(scene: Scene) -> None:
    first, second = scene.webhook("first"), scene.webhook("second")
    assert await scene.look(first) == await scene.look(second) == []
    scene.late()

    assert await scene.look(second) == [("jobs_pending", "fired")]
    scene.project.run(GONE)
    assert await scene.look(first) == []
    scene.project.forward("3 minutes")
    assert await scene.look(first) == [("jobs_pending", "cleared")]


async def test_a_webhook_that_stumbles_is_asked_again_at_once_with_the_same_message(scene: Scene) -> None:
    scene.late()
    scene.receiver.statuses = [500, 429]
    await scene.webhook().look(scene.http)

    assert len({(headers["webhook-id"], body) for headers, body in scene.receiver.got}) == 1
    assert len(scene.receiver.got) == 3
    assert len(scene.clock.waits) == 2


async def test_a_webhook_that_is_down_is_told_later_and_its_operator_once(scene: Scene) -> None:
    lines: list[Any] = []
    sink = logger.add(lambda line: lines.append(line.record), level="INFO")
    webhook = scene.webhook()
    scene.late()
    scene.receiver.statuses = [503] * 6
    for _ in range(2):
        assert await webhook.look(scene.http) == 60
        scene.project.forward("1 minute")
    scene.receiver.got.clear()
    try:
        assert await scene.look(webhook) == [("jobs_pending", "fired")]
    finally:
        logger.remove(sink)

    said = [(line["level"].name, line["message"], line["extra"].get("reason")) for line in lines]
    assert said == [
        ("ERROR", "Alerts are not told", "HTTP 503"),
        ("INFO", "Alert told", None),
        ("INFO", "Alerts are told again", None),
    ]
    assert scene.receiver.url not in str(said)


@pytest.mark.parametrize("status", [307, 404])
async def test_only_a_yes_counts_as_told(scene: Scene, status: int) -> None:
    scene.late()
    scene.receiver.statuses = [status] * 3

    await scene.webhook().look(scene.http)
    assert [request for request in scene.receiver.got if not request[1]] == [], "it follows no redirect"
    scene.receiver.got.clear()
    assert await scene.look(scene.webhook()) == [("jobs_pending", "fired")]


async def test_a_database_that_does_not_answer_or_is_too_old_is_asked_again_in_a_minute(
    scene: Scene, stack: Stack
) -> None:
    webhook = scene.webhook()
    stack.faults.order(rest_status=503)
    assert await webhook.look(scene.http) == 60
    stack.faults.clear()
    scene.project.run("alter function public.take_translation_alert_notices(text, jsonb, int) rename to hidden")
    try:
        assert await webhook.look(scene.http) == 60
    finally:
        scene.project.run("alter function public.hidden(text, jsonb, int) rename to take_translation_alert_notices")
    scene.late()

    assert await scene.look(webhook) == [("jobs_pending", "fired")]
