"""How the page hears of changes, and what it does when it does not."""

import asyncio

import pytest

from tests.support import waiting
from tests.web.panel.conftest import OpenPanel, playwright
from tests.web.panel.scripted import Script, ago, item, job

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect = playwright.expect


async def test_nine_tabs_share_one_stream_and_one_takes_over(open_panel: OpenPanel, script: Script) -> None:
    running = job("processing", title="Notice", progress=5)
    script.put(running)
    first = await open_panel()
    tabs = [first]
    for _ in range(8):
        tabs.append(await first.context.new_page())
        await tabs[-1].goto(f"{script.url}/panel")
    for tab in tabs:
        await expect(tab.locator(".pulse")).to_have_class("pulse live")
    assert len(script.streams) == 1
    running = script.change(running, progress=40)
    for tab in tabs:
        await expect(tab.get_by_role("progressbar")).to_have_attribute("value", "40")
    await first.close()
    await waiting.until(lambda: script.streams_opened == 2, "another tab streams")
    script.change(running, progress=60)

    for tab in tabs[1:]:
        await expect(tab.get_by_role("progressbar")).to_have_attribute("value", "60")


async def test_a_server_that_is_away_is_said_and_comes_back_by_itself(open_panel: OpenPanel, script: Script) -> None:
    running = job("processing", title="Notice", progress=5)
    script.put(running)
    page = await open_panel()
    await expect(page.locator(".pulse.live")).to_be_visible()
    script.away = True
    script.cut()
    await expect(page.locator(".banner")).to_contain_text("Connection lost. Showing what was known at")
    await expect(page.locator(".title")).to_have_text(["Notice"])
    script.jobs[running["id"]] = {
        **running,
        "status": "completed",
        "items": [item("es", "completed")],
        "updated_at": ago(),
    }
    script.away = False
    await page.get_by_role("button", name="Try now").click()

    await expect(page.locator(".banner")).to_have_count(0)
    await expect(page.locator(".pulse.live")).to_be_visible()
    await expect(page.locator(".job.completed")).to_have_count(1)


async def test_where_there_is_no_stream_the_page_polls_and_says_so(open_panel: OpenPanel, script: Script) -> None:
    script.streamless = True
    page = await open_panel()
    await page.clock.install()
    await page.clock.run_for(20_000)
    await expect(page.locator(".pulse")).to_have_text("Polling")
    script.jobs |= {one["id"]: one for one in [job("completed", title="Found by polling")]}
    await page.clock.run_for(6_000)

    await expect(page.locator(".title")).to_have_text(["Found by polling"])


async def test_a_resync_loads_the_list_again(open_panel: OpenPanel, script: Script) -> None:
    page = await open_panel()
    await expect(page.locator(".pulse.live")).to_be_visible()
    script.jobs |= {one["id"]: one for one in [job("completed", title="Missed")]}
    script.tell("resync", {})

    await expect(page.locator(".title")).to_have_text(["Missed"])


async def test_a_paused_page_stays_as_it_is_while_it_polls(open_panel: OpenPanel, script: Script) -> None:
    script.streamless = True
    page = await open_panel()
    await page.clock.install()
    await page.clock.run_for(20_000)
    await expect(page.locator(".pulse")).to_have_text("Polling")
    await page.get_by_role("button", name="Pause updates").click()
    script.jobs |= {one["id"]: one for one in [job("completed", title="Meanwhile")]}
    await page.clock.run_for(12_000)
    await expect(page.locator(".tab.completed .count")).to_have_text("1")
    await expect(page.locator(".job")).to_have_count(0)
    await page.locator(".banner").get_by_role("button", name="Resume").click()

    await expect(page.locator(".title")).to_have_text(["Meanwhile"])


