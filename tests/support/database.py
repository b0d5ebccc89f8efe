"""
One project's database for a test, asked the way the API asks: as a role, with a user's claims, a call at a time.

Owns connections and the test clock; knows the names of the procedures only as text. The rule: a call is one
transaction, as every request to the Data API is.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]

SERVICE = "service_role"

# The whole test clock: every function of the script reads the time through this one. A clock that was stopped still
# tells a later transaction from an earlier one, by a microsecond each.
TEST_CLOCK = """
create table if not exists translation_private.test_clock (
  ahead interval not null, stopped_at timestamptz, stopped_in xid8);
insert into translation_private.test_clock select '0' where not exists (select from translation_private.test_clock);
grant select, update on translation_private.test_clock to service_role, authenticated;
create or replace function translation_private.clock() returns timestamptz language sql stable set search_path = ''
as $$
  select ahead + case when stopped_at is null then pg_catalog.now() else
    stopped_at + interval '1 microsecond'
      * (pg_catalog.pg_current_xact_id()::text::bigint - stopped_in::text::bigint) end
  from translation_private.test_clock
$$;
"""


@dataclass(eq=False)
class Refused(Exception):
    """The database said no: the SQLSTATE, the stable word, and the sentence."""

    code: str
    word: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.word}: {self.message}"


class Database:
    """The database of one test; *url* and *admin_url* are the plain and the superuser's way in."""

    def __init__(self, url: str, admin_url: str) -> None:
        self.url = url
        self.admin_url = admin_url
        self._connection = psycopg.connect(url, autocommit=True, row_factory=dict_row)
        self._signatures: dict[str, tuple[dict[str, str], bool]] = {}

    def close(self) -> None:
        self._connection.close()

    # As the owner, in SQL

    def run(self, statement: str, *params: Any) -> list[Row]:
        """Run *statement* as role `postgres`; rows, if it has any."""
        cursor = self._connection.execute(statement, params or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *params: Any) -> Any:
        """First column of the first row, None without one."""
        rows = self.run(statement, *params)
        return next(iter(rows[0].values())) if rows else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is run within is one transaction."""
        with self._connection.transaction():
            yield

    def user(self, credits: int = 0) -> str:
        """A new user, with *credits* on the balance."""
        user = str(uuid.uuid4())
        self.run("insert into auth.users (id, email) values (%s, %s)", user, f"{user}@example.test")
        if credits:
            self.rpc("grant_translation_credits", p_user_id=user, p_amount=credits)
        return user

    def price(self, credits: int, job_type: str = "translation") -> None:
        self.run("update public.translation_job_types set price = %s where name = %s", credits, job_type)

    def forward(self, interval: str) -> None:
        """Move the clock of the procedures."""
        self.run("update translation_private.test_clock set ahead = ahead + %s::interval", interval)

    def stop_clock(self) -> None:
        """From now on only `forward` moves it: what is timed does not depend on how fast this machine is."""
        self.run("update translation_private.test_clock set stopped_at = now(), stopped_in = pg_current_xact_id()")

    # As the API

    def rpc(self, function: str, as_: str | None = None, **params: Any) -> Any:
        """
        Call a procedure as user *as_* (an id), or as the worker when None.

        Returns what PostgREST would: a value, an object, or a list where the function returns a set.
        """
        with self.session(as_) as session:
            return session.rpc(function, **params)

    @contextmanager
    def session(self, as_: str | None = None) -> "Iterator[Session]":
        """A connection of its own, in one open transaction, as a user or as the worker: for races."""
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            _become(connection, as_)
            yield Session(connection, self)

    @contextmanager
    def caller(self) -> "Iterator[Callable[..., Any]]":
        """`call(function, as_, **params)` on one connection that stays open: for many calls by one caller."""
        with psycopg.connect(self.url, row_factory=dict_row, autocommit=True) as connection:

            def call(function: str, as_: str | None, **params: Any) -> Any:
                with connection.transaction():
                    _become(connection, as_)
                    return Session(connection, self).rpc(function, **params)

            yield call

    def signature(self, function: str) -> tuple[dict[str, str], bool]:
        """Argument types by name, and whether it returns a set."""
        if function not in self._signatures:
            self._signatures[function] = self._look_up(function)
        return self._signatures[function]

    def _look_up(self, function: str) -> tuple[dict[str, str], bool]:
        row = self.run(
            """select coalesce(p.proargnames, '{}') as names, p.proretset,
                 array(select format_type(a, null)
                       from unnest(p.proargtypes) with ordinality as u (a, n) order by n) as types
               from pg_catalog.pg_proc p
               where p.proname = %s and p.pronamespace = 'public'::regnamespace""",
            function,
        )
        assert len(row) == 1, f"{function}: one signature, not {len(row)}"
        types = dict(zip(row[0]["names"], row[0]["types"], strict=False))
        return types, row[0]["proretset"]

    # Invariants

    def check_money(self) -> None:
        """The sum rules of the ledger, job by job and user by user."""
        broken = self.run(
            """
            select j.id, j.credits_reserved, j.credits_consumed, j.credits_refunded,
              coalesce(sum(l.amount) filter (where l.kind = 'reserve'), 0) as reserved,
              coalesce(sum(l.amount) filter (where l.kind = 'consume'), 0) as consumed,
              coalesce(sum(l.amount) filter (where l.kind = 'refund'), 0) as refunded
            from public.translation_jobs j left join public.translation_credit_ledger l on l.job_id = j.id
            group by j.id
            having (j.credits_reserved, j.credits_consumed, j.credits_refunded) is distinct from (
              coalesce(sum(l.amount) filter (where l.kind = 'reserve'), 0),
              coalesce(sum(l.amount) filter (where l.kind = 'consume'), 0),
              coalesce(sum(l.amount) filter (where l.kind = 'refund'), 0))
            """
        )
        assert broken == []
        balances = self.run(
            """
            select c.user_id from public.translation_credits c
            where c.balance <> (
              select coalesce(sum(case when l.kind in ('grant', 'refund') then l.amount
                                       when l.kind in ('revoke', 'reserve') then -l.amount else 0 end), 0)
              from public.translation_credit_ledger l where l.user_id = c.user_id)
            """
        )
        assert balances == []


class Session:
    """Calls within one transaction, which ends with the `with` block around it."""

    def __init__(self, connection: psycopg.Connection[Row], database: Database) -> None:
        self._connection = connection
        self._database = database

    def run(self, statement: str, *params: Any) -> list[Row]:
        """Run *statement* as the role of the session."""
        try:
            cursor = self._connection.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise _refused(error) from error

    def rpc(self, function: str, **params: Any) -> Any:
        types, returns_set = self._database.signature(function)
        arguments = ", ".join(f"{name} => %({name})s::{types[name]}" for name in params)
        source = f"public.{function}({arguments})"
        values = {name: json.dumps(value) if types[name] == "jsonb" else value for name, value in params.items()}
        try:
            rows = self._connection.execute(f"select to_jsonb(f) as value from {source} as f", values).fetchall()
        except psycopg.Error as error:
            raise _refused(error) from error
        answers = [row["value"] for row in rows]
        return answers if returns_set else answers[0]


def _become(connection: psycopg.Connection[Row], as_: str | None) -> None:
    """For the rest of the transaction: a user, `anon`, or the worker."""
    role = SERVICE if as_ is None else "anon" if as_ == "anon" else "authenticated"
    claims = {"role": role} | ({"sub": as_} if role == "authenticated" else {})
    connection.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(claims)])
    connection.execute(f"set local role {role}")


def _refused(error: psycopg.Error) -> Exception:
    if error.sqlstate is None or not error.sqlstate.startswith("PT"):
        return error
    diag = error.diag
    return Refused(error.sqlstate, diag.message_detail or "", diag.message_primary or "", diag.message_hint or "")


def claiming(worker: str = "w1", limit: int = 1, **more: Any) -> Row:
    """What a worker calls `claim_translation_jobs` with: translations, half a minute, a claim of its own."""
    arguments = {
        "p_worker_id": worker,
        "p_limit": limit,
        "p_lease_ms": 30_000,
        "p_job_types": ["translation"],
        "p_claim_id": str(uuid.uuid4()),
    }
    return arguments | {f"p_{name}": value for name, value in more.items()}


def claim(database: Database) -> Row:
    """Do as a worker does: claim the next translation, which must be there."""
    (job,) = database.rpc("claim_translation_jobs", **claiming(lease_ms=60_000))
    return dict(job)


def outcomes(job: Row, outcome: str, items: Sequence[str] | None = None, **more: Any) -> list[Row]:
    """Entries for `record_translation_results`: the same *outcome* for each of *items* of a claimed job."""
    names = items if items is not None else [item["item"] for item in job["items"]]
    result = {"result": {"content": "…", "provider": "test"}} if outcome == "completed" else {}
    error = {} if outcome == "completed" else {"error": {"class": "internal", "message": "It did not work."}}
    return [
        {"job_id": job["job_id"], "token": job["token"], "item": name, "outcome": outcome, **result, **error, **more}
        for name in names
    ]
