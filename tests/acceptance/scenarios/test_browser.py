"""Scenario 2 of docs/testing.md, with Chromium: a job needs nobody who watches."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from tests.acceptance.conftest import Workers
from tests.acceptance.scenarios.conftest import LISTENING, TESTER, Follow

# The browser of the panel's tests.
from tests.web.panel.conftest import browser, playwright, sign_in  # noqa: F401

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]
expect = playwright.expect
PATIENCE_MS = 60_000


async def test_scenario_2_a_job_goes_on_when_the_browser_is_closed(
    stack: Mapping[str, str],
    crew: Workers,
    follow: Follow,
    browser: Any,  # noqa: F811
) -> None:
    portal = {"PORT": "0", "HOST": "127.0.0.1", "SUPABASE_PUBLISHABLE_KEY": stack["SUPABASE_PUBLISHABLE_KEY"]}
    async with crew.start(**portal) as worker:
        port = re.search(r"port[=: ]+(\d+)", await worker.says("HTTP listening"))
        assert port
        url = f"http://127.0.0.1:{port[1]}/panel"
        await worker.says(LISTENING, seconds=60)
        walk = follow("2")
        page = await visit(browser, url)
        await walk.commands()
        await expect(page.locator(".job")).to_have_count(1, timeout=PATIENCE_MS)
        await page.context.close()
        await walk.rest()
        page = await visit(browser, url)

        await expect(page.locator(".job.completed .chip.done")).to_have_count(5, timeout=PATIENCE_MS)
        await page.context.close()


async def visit(browser: Any, url: str) -> Any:  # noqa: F811
    """A browser that knows nobody yet, signed in as the tester."""
    context = await browser.new_context(viewport={"width": 1180, "height": 900}, locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    await page.goto(url)
    await sign_in(page, TESTER["email"], TESTER["password"])
    return page
