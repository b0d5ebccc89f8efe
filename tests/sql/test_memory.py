"""What a worker may recall for the job it holds: segments and terms, of its user only."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Row, outcomes

Record = Callable[..., list[str]]
KEY = "c" * 64
NOBODYS = "00000000-0000-0000-0000-000000000001"


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


def test_a_segment_is_free_once_somebody_has_paid_for_it_and_who_pays_becomes_its_origin(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    first, second, third, _ = (create("es")["id"] for _ in range(4))
    unpaid, paid, later, other = claim(limit=4)
    remember(db, unpaid, "Hola")
    record(outcomes(other, "completed"))
    assert recall(db, later) == [{"key": KEY, "target": "Hola", "free": False}]
    record(outcomes(unpaid, "failed"))
    assert remember(db, paid, "Hola") == 1, "nobody had paid, so it is this job's now"
    record(outcomes(paid, "completed"))

    assert recall(db, later) == [{"key": KEY, "target": "Hola", "free": True}]
    assert remember(db, later, "Hola") == 0
    assert db.value("select origin_job::text from public.translation_memory") == second
    assert len({first, second, third}) == 3


def test_a_segment_of_a_language_that_failed_is_not_free_because_another_was_paid(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    create("es", "fr")
    create("fr")
    first, second = claim(limit=2)
    db.rpc("remember_translation_memory", **under(first), p_item="fr", p_segments=[{"key": KEY, "target": "Salut"}])
    record(outcomes(first, "completed", ["es"]) + outcomes(first, "failed", ["fr"]))

    assert (
        db.rpc("recall_translation_memory", **under(second), p_target_language="fr", p_keys=[KEY])[0]["free"] is False
    )
    segments = [{"key": KEY, "target": "Salut"}]
    assert db.rpc("remember_translation_memory", **under(second), p_item="fr", p_segments=segments) == 1
    assert db.value("select origin_job::text from public.translation_memory") == second["job_id"]


def test_a_segment_keeps_the_text_that_was_paid_for_with_who_paid(
    db: Database, create: Create, claim: Claim, record: Record
) -> None:
    create("es")
    create("es")
    first, second = claim(limit=2)
    remember(db, first, "Hola")
    record(outcomes(first, "completed"))
    remember(db, second, "Buenas")

    assert db.run("select target, origin_job::text, origin_item from public.translation_memory") == [
        {"target": "Buenas", "origin_job": first["job_id"], "origin_item": "es"}
    ]


@pytest.mark.parametrize("owner", ["user", "nobody"])
def test_no_more_than_five_hundred_segments_are_recalled_at_once(
    db: Database, user: str, create: Create, claim: Claim, owner: str
) -> None:
    create("es", as_=user if owner == "user" else None)
    job = claim()[0]
    keys = [f"{n:064}" for n in range(501)]
    segments = [{"key": key, "target": "Hola"} for key in keys]
    db.rpc("remember_translation_memory", **under(job), p_item="es", p_segments=segments)
    hits = db.rpc("recall_translation_memory", **under(job), p_target_language="es", p_keys=keys)

    assert {hit["key"] for hit in hits} == set(keys[:500])


def test_a_segment_belongs_to_its_user_and_its_language(db: Database, create: Create, claim: Claim) -> None:
    other = db.user(credits=100)
    create("es")
    create("es", as_=other)
    create("es", as_=None)
    jobs = {str(job["user_id"]): job for job in claim(limit=3)}
    assert len(jobs) == 3
    for user, job in jobs.items():
        assert recall(db, job) == []
        remember(db, job, f"Hola {user}")

    for user, job in jobs.items():
        assert [hit["target"] for hit in recall(db, job)] == [f"Hola {user}"]
        again = db.rpc("recall_translation_memory", **under(job), p_target_language="fr", p_keys=[KEY])
        nothing = db.rpc("recall_translation_memory", **under(job), p_target_language="es", p_keys=["d" * 64])
        assert (again, nothing) == ([], [])


@pytest.mark.parametrize("changes", [{"p_token": 0}, {"p_worker_id": "w2"}, {"p_job_id": NOBODYS}], ids=str)
def test_without_the_claim_nothing_is_remembered_or_recalled(
    db: Database, create: Create, claim: Claim, changes: Row
) -> None:
    create("es")
    create("es")
    job, other = claim(limit=2)
    remember(db, other, "Hola")
    stale = under(job, **changes)
    segments = [{"key": "d" * 64, "target": "Adiós"}]

    assert recall(db, job) != []
    assert db.rpc("recall_translation_memory", **stale, p_target_language="es", p_keys=[KEY]) == []
    assert db.rpc("remember_translation_memory", **stale, p_item="es", p_segments=segments) == -1
    assert db.value("select count(*) from public.translation_memory") == 1


def test_what_is_remembered_counts_as_progress_of_that_job_alone(db: Database, create: Create, claim: Claim) -> None:
    create("es")
    create("es")
    job, other = claim(limit=2)
    remember(db, job, "Hola")

    version = "select xmin::text from public.translation_job_claims where job_id = %s"
    before = db.value(version, job["job_id"])
    remember(db, job, "Adiós")

    assert db.value(version, job["job_id"]) == before, "once is enough"
    rows = db.run("select job_id::text, progressed from public.translation_job_claims")
    assert {row["job_id"]: row["progressed"] for row in rows} == {job["job_id"]: True, other["job_id"]: False}


def test_a_segment_without_a_key_or_a_text_is_left_out_and_a_repeated_one_kept_once(
    db: Database, create: Create, claim: Claim
) -> None:
    create("es")
    job = claim()[0]
    segments = [
        {"key": KEY, "target": "Hola"},
        {"key": KEY, "target": "Hola"},
        {"key": None, "target": "x"},
        {"key": "k"},
    ]

    assert db.rpc("remember_translation_memory", **under(job), p_item="es", p_segments=segments) == 1


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

    assert glossary(db, job, "es") == glossary(db, job, "es", p_after_id=None) == ["lamp"]
    assert glossary(db, job, "es", p_token=0) == []
    assert glossary(db, job, "es", p_worker_id="w2") == []
    assert glossary(db, job, "es", p_job_id=NOBODYS) == []


def test_terms_are_recalled_for_fifty_languages_at_once(db: Database, user: str, create: Create, claim: Claim) -> None:
    set_term(db, user, "lamp", "lámpara", "en", "es")
    create("es", source_language="en")
    job = claim()[0]

    assert glossary(db, job, *["fr"] * 49, "es") == ["lamp"]
    assert glossary(db, job, *["fr"] * 50, "es") == []


def test_a_claim_gets_the_terms_of_its_own_job(db: Database, user: str, create: Create, claim: Claim) -> None:
    other = db.user(credits=100)
    set_term(db, user, "lamp", "lámpara", "en", "es")
    set_term(db, other, "door", "puerta", "en", "es")
    for owner in (user, other):
        create("es", as_=owner, source_language="en")
    jobs = {job["user_id"]: job for job in claim(limit=2)}

    assert {owner: glossary(db, job, "es") for owner, job in jobs.items()} == {user: ["lamp"], other: ["door"]}


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
