"""One job, whole."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.web.panel.conftest import OpenPanel, playwright
from tests.web.panel.scenes import furnish
from tests.web.panel.scripted import Script, item, job

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect = playwright.expect


async def opened(open_panel: OpenPanel, title: str, **context: Any) -> Any:
    page = await open_panel(**context)
    await page.get_by_role("link", name=title).click()
    await page.locator(".side").first.wait_for()
    return page


def content_of(path: str) -> bytes:
    return Path(path).read_bytes()


async def downloaded(page: Any, button: str, within: str = "body") -> tuple[str, bytes]:
    async with page.expect_download() as waiting:
        await page.locator(within).get_by_role("button", name=button).click()
    download = await waiting.value
    return download.suggested_filename, content_of(await download.path())


async def test_source_and_result_stand_side_by_side(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await opened(open_panel, "Bronze mirror")
    source, result = page.locator(".side").nth(0), page.locator(".side").nth(1)
    await expect(source).to_contain_text("This mirror was cast")
    await expect(result).to_contain_text("Este espejo se fundió")
    await page.get_by_role("tab", name="العربية").click()

    await expect(result).to_contain_text("صُبّت هذه المرآة")
    await expect(result.locator("pre")).to_have_attribute("dir", "rtl")
    await expect(result.locator("pre")).to_have_attribute("lang", "ar")
    boxes = [await side.bounding_box() for side in (source, result)]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]


async def test_languages_are_chosen_with_the_arrow_keys(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await opened(open_panel, "Bronze mirror")
    await page.get_by_role("tab", name="Español").focus()
    await page.keyboard.press("ArrowRight")

    await expect(page.get_by_role("tab", name="日本語")).to_be_focused()
    await expect(page.locator("#result")).to_contain_text("この鏡は")
    await expect(page.locator(".warnings")).to_contain_text("Much shorter than the source")


async def test_a_failed_language_says_why(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await opened(open_panel, "Bronze mirror")
    await page.get_by_role("tab", name="Deutsch").click()

    await expect(page.locator("#result")).to_contain_text("The provider refused this text")


async def test_how_it_went_and_what_it_cost_is_told(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await opened(open_panel, "Bronze mirror")

    await expect(page.locator(".timeline strong")).to_have_text(["Created", "Run 1", "Run 2", "Partly completed"])
    await expect(page.locator(".timeline li").nth(1)).to_contain_text("worker lost · 60 s")
    await expect(page.locator("tbody tr").nth(1)).to_contain_text("Used Español")


async def test_a_result_can_be_copied(open_panel: OpenPanel, script: Script) -> None:
    script.put(job("completed", title="Notice"))
    page = await opened(open_panel, "Notice", permissions=["clipboard-read", "clipboard-write"])
    await page.locator("#result").get_by_role("button", name="Copy").click()
    await expect(page.locator(".toast")).to_contain_text("Copied")

    assert await page.evaluate("navigator.clipboard.readText()") == "[es] The ferry leaves at noon."


async def test_one_language_is_downloaded_under_a_safe_name(open_panel: OpenPanel, script: Script) -> None:
    script.put(job("completed", title="../‮no:tice.md", content_kind="markdown"))
    page = await open_panel()
    await page.locator(".title").click()
    name, content = await downloaded(page, "Download", "#result")

    assert name == "no tice.es.md"
    assert content.decode() == "[es] The ferry leaves at noon."


async def test_all_languages_are_downloaded_as_an_archive(open_panel: OpenPanel, script: Script) -> None:
    done = (item("es", "completed"), item("ja", "completed"), item("de", "failed"))
    script.put(job("completed", *done, title="お知らせ"))
    script.results = {"ja": "船は正午に出ます。" * 2000}
    page = await opened(open_panel, "お知らせ")
    name, content = await downloaded(page, "All as ZIP")
    archive = zipfile.ZipFile(io.BytesIO(content))

    assert name == "お知らせ.zip"
    assert archive.testzip() is None
    assert archive.namelist() == ["お知らせ.es.txt", "お知らせ.ja.txt"]
    assert archive.read("お知らせ.ja.txt").decode() == script.results["ja"]


async def test_all_languages_are_downloaded_as_json(open_panel: OpenPanel, script: Script) -> None:
    script.put(job("completed", item("es", "completed"), title="Labels", content_kind="json"))
    script.results = {"es": {"title": "Espejo"}}
    page = await opened(open_panel, "Labels")
    await expect(page.locator("#result")).to_contain_text('"title": "Espejo"')
    _, content = await downloaded(page, "All as JSON")

    assert json.loads(content)["results"] == {"es": {"title": "Espejo"}}


async def test_a_hostile_text_is_shown_as_text(open_panel: OpenPanel, script: Script) -> None:
    script.source = "<script>document.title='broken'</script>" + "\u202e" + "x" * 100_000
    script.put(job("completed", title="Notice"))
    page = await opened(open_panel, "Notice")
    await expect(page.locator(".side pre").first).to_contain_text("<script>document.title='broken'</script>")
    await page.get_by_role("button", name="Show all 100,041 characters").first.click()

    assert await page.title() == "Translations"
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_job_that_is_not_there_says_so(open_panel: OpenPanel) -> None:
    page = await open_panel("#/job/00000000-0000-0000-0000-000000000000")

    await expect(page.get_by_role("heading", name="No such job")).to_be_visible()


async def test_a_result_appears_when_its_language_is_done(open_panel: OpenPanel, script: Script) -> None:
    running = job("processing", item("es", "processing", progress=30), title="Notice")
    script.put(running)
    page = await opened(open_panel, "Notice")
    await expect(page.locator("#result")).to_contain_text("30%")
    script.change(running, status="completed", items=[item("es", "completed")])

    await expect(page.locator("#result pre")).to_have_text("[es] The ferry leaves at noon.")


async def test_a_chain_shows_its_steps_and_goes_to_them(open_panel: OpenPanel, script: Script) -> None:
    words, upload = (job(state, item("run"), title=title, target_languages=None) for state, title in
                     (("completed", "Words of the film"), ("blocked", "Upload")))  # fmt: skip
    procedure = job("processing", item("run"), title="Procedure", target_languages=None)
    said = ("id", "title", "job_type", "status", "failed_items")
    procedure["parents"] = [{name: words[name] for name in said} | {"name": "words"}]
    procedure["children"] = [{name: upload[name] for name in said} | {"status": "pending"}]
    upload["parents"] = [{name: procedure[name] for name in said} | {"name": None}]
    for one in (words, procedure, upload):
        script.jobs[one["id"]] = one
    page = await opened(open_panel, "Procedure")
    steps = page.get_by_role("navigation", name="Steps").get_by_role("listitem")

    await expect(steps).to_contain_text(["Words of the film", "Procedure", "Upload"])
    await expect(steps.nth(0)).to_contain_text("Completed")
    await expect(steps.nth(2)).to_contain_text("Waiting")
    await expect(steps.nth(1)).to_have_attribute("aria-current", "step")
    await expect(page.get_by_role("tab")).to_contain_text("run")
    await steps.nth(2).get_by_role("link", name="Upload").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Upload")
    await expect(steps).to_contain_text(["Procedure", "Upload"])


async def test_a_job_on_its_own_shows_no_chain(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await opened(open_panel, "Bronze mirror")

    await expect(page.get_by_role("navigation", name="Steps")).to_have_count(0)
