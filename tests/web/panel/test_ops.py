"""The operator view in a real browser: what it shows, what it asks before it acts, and what it says when it is late."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.web.panel import ops_scenes
from tests.web.panel.conftest import playwright, sign_in
from tests.web.panel.scripted import ADA, Script, serving
from tests.web.panel.test_looks import LANGUAGES, PHONE, faults, shape

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect = playwright.expect

OpenOps = Callable[..., Awaitable[Any]]
BUSY = {"code": "statistics_late", "message": "The database took too long.", "hint": None}


@pytest_asyncio.fixture(loop_scope="session")
async def script() -> Any:
    """In place of the users': a server with an operator view."""
    async with serving(Script(), operator_claim=ops_scenes.CLAIM) as running:
        ops_scenes.furnish_ops(running)
        yield running
        assert running.reports == [], "the policy stopped something"


@pytest.fixture
def open_ops(open_panel: Any) -> OpenOps:
    """Opens the operator view, signed in, with its numbers and, if told to wait for them, its plots."""

    async def opened(path: str = "", *, plots: bool = False, **context: Any) -> Any:
        page = await open_panel(f"/ops{path}", signed_in=False, **context)
        await sign_in_anywhere(page)
        await page.locator(".cards").wait_for()
        if plots:
            await expect(page.locator(".canvas canvas")).to_have_count(6)
        return page

    return opened


async def sign_in_anywhere(page: Any) -> None:
    """By the form, whatever the language."""
    await page.locator("[name=email]").fill(ADA["email"])
    await page.locator("[name=password]").fill("correct-horse")
    await page.locator("form button.primary").click()


async def test_an_operator_sees_the_whole_queue(open_ops: OpenOps) -> None:
    page = await open_ops(plots=True)

    await expect(page).to_have_title("Operations")
    await expect(page.locator(".cards div").first).to_have_text("Waiting34")
    await expect(page.locator(".light", has_text="Realtime")).to_contain_text("1 worker polls instead")
    await expect(page.locator(".light", has_text="Providers")).to_contain_text("deepl: overloaded")
    await expect(page.locator(".alert")).to_contain_text("34 jobs wait.")
    await expect(page.locator(".workers > li")).to_have_count(4)
    await expect(page.locator(".workers .stale")).to_contain_text("silent")
    await expect(page.get_by_role("table", name="Ended last").locator("tbody tr")).to_have_count(10)
    await expect(page.get_by_role("table", name="Triggers").locator("tbody tr")).to_have_count(3)
    await expect(page.get_by_role("table", name="Jobs").locator("tbody tr")).to_have_count(6)
    await expect(page.get_by_text("Of the latest 1,000 failed items in 24 hours")).to_be_visible()


async def test_a_quiet_project_is_shown_as_one(open_ops: OpenOps, script: Script) -> None:
    ops_scenes.quiet(script)
    page = await open_ops()

    await expect(page.locator(".light").first).to_contain_text("all is well")
    await expect(page.get_by_text("No worker is heard of.").first).to_be_visible()
    await expect(page.get_by_text("Nothing has failed.")).to_be_visible()
    await expect(page.get_by_role("table", name="Triggers")).to_have_count(0)


async def test_a_user_is_told_that_it_is_not_for_him(open_panel: Any, script: Script) -> None:
    script.user = {**ADA, "app_metadata": {ops_scenes.CLAIM: False}}
    page = await open_panel("/ops", signed_in=False)
    await sign_in_anywhere(page)

    await expect(page.get_by_role("heading", name="Not for this account")).to_be_visible()
    assert not any(path.startswith("/api/ops") for _, path in script.calls)


@pytest.mark.parametrize("operates", [True, False])
async def test_only_operators_find_the_way_from_the_list(open_panel: Any, script: Script, operates: bool) -> None:
    script.user = {**ADA, "app_metadata": {ops_scenes.CLAIM: operates}}
    page = await open_panel(signed_in=False)
    await sign_in(page)
    await page.locator(".tabs").wait_for()

    await expect(page.get_by_role("link", name="Operations")).to_have_count(int(operates))


async def test_without_the_setting_there_is_no_page() -> None:
    async with (
        serving(Script()) as script,
        aiohttp.ClientSession(script.url) as client,
        client.get("/panel/ops") as answer,
    ):
        assert answer.status == 404


