"""Everybody can use it: by keyboard, by ear, in the dark, on a phone, in their language."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.web.panel.conftest import OpenPanel, playwright, sign_in
from tests.web.panel.scenes import furnish
from tests.web.panel.scripted import Script, job

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect = playwright.expect
axe = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")

AXE = (Path(axe.__file__).parent / "axe.min.js").read_text()
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
ENDLESS = "a => a.effect.getTiming().iterations === Infinity"
LANGUAGES = ("en", "es", "de", "ja", "ar")


async def faults(page: Any) -> list[str]:
    """What axe finds serious or critical."""
    # Colours in the middle of a movement are nobody's colours.
    await page.evaluate(f"Promise.all(document.getAnimations().filter(a => !({ENDLESS})(a)).map(a => a.finished))")
    await page.evaluate(AXE)
    found = await page.evaluate("axe.run()")
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_serious_on_any_page(open_panel: OpenPanel, script: Script, theme: str) -> None:
    furnish(script)
    page = await open_panel(signed_in=False, color_scheme=theme)
    await page.get_by_label("Email").wait_for()
    assert await faults(page) == []
    await sign_in(page)
    await expect(page.locator(".job")).to_have_count(7)
    assert await faults(page) == []
    await page.keyboard.press("m")
    await page.locator(".job.line").first.wait_for()
    assert await faults(page) == []
    await page.keyboard.press("n")
    await page.get_by_role("checkbox", name="Español").check()
    assert await faults(page) == []
    await page.get_by_role("dialog").get_by_role("button", name="Close").first.click()
    await page.get_by_role("link", name="Bronze mirror").click()
    await page.locator("#result pre").wait_for()
    assert await faults(page) == []


@pytest.mark.parametrize("language", ["en", "ar", "de"])
async def test_nothing_is_wider_than_a_phone(open_panel: OpenPanel, script: Script, language: str) -> None:
    furnish(script)
    page = await open_panel(f"?lang={language}", signed_in=False, **PHONE)
    fits = "document.documentElement.scrollWidth <= 360 && innerWidth === 360"
    await page.locator("[name=email]").wait_for()
    assert await page.evaluate(fits)
    await page.locator("[name=email]").fill("ada@example.com")
    await page.locator("[name=password]").fill("correct-horse")
    await page.locator("form button.primary").click()
    await expect(page.locator(".job")).to_have_count(7)
    assert await page.evaluate(fits)
    await page.locator(".site .primary").click()
    await page.locator(".create").wait_for()
    assert await page.evaluate(fits)
    await page.locator("dialog header button").click()
    await page.locator(".title", has_text="Bronze mirror").click()
    await page.locator("#result pre").wait_for()

    assert await page.evaluate(fits)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_panel_speaks_the_languages_of_its_readers(
    open_panel: OpenPanel, script: Script, language: str
) -> None:
    furnish(script)
    page = await open_panel(signed_in=False, locale=language)
    await page.locator("[name=email]").fill("ada@example.com")
    await page.locator("[name=password]").fill("correct-horse")
    await page.locator("form button.primary").click()
    await expect(page.locator(".job")).to_have_count(7)
    root = page.locator("html")
    await expect(root).to_have_attribute("lang", language)
    await expect(root).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
    left = await page.locator(".brand").bounding_box()
    assert (left["x"] > 590) == (language == "ar")
    text = await page.locator("body").inner_text()

    # A word that is missing from the catalogue shows as its key.
    keys = json.loads(await page.evaluate(f"""async () => {{
        const base = document.querySelector('script[type=module]').src.replace('app.js', '')
        const parts = ['', '.pages'].map((part) => import(`${{base}}locales/{language}${{part}}.js`))
        return JSON.stringify((await Promise.all(parts)).flatMap((part) => Object.keys(part.default)))
    }}"""))  # fmt: skip
    assert [key for key in keys if "." in key and key in text] == []


def shape(words: dict[str, Any]) -> dict[str, set[str]]:
    """What each message needs to be told; a form for one or two may leave the number out."""
    whole = {key: text if isinstance(text, str) else text["other"] for key, text in words.items()}
    return {key: {part.split("}")[0] for part in text.split("{")[1:]} for key, text in whole.items()}


async def test_every_catalogue_has_the_same_words(open_panel: OpenPanel) -> None:
    page = await open_panel(signed_in=False)
    catalogues = await page.evaluate(f"""async () => {{
        const base = document.querySelector('script[type=module]').src.replace('app.js', '')
        const all = {{}}
        const words = async (name) => (await import(`${{base}}locales/${{name}}.js`)).default
        for (const tag of {json.dumps(LANGUAGES)}) {{
            all[tag] = {{ ...(await words(tag)), ...(await words(`${{tag}}.pages`)) }}
        }}
        return all
    }}""")

    assert {tag: shape(words) for tag, words in catalogues.items()} == dict.fromkeys(LANGUAGES, shape(catalogues["en"]))


async def test_the_language_is_changed_and_kept(open_panel: OpenPanel, script: Script) -> None:
    script.put(job("completed"))
    page = await open_panel()
    await page.get_by_label("Language").select_option("ja")
    await expect(page.get_by_role("button", name="新しい翻訳")).to_be_visible()
    await page.reload()

    await expect(page.get_by_label("メールアドレス")).to_be_visible()


async def test_a_whole_visit_needs_no_mouse(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await open_panel(signed_in=False)
    keys = page.keyboard
    await expect(page.get_by_label("Email")).to_be_focused()
    await keys.type("ada@example.com")
    await keys.press("Tab")
    await keys.type("correct-horse")
    await keys.press("Enter")
    await expect(page.locator(".job")).to_have_count(7)
    await keys.press("j")
    await keys.press("j")
    await expect(page.get_by_role("link", name="Opening hours")).to_be_focused()
    await keys.press("k")
    await keys.press("c")
    dialog = page.get_by_role("dialog", name="Cancel this job?")
    await expect(dialog).to_be_visible()
    await keys.press("Escape")
    await expect(dialog).to_have_count(0)
    await keys.press("/")
    await keys.type("mirror")
    await expect(page.locator(".job")).to_have_count(1)
    await keys.press("Escape")
    await keys.press("j")
    await keys.press("Enter")
    await expect(page.get_by_role("heading", name="Bronze mirror")).to_be_visible()
    await keys.press("Escape")
    await expect(page.locator(".tabs")).to_be_visible()
    await keys.press("p")
    await expect(page.locator(".pulse")).to_have_text("Paused")
    await keys.press("n")

    await expect(page.get_by_role("dialog", name="New translation")).to_be_visible()


async def test_the_keys_are_explained_and_can_be_switched_off(open_panel: OpenPanel, script: Script) -> None:
    page = await open_panel()
    await page.keyboard.press("?")
    await page.get_by_label("Use keyboard shortcuts").uncheck()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("p")
    await page.get_by_role("button", name="Compact rows").click()

    await expect(page.locator(".pulse")).to_have_text("Live")


async def test_the_theme_follows_the_system_until_somebody_chooses(open_panel: OpenPanel) -> None:
    page = await open_panel(color_scheme="dark")
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    dark = await page.evaluate(paper)
    await page.get_by_role("button", name="Theme: as the system").click()
    await expect(page.get_by_role("button", name="Theme: light")).to_be_visible()
    light = await page.evaluate(paper)
    assert light != dark
    await page.reload()
    await page.get_by_label("Email").wait_for()

    assert await page.evaluate(paper) == light


async def test_movement_is_left_out_for_those_who_ask(open_panel: OpenPanel, script: Script) -> None:
    furnish(script)
    page = await open_panel(reduced_motion="reduce")
    await page.locator(".turn").first.wait_for()

    assert await page.evaluate(f"document.getAnimations().filter({ENDLESS}).length") == 0
