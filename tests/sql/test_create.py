"""What create makes, and what it refuses: a refusal reserves nothing and stores nothing."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Refused

INSTALL_PATH = Path(__file__).parents[2] / "sql/install.sql"


def counts(db: Database) -> tuple[int, int, int]:
    return (
        db.value("select count(*) from public.translation_jobs"),
        db.value("select count(*) from public.translation_job_items"),
        db.value("select count(*) from public.translation_credit_ledger where kind = 'reserve'"),
    )


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"p_content": ""}, "PT400", "content_empty"),
    ({"p_content": " \n\t "}, "PT400", "content_empty"),
    ({"p_content": None}, "PT400", "content_empty"),
    ({"p_content": {}, "p_content_kind": "json"}, "PT400", "content_empty"),
    ({"p_content": {"n": 1, "b": True}, "p_content_kind": "json"}, "PT400", "content_empty"),
    ({"p_content": "{broken", "p_content_kind": "json"}, "PT422", "content_invalid"),
    ({"p_content": {"a": "b"}, "p_content_kind": "text"}, "PT422", "content_invalid"),
    ({"p_content": "x" * 1_048_600}, "PT413", "content_too_large"),
    ({"p_content_kind": "docx"}, "PT422", "content_kind_unknown"),
    ({"p_target_languages": []}, "PT422", "languages_missing"),
    ({"p_target_languages": None}, "PT422", "languages_missing"),
    ({"p_target_languages": [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"][:51]}, "PT422", "languages_too_many"),
    ({"p_target_languages": ["es", "ES"]}, "PT422", "language_duplicate"),
    ({"p_target_languages": ["es", "klingonese"]}, "PT422", "language_invalid"),
    ({"p_target_languages": ["und"]}, "PT422", "language_invalid"),
    ({"p_target_languages": ["x-klingon"]}, "PT422", "language_invalid"),
    ({"p_target_languages": [""]}, "PT422", "language_invalid"),
    ({"p_target_languages": [None]}, "PT422", "language_invalid"),
    ({"p_target_languages": ["en"], "p_source_language": "EN"}, "PT422", "language_same_as_source"),
    ({"p_source_language": "nonsense-tag-1"}, "PT422", "language_invalid"),
    ({"p_options": {"colour": "red"}}, "PT422", "option_unknown"),
    ({"p_options": [1]}, "PT422", "option_unknown"),
    ({"p_options": {"formality": "rude"}}, "PT422", "option_invalid"),
    ({"p_options": {"max_warnings": -1}}, "PT422", "option_invalid"),
    ({"p_priority": 0}, "PT422", "priority_out_of_range"),
    ({"p_priority": 6}, "PT422", "priority_out_of_range"),
    ({"p_run_at": "2199-01-01T00:00:00Z"}, "PT422", "run_at_too_far"),
    ({"p_title": "t" * 201}, "PT422", "text_too_long"),
    ({"p_idempotency_key": ""}, "PT422", "text_too_long"),
    ({"p_metadata": [1]}, "PT422", "metadata_invalid"),
    ({"p_metadata": {"k": "v" * 17_000}}, "PT422", "metadata_invalid"),
    ({"p_after": ["00000000-0000-0000-0000-00000000dead"]}, "PT404", "parent_not_found"),
    ({"p_target_languages": [f"{a}{b}" for a in "abcd" for b in "efgh"]}, "PT402", "credits_short"),
]


@pytest.mark.parametrize(("change", "code", "word"), REFUSED, ids=[f"{w}-{n}" for n, (_, _, w) in enumerate(REFUSED)])
def test_a_refused_request_reserves_and_stores_nothing(
    db: Database, user: str, change: dict[str, Any], code: str, word: str
) -> None:
    request = {"p_content": "Hello world", "p_target_languages": ["es", "fr"]} | change

    with pytest.raises(Refused) as refusal:
        db.rpc("create_translation_job", user, **request)

    assert (refusal.value.code, refusal.value.word) == (code, word)
    assert refusal.value.message.endswith(".")
    assert counts(db) == (0, 0, 0)
    assert db.rpc("get_translation_credits", user) == {"balance": 100, "reserved": 0}


def test_a_refusal_is_one_short_line_whatever_it_quotes(db: Database, create: Create) -> None:
    """PostgREST writes the message into the status line: a line more would be a header of the caller's making."""
    with pytest.raises(Refused) as refused:
        create("x\r\nSet-Cookie: a=b\x7f")
    with pytest.raises(psycopg.Error) as long:
        db.run("select translation_private.refuse(422, 'word', repeat('ü', 9000))")

    assert refused.value.message == "x Set-Cookie: a=b  is not a language: give a BCP 47 tag such as en or pt-BR."
    assert len((long.value.diag.message_primary or "").encode()) < 8190  # where aiohttp stops reading


