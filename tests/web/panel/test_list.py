"""The list in a real browser."""

import asyncio
from typing import Any

import pytest

from tests.web.panel.conftest import OpenPanel, playwright
from tests.web.panel.scenes import furnish
from tests.web.panel.scripted import Script, ago, item, job, soon

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect = playwright.expect

HOSTILE = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"


def row(page: Any, title: str) -> Any:
    return page.locator(".job", has=page.get_by_role("link", name=title, exact=True))


async def test_jobs_are_grouped_by_how_they_stand(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await open_panel()
    groups = page.locator(".group")

    await expect(groups.locator("h2")).to_have_text(["Active", "Failed or cancelled", "Completed"])
    await expect(groups.nth(0).locator(".title")).to_have_text(
        ["Handbook for visitors.md", "Opening hours, winter season", "Audio guide, room 7"]
    )


async def test_each_state_of_a_language_stands_in_its_chip_in_words(open_panel: OpenPanel, script: Script) -> None:
    script.put(
        job(
            "processing",
            item("es", "completed"),
            item("fr", "processing", progress=64),
            item("ja", "completed", warnings=[{"code": "digits", "message": "A number is missing.", "count": 1}]),
            item("de", "pending", retry_at=soon(seconds=100)),
            item("ar", "failed", error={"class": "bad_output", "message": "It was empty."}),
            item("it", "cancelled"),
            item("pt-BR", "pending"),
            progress=50,
        )
    )
    page = await open_panel()
    chips = page.locator(".chip")

    await expect(chips.nth(0)).to_contain_text("Españoldone", ignore_case=True)
    await expect(chips.nth(1)).to_contain_text("64%")
    await expect(chips.nth(2)).to_contain_text("日本語1 warning")
    await expect(chips.nth(3)).to_contain_text("tries again in 1:")
    await expect(chips.nth(4)).to_contain_text("failed")
    await expect(chips.nth(5)).to_contain_text("cancelled")
    await expect(chips.nth(6)).to_contain_text("Português (Brasil)queued")
    await expect(chips.nth(4).locator(".name")).to_have_attribute("dir", "rtl")
    await expect(page.locator(".fault")).to_contain_text("It was empty.")


async def test_a_tab_shows_what_it_counts(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await open_panel()
    tab = page.get_by_role("button", name="Needs attention 2")
    await tab.click()

    await expect(page.locator(".title")).to_have_text(["Press release, November", "Bronze mirror, room 4"])
    await expect(tab).to_have_attribute("aria-pressed", "true")


async def test_a_search_without_a_match_says_so_and_leads_back(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await open_panel()
    await page.get_by_placeholder("Search").fill("mirror")
    await expect(page.locator(".title")).to_have_text(["Bronze mirror, room 4"])
    await page.get_by_placeholder("Search").fill("submarine")
    await expect(page.get_by_text("No job matches")).to_be_visible()
    await page.get_by_role("button", name="Show all").click()

    await expect(page.locator(".job")).to_have_count(7)


async def test_an_empty_list_says_how_to_begin(open_panel: OpenPanel) -> None:
    page = await open_panel()
    await page.locator(".empty").get_by_role("button", name="New translation").click()

    await expect(page.get_by_role("dialog")).to_be_visible()


async def test_a_slow_list_shows_where_it_will_be(open_panel: OpenPanel, script: Script) -> None:
    script.slow = asyncio.Event()
    script.put(*(job("completed") for _ in range(7)))
    page = await open_panel()
    await expect(page.locator(".skeleton")).to_be_visible()
    script.slow.set()

    await expect(page.locator(".job")).to_have_count(7)
    await expect(page.locator(".skeleton")).to_have_count(0)


async def test_the_credits_line_sums_and_is_absent_where_nothing_has_a_price(
    open_panel: OpenPanel, script: Script
) -> None:
    priced = {"credits_reserved": 480, "credits_consumed": 240, "credits_refunded": 120, "credits_open": 120}
    script.put(job(title="Free"), job("processing", title="Priced", **priced))
    page = await open_panel()

    await expect(row(page, "Priced").locator(".sum span")).to_have_text(
        ["Reserved 480", "used 240", "refunded 120", "open 120"]
    )
    await expect(row(page, "Free").locator(".sum")).to_have_count(0)
    await expect(page.locator(".purse")).to_have_count(0)


async def test_progress_and_the_end_arrive_by_themselves(open_panel: OpenPanel, script: Script) -> None:
    running = job("processing", item("es", "processing"), title="Handbook", progress=10, eta_at=soon(seconds=118))
    script.put(running)
    page = await open_panel()
    bar = row(page, "Handbook").get_by_role("progressbar")
    await expect(bar).to_have_attribute("value", "10")
    await expect(row(page, "Handbook").locator(".eta")).to_have_text("about 2 minutes left")
    running = script.change(running, progress=70)
    await expect(bar).to_have_attribute("value", "70")
    script.change(running, status="completed", progress=100, items=[item("es", "completed")], completed_at=ago())

    await expect(page.locator(".toast")).to_contain_text("“Handbook” is ready.")
    await expect(page.locator("#said")).to_contain_text("“Handbook” is ready.")
    await expect(page.locator(".group.completed .title")).to_have_text("Handbook")
    await expect(page.locator(".tab.completed .count")).to_have_text("1")


async def test_a_row_stays_where_it_is_while_somebody_points_at_it(open_panel: OpenPanel, script: Script) -> None:
    running = job("processing", title="Handbook")
    script.put(running, job(title="Another"))
    page = await open_panel()
    await page.clock.install()
    await row(page, "Handbook").hover()
    script.change(running, status="completed", items=[item("es", "completed")], completed_at=ago())
    await expect(row(page, "Handbook").locator(".state")).to_contain_text("Completed")
    await page.clock.run_for(10_000)
    await expect(page.locator(".group.active .title", has_text="Handbook")).to_be_visible()
    await page.mouse.move(5, 5)
    await page.clock.run_for(5_000)

    await expect(page.locator(".group.completed .title")).to_have_text("Handbook")


async def test_paused_updates_wait_and_are_counted(open_panel: OpenPanel, script: Script) -> None:
    running = job("processing", title="Handbook", progress=10)
    script.put(running)
    page = await open_panel()
    bar = page.get_by_role("progressbar")
    await expect(bar).to_have_attribute("value", "10")
    await page.get_by_role("button", name="Pause updates").click()
    script.change(running, progress=80)
    await expect(page.locator(".banner")).to_contain_text("1 job has changed")
    await expect(bar).to_have_attribute("value", "10")
    await page.locator(".banner").get_by_role("button", name="Resume").click()

    await expect(bar).to_have_attribute("value", "80")


async def test_what_disappears_from_the_database_disappears_from_the_page(
    open_panel: OpenPanel, script: Script
) -> None:
    gone = job("processing", title="Purged")
    script.put(gone, job(title="Stays"))
    page = await open_panel()
    await expect(page.locator(".job")).to_have_count(2)
    del script.jobs[gone["id"]]
    script.tell("gone", {"id": gone["id"]})

    await expect(page.locator(".title")).to_have_text(["Stays"])


async def test_older_jobs_are_loaded_when_asked_for(open_panel: OpenPanel, script: Script) -> None:
    done = [job("completed", title=f"Job {n}") for n in range(120)]
    script.jobs = {one["id"]: one for one in done}
    page = await open_panel()
    await expect(page.locator(".job")).to_have_count(50)
    await page.get_by_role("button", name="Load more").click()
    await expect(page.locator(".job")).to_have_count(100)
    await page.get_by_role("button", name="Load more").click()

    await expect(page.locator(".job")).to_have_count(120)
    await expect(page.get_by_role("button", name="Load more")).to_have_count(0)


async def test_a_thousand_running_jobs_stay_usable(open_panel: OpenPanel, script: Script) -> None:
    many = [job("processing", *(item(name) for name in ("es", "fr", "de", "ja")), progress=5) for _ in range(1000)]
    script.jobs = {one["id"]: one for one in many}
    page = await open_panel()
    await expect(page.locator(".job")).to_have_count(1000)
    newest = many[-1]
    script.change(newest, progress=55)

    await expect(page.locator(f'.job[data-id="{newest["id"]}"] progress')).to_have_attribute("value", "55")


@pytest.mark.parametrize(
    "title", [HOSTILE, "a‮txt.exe", "<b>" * 30_000, "مرحبا"], ids=["tags", "override", "long", "arabic"]
)
async def test_a_hostile_title_is_shown_as_text(open_panel: OpenPanel, script: Script, title: str) -> None:
    one = job("failed", item("es", "failed", error={"class": "internal", "message": HOSTILE}), title=title)
    script.put(one)
    page = await open_panel()
    shown = page.locator(".title")
    await expect(shown).to_have_text(title[:240])
    await expect(page.locator(".fault")).to_contain_text(HOSTILE)

    assert await page.title() == "Translations"
    assert await page.locator(".job img, .job script, .job b").count() == 0
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_compact_rows_are_remembered(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await open_panel()
    await page.get_by_role("button", name="Compact rows").click()
    await expect(page.locator(".job.line")).to_have_count(7)
    await page.reload()
    await page.get_by_label("Email").wait_for()

    assert await page.evaluate("localStorage.getItem('panel.compact')") == "true"


async def test_clocks_that_disagree_do_not_change_what_is_left(open_panel: OpenPanel, script: Script) -> None:
    page = await open_panel()
    await page.clock.install(time=0)  # this computer believes it is 1970
    script.put(job("processing", progress=10, eta_at=soon(seconds=118), as_of=ago(), started_at=ago(minutes=3)))

    await expect(page.locator(".eta")).to_have_text("about 2 minutes left")
    await expect(page.locator(".meta time")).to_have_text("3 minutes ago")
