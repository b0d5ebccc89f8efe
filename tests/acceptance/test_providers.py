"""Providers as a running worker uses them: taking over from each other, and saying what they offer."""

import json
from typing import Any

import pytest

from tests.acceptance.conftest import Workers
from tests.acceptance.test_corridor import LISTENING, create, ended
from tests.support.database import Database, Refused
from tests.support.provider import Provider
from tests.support.providers import Call, serving

pytestmark = pytest.mark.timeout(120)


def language_model(call: Call) -> Any:
    sent = json.loads(call.body["messages"][1]["content"])
    items = [{"id": item["id"], "text": f"{sent['target_language'].upper()} {item['text']}"} for item in sent["items"]]
    content = json.dumps({"detected_source": "en", "items": items})
    return {"choices": [{"finish_reason": "stop", "message": {"content": content}}], "usage": {"total_tokens": 9}}


async def test_the_next_provider_takes_over_from_one_without_money_and_is_named(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=1000)
    async with serving(language_model) as model:
        chain = {
            "TRANSLATOR": "openai,libretranslate",
            "OPENAI_BASE_URL": f"{model.url}/v1",
            "OPENAI_MODEL": "m",
            "OPENAI_API_KEY": "sk-SECRET",
        }
        async with workers.start(**chain, LIBRETRANSLATE_URL=server.url) as worker:
            await worker.says(LISTENING)
            (before,) = await ended(project, create(project, user, "es", content="The lamp is lit."))
            for _ in range(20):
                model.then(429, {"error": {"type": "insufficient_quota", "message": "no, sk-SECRET"}})
            rows = await ended(project, *[create(project, user, "es", "fr", content=f"Door {n}.") for n in range(3)])
            await worker.says("Provider is not asked for a while")
            assert "SECRET" not in "\n".join(worker.lines)

    results = [project.rpc("get_translation_result", user, p_job_id=row["id"], p_item="es") for row in (before, *rows)]
    assert [result["provider"] for result in results] == ["openai"] + ["libretranslate"] * 3
    assert {(row["status"], row["attempts"]) for row in rows} == {("completed", 1)}
    # A burst finds out together; from then on nobody asks.
    assert len(model.posts) <= 10
    project.check_money()


async def test_languages_that_no_running_worker_offers_are_refused_before_anything_is_reserved(
    project: Database, workers: Workers, server: Provider
) -> None:
    user = project.user(credits=100)
    async with workers.with_provider(server) as worker:
        await worker.says(LISTENING)
        assert project.value("select count(*) > 50 from public.translation_languages")
        with pytest.raises(Refused) as refused:
            create(project, user, "tlh")
        create(project, user, "ja")

    assert (refused.value.code, refused.value.word) == ("PT422", "language_unknown")
    assert project.value("select count(*) from public.translation_jobs") == 1