def test_an_unknown_job_type_is_refused(db: Database) -> None:
    with pytest.raises(Refused, match="job_type_unknown"):
        db.rpc("enqueue_translation_job", p_job_type="dance", p_content={})


def test_a_switched_off_job_type_is_refused(db: Database, create: Create) -> None:
    db.run("update public.translation_job_types set enabled = false where name = 'translation'")

    with pytest.raises(Refused, match="job_type_disabled"):
        create("es")


def test_a_created_job_is_pending_priced_and_reserved(db: Database, user: str, create: Create) -> None:
    row = create("es", "pt_br", "ZH-hant", source_language="EN", title="Card", subject="card:1", metadata={"a": 1})

    assert row["status"] == "pending"
    assert row["user_id"] == user
    assert row["target_languages"] == ["es", "pt-BR", "zh-Hant"]
    assert row["source_language"] == "en"
    assert (row["credits_reserved"], row["credits_consumed"], row["credits_refunded"]) == (30, 0, 0)
    assert row["content"] is None
    assert db.rpc("get_translation_source", user, p_job_id=row["id"]) == "Hello world"
    assert db.rpc("get_translation_credits", user) == {"balance": 70, "reserved": 30}
    db.check_money()


def test_a_free_type_needs_no_balance_and_writes_no_ledger(db: Database) -> None:
    row = db.rpc("create_translation_job", db.user(), p_content="Hello", p_target_languages=["es"])

    assert row["credits_reserved"] == 0
    assert db.value("select count(*) from public.translation_credit_ledger") == 0


def test_the_price_can_be_seen_before(db: Database, user: str) -> None:
    price = db.rpc(
        "preview_translation_price",
        user,
        p_content={"a": "four", "b": ["x"]},
        p_target_languages=["es", "fr"],
        p_content_kind="json",
    )

    assert price == {"chars": 5, "items": {"es": 10, "fr": 10}, "total": 20, "balance": 100}


def test_an_owner_replaces_the_price_and_running_the_script_again_keeps_it(db: Database, create: Create) -> None:
    db.run(
        """create or replace function public.price_translation_item(
             p_job_type text, p_content_kind text, p_chars int, p_item text, p_options jsonb) returns int
           language sql stable set search_path = '' as $$ select p_chars $$"""
    )
    db.run(INSTALL_PATH.read_text())

    assert create("es", content="12345")["credits_reserved"] == 5


@pytest.mark.parametrize(
    "change",
    [{"content": "Other"}, {"options": {"formality": "more"}}, {"content_kind": "markdown"}, {"source_language": "de"}],
)
def test_the_same_key_with_another_request_is_refused(create: Create, change: dict[str, Any]) -> None:
    create("es", idempotency_key="click")

    with pytest.raises(Refused) as refusal:
        create("es", idempotency_key="click", **change)

    assert (refusal.value.code, refusal.value.word) == ("PT409", "idempotency_conflict")


def test_a_key_belongs_to_one_user(db: Database, create: Create) -> None:
    other = db.user(credits=100)

    assert create("es", idempotency_key="k")["id"] != create("es", idempotency_key="k", as_=other)["id"]


def test_a_job_for_later_is_scheduled_and_starts_when_due(db: Database, create: Create, claim: Claim) -> None:
    db.run("select 1")
    row = create("es", run_at=db.value("select (now() + interval '1 hour')::text"))

    assert row["status"] == "scheduled"
    assert claim() == []

    db.forward("61 minutes")

    assert [job["job_id"] for job in claim()] == [row["id"]]


def test_a_user_creates_at_a_pace(db: Database, user: str, create: Create) -> None:
    db.run("update public.translation_job_types set creates_per_minute = 4, price = 0")
    create("es")
    create("es")

    with pytest.raises(Refused) as refusal:
        create("es")
    assert refusal.value.code == "PT429"
    assert refusal.value.word.startswith("rate_limited retry_after_ms=")

    db.forward("16 seconds")
    create("es")


