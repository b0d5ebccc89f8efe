"""
Pictures of the panel in its main states, from a server that shows a furnished morning: for the README and for eyes.

The scenes are those of the browser tests. It looks best where Inter and fonts for Japanese and Arabic are installed
(Debian: fonts-inter fonts-noto-core fonts-ipafont-gothic fonts-wqy-zenhei).
"""

import argparse
import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright

from tests.web.panel.ops_scenes import CLAIM, furnish_ops
from tests.web.panel.scenes import furnish
from tests.web.panel.scripted import Script, serving

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs/images"
WIDE: dict[str, Any] = {"viewport": {"width": 1180, "height": 940}, "locale": "en-GB"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "locale": "en-GB", "is_mobile": True}
LOOKS: dict[str, dict[str, Any]] = {
    "light": WIDE | {"color_scheme": "light"},
    "dark": WIDE | {"color_scheme": "dark"},
    "phone": PHONE | {"color_scheme": "light", "device_scale_factor": 2},
    "arabic": WIDE | {"color_scheme": "light", "locale": "ar"},
}
OPS: dict[str, Any] = {"viewport": {"width": 1320, "height": 1160}}
PAGES = ("signin", "list", "compact", "detail", "new", "cancel")


def main() -> None:
    parser = argparse.ArgumentParser(description="Photograph the panel.")
    parser.add_argument("directory", nargs="?", type=Path, default=Path("/tmp/panel"))
    parser.add_argument("--docs", action="store_true", help="write the README's three pictures instead")
    asked = parser.parse_args()
    directory = DOCS if asked.docs else asked.directory
    directory.mkdir(parents=True, exist_ok=True)
    asyncio.run(_photograph(directory, docs=asked.docs))


async def _photograph(directory: Path, *, docs: bool) -> None:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        raise SystemExit("Chromium is not installed: apt-get install chromium, or name it in CHROMIUM.")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    script = Script()
    furnish(script)
    async with serving(script, simulated=lambda: not docs, operator_claim=CLAIM), async_playwright() as started:
        browser = await started.chromium.launch(executable_path=path, args=arguments)
        if docs:
            await _visit(browser, script, LOOKS["light"], directory, "panel", ("list",))
            await _visit(browser, script, LOOKS["dark"], directory, "panel-dark", ("detail",))
        else:
            for name, look in LOOKS.items():
                await _visit(browser, script, look, directory, name, PAGES)
        furnish_ops(script)
        if docs:
            await _visit(browser, script, LOOKS["light"] | OPS, directory, "ops", ("ops",))
        else:
            for name, look in LOOKS.items():
                await _visit(
                    browser, script, look if name == "phone" else look | OPS, directory, f"{name}-ops", ("ops",)
                )
        await browser.close()


async def _visit(
    browser: Browser, script: Script, look: dict[str, Any], directory: Path, name: str, pages: tuple[str, ...]
) -> None:
    context = await browser.new_context(**look)
    page = await context.new_page()
    await page.goto(f"{script.url}/panel")
    await page.locator("[name=email]").wait_for()
    for wanted in pages:
        await _STEPS[wanted](page)
        await page.mouse.move(1, 1)
        await page.wait_for_timeout(900)  # what moves has come to rest
        target = directory / (f"{name}.png" if len(pages) == 1 else f"{name}-{wanted}.png")
        await page.screenshot(path=target)
        print(f"{target}: {target.stat().st_size // 1024} kB")
    await context.close()


async def _nothing(_: Page) -> None:
    """The door is where a visit begins."""


async def _list(page: Page) -> None:
    await page.fill("[name=email]", "ada@example.com")
    await page.fill("[name=password]", "correct-horse")
    await page.click("form button.primary")
    await page.locator(".job").first.wait_for()


async def _compact(page: Page) -> None:
    await page.keyboard.press("m")
    await page.locator(".job.line").first.wait_for()


async def _detail(page: Page) -> None:
    if await page.locator(".tabs").count() == 0:
        await _list(page)
    await page.locator(".title", has_text="Bronze mirror").click()
    await page.locator("#result pre").wait_for()


async def _new(page: Page) -> None:
    await page.keyboard.press("Escape")
    await page.keyboard.press("m")
    await page.keyboard.press("n")
    await page.fill("#create-text", "The ferry leaves at noon. Bring {name}.")
    for language in ("es", "ja"):
        await page.locator(f".option span[lang={language}]").click()


async def _cancel(page: Page) -> None:
    await page.locator("dialog header button").click()
    await page.locator(".actions .button").first.click()


async def _ops(page: Page) -> None:
    await page.goto(f"{page.url.partition('/panel')[0]}/panel/ops")
    await page.fill("[name=email]", "ada@example.com")
    await page.fill("[name=password]", "correct-horse")
    await page.click("form button.primary")
    await page.locator(".canvas canvas").nth(5).wait_for()


_STEPS = {
    "signin": _nothing,
    "ops": _ops,
    "list": _list,
    "compact": _compact,
    "detail": _detail,
    "new": _new,
    "cancel": _cancel,
}

if __name__ == "__main__":
    main()
