"""
What is asked of both servers, word for word: every kind of request that the worker, the official clients and this
repository's tests make, and the refusals beside them.

The tables and functions are those of `tests/stack/project.sql`, with the rows of GROUND; the last part asks the
project's own procedures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

ADA = "00000000-0000-4000-8000-0000000000ad"
BOB = "00000000-0000-4000-8000-0000000000b0"
SOMEONE = "00000000-0000-4000-8000-00000000000a"

# Before every request, so that both servers find the same.
GROUND = f"""
truncate public.notes, public.books, public.readers, public.keyless, public.translation_jobs,
  public.translation_workers, public.translation_credits, public.translation_credit_ledger,
  translation_private.create_budget restart identity cascade;
insert into auth.users (id, email) values ('{ADA}', 'ada@example.org'), ('{BOB}', 'bob@example.org')
  on conflict do nothing;
insert into public.notes (user_id, body, stars, tags, meta, price, created_at) values
  ('{ADA}', 'alpha', 1, '{{x,y}}', '{{"size": {{"w": 10}}, "kind": "a"}}', 12.3400, '2026-01-01 12:00:00.5+00'),
  ('{ADA}', 'beta, (quoted)', 2, '{{y}}', '{{"kind": "b"}}', null, '2026-01-02+00'),
  ('{ADA}', 'gamma', null, '{{}}', null, null, '2026-01-03+00'),
  ('{ADA}', 'delta', 4, '{{z}}', '{{"kind": "a"}}', null, '2026-01-04+00'),
  ('{BOB}', 'epsilon — ü', 5, '{{}}', null, null, '2026-01-05+00');
insert into public.books values ('u', 'a', false, 'hidden'), ('u', 'b', true, null), ('v', 'c', true, null);
insert into public.readers values ('u', '{ADA}');
alter sequence public.tries restart;
"""

# What the stack's own project has no need for.
MORE = """
create sequence public.tries;
grant usage on sequence public.tries to service_role;
create function public.refuse_once() returns int language plpgsql as $$
begin
  if nextval('public.tries') = 1 then
    raise exception using errcode = '40001', message = 'could not serialize';
  end if;
  return 7;
end $$;
create function public.refuse_with(message text, detail text) returns void language plpgsql as
  $$ begin raise exception using errcode = 'PT422', message = message, detail = detail; end $$;
create function public.many_rows(n int) returns table (i int) language sql as 'select generate_series(1, n)';
create function public.two_defaults(a int default 1, b int default 2) returns int language sql immutable as
  'select a * b';
create function public.moment(at timestamptz) returns timestamptz language sql immutable as 'select at';
create function public.no_json() returns json language sql immutable as 'select null::json';
create function public.a_text() returns text language sql immutable as $$ select 'plain "text"' $$;
create function public.divide(a int, b int) returns int language sql immutable as 'select a / b';
create view public.shelves as select shelf, count(*) as titles from public.books group by shelf;
grant select on public.shelves to service_role;
do $$
declare v_function regprocedure;
begin
  for v_function in
    select oid from pg_catalog.pg_proc where pronamespace = 'public'::regnamespace and proname in
      ('refuse_once', 'refuse_with', 'many_rows', 'two_defaults', 'moment', 'no_json', 'a_text', 'divide')
  loop
    execute format('revoke execute on function %s from public, anon', v_function);
    execute format('grant execute on function %s to authenticated, service_role', v_function);
  end loop;