async def test_a_hidden_tab_gives_its_stream_up_after_a_minute(open_panel: OpenPanel, script: Script) -> None:
    page = await open_panel()
    await expect(page.locator(".pulse.live")).to_be_visible()
    await page.clock.install()
    hide = """hidden => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true })
        document.dispatchEvent(new Event('visibilitychange'))
    }"""
    await page.evaluate(hide, True)
    await page.clock.run_for(50_000)
    assert len(script.streams) == 1
    await page.clock.run_for(11_000)

    def ended() -> bool:
        script.tell("gone", {"id": "-"})  # a server notices at its next word
        return not script.streams

    await waiting.until(ended, "the stream has ended")
    script.jobs |= {one["id"]: one for one in [job("completed", title="Meanwhile")]}
    await page.evaluate(hide, False)

    await expect(page.locator(".title")).to_have_text(["Meanwhile"])
    await expect(page.locator(".pulse.live")).to_be_visible()


async def test_a_late_event_does_not_undo_a_newer_one(open_panel: OpenPanel, script: Script) -> None:
    running = job("processing", title="Notice", progress=50)
    script.put(running)
    page = await open_panel()
    bar = page.get_by_role("progressbar")
    await expect(bar).to_have_attribute("value", "50")
    script.tell("job", {**running, "progress": 20, "updated_at": ago(minutes=5)})
    script.put(job("processing", title="After", progress=1))
    await expect(page.locator(".title")).to_have_count(2)

    await expect(bar.nth(1)).to_have_attribute("value", "50")


async def test_a_slow_answer_does_not_undo_what_was_heard_meanwhile(open_panel: OpenPanel, script: Script) -> None:
    running = job("processing", title="Notice", progress=50)
    script.put(running)
    page = await open_panel()
    await expect(page.get_by_role("progressbar")).to_be_visible()
    script.slow = asyncio.Event()
    asked = script.asked("GET", "/api/jobs")
    await page.get_by_role("button", name="Refresh").click()
    await waiting.until(lambda: script.asked("GET", "/api/jobs") > asked, "the list is asked for")
    script.change(running, status="completed", progress=100)
    await expect(page.get_by_role("progressbar")).to_have_count(0)
    script.slow.set()
    await expect(page.get_by_text("Refreshed")).to_be_visible()

    await expect(page.get_by_role("progressbar")).to_have_count(0)


async def test_what_was_read_later_counts_even_if_it_is_dated_earlier(open_panel: OpenPanel, script: Script) -> None:
    """A batch of results may begin before a cancel, and end after it."""
    running = job("processing", progress=50, as_of=ago(seconds=3))
    script.put(running)
    page = await open_panel()
    await expect(page.get_by_role("progressbar")).to_be_visible()
    script.tell("job", {**running, "status": "cancelled", "updated_at": ago(seconds=9), "as_of": ago()})

    await expect(page.get_by_role("progressbar")).to_have_count(0)


async def test_the_end_of_a_job_that_nobody_told_is_asked_for_until_it_is_known(
    open_panel: OpenPanel, script: Script
) -> None:
    running = job("processing", progress=50)
    script.put(running)
    page = await open_panel()
    await expect(page.get_by_role("progressbar")).to_be_visible()
    await page.clock.install()
    script.failing.add(running["id"])
    script.tell("snapshot", {"jobs": [], "credits": None})
    await waiting.until(lambda: script.asked("GET", f"/api/jobs/{running['id']}"), "it is asked for in vain")
    script.failing.clear()
    script.jobs[running["id"]] = {**running, "status": "completed", "updated_at": ago()}
    await page.clock.run_for(6_000)

    await expect(page.get_by_role("progressbar")).to_have_count(0)


async def test_a_job_without_news_says_so(open_panel: OpenPanel, script: Script) -> None:
    silent = job("processing", title="Notice") | {"updated_at": ago(minutes=3)}
    script.jobs[silent["id"]] = silent
    page = await open_panel()

    await expect(page.locator(".silence")).to_contain_text("No news for 3 minutes.")
