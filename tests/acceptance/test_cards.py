"""Card translations: a visitor's browser adds a card and asks for nine languages; the card fills itself."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from supabase import AsyncClient, AsyncClientOptions, acreate_client

from tests.acceptance.conftest import Workers
from tests.support.database import Database
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)

NINE = ["es", "fr", "de", "it", "pt", "ca", "pl", "nl", "ja"]
CARD = {"title": "Harbour lamp", "text": "The lamp is lit at dusk by {keeper}.", "room": 7}


@asynccontextmanager
async def visitor(stack: Mapping[str, str]) -> AsyncIterator[tuple[AsyncClient, str]]:
    """The official client of somebody who has just signed up, and the id."""
    async with httpx.AsyncClient() as http:  # one that is closed at the end
        client = await acreate_client(
            stack["SUPABASE_URL"], stack["SUPABASE_PUBLISHABLE_KEY"], options=AsyncClientOptions(httpx_client=http)
        )
        signed: Any = await client.auth.sign_up(
            {"email": f"{uuid.uuid4().hex}@example.test", "password": "correct horse battery"}
        )
        yield client, signed.user.id
        await client.auth.sign_out()


async def read(client: AsyncClient, what: str, **params: Any) -> Any:
    return (await client.rpc(what, params).execute()).data


async def test_a_card_fills_itself_in_nine_languages_and_one_that_fails_is_given_back(
    project: Database, stack: Mapping[str, str], workers: Workers
) -> None:
    async with visitor(stack) as (ada, ada_id), visitor(stack) as (bob, _), workers.start():
        project.rpc("grant_translation_credits", p_user_id=ada_id, p_amount=100)
        added: Any = await ada.table("museum_cards").insert({"user_id": ada_id, "card": CARD}).execute()
        card = added.data[0]["id"]
        created = await read(
            ada,
            "create_translation_job",
            p_content=CARD,
            p_content_kind="json",
            p_source_language="en",
            p_target_languages=NINE,
            p_subject=f"museum_card:{card}",
            p_options={"simulate": {"fail": {"ja": {"class": "content_blocked"}}}},
            p_idempotency_key=f"card:{card}:1",
        )
        over = "select completed_at is not null from public.translation_jobs where id = %s"
        await until(lambda: project.value(over, created["id"]), "the job ends", seconds=60)
        job = await read(ada, "get_translation_job", p_job_id=created["id"])
        filled: Any = await ada.table("museum_cards").select("translations").eq("id", card).execute()
        credits = await read(ada, "get_translation_credits")
        strangers: Any = await bob.table("museum_cards").select("*").execute()
        theirs = await read(bob, "list_translation_jobs")

    translations = filled.data[0]["translations"]
    assert (job["status"], job["failed_items"]) == ("completed", 1)
    assert sorted(translations) == sorted(set(NINE) - {"ja"})
    assert all(one["room"] == 7 and "{keeper}" in one["text"] for one in translations.values())
    assert all(one["title"] != CARD["title"] for one in translations.values())
    assert (job["credits_reserved"], job["credits_consumed"], job["credits_refunded"]) == (90, 80, 10)
    assert credits == {"balance": 20, "reserved": 0}
    assert (strangers.data, theirs) == ([], [])
    project.check_money()


async def test_a_card_that_is_deleted_meanwhile_harms_no_other(
    project: Database, stack: Mapping[str, str], workers: Workers
) -> None:
    async with visitor(stack) as (ada, ada_id):
        project.rpc("grant_translation_credits", p_user_id=ada_id, p_amount=100)
        cards = []
        for _ in range(2):
            added: Any = await ada.table("museum_cards").insert({"user_id": ada_id, "card": CARD}).execute()
            cards.append(added.data[0]["id"])
            await read(
                ada,
                "create_translation_job",
                p_content=CARD,
                p_content_kind="json",
                p_target_languages=["es", "fr"],
                p_subject=f"museum_card:{cards[-1]}",
            )
        project.run("delete from public.museum_cards where id = %s", cards[0])
        async with workers.start():
            await until(
                lambda: project.value("select count(*) from public.translation_jobs where status = 'completed'") == 2,
                "both jobs end",
                seconds=60,
            )
        filled: Any = await ada.table("museum_cards").select("id, translations").execute()

    assert [(row["id"], sorted(row["translations"])) for row in filled.data] == [(cards[1], ["es", "fr"])]
    project.check_money()