def test_a_user_may_only_have_so_many_unfinished_jobs(db: Database, create: Create) -> None:
    db.run("update public.translation_job_types set max_waiting_per_user = 2")
    create("es")
    create("fr")

    with pytest.raises(Refused, match="waiting_too_many"):
        create("de")


def test_only_offered_languages_are_taken_once_workers_offer_some(db: Database, create: Create) -> None:
    create("es")
    report = {"job_types": ["translation"], "languages": [["en", "es"], ["*", "de"]]}
    db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)

    create("de", source_language="fr")
    create("es", source_language="en")
    with pytest.raises(Refused, match="language_unknown"):
        create("es", source_language="fr")
    with pytest.raises(Refused, match="language_unknown"):
        create("ja")


def test_a_token_that_outlives_its_user_must_sign_in_again(db: Database, user: str, create: Create) -> None:
    db.run("delete from auth.users where id = %s", user)

    with pytest.raises(Refused, match="sign_in_required"):
        create("es")


def test_a_regional_language_is_taken_where_its_language_and_script_are_offered(db: Database, create: Create) -> None:
    report = {"job_types": ["translation"], "languages": [["en", "es"], ["en", "zh-Hant"], ["en", "sr"]]}
    db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)

    create("es-MX", "zh-TW", "sr-RS", source_language="en-GB")
    for other_script in ("zh-CN", "sr-Latn"):
        with pytest.raises(Refused, match="language_unknown"):
            create(other_script, source_language="en")


def test_a_refused_language_comes_with_the_nearest_ones_on_offer(db: Database, create: Create) -> None:
    offered = [["en", target] for target in ("de", "pt-BR", "es", "pt-PT")]
    report = {"job_types": ["translation"], "languages": offered}
    db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)

    with pytest.raises(Refused) as near:
        create("pt", source_language="en")
    with pytest.raises(Refused) as none:
        create("pt", source_language="fr")

    assert near.value.hint == "On offer are, nearest first: pt-BR, pt-PT, de, es."
    assert none.value.hint == "No running worker translates from fr."


def test_the_owner_enqueues_any_type_for_nobody_or_for_a_user(db: Database, user: str) -> None:
    free = db.rpc(
        "enqueue_translation_job", p_job_type="chore", p_content={"url": "/x"}, p_items=["a", "b"], p_priority=10
    )
    priced = db.rpc(
        "enqueue_translation_job", p_job_type="translation", p_content="Hello", p_items=["es"], p_user_id=user
    )

    assert (free["user_id"], free["credits_reserved"], free["target_languages"], free["priority"]) == (
        None,
        0,
        None,
        10,
    )
    assert priced["credits_reserved"] == 10
    db.check_money()


def test_a_row_typed_into_the_table_editor_works_and_is_not_priced(db: Database, user: str, claim: Claim) -> None:
    db.run(
        "insert into public.translation_jobs (user_id, content, target_languages) values (%s, %s, %s)",
        user,
        '"Hello"',
        ["es", "pt_br"],
    )

    job = claim()[0]

    assert [item["item"] for item in job["items"]] == ["es", "pt-BR"]
    assert db.value("select credits_reserved from public.translation_jobs") == 0
    db.check_money()


def test_a_typed_row_that_makes_no_sense_is_refused(db: Database) -> None:
    with pytest.raises(Exception, match="Name 1 to 50 target languages"):
        db.run("insert into public.translation_jobs (content) values ('\"Hello\"')")


def test_a_status_edited_by_hand_is_refused_with_the_call_to_make(db: Database, create: Create) -> None:
    row = create("es")

    with pytest.raises(Exception, match="cancel_translation_job"):
        db.run("update public.translation_jobs set status = 'completed' where id = %s", row["id"])

    db.run("update public.translation_jobs set title = 'Allowed' where id = %s", row["id"])


def test_a_source_given_as_a_json_string_is_kept_as_it_is(db: Database, user: str, create: Create) -> None:
    source = '{"b":  "Two",\n"a": 1.10}'
    row = create("es", content=source, content_kind="json")

    assert row["content_chars"] == 3
    assert db.rpc("get_translation_source", user, p_job_id=row["id"]) == source
