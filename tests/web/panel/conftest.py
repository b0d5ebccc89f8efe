"""One browser for the run; a server that does as it is told, and pages of signed-in people, for every test."""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

# One stack as a process, its database, workers: for what is tried from end to end.
from tests.acceptance.conftest import project, stack, workers  # noqa: F401
from tests.web.panel.scripted import Script, serving

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")

OpenPanel = Callable[..., Awaitable[Any]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Any]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        # Whoever tried to install it before the run tells here that it was not for want of trying.
        pytest.skip(os.environ.get("WITHOUT_CHROMIUM", "chromium is not installed"))
    # As root Chromium has no sandbox; what it opens here is our own.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with playwright.async_playwright() as started:
        running = await started.chromium.launch(executable_path=path, args=arguments)
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="session")
async def script() -> AsyncIterator[Script]:
    async with serving(Script()) as running:
        yield running
        assert running.reports == [], "the policy stopped something"


@pytest_asyncio.fixture(loop_scope="session")
async def open_panel(browser: Any, script: Script) -> AsyncIterator[OpenPanel]:
    """
    Opens a page in a browser of its own: `await open_panel(path, signed_in=True, **context)`.

    A fault in a script of the page fails the test.
    """
    contexts, faults = [], []

    async def opened(path: str = "", *, signed_in: bool = True, **context: Any) -> Any:
        context = {"viewport": {"width": 1180, "height": 900}, "locale": "en-GB", **context}
        contexts.append(await browser.new_context(**context))
        contexts[-1].set_default_timeout(20_000)
        page = await contexts[-1].new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        await page.goto(f"{script.url}/panel{path}")
        if signed_in:
            await sign_in(page)
        return page

    playwright.expect.set_options(timeout=20_000)
    yield opened
    for context in contexts:
        await context.close()
    assert faults == []


async def sign_in(page: Any, email: str = "ada@example.com", password: str = "correct-horse") -> None:
    """By the form, as people do; until the list is there."""
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.locator("form button.primary").click()
    await page.locator("header.site").wait_for()
    # Only behind the first frame the page listens to keys, which a person would not have pressed by then.
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
