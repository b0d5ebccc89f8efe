"""One subject's jobs inside somebody's own page, on another origin."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.support.served import served
from tests.web.panel.conftest import playwright
from tests.web.panel.scripted import ADA, Script, ago, item, job, serving, token

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect = playwright.expect


def page_around(source: str, *tokens: str) -> str:
    """A page as an owner writes it: a frame, and a token for it whenever it wants one."""
    return f"""<!doctype html><title>Card 42</title><h1>Card 42</h1>
    <iframe src="{source}" width="900" height="600"></iframe>
    <script>
      const frame = document.querySelector('iframe')
      const tokens = {json.dumps(tokens)}
      window.heard = []
      addEventListener('message', ({{ data, source }}) => {{
        if (source !== frame.contentWindow) return
        heard.push(data)
        if (data.type === 'translation-panel:ready' || data.type === 'translation-panel:token-needed') {{
          frame.contentWindow.postMessage({{ type: 'translation-panel:token', access_token: tokens.shift() }}, '*')
        }}
      }})
    </script>"""


class Site:
    """A foreign page that shows whatever a test puts into it."""

    def __init__(self) -> None:
        self.body = ""
        self.url = ""

    async def page(self, _: web.Request) -> web.Response:
        return web.Response(text=self.body, content_type="text/html")


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    foreign = Site()
    app = web.Application()
    app.add_routes([web.get("/", foreign.page)])
    async with served(app) as foreign.url:
        yield foreign


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Any) -> AsyncIterator[Any]:
    context = await browser.new_context(viewport={"width": 1100, "height": 800}, locale="en-GB")
    context.set_default_timeout(20_000)
    yield await context.new_page()
    await context.close()


async def test_an_owner_shows_the_jobs_of_one_subject(site: Site, visitor: Any) -> None:
    async with serving(Script(), embed_origins=[site.url]) as script:
        mine = job("processing", title="Label of card 42", subject="card:42", progress=20)
        script.put(mine, job("processing", title="Something else", subject="card:43"))
        site.body = page_around(f"{script.url}/panel?subject=card:42&embed=1", token(ADA))
        await visitor.goto(site.url)
        frame = visitor.frame_locator("iframe")
        await expect(frame.locator(".title")).to_have_text(["Label of card 42"])
        await expect(frame.get_by_role("button", name="New translation")).to_have_count(0)
        await expect(frame.locator(".pulse")).to_have_text("Live")
        script.put(job("processing", title="Not of this card", subject="card:43"))
        script.change(mine, status="completed", items=[item("es", "completed")], completed_at=ago())
        await expect(frame.locator(".job.completed")).to_have_count(1)
        await visitor.wait_for_timeout(0)
        heard = await visitor.evaluate("heard")

        assert {"type": "translation-panel:job", "id": mine["id"], "status": "completed", "failed_items": 0} in heard
        assert await frame.locator(".job").count() == 1
        assert script.reports == []


async def test_a_page_around_is_asked_for_a_newer_token(site: Site, visitor: Any) -> None:
    async with serving(Script(), embed_origins=[site.url]) as script:
        old, newer = token(ADA, serial=1), token(ADA, serial=2)
        script.put(job("completed", title="Before"))
        site.body = page_around(f"{script.url}/panel?embed=1", old, newer)
        await visitor.goto(site.url)
        frame = visitor.frame_locator("iframe")
        await expect(frame.locator(".title")).to_have_text(["Before"])
        script.refused = {old}
        script.jobs |= {one["id"]: one for one in [job("completed", title="After")]}
        await frame.get_by_role("button", name="Refresh").click()

        await expect(frame.locator(".title")).to_have_text(["After", "Before"])


async def test_a_token_from_another_origin_is_not_taken(site: Site, visitor: Any) -> None:
    # The page may be shown there, but the message comes from an origin that the settings do not name.
    async with serving(Script(), embed_origins=[site.url]) as script:
        site.body = page_around(f"{script.url}/panel?subject=card:42&embed=1", token(ADA))
        async with aiohttp.ClientSession() as client, client.get(f"{script.url}/panel/config.json") as answer:
            config = {**await answer.json(), "embed_origins": ["https://else.example"]}
        await visitor.route("**/panel/config.json", lambda route: route.fulfill(json=config))
        await visitor.goto(site.url)
        frame = visitor.frame_locator("iframe")
        await expect(frame.get_by_label("Email")).to_be_visible()

        assert [one["type"] for one in await visitor.evaluate("heard")] == ["translation-panel:ready"]


async def test_nobody_else_may_frame_the_panel(site: Site, visitor: Any) -> None:
    async with serving(Script()) as script:
        site.body = page_around(f"{script.url}/panel?embed=1", token(ADA))
        async with visitor.expect_console_message(lambda message: "frame" in message.text.lower()):
            await visitor.goto(site.url)

        assert await visitor.evaluate("heard") == []
