"""What people do in the panel: cancel, retry, create."""

import json
from typing import Any

import pytest

from tests.web.panel.conftest import OpenPanel, playwright
from tests.web.panel.scripted import Script, item, job

pytestmark = pytest.mark.asyncio(loop_scope="session")
expect = playwright.expect


def halfway() -> dict[str, Any]:
    return job(
        "processing",
        item("es", "completed", price=120, credits=120),
        item("fr", "processing", price=120, progress=40),
        item("ja", "pending", price=120),
        title="Handbook", credits_reserved=360, credits_consumed=120, credits_open=240,
    )  # fmt: skip


async def test_a_cancel_says_first_what_stays_and_what_comes_back(open_panel: OpenPanel, script: Script) -> None:
    script.put(halfway())
    page = await open_panel()
    await page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.locator("li")).to_have_text(
        ["Ends now: French and Japanese.", "Stays with you: Spanish.", "240 credits come back to you."]
    )
    assert ("DELETE", f"/api/jobs/{next(iter(script.jobs))}") not in script.calls
    await dialog.get_by_role("button", name="Cancel the job").click()

    await expect(page.locator(".job.cancelled .sum")).to_contain_text("refunded 240")
    await expect(page.locator(".toast")).to_contain_text("“Handbook” is cancelled. 240 credits refunded.")
    await expect(dialog).to_have_count(0)


async def test_a_cancel_that_comes_too_late_shows_how_the_job_ended(open_panel: OpenPanel, script: Script) -> None:
    running = halfway()
    script.put(running)
    page = await open_panel()
    await page.get_by_role("button", name="Cancel").click()
    ended = {**running, "status": "completed", "items": [item("es", "completed")]}
    script.jobs[running["id"]] = ended  # nobody has told the page yet
    await page.get_by_role("button", name="Cancel the job").click()

    await expect(page.locator(".toast")).to_contain_text("The job has already ended.")
    await expect(page.locator(".job.completed")).to_have_count(1)


async def test_a_retry_names_its_price_first_and_takes_only_what_failed(open_panel: OpenPanel, script: Script) -> None:
    script.price = 50
    script.credits = {"balance": 70, "reserved": 0}
    partly = job("completed", item("es", "completed"), item("de", "failed", price=120), title="Mirror")
    script.put(partly)
    page = await open_panel()
    await page.get_by_role("button", name="Retry").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.locator("li")).to_have_text(
        ["A new job translates German.", "It costs up to 50 credits.", "You have 70 credits."]
    )
    await dialog.get_by_role("button", name="Try again").click()

    await expect(page.locator(".job.waiting .chip .name")).to_have_text(["Deutsch"])
    await expect(page.get_by_role("button", name="Retry")).to_have_count(0)  # it has been retried


async def test_a_retry_that_cannot_be_paid_is_not_offered(open_panel: OpenPanel, script: Script) -> None:
    script.price = 50
    script.credits = {"balance": 10, "reserved": 0}
    script.put(job("failed", item("de", "failed", price=120)))
    page = await open_panel()
    await page.get_by_role("button", name="Retry").click()

    await expect(page.get_by_role("alert")).to_have_text("Your credits do not suffice.")
    await expect(page.get_by_role("button", name="Try again")).to_be_disabled()


async def test_a_text_is_priced_before_it_is_sent(open_panel: OpenPanel, script: Script) -> None:
    script.price = 15
    script.credits = {"balance": 1000, "reserved": 0}
    page = await open_panel()
    await page.keyboard.press("n")
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Text", exact=True).fill("The ferry leaves at noon.")
    await dialog.get_by_placeholder("Find a language").fill("日本")
    await dialog.get_by_role("checkbox", name="日本語").check()
    await dialog.get_by_placeholder("Find a language").fill("span")
    await dialog.get_by_role("checkbox", name="Español").check()
    await expect(dialog.locator(".price")).to_contain_text("Up to 30 credits")
    await expect(dialog.locator(".price")).to_contain_text("25 characters")
    assert script.bodies == []
    await dialog.get_by_label("Text", exact=True).press("Control+Enter")

    await expect(page.locator(".job .chip .name")).to_have_text(["日本語", "Español"])
    sent = script.bodies[0]
    assert sent.pop("idempotency_key").startswith("panel-")
    assert sent == {
        "content": "The ferry leaves at noon.", "content_kind": "text", "target_languages": ["ja", "es"],
        "source_language": None, "title": None,
    }  # fmt: skip


