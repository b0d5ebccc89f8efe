"""What keeps strangers out, and the ways around it. The table of who may do what stands in tests/security."""

from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Create
from tests.support.database import Database, Refused

# Of this project: the example's own trigger and the clock that tests replace are not.
OURS = """p.pronamespace in ('public'::regnamespace, 'translation_private'::regnamespace)
          and p.proname not in ('fill_museum_card', 'clock')"""


def test_every_table_has_row_security_a_key_and_comments(db: Database) -> None:
    bare = db.run(
        """select c.relname from pg_class c
           where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'translation_private'::regnamespace)
             and c.relname like any (array['translation%', 'create_budget', 'series', 'rolled_up'])
             and (not c.relrowsecurity or obj_description(c.oid) is null
                  or not exists (select from pg_constraint k where k.conrelid = c.oid and k.contype = 'p'))"""
    )
    silent = db.run(
        """select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid
           where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace and c.relname like 'translation%'
             and a.attnum > 0 and not a.attisdropped and col_description(c.oid, a.attnum) is null"""
    )

    assert bare == []
    assert silent == []


def test_every_function_has_an_empty_search_path_a_comment_and_one_signature(db: Database) -> None:
    rows = db.run(
        f"""select p.proname, p.proconfig, obj_description(p.oid) as comment, p.prosecdef,
              p.pronamespace::regnamespace::text as schema from pg_proc p where {OURS}"""
    )

    assert [r["proname"] for r in rows if 'search_path=""' not in (r["proconfig"] or [])] == []
    assert [r["proname"] for r in rows if not r["comment"]] == []
    assert len({r["proname"] for r in rows}) == len(rows)
    assert [r["proname"] for r in rows if r["prosecdef"] and r["schema"] == "public"] == []


def test_foreign_keys_start_an_index(db: Database) -> None:
    missing = db.run(
        """select k.conrelid::regclass::text as "table", k.conname from pg_constraint k
           where k.contype = 'f' and k.connamespace = 'public'::regnamespace and not exists (
             select from pg_index i
             where i.indrelid = k.conrelid and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] = k.conkey)"""
    )

    assert missing == []


@pytest.fixture
def stranger(db: Database) -> str:
    return db.user(credits=100)


@pytest.mark.parametrize(
    "call", ["get_translation_job", "get_translation_source", "cancel_translation_job", "retry_translation_job"]
)
def test_another_users_job_does_not_exist(db: Database, create: Create, stranger: str, call: str) -> None:
    row = create("es")

    with pytest.raises(Refused) as theirs:
        db.rpc(call, stranger, p_job_id=row["id"])
    with pytest.raises(Refused) as nobodys:
        db.rpc(call, stranger, p_job_id="00000000-0000-0000-0000-00000000dead")

    assert str(theirs.value) == str(nobodys.value)
    assert theirs.value.code == "PT404"


def test_anonymous_callers_are_turned_away(db: Database) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.rpc("create_translation_job", "anon", p_content="x", p_target_languages=["es"])


def test_a_signed_in_token_without_a_subject_is_nobody_not_the_owner(db: Database, create: Create) -> None:
    row = create("es")

    with db.session() as session:
        session.run("reset role")
        session.run("""select set_config('request.jwt.claims', '{"role": "authenticated"}', true)""")
        session.run("set local role authenticated")
        with pytest.raises(Refused, match="sign_in_required"):
            session.rpc("cancel_translation_job", p_job_id=row["id"])


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("grant_translation_credits", {"p_user_id": "00000000-0000-0000-0000-000000000001", "p_amount": 5}),
        (
            "claim_translation_jobs",
            {"p_worker_id": "w", "p_limit": 1, "p_lease_ms": 1, "p_job_types": [], "p_claim_id": None},
        ),
        ("record_translation_results", {"p_worker_id": "w", "p_results": []}),
        ("enqueue_translation_job", {"p_job_type": "chore", "p_content": {}}),
        ("rescue_translation_jobs", {}),
        ("heartbeat_translation_worker", {"p_worker_id": "w", "p_report": {}}),
    ],
)
def test_a_user_can_neither_work_nor_grant(db: Database, user: str, call: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.rpc(call, user, **arguments)


@pytest.mark.parametrize("inner", ["add_job", "move_credits", "settle_jobs", "close_items", "requeue", "promote"])
def test_a_user_cannot_reach_the_inner_functions(db: Database, inner: str) -> None:
    assert db.run(
        """select has_function_privilege('authenticated', oid, 'execute') as may from pg_proc
           where proname = %s and pronamespace = 'translation_private'::regnamespace""",
        inner,
    ) == [{"may": False}]


def test_a_repeated_payment_webhook_grants_once(db: Database, user: str) -> None:
    grant: dict[str, Any] = {"p_user_id": user, "p_amount": 50, "p_idempotency_key": "payment-1"}

    assert [db.rpc("grant_translation_credits", **grant) for _ in range(3)] == [150, 150, 150]
    with pytest.raises(Refused, match="idempotency_conflict"):
        db.rpc("grant_translation_credits", **grant | {"p_amount": 51})
    assert db.rpc("revoke_translation_credits", p_user_id=user, p_amount=150) == 0
    with pytest.raises(Refused, match="credits_short"):
        db.rpc("revoke_translation_credits", p_user_id=user, p_amount=1)
    db.check_money()


def test_the_ledger_is_append_only_even_for_the_owner(db: Database, create: Create) -> None:
    create("es")

    with pytest.raises(psycopg.Error, match="append-only"):
        db.run("update public.translation_credit_ledger set amount = 1 where true")
    with pytest.raises(psycopg.Error, match="append-only"):
        db.run("delete from public.translation_credit_ledger where true")
