"""What a worker may recall for the job it holds: segments and terms, of its user only."""

from collections.abc import Callable
from typing import Any

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Row, outcomes

Record = Callable[..., list[str]]
KEY = "c" * 64


def under(job: Row, **changes: Any) -> Row:
    return {"p_worker_id": "w1", "p_job_id": job["job_id"], "p_token": job["token"], **changes}


def remember(db: Database, job: Row, target: str) -> int:
    kept: int = db.rpc(
        "remember_translation_memory", **under(job), p_item="es", p_segments=[{"key": KEY, "target": target}]
    )
    return kept


def recall(db: Database, job: Row) -> list[Row]:
    hits: list[Row] = db.rpc("recall_translation_memory", **under(job), p_target_language="es", p_keys=[KEY])
    return hits


def glossary(db: Database, job: Row, *languages: str, **changes: Any) -> list[str]:
    rows = db.rpc("recall_translation_glossary", **under(job, **changes), p_target_languages=list(languages))
    return [row["term"] for row in rows]


# Segments


def test_the_newest_text_of_a_segment_wins_and_who_paid_stays_its_origin(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    create("es")
    first = claim()[0]
    remember(db, first, "Hola")
    record(outcomes(first, "completed"))
    create("es")
    second = claim()[0]

    assert remember(db, second, "Buenos días") == 1
    assert recall(db, second) == [{"key": KEY, "target": "Buenos días", "free": True}]
    origin = db.run("select origin_job::text from public.translation_memory")
    assert origin == [{"origin_job": first["job_id"]}]


def test_remembering_the_same_again_writes_nothing(db: Database, create: Create, claim: Claim) -> None:
    create("es")
    job = claim()[0]

    assert [remember(db, job, "Hola"), remember(db, job, "Hola")] == [1, 0]


# Terms


def set_term(db: Database, user: str, term: str, translation: str | None, source: str, target: str) -> None:
    db.rpc(
        "set_translation_term",
        user,
        p_source_language=source,
        p_target_language=target,
        p_term=term,
        p_translation=translation,
        p_do_not_translate=translation is None,
    )


def test_a_claim_recalls_the_terms_of_its_user_for_its_languages(
    db: Database, user: str, create: Create, claim: Claim
) -> None:
    other = db.user(credits=100)
    set_term(db, user, "lamp", "lámpara", "en", "es")
    set_term(db, user, "door", None, "en", "pt")
    set_term(db, user, "Tür", "puerta", "de", "es")
    set_term(db, user, "window", "fenêtre", "en", "fr")
    set_term(db, other, "secret", "secreto", "en", "es")
    create("es", "pt-BR", source_language="en-US")
    create("es", as_=other, source_language="en")
    create("es")
    mine, theirs, open_source = claim(limit=3)

    assert glossary(db, mine, "es", "pt-BR") == ["lamp", "door"]
    assert glossary(db, theirs, "es") == ["secret"]
    assert glossary(db, open_source, "es") == ["lamp", "Tür"]
    row = db.rpc("recall_translation_glossary", **under(mine), p_target_languages=["pt-BR"])[0]
    assert row == {
        "id": row["id"],
        "source_language": "en",
        "target_language": "pt",
        "term": "door",
        "translation": None,
        "do_not_translate": True,
        "case_sensitive": False,
    }


def test_without_the_claim_there_are_no_terms(db: Database, user: str, create: Create, claim: Claim) -> None:
    set_term(db, user, "lamp", "lámpara", "en", "es")
    create("es", source_language="en")
    job = claim()[0]

    assert glossary(db, job, "es") == ["lamp"]
    assert glossary(db, job, "es", p_token=0) == []
    assert glossary(db, job, "es", p_worker_id="w2") == []


def test_terms_come_a_thousand_at_a_time(db: Database, user: str, create: Create, claim: Claim) -> None:
    db.run(
        """insert into public.translation_glossary (user_id, source_language, target_language, term, translation)
           select %s, 'en', 'es', 'term ' || n, 'término ' || n from generate_series(1, 1500) as n""",
        user,
    )
    create("es", source_language="en")
    job = claim()[0]
    first = db.rpc("recall_translation_glossary", **under(job), p_target_languages=["es"])
    rest = db.rpc("recall_translation_glossary", **under(job), p_target_languages=["es"], p_after_id=first[-1]["id"])

    assert (len(first), len(rest)) == (1000, 500)
    assert len({row["term"] for row in first + rest}) == 1500
