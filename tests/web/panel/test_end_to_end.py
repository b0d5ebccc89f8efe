"""The panel over the real worker and the local stack: the scenarios as people live them."""

import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.conftest import Workers
from tests.support.database import Database
from tests.web.panel.conftest import playwright

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]
expect = playwright.expect

Stack = Mapping[str, str]
Visit = Callable[..., Awaitable[Any]]
PASSWORD = "correct-horse-battery"


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Any) -> AsyncIterator[Visit]:
    """`await visit(url, email)`: a browser whose user has just made an account. Faults of a page fail the test."""
    contexts, faults = [], []

    async def visited(url: str, email: str) -> Any:
        contexts.append(await browser.new_context(viewport={"width": 1180, "height": 900}, locale="en-GB"))
        page = await contexts[-1].new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None)
        await page.goto(f"{url}/panel")
        await page.get_by_role("button", name="Sign up").click()
        await page.get_by_label("Email").fill(email)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.locator("form button.primary").click()
        await page.locator("header.site").wait_for()
        return page

    playwright.expect.set_options(timeout=30_000)
    yield visited
    for context in contexts:
        await context.close()
    assert faults == []


def with_panel(stack: Stack, **settings: str) -> dict[str, str]:
    return {"SUPABASE_PUBLISHABLE_KEY": stack["SUPABASE_PUBLISHABLE_KEY"], "HOST": "127.0.0.1", "PORT": "0", **settings}


async def address(process: Any) -> str:
    line = await process.says("HTTP listening")
    port = re.search(r"port[=: ]+(\d+)", line)
    assert port, line
    return f"http://127.0.0.1:{port[1]}"


def user_id(project: Database, email: str) -> str:
    return str(project.value("select id from auth.users where email = %s", email))


def create(project: Database, user: str, *languages: str, **values: Any) -> str:
    values = {"p_content": "The ferry leaves at noon.", "p_title": "Notice", **values}
    job = project.rpc("create_translation_job", user, p_target_languages=list(languages), **values)
    return str(job["id"])


async def test_a_text_goes_in_and_a_translation_comes_out(
    stack: Stack, project: Database, workers: Workers, visit: Visit
) -> None:
    project.price(0)
    async with workers.start(**with_panel(stack)) as worker:
        page = await visit(await address(worker), "ada@example.test")
        await expect(page.get_by_text("Demo translator")).to_be_visible()
        await page.keyboard.press("n")
        await page.get_by_label("Text", exact=True).fill("The ferry leaves at {time}.")
        await page.get_by_role("checkbox", name="Español").check()
        await page.get_by_role("checkbox", name="日本語").check()
        await expect(page.locator(".price")).to_contain_text("Free of charge")
        await page.get_by_role("button", name="Translate").click()
        await expect(page.locator(".group.completed .chip.done")).to_have_count(2)
        await page.locator(".title").click()

        await expect(page.locator("#result pre")).to_contain_text("{time}")
        await expect(page.locator("#result .badge.demo")).to_be_visible()
        await expect(page.locator(".timeline")).to_contain_text("Run 1")


async def test_a_failed_language_is_refunded_and_only_it_is_retried(
    stack: Stack, project: Database, workers: Workers, visit: Visit
) -> None:
    async with workers.start(**with_panel(stack)) as worker:
        page = await visit(await address(worker), "ada@example.test")
        user = user_id(project, "ada@example.test")
        project.rpc("grant_translation_credits", p_user_id=user, p_amount=100)
        create(project, user, "es", "fr", p_options={"simulate": {"fail": {"fr": {"class": "content_blocked"}}}})
        job = page.locator(".job").first
        await expect(job.locator(".sum span")).to_have_text(["Reserved 20", "used 10", "refunded 10", "open 0"])
        await expect(job.locator(".fault")).to_contain_text("10 credits refunded.")
        await expect(page.locator(".purse")).to_contain_text("90 credits")
        await job.get_by_role("button", name="Retry").click()
        await expect(page.get_by_role("dialog")).to_contain_text("A new job translates French.")
        await expect(page.get_by_role("dialog")).to_contain_text("It costs up to 10 credits.")
        await page.get_by_role("button", name="Try again").click()

        await expect(page.locator(".job")).to_have_count(2)
        again = page.locator(".job", has_not=page.locator(".chip", has_text="Español"))
        await expect(again.locator(".chip .name")).to_have_text(["Français"])


async def test_a_cancel_keeps_what_is_done_and_refunds_the_rest(
    stack: Stack, project: Database, workers: Workers, visit: Visit
) -> None:
    async with workers.start(**with_panel(stack)) as worker:
        page = await visit(await address(worker), "ada@example.test")
        user = user_id(project, "ada@example.test")
        project.rpc("grant_translation_credits", p_user_id=user, p_amount=100)
        create(project, user, "es", "fr", p_options={"simulate": {"delay_ms": {"fr": 60_000}}})
        await expect(page.locator(".chip.done")).to_have_count(1)
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.get_by_role("dialog")).to_contain_text("Stays with you: Spanish.")
        await expect(page.get_by_role("dialog")).to_contain_text("10 credits come back to you.")
        await page.get_by_role("button", name="Cancel the job").click()

        await expect(page.locator(".job.cancelled .sum span")).to_have_text(
            ["Reserved 20", "used 10", "refunded 10", "open 0"]
        )
        await expect(page.locator(".purse")).to_have_text("90 credits")


async def test_a_worker_that_dies_is_noticed_and_another_one_finishes(
    stack: Stack, project: Database, workers: Workers, visit: Visit
) -> None:
    project.price(0)
    async with workers.start(**with_panel(stack)) as first:
        url = await address(first)
        page = await visit(url, "ada@example.test")
        create(project, user_id(project, "ada@example.test"), "es", p_options={"simulate": {"delay_ms": 2000}})
        await expect(page.locator(".job.running")).to_have_count(1)
        first.signal(signal.SIGKILL)
        await first.ended()
    await expect(page.locator(".banner")).to_contain_text("Connection lost")
    async with workers.start(**with_panel(stack, PORT=url.rsplit(":", 1)[1])):
        await expect(page.locator(".pulse.live")).to_be_visible(timeout=60_000)
        await expect(page.locator(".job.completed")).to_have_count(1)


async def test_nobody_sees_what_is_not_theirs(stack: Stack, project: Database, workers: Workers, visit: Visit) -> None:
    project.price(0)
    async with workers.start(**with_panel(stack)) as worker:
        url = await address(worker)
        ada, eve = await visit(url, "ada@example.test"), await visit(url, "eve@example.test")
        secret = create(project, user_id(project, "ada@example.test"), "es", p_title="Secret of Ada")
        await expect(ada.locator(".job.completed")).to_have_count(1)
        own = create(project, user_id(project, "eve@example.test"), "es", p_title="Own of Eve")
        await expect(eve.locator(".title")).to_have_text(["Own of Eve"])
        await eve.evaluate(f"location.hash = '#/job/{secret}'")

        await expect(eve.get_by_role("heading", name="No such job")).to_be_visible()
        assert own != secret
        assert "Secret of Ada" not in await eve.content()
