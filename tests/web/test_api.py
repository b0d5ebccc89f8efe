"""Every route, every status: what a user sends and what comes back."""

from typing import Any

import pytest
from yarl import URL

from tests.support.database import claim, outcomes
from tests.web.site import Site, User


def work(site: Site, outcome: str = "completed", items: list[str] | None = None, **more: Any) -> None:
    """Do as a worker does: claim the next job and hand in *items* (all of them)."""
    job = claim(site.project)
    site.project.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(job, outcome, items, **more))


NEW = {"content": "The ferry leaves at noon.", "target_languages": ["es", "fr"]}


async def test_a_job_is_created_seen_and_listed(site: Site, ada: User) -> None:
    made = await ada.ask("POST", "/api/jobs", json={**NEW, "title": "Ferry", "subject": "notice:7"})

    assert made.status == 202
    assert made.json["status"] == "pending"
    assert made.headers["Location"] == f"/api/jobs/{made.json['job_id']}"
    seen = (await ada.ask("GET", made.headers["Location"])).json
    assert (seen["title"], seen["credits_open"], seen["progress"], seen["simulated"]) == ("Ferry", 20, 0, False)
    assert [item["item"] for item in seen["items"]] == ["es", "fr"]
    assert seen["correlation_id"] == made.headers["X-Request-ID"]
    assert not {"user_id", "worker_id", "content", "turn", "request_hash"} & set(seen)
    (listed,) = (await ada.ask("GET", "/api/jobs")).json["jobs"]
    del seen["as_of"], listed["as_of"]
    assert listed == seen


async def test_a_request_id_that_is_sent_comes_back_and_stays_on_the_job(ada: User) -> None:
    made = await ada.ask("POST", "/api/jobs", json=NEW, headers={"X-Request-ID": "order-77"})
    odd = await ada.ask("GET", "/api/credits", headers={"X-Request-ID": "a b<c>"})

    assert made.headers["X-Request-ID"] == "order-77"
    assert (await ada.ask("GET", made.headers["Location"])).json["correlation_id"] == "order-77"
    assert "<" not in odd.headers["X-Request-ID"]


async def test_the_same_idempotency_key_answers_with_the_same_job(ada: User) -> None:
    first, again = [await ada.ask("POST", "/api/jobs", json={**NEW, "idempotency_key": "k"}) for _ in range(2)]
    other = await ada.ask("POST", "/api/jobs", json={**NEW, "content": "Another.", "idempotency_key": "k"})

    assert first.json["job_id"] == again.json["job_id"]
    assert (other.status, other.code) == (409, "idempotency_conflict")


async def test_lists_are_paged_and_filtered(site: Site, ada: User) -> None:
    ids = [ada.job("es", title=f"Card {n}", subject=f"card:{n % 2}") for n in range(5)]
    site.project.rpc("cancel_translation_job", ada.id, p_job_id=ids[0])

    first = (await ada.ask("GET", "/api/jobs?limit=2")).json
    second = (await ada.ask("GET", f"/api/jobs?limit=2&before={first['next']}")).json
    last = (await ada.ask("GET", f"/api/jobs?limit=2&before={second['next']}")).json
    assert [job["id"] for page in (first, second, last) for job in page["jobs"]] == ids[::-1]
    assert last["next"] is None

    async def found(query: str) -> list[str]:
        return [job["id"] for job in (await ada.ask("GET", f"/api/jobs?{query}")).json["jobs"]]

    assert await found("status=cancelled") == [ids[0]]
    assert await found("status=pending,processing&subject=card:0") == [ids[4], ids[2]]
    assert await found("search=CARD%203") == [ids[3]]
    assert await found("search=%25") == []
    assert await found("type=http") == []
    assert await found("until=2020-01-01T00:00:00Z") == []
    assert len(await found("since=2020-01-01T00:00:00%2B02:00")) == 5


