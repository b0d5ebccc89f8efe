"""The panel in a real browser: how soon the first row stands there, and how late a change in the database is seen."""

import argparse
import asyncio
import os
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from playwright.async_api import Page, async_playwright

from scripts.benches import project, waiting, worker_process
from scripts.benches.telling import Figures, latency, percentile

VISITS = 15
CHANGES = 40
EMAIL = "ada@example.test"

# Notes when the first row is painted, and when each value of a progress bar is. Runs before the page's own scripts.
_WATCH = """
window.paints = {}
new MutationObserver(() => {
  if (window.first === undefined && document.querySelector('.job')) {
    window.first = null
    requestAnimationFrame(() => { window.first = performance.now() })
  }
  const value = document.querySelector('progress')?.value
  if (value && !(value in window.paints)) {
    window.paints[value] = null
    requestAnimationFrame(() => { window.paints[value] = Date.now() })
  }
}).observe(document, { subtree: true, childList: true, attributes: true, attributeFilter: ['value'] })
"""


async def run(home: Path, args: Sequence[str]) -> Figures:
    """Against a worker process over the stack; the browser is on the same machine and takes its part of it."""
    argparse.ArgumentParser(prog="scripts/bench panel").parse_args(args)
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if path is None:
        print("NOT RUN: panel: chromium is not installed")
        return {}
    async with project.stack(home) as stack:
        key = stack.env["SUPABASE_PUBLISHABLE_KEY"]
        env = project.worker_environment(stack.env, SUPABASE_PUBLISHABLE_KEY=key)
        async with worker_process.running(home, env) as worker, async_playwright() as started:
            arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
            browser = await started.chromium.launch(executable_path=path, args=arguments)
            page = await (await browser.new_context(locale="en-GB")).new_page()
            await page.add_init_script(_WATCH)
            await _sign_up(page, worker.url)
            await _with_jobs(stack)
            figures = await _first_rows(page)
            figures |= await _changes(stack, page)
            await browser.close()
    return figures


async def _sign_up(page: Page, url: str) -> None:
    await page.goto(f"{url}/panel")
    await page.get_by_role("button", name="Sign up").click()
    await page.get_by_label("Email").fill(EMAIL)
    await page.get_by_label("Password").fill("correct-horse-battery")
    await page.get_by_label("Stay signed in").check()
    await page.locator("form button.primary").click()
    await page.locator("header.site").wait_for()


async def _with_jobs(stack: project.Stack) -> None:
    """A full page of them, for tomorrow: unfinished, and nobody's to take."""
    await stack.owner.execute(
        """select public.enqueue_translation_job('translation', '"Good morning."', array['es', 'fr', 'de'],
             p_user_id => (select id from auth.users where email = %s), p_run_at => now() + interval '1 day')
           from generate_series(1, 50)""",
        [EMAIL],
    )


async def _first_rows(page: Page) -> Figures:
    session = await page.context.new_cdp_session(page)
    figures: Figures = {}
    for name, disabled in (("kept", False), ("not kept", True)):
        await session.send("Network.setCacheDisabled", {"cacheDisabled": disabled})
        took = []
        for _ in range(VISITS):
            await page.reload()
            await page.locator(".job").first.wait_for()
            await waiting.until(lambda: page.evaluate("Boolean(window.first)"), seconds=5)
            took.append(float(await page.evaluate("window.first")))
        figures[f"panel_first_row_ms_{name.replace(' ', '_')}"] = percentile(took, 0.5)
        print(f"first of 50 rows painted, files {name}: {latency(took)}")
    return figures


async def _changes(stack: project.Stack, page: Page) -> Figures:
    lags = []
    for value in range(1, CHANGES + 1):
        await stack.owner.execute(
            """update public.translation_jobs set progress = %s, updated_at = clock_timestamp()
               where id = (select id from public.translation_jobs order by seq desc limit 1)""",
            [value],
        )
        changed_at = time.time() * 1000
        await waiting.until(lambda value=value: page.evaluate(f"window.paints[{value}]"), seconds=20)  # type: ignore[misc]
        lags.append(float(await page.evaluate(f"window.paints[{value}]")) - changed_at)
        await asyncio.sleep(random.uniform(0.7, 1.3))  # not in step with the server's questions
    print(f"database to pixel: {latency(lags)}, p95 {percentile(lags, 0.95):.0f} ms")
    return {"panel_lag_p95_ms": percentile(lags, 0.95)}
