"""The ledger: what may be moved, what is written of it, and what can never be written."""

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.sql.conftest import Create
from tests.support.database import Database, Refused, Row

LEDGER = "select kind, amount, note, idempotency_key, job_id, item from public.translation_credit_ledger order by id"


@pytest.fixture
def user(db: Database) -> str:
    """With nothing."""
    return db.user()


def move(db: Database, kind: str, user: str | None, amount: int | None, **more: Any) -> Any:
    return db.rpc(f"{kind}_translation_credits", p_user_id=user, p_amount=amount, **more)


def balance(db: Database, user: str) -> Any:
    return db.value("select balance from public.translation_credits where user_id = %s", user)


def refused(db: Database, kind: str, user: str | None, amount: int | None, **more: Any) -> tuple[str, str, str]:
    with pytest.raises(Refused) as refusal:
        move(db, kind, user, amount, **more)
    return refusal.value.code, refusal.value.word, refusal.value.message


def test_a_movement_answers_with_the_balance_and_stands_in_the_ledger(db: Database, user: str) -> None:
    other = db.user(credits=1)

    assert move(db, "grant", user, 30, p_note="Welcome", p_idempotency_key="pay_1") == 30
    assert move(db, "revoke", user, 12) == 18
    assert (balance(db, user), balance(db, other)) == (18, 1)
    nothing = {"job_id": None, "item": None}
    assert db.run(LEDGER)[1:] == [
        {"kind": "grant", "amount": 30, "note": "Welcome", "idempotency_key": "pay_1", **nothing},
        {"kind": "revoke", "amount": 12, "note": None, "idempotency_key": None, **nothing},
    ]
    db.check_money()


@pytest.mark.parametrize("amount", [None, 0, -1, 1_000_000_001])
@pytest.mark.parametrize("kind", ["grant", "revoke"])
def test_an_amount_is_between_one_and_a_billion(db: Database, user: str, kind: str, amount: int | None) -> None:
    assert refused(db, kind, user, amount)[:2] == ("PT422", "amount_out_of_range")
    assert db.run(LEDGER) == []


def test_the_least_and_the_most_can_be_moved(db: Database, user: str) -> None:
    assert move(db, "grant", user, 1) == 1
    assert move(db, "grant", user, 1_000_000_000) == 1_000_000_001


def test_credits_belong_to_somebody(db: Database) -> None:
    assert refused(db, "grant", None, 5)[1] == "amount_out_of_range"


def test_no_more_can_be_revoked_than_there_is(db: Database, user: str) -> None:
    move(db, "grant", user, 30)

    assert refused(db, "revoke", user, 31) == (
        "PT402",
        "credits_short",
        "The balance is 30: at most that can be revoked.",
    )
    assert (balance(db, user), len(db.run(LEDGER))) == (30, 1)
    assert move(db, "revoke", user, 30) == 0


def test_a_repeated_key_moves_nothing_and_answers_with_the_balance_there_is(db: Database, user: str) -> None:
    move(db, "grant", user, 30, p_idempotency_key="k")
    move(db, "grant", user, 5)

    assert move(db, "grant", user, 30, p_idempotency_key="k") == 35
    assert (balance(db, user), len(db.run(LEDGER))) == (35, 2)


def test_a_key_is_of_one_user_one_kind_and_one_amount(db: Database, user: str) -> None:
    other = db.user()
    move(db, "grant", user, 40, p_idempotency_key="k")
    move(db, "grant", user, 31, p_idempotency_key="another")

    assert move(db, "grant", other, 31, p_idempotency_key="k") == 31
    assert move(db, "revoke", user, 31, p_idempotency_key="k") == 40
    assert refused(db, "grant", user, 31, p_idempotency_key="k")[:2] == ("PT409", "idempotency_conflict")
    assert balance(db, user) == 40
    db.check_money()


def test_another_key_and_none_are_movements_of_their_own(db: Database, user: str) -> None:
    for key in ("a", "b", None, None):
        move(db, "grant", user, 10, p_idempotency_key=key)

    assert balance(db, user) == 40


def test_a_movement_is_dated_by_the_clock(db: Database, user: str) -> None:
    db.forward("1 hour")
    move(db, "grant", user, 30)
    dated = """select bool_and(at = translation_private.clock() or at > now() + interval '59 minutes') from (
                 select created_at as at from public.translation_credit_ledger
                 union all select updated_at from public.translation_credits) as all_of_them"""

    assert db.value(dated)


# What no statement can do