async def test_a_group_is_retried_after_a_question_that_says_how_many(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops()
    await page.get_by_role("button", name="Retry these 37").click()
    dialog = page.get_by_role("dialog", name="Retry?")
    await expect(dialog).to_contain_text("37 jobs are tried again.")
    assert script.ops_acts == []
    await dialog.get_by_role("button", name="Try again").click()

    await expect(page.locator(".toast")).to_contain_text("36 jobs changed. Not: 1 × too few credits. 1 is left.")
    assert script.ops_acts == [(f"failures/{'a' * 16}/retry", {})]
    await expect(dialog).to_have_count(0)


async def test_a_trigger_is_run_once_for_one_question(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops()
    row = page.get_by_role("row", name="nightly-cards")
    await expect(row).to_contain_text("succeeded")
    await expect(row).to_contain_text("4 hours ago")
    await expect(page.get_by_role("row", name="new-exhibit").get_by_role("button")).to_be_disabled()
    await row.get_by_role("button", name="Run now").click()
    await page.get_by_role("dialog").get_by_role("button", name="Run now").click()
    await expect(page.locator(".toast")).to_contain_text("1 job changed.")

    ((path, body),) = script.ops_acts
    assert path == "triggers/nightly-cards/run"
    assert body["idempotency_key"].startswith("panel-")


async def test_a_source_is_hidden_until_somebody_asks(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops()
    row = page.get_by_role("row", name="Bronze mirror").last
    await expect(page.locator(".source")).to_have_count(0)
    await row.get_by_role("button", name="Reveal").click()
    await expect(row.locator(".source")).to_have_text(script.source)
    assert [path.split("/")[2] for path, _ in script.ops_acts] == ["reveal"]
    await row.get_by_role("button", name="Hide").click()

    await expect(page.locator(".source")).to_have_count(0)


async def test_jobs_are_cancelled_and_run_now_by_name(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops()
    job = next(one for one in script.ops["jobs"]["jobs"] if one["status"] == "retrying")
    row = page.get_by_role("row", name="Audio guide, room 7").last
    for button, title, action in (
        ("Run now", "Run this job now?", "requeue"),
        ("Cancel", "Cancel this job?", "cancel"),
    ):
        await row.get_by_role("button", name=button).click()
        dialog = page.get_by_role("dialog", name=title)
        await dialog.locator("footer button").last.click()
        await expect(dialog).to_have_count(0)

        assert script.ops_acts.pop() == ("actions", {"action": action, "job_ids": [job["id"]]})


async def test_jobs_are_filtered_and_what_is_typed_survives_a_round(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops()
    rows = page.get_by_role("table", name="Jobs").locator("tbody tr")
    await page.get_by_label("State").select_option("failed")
    await expect(rows).to_have_count(1)
    await page.get_by_label("User id").fill("not an id")
    await expect(page.get_by_label("User id")).to_have_attribute("aria-invalid", "true")
    asked = script.asked("GET", "/api/ops/stats")
    await page.get_by_role("button", name="Refresh").click()
    await expect(page.get_by_label("User id")).to_have_value("not an id")
    assert script.asked("GET", "/api/ops/stats") > asked
    await page.locator(".filter").get_by_role("button", name="Show all").click()

    await expect(rows).to_have_count(6)


async def test_numbers_that_are_late_are_shown_with_their_time(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops()
    good, script.ops["stats"] = script.ops["stats"], {"status": 503, "error": BUSY}
    await page.keyboard.press("r")
    await expect(page.locator(".banner")).to_contain_text("The statistics timed out. Showing what was known at")
    await expect(page.locator(".cards div").first).to_have_text("Waiting34")
    await expect(page.locator(".light", has_text="Database")).to_contain_text("does not answer")
    script.ops["stats"] = good
    await page.locator(".banner").get_by_role("button", name="Try now").click()

    await expect(page.locator(".banner")).to_have_count(0)


async def test_a_server_that_is_away_leaves_the_last_numbers(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops()
    script.away = True
    await page.keyboard.press("r")
    await expect(page.locator(".banner")).to_contain_text("cannot be reached")
    await expect(page.locator(".cards div").first).to_have_text("Waiting34")
    script.away = False
    await page.keyboard.press("r")

    await expect(page.locator(".pulse")).to_have_text("Live")


async def test_it_asks_by_itself_but_not_while_paused_or_unseen(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops()
    script.ops["stats"]["live"]["pending"] = 35
    await expect(page.locator(".cards div").first).to_have_text("Waiting35")
    await page.keyboard.press("p")
    await expect(page.locator(".pulse")).to_have_text("Paused")
    await page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    await page.keyboard.press("p")
    await expect(page.locator(".pulse")).to_have_text("Live")
    await page.clock.install()
    asked = script.asked("GET", "/api/ops/stats")
    await page.clock.run_for(60_000)
    assert script.asked("GET", "/api/ops/stats") == asked
    await page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    script.ops["stats"]["live"]["pending"] = 36
    await page.keyboard.press("r")

    await expect(page.locator(".cards div").first).to_have_text("Waiting36")


async def test_the_plots_share_a_cursor_and_say_their_numbers(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops(plots=True)
    ended, depth = page.locator(".plot").nth(0), page.locator(".plot").nth(1)
    await ended.locator(".canvas").scroll_into_view_if_needed()
    before = await depth.locator(".legend").inner_text()
    box = await ended.locator(".u-over").bounding_box()
    await page.mouse.move(box["x"] + 2, box["y"] + 20)
    first = script.ops["series"]["measures"]["depth"]["pending"][0]
    await expect(depth.locator(".legend span").first).to_have_text(f"waiting {first}")
    assert await depth.locator(".legend").inner_text() != before
    await ended.locator("summary").click()
    table = page.get_by_role("table", name="Jobs ended")
    await expect(table.locator("tbody tr")).to_have_count(60)

    heads = await table.locator("thead th").all_inner_texts()
    assert heads == ["Time", "completed", "partly", "failed", "cancelled"]


async def test_the_span_of_the_plots_is_chosen(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops(plots=True)
    script.ops["series"] = ops_scenes.series(168, 3600)
    await page.get_by_role("button", name="7 days").click()
    await expect(page.get_by_role("button", name="7 days")).to_have_attribute("aria-pressed", "true")
    await page.locator(".plot summary").first.click()

    await expect(page.get_by_role("table", name="Jobs ended").locator("tbody tr")).to_have_count(168)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_serious_here(open_ops: OpenOps, theme: str) -> None:
    page = await open_ops(plots=True, color_scheme=theme)
    await page.locator(".alert summary").click()
    await page.locator(".plot summary").first.click()
    await page.get_by_role("row", name="Bronze mirror").last.get_by_role("button", name="Reveal").click()
    await page.locator(".source").wait_for()
    assert await faults(page) == []
    await page.get_by_role("button", name="Retry these 37").click()

    assert await faults(page) == []


@pytest.mark.parametrize("language", ["en", "ar", "de"])
async def test_the_operator_view_is_no_wider_than_a_phone(open_ops: OpenOps, language: str) -> None:
    page = await open_ops(f"?lang={language}", plots=True, **PHONE)
    await page.locator(".plot summary").first.click()
    await page.locator(".scroll table").wait_for()

    assert await page.evaluate("document.documentElement.scrollWidth <= 360 && innerWidth === 360")


@pytest.mark.parametrize("language", LANGUAGES)
async def test_operators_read_it_in_their_language(open_ops: OpenOps, language: str) -> None:
    page = await open_ops(plots=True, locale=language)
    await expect(page.locator("html")).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
    text = await page.locator("body").inner_text()
    keys = json.loads(
        await page.evaluate(f"""async () => {{
            const base = document.querySelector('script[type=module]').src.replace('ops/main.js', '')
            return JSON.stringify(Object.keys((await import(`${{base}}locales/{language}.ops.js`)).default))
        }}""")
    )

    assert [key for key in keys if key in text] == []


async def test_every_catalogue_of_operators_has_the_same_words(open_ops: OpenOps) -> None:
    page = await open_ops()
    catalogues = await page.evaluate(f"""async () => {{
        const base = document.querySelector('script[type=module]').src.replace('ops/main.js', '')
        const all = {{}}
        for (const tag of {json.dumps(LANGUAGES)}) all[tag] = (await import(`${{base}}locales/${{tag}}.ops.js`)).default
        return all
    }}""")

    assert {tag: shape(words) for tag, words in catalogues.items()} == dict.fromkeys(LANGUAGES, shape(catalogues["en"]))


async def test_the_operator_view_needs_no_mouse(open_ops: OpenOps, script: Script) -> None:
    page = await open_ops()
    keys = page.keyboard
    await keys.press("2")
    await expect(page.get_by_role("button", name="24 hours")).to_have_attribute("aria-pressed", "true")
    await keys.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    await keys.press("Escape")
    await keys.press("/")
    await expect(page.get_by_label("Search")).to_be_focused()
    await keys.press("Escape")
    script.ops["stats"]["live"]["pending"] = 36
    await keys.press("r")

    await expect(page.locator(".cards div").first).to_have_text("Waiting36")