end $$;
"""

OBJECT = {"Accept": "application/vnd.pgrst.object+json"}
BACK = {"Prefer": "return=representation"}


@dataclass(frozen=True)
class Request:
    """One request, told apart by its *name*; *body* is JSON unless it is bytes."""

    name: str
    method: str
    path: str
    body: Any = None
    who: str = "service"
    headers: Mapping[str, str] = field(default_factory=dict)
    only_shape: bool = False
    """Of the answer only names and kinds are compared: it has new ids, tokens and times in it."""

    writes: bool = False

    @property
    def may_write(self) -> bool:
        """Whether the ground may have to be laid anew after it."""
        return self.writes or not (self.method in ("GET", "HEAD") or self.path.startswith("/rpc/"))


def _call(name: str, function: str, arguments: Any = None, **more: Any) -> Request:
    return Request(name, "POST", f"/rpc/{function}", {} if arguments is None else arguments, **more)


def _get(name: str, path: str, **more: Any) -> Request:
    return Request(name, "GET", path, **more)


_SHAPES: Sequence[Request] = [
    _call("scalar", "scalar", {"a": 1}),
    _call("scalar, arguments in another order", "scalar", {"b": 2, "a": 1}),
    _call("scalar of an explicit null", "scalar", {"a": 1, "b": None}),
    _call("a null", "nothing"),
    _call("a text", "a_text"),
    _call("a JSON null", "no_json"),
    _call("jsonb object", "echo_json", {"value": {"a": [1, "é", None], "b": 1.10}}),
    _call("jsonb string", "echo_json", {"value": "text"}),
    _call("jsonb array", "echo_json", {"value": [1, [2]]}),
    _call("jsonb null", "echo_json", {"value": None}),
    _call("array", "echo_array", {"items": ["a,b", None, '"q"', "\\", "{}"]}),
    _call("a large number", "echo_numeric", {"n": 9007199254740993}),
    _call("a time", "moment", {"at": "2026-01-01T12:00:00+02:00"}),
    _call("composite", "one_pair"),
    _call("composite null", "no_pair"),
    _call("two outs", "two_outs"),
    _call("one out", "one_out"),
    _call("setof int", "many_ints", {"n": 3}),
    _call("setof int, none", "many_ints", {"n": 0}),
    _call("setof jsonb", "many_json"),
    _call("table", "some_table", {"n": 2}),
    _call("table, none", "some_table", {"n": 0}),
    _call("table of one column", "single_column"),
    _call("setof a table", "all_notes", who="ada"),
    _call("void", "does_nothing"),
    Request("void without a body", "POST", "/rpc/does_nothing"),
    _call("one unnamed argument takes the body", "whole_body", {"any": "thing"}),
    _call("defaults alone", "two_defaults"),
    _call("one of the defaults", "two_defaults", {"b": 5}),
    _call("variadic", "variadic_sum", {"numbers": [1, 2, 3]}),
    _call("1500 values", "many_ints", {"n": 1500}),
    _call("1500 rows", "many_rows", {"n": 1500}),
    _call("1500 rows counted", "many_rows", {"n": 1500}, headers={"Prefer": "count=exact"}),
    _call("rows selected, filtered, ordered, limited", "some_table?select=i&i=gt.5&order=i.desc&limit=2", {"n": 9}),
    _call("a page of rows", "some_table?offset=3&limit=2", {"n": 9}),
    _call("a page of rows counted", "some_table?offset=3&limit=2", {"n": 9}, headers={"Prefer": "count=exact"}),
    _call("a page of values", "many_ints?offset=3&limit=2", {"n": 9}),
    _call("one row as an object", "some_table", {"n": 1}, headers=OBJECT),
    _call("two rows as an object", "some_table", {"n": 2}, headers=OBJECT),
    _call("no row as an object", "some_table", {"n": 0}, headers=OBJECT),
    _call("a scalar as an object", "scalar", {"a": 1}, headers=OBJECT),
    _call("jsonb as an object", "echo_json", {"value": {"a": 1}}, headers=OBJECT),
    _call("a composite as an object", "one_pair", headers=OBJECT),
    _call("nulls stripped", "no_pair", headers={"Accept": "application/vnd.pgrst.array+json;nulls=stripped"}),
    _call("status and headers set by the function", "answer_accepted"),
    _call("who a service is", "who", headers={"User-Agent": "conformance"}),
    _call("who a user is", "who", who="ada", headers={"User-Agent": "conformance"}),
    _call("who nobody is", "who", who="anon", headers={"User-Agent": "conformance"}),
    _call("the profile that both clients name", "scalar", {"a": 1}, headers={"Content-Profile": "public"}),
    _call("answer wanted minimal", "scalar", {"a": 1}, headers={"Prefer": "return=minimal"}),
    _call("params single object", "whole_body", {"a": 1}, headers={"Prefer": "params=single-object"}),
]

_BY_GET: Sequence[Request] = [
    _get("GET scalar", "/rpc/scalar?a=5&b=6"),
    _get("GET scalar with its default", "/rpc/scalar?a=5"),
    _get("GET array", "/rpc/echo_array?items=%7Ba,b%7D"),
    _get("GET jsonb", "/rpc/echo_json?value=%7B%22a%22:1%7D"),
    _get("GET variadic", "/rpc/variadic_sum?numbers=1&numbers=2"),
    _get("GET void", "/rpc/does_nothing"),
    _get("GET rows", "/rpc/some_table?n=9&i=lt.3&select=source"),
    _get("GET a writing function", "/rpc/write_keyless"),
    _get("GET without an argument", "/rpc/scalar?b=1"),
    _get("GET not there", "/rpc/not_there"),
    Request("HEAD rows", "HEAD", "/rpc/some_table?n=9"),
    Request("PUT a function", "PUT", "/rpc/scalar", {"a": 1}),
    Request("PATCH a function", "PATCH", "/rpc/scalar", {"a": 1}),
    Request("DELETE a function", "DELETE", "/rpc/scalar"),
]

_REFUSED: Sequence[Request] = [
    *(
        _call(f"raised {code}", "refuse", {"code": code})
        for code in (
            *("P0001", "PT400", "PT402", "PT404", "PT409", "PT413", "PT422", "PT429", "PT503"),
            *("23505", "23503", "23514", "23502", "22P02", "22P05", "22023", "22003", "53300", "53400", "55P03"),
            *("57014", "57P01", "08006", "P0002", "42883", "42P01", "42501", "0A000", "25006", "54000", "XX000"),
        )
    ),
    _call("raised 42501 at nobody", "refuse", {"code": "42501"}, who="anon"),
    _call("raised once of class 40", "refuse_once", writes=True),
    _call("refused with status and headers", "refuse_later"),
    _call("refused with letters of all kinds", "refuse_with", {"message": "„Nö“ — 否 🎈", "detail": "word: ü"}),
    _call("refused in two lines", "refuse_with", {"message": "No.\r\nX-Injected: yes", "detail": "two\nlines"}),
    _call("refused at length", "refuse_with", {"message": "n" * 9000, "detail": "d" * 9000}),
    _call("headers that are none", "bad_headers"),
    _call("divided by zero", "divide", {"a": 1, "b": 0}),
    _call("an argument is missing", "scalar"),
    _call("an argument is one too many", "scalar", {"a": 1, "c": 1}),
    _call("an argument of the wrong type", "scalar", {"a": "x"}),
    _call("an array that is none", "echo_array", {"items": 5}),
    _call("no such function", "not_there"),
    _call("no such function, with arguments", "not_there", {"a": 1}),
    _call("overloads that cannot be told apart", "overload", {"a": 1}),
    _call("longer than its statement_timeout", "sleep", {"seconds": 5}),
    _call("a stable function that writes", "write_in_stable"),
    _call("NUL in a text", "echo_array", {"items": ["\0"]}),
    _call("a body that is not JSON", "scalar", b"{"),
    _call("a body that is an array", "scalar", [{"a": 1}]),
    _call("a body that is a string", "scalar", "a"),
    _call("a body that is a number", "scalar", 5),
    _call("a body of another kind", "scalar", b"a=1", headers={"Content-Type": "application/x-www-form-urlencoded"}),
    _call("an answer of another kind", "scalar", {"a": 1}, headers={"Accept": "application/x-protobuf"}),
    _call("a schema that is not exposed", "who", headers={"Content-Profile": "auth"}),
    _get("a schema that is not exposed, by GET", "/notes", headers={"Accept-Profile": "translation_private"}),
]

_CALLERS: Sequence[Request] = [
    _call("a legacy key", "scalar", {"a": 1}, who="legacy key"),
    _call("a user's token, signed with the legacy secret", "who", who="ada, HS256", headers={"User-Agent": "x"}),
    _call("a user's token beside the secret key", "who", who="ada, secret key", headers={"User-Agent": "x"}),
    _call("a token that expired", "who", who="expired"),
    _call("a token that is not yet good", "who", who="early"),
    _call("a token of somebody else's", "who", who="foreign"),
    _call("a token of a service, signed by somebody else", "who", who="foreign service"),
    _call("a token that is none", "who", who="junk"),
    _call("a token with three parts that is none", "who", who="a.b.c"),
    _call("a token without a signature", "who", who="alg none"),
    _call("a token of a role that is not there", "who", who="unknown role"),
    _call("a token of a role that is not for the API", "who", who="postgres"),
    _call("a token without a role", "who", who="no role", headers={"User-Agent": "x"}),
    _call("a function that nobody may call", "echo_json", {"value": 1}, who="anon"),
    _get("a table without a grant, nobody", "/keyless?select=*", who="anon"),
    _get("a table without a grant, a user", "/keyless?select=*", who="ada"),
    _get("a column without a grant", "/books?select=secret", who="ada"),
    _get("all columns, one without a grant", "/books?select=*", who="ada"),
]


def _filter(query: str) -> Request:
    return _get(f"filter {query}", f"/notes?select=body&order=id&{query}", who="ada")


_READ: Sequence[Request] = [
    _get("all of one's own", "/notes?select=*&order=id", who="ada"),
    _get("all of one who has none", "/notes?select=*", who="nobody's"),
    *(
        _filter(query)
        for query in (
            *("body=eq.alpha", "body=eq.beta,%20(quoted)", "body=neq.alpha", "stars=gt.1&stars=lte.4", "stars=gte.2"),
            *(
                "stars=lt.2",
                "stars=is.null",
                "stars=not.is.null",
                "stars=not.eq.1",
                "body=in.(alpha,%22beta,%20(quoted)%22)",
            ),
            *(
                "stars=in.(1,4)",
                "stars=in.()",
                "stars=not.in.(1,4)",
                "body=like.*lt*",
                "body=like.%25lt%25",
                "body=ilike.*ALPH*",
            ),
            *("body=match.%5Ead?", "body=imatch.%5EAL", "tags=cs.%7By%7D", "tags=cd.%7By,z%7D", "tags=ov.%7Bx,z%7D"),
            *("meta=cs.%7B%22kind%22:%22a%22%7D", "meta->>kind=eq.b", "meta->size->>w=eq.10", "meta->size->w=eq.10"),
            "or=(stars.eq.1,and(stars.gt.3,body.like.d*))",
            "or=(body.eq.%22beta,%20(quoted)%22,not.and(stars.not.is.null,stars.gt.0))",
            "and=(stars.gt.0,stars.lt.3)",
            "not.or=(stars.eq.1,stars.eq.2)",
            "or=(stars.in.(1,2),body.eq.gamma)",
            "body=like(any).%7Bal*,ga*%7D",
            "created_at=gte.2026-01-03T00:00:00Z",
            "stars=isdistinct.1",
            "body=fts.alpha",
            "body=plfts(english).delta",
            "price=eq.12.34",
            "wrong=eq.1",
            "stars=eq.x",
            "stars=nonsense.1",
            "stars=eq",
            "stars=is.maybe",
            "or=(stars.eq.1",
        )
    ),
    _get("nulls first", "/notes?select=body&order=stars.desc.nullsfirst&limit=2", who="ada"),
    _get("nulls last, second page", "/notes?select=body&order=stars.nullslast&limit=2&offset=1", who="ada"),
    _get("two orders", "/notes?select=body&order=tags.asc,body.desc", who="ada"),
    _get("order by a way into JSON", "/notes?select=body&order=meta->>kind.nullsfirst,id", who="ada"),
    _get("order that cannot be read", "/notes?order=stars.sideways", who="ada"),
    _get(
        "select renames, casts, reaches into JSON",
        "/notes?select=name:body,stars::text,meta->size->w,kind:meta->>kind,price&order=id",
        who="ada",
    ),
    _get("select what is not there", "/notes?select=wrong", who="ada"),
    _get("limit 0", "/notes?select=body&limit=0", who="ada"),
    _get("limit that is none", "/notes?limit=x", who="ada"),
    _get("limit below 0", "/notes?limit=-1", who="ada"),
    _get("offset behind the end", "/notes?select=body&offset=10", who="ada"),
    _get(
        "offset behind the end, counted", "/notes?select=body&offset=10", who="ada", headers={"Prefer": "count=exact"}
    ),
    _get("counted", "/notes?select=body&order=id&limit=2", who="ada", headers={"Prefer": "count=exact"}),
    _get("counted whole", "/notes?select=body&order=id", who="ada", headers={"Prefer": "count=exact"}),
    _get("counted none", "/notes?select=body&id=eq.999", who="ada", headers={"Prefer": "count=exact"}),
    _get("a range", "/notes?select=body&order=id", who="ada", headers={"Range-Unit": "items", "Range": "1-2"}),
    _get(
        "a range, counted", "/notes?select=body&order=id", who="ada", headers={"Range": "1-2", "Prefer": "count=exact"}
    ),
    Request("only the count", "HEAD", "/notes?select=*", who="ada", headers={"Prefer": "count=exact"}),
    _get("one as an object", "/notes?select=body&body=eq.alpha", who="ada", headers=OBJECT),
    _get("none as an object", "/notes?select=body&body=eq.nobody", who="ada", headers=OBJECT),
    _get("four as an object", "/notes?select=body", who="ada", headers=OBJECT),
    _get(
        "nulls stripped from rows",
        "/notes?select=body,stars&order=id",
        who="ada",
        headers={"Accept": "application/vnd.pgrst.array+json;nulls=stripped"},
    ),
    _get("as CSV", "/notes?select=body", who="ada", headers={"Accept": "text/csv"}),
    _get("a view", "/shelves?order=shelf"),
    _get("no such table", "/not_there?select=*"),
    _get("embedding what is not related", "/books?select=*,notes(*)"),
    _get("a filter on what is not embedded", "/books?notes.id=eq.1"),
    _get("the profile of a read", "/notes?select=body&limit=1", who="ada", headers={"Accept-Profile": "public"}),
    _get("a word in Prefer that nobody knows", "/notes?select=body&limit=1", who="ada", headers={"Prefer": "sideways"}),
]

_WRITTEN: Sequence[Request] = [
    Request("insert", "POST", "/books", {"shelf": "a", "title": "one"}),
    Request("insert and show", "POST", "/books?select=title,is_public", {"shelf": "a", "title": "one"}, headers=BACK),
    Request(
        "insert, headers only",
        "POST",
        "/books",
        {"shelf": "a", "title": "one"},
        headers={"Prefer": "return=headers-only"},
    ),
    Request("insert two", "POST", "/books", [{"shelf": "a", "title": "1"}, {"shelf": "a", "title": "2"}], headers=BACK),
    Request("insert none", "POST", "/books", [], headers=BACK),
    Request("insert one as an object", "POST", "/books", {"shelf": "a", "title": "one"}, headers={**BACK, **OBJECT}),
    Request(
        "insert counted",
        "POST",
        "/books",
        {"shelf": "a", "title": "one"},
        headers={"Prefer": "count=exact, return=representation"},
    ),
    Request("insert as a user", "POST", "/notes?select=body,user_id,tags", {"body": "mine"}, who="ada", headers=BACK),
    Request("insert as a user for another", "POST", "/notes", {"body": "x", "user_id": SOMEONE}, who="ada"),
    Request("insert with keys that differ", "POST", "/books", [{"shelf": "a", "title": "1"}, {"shelf": "a"}]),
    Request(
        "insert with named columns",
        "POST",
        "/books?columns=shelf,title",
        [{"shelf": "a", "title": "1"}, {"shelf": "b", "title": "2", "secret": "ignored"}],
        headers=BACK,
    ),
    Request(
        "insert with defaults for what is missing",
        "POST",
        "/books?columns=shelf,title,is_public",
        [{"shelf": "a", "title": "1"}, {"shelf": "a", "title": "2", "is_public": True}],
        headers={"Prefer": "return=representation, missing=default"},
    ),
    Request("insert a column that is not there", "POST", "/books", {"wrong": 1}),
    Request("insert a value of the wrong type", "POST", "/notes", {"body": "x", "stars": "many"}, who="ada"),
    Request("insert what is there", "POST", "/books", {"shelf": "u", "title": "a"}),
    Request("insert without what is needed", "POST", "/notes", {"stars": 1}, who="ada"),
    Request("insert what is not JSON", "POST", "/books", b"[{"),
    Request("insert a number", "POST", "/books", 5),
    Request(
        "upsert",
        "POST",
        "/books",
        {"shelf": "u", "title": "a", "secret": "s"},
        headers={"Prefer": "resolution=merge-duplicates, return=representation"},
    ),
    Request(
        "upsert a new one",
        "POST",
        "/books",
        {"shelf": "n", "title": "a", "secret": "s"},
        headers={"Prefer": "resolution=merge-duplicates, return=representation"},
    ),
    Request(
        "upsert with named conflict",
        "POST",
        "/books?on_conflict=shelf,title",
        {"shelf": "u", "title": "a", "secret": "s"},
        headers={"Prefer": "resolution=merge-duplicates, return=representation"},
    ),
    Request(
        "upsert on what is not unique",
        "POST",
        "/books?on_conflict=secret",
        {"shelf": "u", "title": "a"},
        headers={"Prefer": "resolution=merge-duplicates"},
    ),
    Request(
        "upsert that leaves duplicates",
        "POST",
        "/books",
        {"shelf": "u", "title": "a", "secret": "t"},
        headers={"Prefer": "resolution=ignore-duplicates, return=representation"},
    ),
    Request("update", "PATCH", "/books?title=eq.a", {"is_public": True}),
    Request("update and show", "PATCH", "/books?title=eq.a", {"is_public": True}, headers=BACK),
    Request("update none and show", "PATCH", "/books?title=eq.nobody", {"is_public": True}, headers=BACK),
    Request("update counted", "PATCH", "/books?shelf=eq.u", {"is_public": True}, headers={"Prefer": "count=exact"}),
    Request("update one as an object", "PATCH", "/books?title=eq.a", {"secret": "x"}, headers={**BACK, **OBJECT}),
    Request("update two as an object", "PATCH", "/books?shelf=eq.u", {"secret": "x"}, headers={**BACK, **OBJECT}),
    Request("update another's", "PATCH", f"/notes?user_id=eq.{BOB}", {"body": "mine"}, who="ada", headers=BACK),
    Request("update nothing of them", "PATCH", "/books?title=eq.a", {}),
    Request("update a column that is not there", "PATCH", "/books?title=eq.a", {"wrong": 1}),
    Request("update without a filter", "PATCH", "/books", {"secret": "x"}),
    Request("delete", "DELETE", "/books?shelf=eq.v"),
    Request("delete and show", "DELETE", "/books?shelf=eq.v", headers=BACK),
    Request("delete and show a part", "DELETE", "/books?shelf=eq.v&select=title", headers=BACK),
    Request("delete counted", "DELETE", "/books?shelf=eq.u", headers={"Prefer": "count=exact"}),
    Request("delete none", "DELETE", "/books?shelf=eq.nobody", headers=BACK),
    Request("delete without a filter", "DELETE", "/books"),
    Request("delete without a grant", "DELETE", "/books?shelf=eq.v", who="ada"),
    Request(
        "put one", "PUT", "/books?shelf=eq.u&title=eq.a", {"shelf": "u", "title": "a", "is_public": True, "secret": "p"}
    ),
]

_CREATE = {"p_content": "The lamp is lit.", "p_target_languages": ["es"], "p_idempotency_key": "k"}
_WORKER = {"p_worker_id": "w1"}
_CLAIM = {**_WORKER, "p_limit": 1, "p_lease_ms": 30000, "p_job_types": ["translation"], "p_claim_id": SOMEONE}
_REPORT = {"mode": "realtime", "version": "1", "slots": 1, "running": 0, "job_types": ["translation"]}
_RESULT = {"job_id": SOMEONE, "token": 1, "item": "es", "outcome": "completed", "result": {"content": "x"}}

_PROJECT: Sequence[Request] = [
    _call("create a job", "create_translation_job", _CREATE, who="ada", only_shape=True),
    _call("create a job of nothing", "create_translation_job", {**_CREATE, "p_target_languages": []}, who="ada"),
    _call(
        "create a job in a language that is none",
        "create_translation_job",
        {**_CREATE, "p_target_languages": ["??"]},
        who="ada",
    ),
    _call("create a job of too high a priority", "create_translation_job", {**_CREATE, "p_priority": 9}, who="ada"),
    _call("create a job, nobody", "create_translation_job", _CREATE, who="anon"),
    _call("create a job with an argument too many", "create_translation_job", {**_CREATE, "p_wrong": 1}, who="ada"),
    _call(
        "create a job of a type that is none",
        "enqueue_translation_job",
        {"p_job_type": "none", "p_content": {}, "p_items": ["a"]},
    ),
    _call(
        "enqueue a job",
        "enqueue_translation_job",
        {"p_job_type": "translation", "p_content": "x", "p_items": ["es"]},
        only_shape=True,
    ),
    _call("list jobs", "list_translation_jobs", {}, who="ada"),
    _call("a job that is not there", "get_translation_job", {"p_job_id": SOMEONE}, who="ada"),
    _call("an id that is none", "get_translation_job", {"p_job_id": "x"}, who="ada"),
    _call("cancel what is not there", "cancel_translation_job", {"p_job_id": SOMEONE}, who="ada"),
    _call("credits", "get_translation_credits", {}, who="ada"),
    _call("a price", "preview_translation_price", {"p_content": "x", "p_target_languages": ["es", "fr"]}, who="ada"),
    _call("claim nothing", "claim_translation_jobs", _CLAIM),
    _call("claim as a user", "claim_translation_jobs", _CLAIM, who="ada"),
    _call("heartbeat", "heartbeat_translation_worker", {**_WORKER, "p_report": _REPORT}, only_shape=True),
    _call("record what nobody holds", "record_translation_results", {**_WORKER, "p_results": [_RESULT]}),
    _call("self check", "translation_self_check", {}, only_shape=True),
    _call("stats", "translation_queue_stats", {}, only_shape=True),
    _get("the table of jobs, nobody", "/translation_jobs?select=id", who="anon"),
    _get(
        "the table of jobs, a user",
        "/translation_jobs?select=id&order=seq.desc&limit=5",
        who="ada",
        headers={"Prefer": "count=exact"},
    ),
    Request("a job typed in by a user", "POST", "/translation_jobs", {"content": "x"}, who="ada"),
]

TABLE: Sequence[Request] = [
    *_SHAPES,
    *_BY_GET,
    *_REFUSED,
    *_CALLERS,
    *_READ,
    *_WRITTEN,
    *(replace(request, writes=True) for request in _PROJECT),
]