@pytest.mark.parametrize("statement", ["update {} set amount = 1", "delete from {}"])
def test_nobody_changes_the_ledger(db: Database, user: str, statement: str) -> None:
    move(db, "grant", user, 30)

    with pytest.raises(psycopg.Error, match="append-only") as error:
        db.run(statement.format("public.translation_credit_ledger"))
    assert (error.value.sqlstate, error.value.diag.message_detail) == ("PT409", "ledger_append_only")
    assert db.value("select amount from public.translation_credit_ledger") == 30


def write(db: Database, user: str, **row: Any) -> None:
    """A row of the ledger, by hand."""
    values = {"kind": "reserve", "amount": 1, "job_id": "00000000-0000-0000-0000-000000000001", "item": "es", **row}
    db.run(
        f"""insert into public.translation_credit_ledger (user_id, {", ".join(values)})
            values (%s, {", ".join(["%s"] * len(values))})""",
        user,
        *values.values(),
    )


FREE: Row = {"job_id": None, "item": None}


@pytest.mark.parametrize("kind", ["reserve", "consume", "refund"])
def test_a_movement_of_an_item_happens_once(db: Database, user: str, kind: str) -> None:
    write(db, user, kind=kind)
    write(db, user, kind=kind, item="fr")
    write(db, user, kind=kind, job_id="00000000-0000-0000-0000-000000000002")

    with pytest.raises(psycopg.errors.UniqueViolation):
        write(db, user, kind=kind)


@pytest.mark.parametrize(
    "row",
    [
        {"kind": "gift", **FREE},
        {"amount": 0},
        {"amount": -1},
        {"kind": "grant"},
        {"kind": "revoke"},
        {"kind": "grant", "item": None},
        {"kind": "grant", "job_id": None},
        {"kind": "reserve", **FREE},
        {"kind": "refund", **FREE},
        {"note": "x" * 501},
        {"idempotency_key": ""},
        {"idempotency_key": "x" * 201},
    ],
    ids=str,
)
def test_what_makes_no_sense_cannot_stand_in_the_ledger(db: Database, user: str, row: Row) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        write(db, user, **row)


@pytest.mark.parametrize(
    "row",
    [
        {"kind": "grant", **FREE},
        {"kind": "revoke", **FREE},
        {"note": "x" * 500},
        {"idempotency_key": "x"},
        {"idempotency_key": "x" * 200},
    ],
    ids=str,
)
def test_what_does_can(db: Database, user: str, row: Row) -> None:
    write(db, user, **row)

    assert len(db.run(LEDGER)) == 1


def test_a_balance_is_never_below_zero(db: Database, user: str) -> None:
    move(db, "grant", user, 1)
    db.run("update public.translation_credits set balance = 0")

    with pytest.raises(psycopg.errors.CheckViolation):
        db.run("update public.translation_credits set balance = -1")


# What an owner may replace


def test_a_price_is_that_of_the_type(db: Database) -> None:
    db.price(7)
    db.price(3, "chore")
    price = "select public.price_translation_item(%s, 'text', 100, 'es', '{}')"

    assert (db.value(price, "translation"), db.value(price, "chore")) == (7, 3)


def test_a_balance_is_held_if_it_is_there_and_given_back(db: Database, user: str) -> None:
    other = db.user(credits=50)
    move(db, "grant", user, 30)
    hold = "select public.hold_translation_balance(%s, %s)"

    assert [db.value(hold, user, 31), db.value(hold, user, 30), db.value(hold, user, 1)] == [False, True, False]
    assert (balance(db, user), balance(db, other)) == (0, 50)
    for _ in range(2):
        db.run("select public.return_translation_balance(%s, 20)", user)
    assert (balance(db, user), balance(db, other)) == (40, 50)


def test_a_balance_can_be_given_back_to_somebody_who_had_none(db: Database) -> None:
    stranger = "00000000-0000-0000-0000-00000000000a"
    db.run("select public.return_translation_balance(%s, 20)", stranger)

    assert balance(db, stranger) == 20


def test_refunds_are_summed_for_each_user(db: Database, user: str) -> None:
    other, stranger = db.user(), db.user()
    refunds = [(user, 3), (other, 5), (user, 4), (None, 9), (stranger, 0)]
    entries = [{"user_id": owner, "amount": amount} for owner, amount in refunds]
    db.run("select translation_private.return_balances(%s)", Jsonb(entries))

    assert (balance(db, user), balance(db, other)) == (7, 5)
    assert db.value("select count(*) from public.translation_credits") == 2


def test_reserved_credits_are_held_and_dated(db: Database, user: str, create: Create) -> None:
    move(db, "grant", user, 30)
    db.price(10)
    db.forward("1 hour")
    create("es", "fr", as_=user)

    assert balance(db, user) == 10
    assert db.value("select updated_at > now() + interval '59 minutes' from public.translation_credits")
