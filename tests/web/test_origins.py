"""Pages of other origins: nobody's by default, and with the setting those that it names."""

import pytest

from tests.support.database import Database
from tests.web import site as sites
from tests.web.site import Site, User
from worker.devstack.stack import Stack

APP = "https://app.example.com"
ASKED = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}


async def test_without_the_setting_no_other_page_may_read(site: Site, ada: User) -> None:
    preflight = await site.ask("OPTIONS", "/api/jobs", headers=ASKED)
    answer = await ada.ask("GET", "/api/jobs", headers={"Origin": APP})

    assert preflight.status == 405
    assert not [name for name in (*preflight.headers, *answer.headers) if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("origins", "allowed"), [((APP,), True), (("*",), True), (("https://else.example.com",), False)]
)
async def test_with_the_setting_pages_of_these_origins_may(
    web_stack: Stack, web_project: Database, origins: tuple[str, ...], allowed: bool
) -> None:
    async with sites.running(web_stack, web_project, cors_origins=origins) as site:
        ada = site.user()
        preflight = await site.ask("OPTIONS", "/api/jobs", headers=ASKED)
        answer = await ada.ask("GET", "/api/jobs", headers={"Origin": APP})
        refused = await site.ask("GET", "/api/jobs", headers={"Origin": APP})
        async with ada.stream(headers={"Origin": APP}) as live:
            streamed = live.answer.headers

        told = {headers.get("Access-Control-Allow-Origin") for headers in (answer.headers, refused.headers, streamed)}
        assert told == {APP if allowed else None}
        assert (preflight.status, "Access-Control-Allow-Headers" in preflight.headers) == (
            (204, True) if allowed else (405, False)
        )
        assert "Access-Control-Allow-Credentials" not in preflight.headers