async def test_partly_done_jobs_can_be_asked_for_apart(site: Site, ada: User) -> None:
    partly = ada.job("es", "fr")
    work(site, items=["es"])
    site.project.run("update public.translation_job_items set status = status where true")
    whole = ada.job("es")
    (job,) = site.project.run("select job_id::text, token from public.translation_job_claims where job_id = %s", partly)
    site.project.rpc("record_translation_results", p_worker_id="w1", p_results=outcomes(job, "failed", ["fr"]))
    work(site)

    async def found(status: str) -> list[str]:
        return [job["id"] for job in (await ada.ask("GET", f"/api/jobs?status={status}")).json["jobs"]]

    assert await found("completed") == [whole]
    assert await found("partly") == [partly]
    assert await found("partly,completed") == [whole, partly]
    counts = (await ada.ask("GET", "/api/jobs/counts")).json
    assert counts["finished"] == {"completed": 1, "partly": 1, "failed": 0, "cancelled": 0}


async def test_jobs_are_counted_by_state_and_subject(site: Site, ada: User, bob: User) -> None:
    for subject in ("card:1", "card:1", "card:2"):
        ada.job("es", subject=subject)
    bob.job("es", subject="card:1")

    everything = (await ada.ask("GET", "/api/jobs/counts")).json
    one = (await ada.ask("GET", "/api/jobs/counts?subject=card:1")).json

    assert everything["active"] == {"pending": 3, "scheduled": 0, "blocked": 0, "processing": 0, "retrying": 0}
    assert one["active"]["pending"] == 2
    assert everything["capped"] == 1000


async def test_a_price_is_told_before_and_without_the_text(ada: User) -> None:
    price = (await ada.ask("POST", "/api/jobs/preview", json=NEW)).json
    bare = (await ada.ask("POST", "/api/jobs/preview", json={"target_languages": ["es"]})).json

    chars = len(str(NEW["content"]))
    assert price["credits"] == 20
    assert price["balance"] == 100
    assert price["items"] == [{"item": name, "credits": 10, "chars": chars} for name in ("es", "fr")]
    assert bare["items"] == [{"item": "es", "credits": 10, "chars": 0}]


async def test_sources_results_attempts_and_money_of_a_job(site: Site, ada: User) -> None:
    job = ada.job("es", "fr", content={"a": "One"}, content_kind="json")
    unfinished = await ada.ask("GET", f"/api/jobs/{job}/items/es")
    work(site)

    assert (unfinished.status, unfinished.code) == (409, "item_not_finished")
    source = (await ada.ask("GET", f"/api/jobs/{job}/source")).json
    assert source == {"content": {"a": "One"}, "content_kind": "json"}
    result = (await ada.ask("GET", f"/api/jobs/{job}/items/es")).json
    assert (result["item"], result["content"], result["provider"], result["credits"]) == ("es", "…", "test", 10)
    missing = await ada.ask("GET", f"/api/jobs/{job}/items/de")
    assert (missing.status, missing.code) == (404, "item_not_found")
    (attempt,) = (await ada.ask("GET", f"/api/jobs/{job}/attempts")).json["attempts"]
    assert (attempt["outcome"], attempt["delivery"]) == ("completed", 1)
    assert "worker_id" not in attempt
    movements = (await ada.ask("GET", f"/api/jobs/{job}/credits")).json["movements"]
    assert [(line["kind"], line["amount"]) for line in movements] == [
        *[("reserve", 10)] * 2,
        *[("consume", 10)] * 2,
    ]


async def test_a_cancel_is_final_and_a_second_one_refused(ada: User) -> None:
    job = ada.job("es", "fr")
    cancelled = await ada.ask("DELETE", f"/api/jobs/{job}")
    again = await ada.ask("DELETE", f"/api/jobs/{job}")

    assert cancelled.status == 200
    assert (cancelled.json["status"], cancelled.json["credits_refunded"]) == ("cancelled", 20)
    assert {item["status"] for item in cancelled.json["items"]} == {"cancelled"}
    assert (again.status, again.code) == (409, "job_finished")