async def test_a_language_that_is_not_in_the_list_can_be_typed(open_panel: OpenPanel, script: Script) -> None:
    page = await open_panel()
    await page.keyboard.press("n")
    await page.get_by_label("Text", exact=True).fill("The ferry leaves at noon.")
    await page.get_by_placeholder("Find a language").fill("es-MX")
    await page.get_by_role("checkbox").check()
    await page.get_by_role("button", name="Translate").click()
    await expect(page.locator(".job")).to_have_count(1)

    assert script.bodies[0]["target_languages"] == ["es-MX"]


async def test_only_languages_that_are_offered_are_shown(open_panel: OpenPanel, script: Script) -> None:
    script.pairs = [["en", "es"], ["en", "de"], ["es", "ca"]]
    page = await open_panel()
    await page.keyboard.press("n")
    options = page.locator(".option span")
    await expect(options).to_have_text(["Català", "Deutsch", "Español"])
    await page.get_by_label("From").select_option("en")

    await expect(options).to_have_text(["Deutsch", "Español"])


@pytest.mark.parametrize(
    ("name", "kind"), [("a.md", "markdown"), ("a.json", "json"), ("a.txt", "text"), ("a.html", "html")]
)
async def test_a_dropped_file_brings_its_text_its_kind_and_its_name(
    open_panel: OpenPanel, name: str, kind: str
) -> None:
    page = await open_panel()
    await page.keyboard.press("n")
    await page.locator(".drop").wait_for()
    await drop(page, name, list("Grüße, 世界".encode()))

    await expect(page.get_by_label("Text", exact=True)).to_have_value("Grüße, 世界")
    await expect(page.get_by_label("Kind")).to_have_value(kind)
    await expect(page.get_by_label("Title")).to_have_value(name)


@pytest.mark.parametrize(
    ("content", "words"),
    [([0xFF, 0xFE, 0x41], "not plain text"), ([65, 0, 66], "not plain text"), (None, "larger than 1 MB")],
)
async def test_a_file_that_is_no_text_is_refused_with_a_sentence(
    open_panel: OpenPanel, content: list[int] | None, words: str
) -> None:
    page = await open_panel()
    await page.keyboard.press("n")
    await page.locator(".drop").wait_for()
    await drop(page, "a.txt", content)

    await expect(page.get_by_role("alert")).to_contain_text(words)
    await expect(page.get_by_label("Text", exact=True)).to_have_value("")


async def drop(page: Any, name: str, content: list[int] | None) -> None:
    """As if a file of *content* (None: of 1.2 MB) were let go over the field."""
    script = """([name, content]) => {
        const data = new DataTransfer()
        data.items.add(new File([content ? new Uint8Array(content) : 'x'.repeat(1_200_000)], name))
        document.querySelector('.drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true }))
    }"""
    await page.evaluate(script, [name, content])


async def test_what_the_server_refuses_stays_in_the_form(open_panel: OpenPanel, script: Script) -> None:
    page = await open_panel()

    async def refuse(route: Any) -> None:
        body = {"error": {"code": "credits_short", "message": "You have 3 credits, this costs 9.", "hint": None}}
        await route.fulfill(status=402, body=json.dumps(body), content_type="application/json")

    await page.route("**/api/jobs", refuse)
    await page.keyboard.press("n")
    await page.get_by_label("Text", exact=True).fill("The ferry leaves at noon.")
    await page.get_by_role("checkbox", name="Español").check()
    await page.get_by_role("button", name="Translate").click()

    await expect(page.get_by_role("alert")).to_have_text("You have 3 credits, this costs 9.")
    await expect(page.get_by_label("Text", exact=True)).to_have_value("The ferry leaves at noon.")
