"""What a job of type sql_functions or http may be made of: nothing but what the owner listed."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.database import Database, Refused, Row, claiming

Enqueue = Callable[..., Row]

LISTED = """
create function public.league(season int) returns int language sql as 'select 1';
create function public.slow() returns int language sql set statement_timeout = '2min' as 'select 1';
create function public.endless() returns int language sql set statement_timeout = 0 as 'select 1';
create function public.long() returns int language sql set statement_timeout = '60s' as 'select 1';
create function public.hidden() returns int language sql as 'select 1';
grant execute on function public.league(int), public.slow(), public.endless(), public.long() to service_role;
revoke execute on function public.hidden() from public, service_role;
insert into public.translation_sql_functions (name, enabled) values
  ('league', true), ('slow', true), ('endless', true), ('long', true), ('hidden', true), ('missing', true),
  ('off', false);
insert into public.translation_http_endpoints (name, url, methods, enabled) values
  ('cards', 'https://example.com/api/cards', '{POST,GET}', true), ('shop', 'https://example.com/shop', '{PUT}', true),
  ('closed', 'https://example.com/closed', '{POST}', false);
"""


@pytest.fixture
def enqueue(db: Database) -> Enqueue:
    db.run(LISTED)

    def make(job_type: str, content: Any = None, items: list[str] | None = None, **more: Any) -> Row:
        given = {f"p_{name}": value for name, value in more.items()}
        row: Row = db.rpc("enqueue_translation_job", p_job_type=job_type, p_content=content, p_items=items, **given)
        return row

    return make


def refusal(make: Callable[..., Any], *given: Any, **named: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        make(*given, **named)
    return refused.value


def items(db: Database, job: Row) -> list[str]:
    rows = db.run("select item from public.translation_job_items where job_id = %s order by position", job["id"])
    return [row["item"] for row in rows]


# SQL functions


def test_functions_of_the_list_become_items(db: Database, enqueue: Enqueue) -> None:
    row = enqueue("sql_functions", {"args": {"season": 7}, "each": {"long": {}}}, ["league", "long"])

    assert (row["status"], items(db, row)) == ("pending", ["league", "long"])
    assert enqueue("sql_functions", None, ["league"])["status"] == "pending"


FUNCTIONS: list[tuple[list[str] | None, str, str]] = [
    (["league", "drop_everything"], "function_not_allowed", "insert into public.translation_sql_functions"),
    (["off"], "function_not_allowed", "insert into public.translation_sql_functions"),
    (None, "function_not_allowed", "insert into"),
    (["missing"], "function_unknown", "grant execute on function public.missing to service_role;"),
    (["hidden"], "function_unknown", "grant execute on function public.hidden to service_role;"),
    (["slow"], "function_too_slow", "select cron.schedule('slow', '0 3 * * *', 'select public.slow()');"),
    (["endless"], "function_too_slow", "select cron.schedule"),
    (["claim_translation_jobs"], "function_not_allowed", ""),
]


def test_other_functions_are_refused_with_the_cure(db: Database, enqueue: Enqueue) -> None:
    for functions, word, hint in FUNCTIONS:
        refused = refusal(enqueue, "sql_functions", None, functions)

        assert (refused.code, refused.word) == ("PT422", word), functions
        assert hint in refused.hint
    assert db.value("select count(*) from public.translation_jobs") == 0


def test_no_procedure_of_the_queue_can_be_listed(db: Database) -> None:
    names = [
        row["name"]
        for row in db.run(
            """select distinct proname::text as name from pg_proc
               where pronamespace = 'public'::regnamespace and proname <> 'fill_museum_card'"""
        )
    ]

    assert len(names) > 40
    for name in names:
        with pytest.raises(psycopg.errors.CheckViolation, match="none_of_the_queue"):
            db.run("insert into public.translation_sql_functions (name) values (%s)", name)


def test_a_typed_row_is_refused_as_a_call_is(db: Database, enqueue: Enqueue) -> None:
    typed = "insert into public.translation_jobs (job_type, target_languages, content) values (%s, %s, %s::jsonb)"

    for job_type, names, content in [
        ("sql_functions", ["league", "drop_everything"], None),
        ("http", ["nowhere"], "{}"),
        ("http", ["a"], '{"endpoint": "closed"}'),
    ]:
        with pytest.raises(psycopg.Error, match="is not on the list"):
            db.run(typed, job_type, names, content)
    db.run(typed, "sql_functions", ["league"], None)
    db.run(typed, "http", ["a", "b"], '{"endpoint": "cards"}')

    kept = db.run("select item from public.translation_job_items order by item")
    assert [row["item"] for row in kept] == ["a", "b", "league"]


ARGUMENTS: list[Any] = ["x", [], {"arg": {}}, {"args": []}, {"args": {}, "each": []}, {"each": {"league": 7}}]


def test_arguments_of_another_shape_are_refused(enqueue: Enqueue) -> None:
    for content in ARGUMENTS:
        refused = refusal(enqueue, "sql_functions", content, ["league"])
        assert refused.word == "content_invalid", content


def test_what_is_taken_off_the_list_cannot_be_repeated(db: Database, enqueue: Enqueue) -> None:
    row = enqueue("sql_functions", {"each": {"long": {}}}, ["league", "long"])
    db.rpc("cancel_translation_job", p_job_id=row["id"])
    db.run("delete from public.translation_sql_functions where name = 'league'")

    refused = refusal(db.rpc, "retry_translation_job", p_job_id=row["id"])

    assert refused.word == "function_not_allowed"


def test_the_lists_are_read_with_what_a_worker_must_know(db: Database, enqueue: Enqueue) -> None:
    rows = db.rpc("list_translation_functions", p_names=["league", "long", "hidden", "nobody"])
    (endpoint,) = db.rpc("list_translation_endpoints", p_names=["shop"])

    told = [(row["name"], row["enabled"], row["is_callable"], row["timeout_ms"]) for row in rows]
    assert told == [("hidden", True, False, None), ("league", True, True, None), ("long", True, True, 60_000)]
    assert endpoint == {
        "name": "shop", "url": "https://example.com/shop", "methods": ["PUT"], "timeout_seconds": 300,
        "allow_private": False, "enabled": True, "description": None,
    }  # fmt: skip
    assert len(db.rpc("list_translation_functions")) == 7


SPELLINGS: list[tuple[str, int]] = [
    ("45s", 45_000),
    ("45000", 45_000),
    ("45000ms", 45_000),
    ("1min", 60_000),
    ("0.5h", 1_800_000),
    ("1d", 86_400_000),
]


def test_every_spelling_of_a_timeout_is_understood(db: Database) -> None:
    db.run("create function public.timed() returns int language sql as 'select 1'")
    db.run("insert into public.translation_sql_functions (name) values ('timed')")
    for spelling, ms in SPELLINGS:
        db.run(f"alter function public.timed() set statement_timeout = '{spelling}'")
        assert db.rpc("list_translation_functions")[0]["timeout_ms"] == ms, spelling


# Cache invalidation


def test_an_invalidation_is_a_job_that_waits_for_the_functions_and_runs_whatever_became_of_them(
    db: Database, enqueue: Enqueue
) -> None:
    wish = {"endpoints": ["cards", "shop", "cards"], "tags": ["league:7"]}
    row = enqueue(
        "sql_functions", None, ["league"],
        options={"invalidate": wish}, idempotency_key="k", correlation_id="c", subject="league:7", title="Sunday",
    )  # fmt: skip
    enqueue("sql_functions", None, ["league"], options={"invalidate": wish}, idempotency_key="k")

    (calls,) = db.run("select * from public.translation_jobs where job_type = 'http'")
    assert (calls["status"], calls["title"], calls["subject"]) == ("blocked", "Cache invalidation: Sunday", "league:7")
    assert (calls["correlation_id"], calls["user_id"]) == ("c", None)
    assert calls["content"] == {"body": {"tags": ["league:7"], "job_id": row["id"]}}
    assert items(db, calls) == ["cards", "shop"]

    db.rpc("cancel_translation_job", p_job_id=row["id"])

    assert db.value("select status from public.translation_jobs where job_type = 'http'") == "pending"


def test_a_typed_row_may_ask_for_an_invalidation(db: Database, enqueue: Enqueue) -> None:
    db.run(
        """insert into public.translation_jobs (job_type, target_languages, options)
           values ('sql_functions', '{league}', '{"invalidate": {"endpoints": ["cards"]}}')"""
    )

    rows = db.run("select job_type, status from public.translation_jobs order by seq")
    assert [tuple(row.values()) for row in rows] == [("sql_functions", "pending"), ("http", "blocked")]


WISHES: list[tuple[dict[str, Any], str]] = [
    ({"invalidate": []}, "option_invalid"),
    ({"invalidate": {}}, "option_invalid"),
    ({"invalidate": {"endpoints": []}}, "option_invalid"),
    ({"invalidate": {"endpoints": ["cards"], "tags": "all"}}, "option_invalid"),
    ({"invalidate": {"endpoints": ["cards"], "tags": [1]}}, "option_invalid"),
    ({"invalidate": {"endpoints": ["cards"], "url": "https://example.com"}}, "option_invalid"),
    ({"invalidate": {"endpoints": ["cards"] * 21}}, "option_invalid"),
    ({"invalidate": {"endpoints": ["cards", "nowhere"]}}, "endpoint_not_allowed"),
    ({"formality": "more"}, "option_unknown"),
]


def test_an_invalidation_of_another_shape_is_refused_and_nothing_is_made(db: Database, enqueue: Enqueue) -> None:
    for options, word in WISHES:
        refused = refusal(enqueue, "sql_functions", None, ["league"], options=options)
        assert refused.word == word, options
    assert db.value("select count(*) from public.translation_jobs") == 0


# HTTP


CALLS: list[tuple[Any, list[str] | None]] = [
    ({"endpoint": "cards"}, None),
    ({"endpoint": "cards", "method": "GET", "path": "/card/{item}"}, ["42", "43"]),
    (
        {"endpoint": "shop", "method": "PUT", "body": [1, None], "each": {"a": {"path": "/a", "body": 0}}},
        ["a", "b"],
    ),
    ({"body": {}}, ["cards", "shop"]),
    (None, ["cards"]),
]


def test_calls_to_listed_endpoints_are_made(enqueue: Enqueue) -> None:
    for content, names in CALLS:
        assert enqueue("http", content, names)["status"] == "pending", content


NO_CALLS: list[tuple[Any, list[str] | None, str]] = [
    ({}, None, "endpoint_not_allowed"),
    ({"endpoint": "nowhere"}, ["a"], "endpoint_not_allowed"),
    ({"endpoint": "closed"}, ["a"], "endpoint_not_allowed"),
    ({"endpoint": None}, ["cards"], "endpoint_not_allowed"),
    ({}, ["cards", "nowhere"], "endpoint_not_allowed"),
    ({"endpoint": "cards", "url": "https://evil.example"}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "method": "DELETE"}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "method": None}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "path": "x"}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "path": "/a/../b"}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "path": "/a?b=c"}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "path": "/a b"}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "path": "/\\evil.example"}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "path": 7}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "each": ["a"]}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "each": {"a": {"url": "/"}}}, ["a"], "content_invalid"),
    ({"endpoint": "cards", "each": {"a": {"path": "/.."}}}, ["a"], "content_invalid"),
    ("https://example.com", ["a"], "content_invalid"),
]


def test_other_calls_are_refused(enqueue: Enqueue) -> None:
    for content, names, word in NO_CALLS:
        refused = refusal(enqueue, "http", content, names)
        assert refused.word == word, (content, names)


def test_http_has_no_options_of_its_own(enqueue: Enqueue) -> None:
    refused = refusal(enqueue, "http", {"endpoint": "cards"}, ["a"], options={"timeout": 5})

    assert refused.word == "option_unknown"


ADDRESSES: list[str] = [
    "http://example.com",
    "ftp://example.com",
    "https://user:pass@example.com",
    "https://example.com?x=1",
    "https://example.com/#x",
    "https://exa mple.com",
    "https://",
    "https://example.com\\@evil.example",
]


def test_an_address_that_is_no_plain_https_one_cannot_be_listed(db: Database) -> None:
    for url in ADDRESSES:
        with pytest.raises(psycopg.errors.CheckViolation):
            db.run("insert into public.translation_http_endpoints (name, url) values ('x', %s)", url)


def test_users_neither_see_nor_change_the_lists(db: Database, user: str) -> None:
    for statement in (
        "select * from public.translation_sql_functions",
        "insert into public.translation_http_endpoints (name, url) values ('x', 'https://example.com')",
        "select public.list_translation_functions()",
        "select public.list_translation_endpoints()",
    ):
        with db.session(user) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.run(statement)


def test_a_call_of_ten_minutes_keeps_its_lease(db: Database, enqueue: Enqueue) -> None:
    """The clock is moved past the lease twenty times over; each time a heartbeat came first."""
    row = enqueue("http", {"endpoint": "cards"}, ["a"])
    (held,) = db.rpc("claim_translation_jobs", **claiming(job_types=["http"]))
    lease = {"job_id": held["job_id"], "token": held["token"]}
    report = {"mode": "realtime", "lease_ms": 30_000, "job_types": ["http"], "leases": [lease]}
    for _ in range(30):
        db.forward("20 seconds")
        answer = db.rpc("heartbeat_translation_worker", p_worker_id="w1", p_report=report)
        assert answer["lost"] == []
        assert db.rpc("rescue_translation_jobs") == 0

    entry = lease | {"item": "a", "outcome": "completed", "result": {"content": {"result": 1}, "provider": "cards"}}
    recorded = db.rpc("record_translation_results", p_worker_id="w1", p_results=[entry])

    assert held["item_timeout_ms"] >= 600_000
    assert [answer["answer"] for answer in recorded] == ["recorded"]
    assert db.rpc("get_translation_job", p_job_id=row["id"])["status"] == "completed"