async def test_a_retry_makes_one_new_job_and_says_when_there_is_none_to_make(site: Site, ada: User) -> None:
    job = ada.job("es", "fr")
    running = await ada.ask("POST", f"/api/jobs/{job}/retry")
    work(site, "failed")
    first, again = [await ada.ask("POST", f"/api/jobs/{job}/retry") for _ in range(2)]
    done = ada.job("es")
    site.project.run("update public.translation_jobs set priority = 10 where id = %s", done)
    work(site)
    nothing = await ada.ask("POST", f"/api/jobs/{done}/retry")

    assert (running.status, running.code) == (409, "job_not_finished")
    assert first.status == 202
    assert first.json["job_id"] == again.json["job_id"]
    assert (await ada.ask("GET", f"/api/jobs/{job}")).json["retried_by"] == first.json["job_id"]
    assert (nothing.status, nothing.code) == (409, "nothing_to_retry")


async def test_credits_and_languages(site: Site, ada: User) -> None:
    ada.job("es")
    pairs = {"job_types": ["translation"], "languages": [["en", "es"], ["*", "fr"]]}
    site.project.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=pairs)

    assert (await ada.ask("GET", "/api/credits")).json == {"balance": 90, "reserved": 10}
    assert (await ada.ask("GET", "/api/languages")).json == {"pairs": [["*", "fr"], ["en", "es"]]}


async def test_refusals_of_the_database_come_as_they_are(site: Site, ada: User) -> None:
    short = await ada.ask("POST", "/api/jobs", json={**NEW, "target_languages": [f"{a}a" for a in "abcdefghijk"]})
    same = await ada.ask("POST", "/api/jobs", json={**NEW, "source_language": "es"})
    site.project.run("update public.translation_job_types set creates_per_minute = 1 where name = 'translation'")
    busy = [await ada.ask("POST", "/api/jobs", json={**NEW, "target_languages": ["es"]}) for _ in range(3)][-1]
    site.project.run("update public.translation_job_types set creates_per_minute = 120 where name = 'translation'")

    assert (short.status, short.code) == (402, "credits_short")
    assert (same.status, same.code) == (422, "language_same_as_source")
    assert (busy.status, busy.code) == (429, "rate_limited")
    assert 0 < int(busy.headers["Retry-After"]) <= 60


async def test_hostile_titles_are_data(ada: User) -> None:
    title = "<script>alert(1)</script>\u202e \"'`${x}"
    made = await ada.ask("POST", "/api/jobs", json={**NEW, "title": title, "metadata": {"<b>": title}})
    seen = await ada.ask("GET", made.headers["Location"])

    assert seen.json["title"] == title
    assert seen.json["metadata"] == {"<b>": title}
    assert seen.headers["Content-Type"].startswith("application/json")
    assert seen.headers["X-Content-Type-Options"] == "nosniff"
    assert seen.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/nothing", 404, "not_found"),
        ("PATCH", "/api/jobs", 405, "method_not_allowed"),
        ("GET", "/api/jobs/no-id", 404, "job_not_found"),
        ("GET", "/api/jobs/%00", 404, "job_not_found"),
        ("GET", "/api/jobs?limit=0", 422, "query_invalid"),
        ("GET", "/api/jobs?limit=1&limit=2", 422, "query_invalid"),
        ("GET", "/api/jobs?status=lost", 422, "query_invalid"),
        ("GET", "/api/jobs?since=yesterday", 422, "query_invalid"),
        ("GET", "/api/jobs?search=%00", 422, "query_invalid"),
        ("GET", "/api/jobs?colour=red", 422, "query_invalid"),
        ("GET", "/api/jobs?search=%FF%FE", 200, ""),
    ],
)
async def test_odd_addresses_have_an_answer(ada: User, method: str, path: str, status: int, code: str) -> None:
    answer = await ada.site.http.request(
        method, URL(ada.site.url + path, encoded=True), headers={"Authorization": f"Bearer {ada.token}"}
    )

    assert answer.status == status
    if code:
        assert (await answer.json())["error"]["code"] == code


async def test_a_database_that_is_away_is_503_and_says_when_to_come_back(site: Site, ada: User) -> None:
    await ada.ask("GET", "/api/credits")  # the project's keys are known by now
    site.stack.faults.rest_status = 503
    try:
        answer = await ada.ask("GET", "/api/credits")
    finally:
        site.stack.faults.clear()

    assert (answer.status, answer.code) == (503, "database_unavailable")
    assert answer.headers["Retry-After"] == "5"
