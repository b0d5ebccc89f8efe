"""Who is signed in, and where that is kept."""

import pytest

from tests.support import waiting
from tests.web.panel.conftest import OpenPanel, playwright, sign_in
from tests.web.panel.scripted import Script, job

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect = playwright.expect

STORED = "JSON.stringify({ ...localStorage, ...sessionStorage })"


async def test_a_wrong_password_is_said_in_words(open_panel: OpenPanel) -> None:
    page = await open_panel(signed_in=False)
    await page.get_by_label("Email").fill("ada@example.com")
    await page.get_by_label("Password").fill("wrong-password")
    await page.locator("form button.primary").click()

    await expect(page.get_by_role("alert")).to_have_text("Email or password is not right.")


async def test_an_account_can_be_made(open_panel: OpenPanel) -> None:
    page = await open_panel(signed_in=False)
    await page.get_by_role("button", name="Sign up").click()
    await expect(page.get_by_role("heading", name="Make an account")).to_be_visible()
    await sign_in(page)

    await expect(page.get_by_role("heading", name="Nothing here yet")).to_be_visible()


async def test_tokens_stay_in_memory_unless_somebody_wants_to_stay(open_panel: OpenPanel) -> None:
    page = await open_panel()
    assert "access_token" not in await page.evaluate(STORED)
    await page.reload()
    await page.get_by_label("Stay signed in").check()
    await sign_in(page)
    assert "access_token" in await page.evaluate(STORED)
    await page.reload()
    await page.locator(".tabs").wait_for()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Email")).to_be_visible()

    assert "access_token" not in await page.evaluate(STORED)
    assert "access_token" not in page.url


async def test_a_refused_token_is_refreshed_without_a_word(open_panel: OpenPanel, script: Script) -> None:
    script.put(job("completed", title="Notice"))
    page = await open_panel()
    await expect(page.locator(".job")).to_have_count(1)
    async with page.expect_request("**/api/jobs?*") as request:
        await page.get_by_role("button", name="Refresh").click()
    script.refused = {(await (await request.value).all_headers())["authorization"].removeprefix("Bearer ")}
    script.jobs.clear()
    await page.get_by_role("button", name="Refresh").click()

    await expect(page.locator(".job")).to_have_count(0)
    assert script.refreshes == 1


async def test_a_stream_goes_on_with_a_new_token_before_the_old_one_ends(open_panel: OpenPanel, script: Script) -> None:
    page = await open_panel()
    await expect(page.locator(".pulse.live")).to_be_visible()
    script.tell("auth-expiring", {"expires_at": "2030-01-01T00:00:00Z"})
    await waiting.until(lambda: script.streams_opened == 2, "a second stream")
    await expect(page.locator(".pulse.live")).to_be_visible()
    script.put(job(title="After the change"))

    await expect(page.locator(".title")).to_have_text(["After the change"])
    assert (script.refreshes, script.streams_opened) == (1, 2)


async def test_a_session_that_is_over_leads_to_the_door(open_panel: OpenPanel, script: Script) -> None:
    page = await open_panel()
    await expect(page.locator(".pulse.live")).to_be_visible()
    await page.route("**/auth/v1/token*", lambda route: route.fulfill(
        status=400, json={"error_code": "refresh_token_not_found", "msg": "gone"},
        headers={"Access-Control-Allow-Origin": "*"},
    ))  # fmt: skip
    script.tell("auth-expiring", {"expires_at": "2030-01-01T00:00:00Z"})

    await expect(page.get_by_text("Your session has ended. Please sign in again.")).to_be_visible()


async def test_another_tab_needs_no_password(open_panel: OpenPanel, script: Script) -> None:
    script.put(job(title="Notice"))
    page = await open_panel()
    other = await page.context.new_page()
    await other.goto(f"{script.url}/panel")
    await expect(other.locator(".title")).to_have_text(["Notice"])
    await page.get_by_role("button", name="Sign out").click()

    await expect(other.get_by_label("Email")).to_be_visible()
