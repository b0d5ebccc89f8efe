"""The REST gateway through the official Python client, and over plain HTTP where the client hides what matters."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from postgrest.exceptions import APIError

from tests.stack.conftest import Client, User
from worker.devstack.stack import Stack

Sql = psycopg.AsyncConnection[tuple[object, ...]]


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        ("scalar", {"a": 1}, 11),
        ("scalar", {"b": 2, "a": 1}, 3),
        ("scalar", {"a": 1, "b": None}, None),
        ("nothing", {}, None),
        ("echo_json", {"value": {"a": [1, "é", None]}}, {"a": [1, "é", None]}),
        ("echo_json", {"value": "text"}, "text"),
        ("echo_array", {"items": ["a,b", None, '"q"']}, ["a,b", None, '"q"']),
        ("echo_numeric", {"n": 9007199254740993}, 9007199254740993),
        ("one_pair", {}, {"a": 1, "b": "x"}),
        ("no_pair", {}, {"a": None, "b": None}),
        ("two_outs", {}, {"a": 1, "b": "x"}),
        ("one_out", {}, {"a": 1}),
        ("many_ints", {"n": 3}, [1, 2, 3]),
        ("many_ints", {"n": 0}, []),
        ("many_json", {}, [{"a": 1}, [2]]),
        ("some_table", {"n": 2}, [{"i": 1, "source": "s1"}, {"i": 2, "source": "s2"}]),
        ("some_table", {"n": 0}, []),
        ("single_column", {}, [{"i": 1}]),
        ("whole_body", {"any": "thing"}, {"any": "thing"}),
    ],
)
async def test_every_declared_return_has_its_shape(
    service: Client, function: str, arguments: dict[str, Any], expected: object
) -> None:
    answer = await service.rpc(function, arguments).execute()

    assert answer.data == expected


async def test_void_is_an_empty_204(stack: Stack, http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{stack.urls.url}/rest/v1/rpc/does_nothing", headers=_key(stack.urls.secret_key))

    assert (answer.status_code, answer.content) == (204, b"")
    assert "content-type" not in answer.headers


async def test_functions_are_capped_at_a_thousand_rows(service: Client) -> None:
    answer = await service.rpc("many_ints", {"n": 1500}).execute()

    assert len(answer.data) == 1000


async def test_rows_of_a_function_can_be_filtered_ordered_and_selected(service: Client) -> None:
    answer = await service.rpc("some_table", {"n": 9}).select("i").gt("i", 5).order("i", desc=True).limit(2).execute()

    assert answer.data == [{"i": 9}, {"i": 8}]


async def test_a_function_can_be_called_by_get_but_then_not_write(service: Client) -> None:
    assert (await service.rpc("scalar", {"a": "5", "b": "6"}, get=True).execute()).data == 11
    assert (await service.rpc("echo_array", {"items": ["a", "b"]}, get=True).execute()).data == ["a", "b"]
    with pytest.raises(APIError) as refused:
        await service.rpc("write_keyless", {}, get=True).execute()

    assert refused.value.code == "25006"


async def test_a_stable_function_runs_read_only_even_by_post(service: Client) -> None:
    with pytest.raises(APIError) as refused:
        await service.rpc("write_in_stable", {}).execute()

    assert refused.value.code in ("0A000", "25006")


async def test_a_function_may_set_status_and_headers(stack: Stack, http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{stack.urls.url}/rest/v1/rpc/answer_accepted", headers=_key(stack.urls.secret_key))

    assert (answer.status_code, answer.headers["x-seen"], answer.json()) == (202, "yes", {"ok": True})


async def test_headers_that_are_none_are_a_fault_of_the_function(service: Client) -> None:
    with pytest.raises(APIError) as refused:
        await service.rpc("bad_headers", {}).execute()

    assert refused.value.code == "PGRST111"


async def test_a_variadic_argument_is_an_array_or_given_again_and_again(
    service: Client, stack: Stack, http: httpx.AsyncClient
) -> None:
    url = f"{stack.urls.url}/rest/v1/rpc/variadic_sum?numbers=1&numbers=2"

    assert (await service.rpc("variadic_sum", {"numbers": [1, 2, 3]}).execute()).data == 6
    assert (await http.get(url, headers=_key(stack.urls.secret_key))).json() == 3


# Errors


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("P0001", 400),
        ("PT402", 402),
        ("PT429", 429),
        ("23505", 409),
        ("23503", 409),
        ("23514", 400),
        ("22P02", 400),
        ("40001", 500),
        ("53300", 503),
        ("57014", 500),
        ("08006", 503),
        ("P0002", 500),
        ("42883", 404),
    ],
)
async def test_a_sqlstate_becomes_its_http_status(
    stack: Stack, http: httpx.AsyncClient, code: str, status: int
) -> None:
    answer = await http.post(
        f"{stack.urls.url}/rest/v1/rpc/refuse", json={"code": code}, headers=_key(stack.urls.secret_key)
    )

    assert answer.status_code == status
    assert answer.json() == {"code": code, "details": "why", "hint": "try", "message": "no"}
    assert answer.headers["proxy-status"] == f"PostgREST; error={code}"


async def test_a_refusal_may_carry_headers(stack: Stack, http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{stack.urls.url}/rest/v1/rpc/refuse_later", headers=_key(stack.urls.secret_key))

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json() == {"code": "later", "details": None, "hint": None, "message": "busy"}


@pytest.mark.parametrize(
    ("function", "arguments", "code"),
    [
        ("scalar", {}, "PGRST202"),
        ("scalar", {"a": 1, "c": 1}, "PGRST202"),
        ("not_there", {}, "PGRST202"),
        ("overload", {"a": 1}, "PGRST203"),
        ("echo_array", {"items": 5}, "22P02"),
    ],
)
async def test_a_call_that_fits_no_function_says_so(
    service: Client, function: str, arguments: dict[str, Any], code: str
) -> None:
    with pytest.raises(APIError) as refused:
        await service.rpc(function, arguments).execute()

    assert refused.value.code == code


async def test_a_body_that_is_not_json_is_refused(stack: Stack, http: httpx.AsyncClient) -> None:
    answer = await http.post(f"{stack.urls.url}/rest/v1/rpc/scalar", content=b"{", headers=_key(stack.urls.secret_key))

    assert (answer.status_code, answer.json()["code"]) == (400, "PGRST102")


async def test_the_statement_timeout_of_a_function_holds_for_the_call(service: Client) -> None:
    with pytest.raises(APIError) as refused:
        await service.rpc("sleep", {"seconds": 5}).execute()

    assert refused.value.code == "57014"


async def test_a_function_made_a_moment_ago_can_be_called(service: Client, sql: Sql) -> None:
    for answer in (1, 2):
        await sql.execute(
            f"drop function if exists public.fresh; create function public.fresh(a{answer} int) returns int "
            f"language sql as 'select {answer}'; grant execute on function public.fresh to service_role"
        )

        assert (await service.rpc("fresh", {f"a{answer}": 0}).execute()).data == answer


# Who is asking


async def test_every_request_runs_as_its_own_role_with_its_own_settings(service: Client, user: User) -> None:
    as_service = (await service.rpc("who", {}).execute()).data
    as_user = (await user.client.rpc("who", {}).execute()).data

    assert (as_service["user"], as_service["role"], as_service["uid"]) == ("service_role", "service_role", None)
    assert (as_user["user"], as_user["role"], as_user["uid"]) == ("authenticated", "authenticated", user.id)
    assert as_user["path"] == "/rpc/who"
    assert as_user["method"] == "POST"
    assert as_user["search_path"] == '"public", "extensions"'
    assert {as_service["timeout"], as_user["timeout"]} == {"8s"}


async def test_no_key_a_wrong_key_and_a_secret_key_in_a_browser_are_401(stack: Stack, http: httpx.AsyncClient) -> None:
    url = f"{stack.urls.url}/rest/v1/rpc/who"
    missing = await http.post(url, headers={"Authorization": f"Bearer {stack.urls.secret_key}"})
    wrong = await http.post(url, headers=_key("sb_secret_wrong"))
    browser = await http.post(url, headers={**_key(stack.urls.secret_key), "User-Agent": "Mozilla/5.0 (X11)"})

    assert [r.status_code for r in (missing, wrong, browser)] == [401, 401, 401]
    assert missing.json()["message"] == "No API key found in request"


async def test_a_token_wins_over_the_key_beside_it(stack: Stack, http: httpx.AsyncClient, user: User) -> None:
    headers = {"apikey": stack.urls.secret_key, "Authorization": f"Bearer {user.access_token}"}
    answer = await http.post(f"{stack.urls.url}/rest/v1/rpc/who", headers=headers)

    assert answer.json()["uid"] == user.id


@pytest.mark.parametrize(
    ("claims", "algorithm", "status", "code"),
    [
        ({"role": "authenticated", "exp": 4102444800}, "HS256", 200, None),
        ({"role": "authenticated", "exp": 4102444800}, "ES256", 200, None),
        ({"role": "authenticated", "exp": 1}, "ES256", 401, "PGRST303"),
        ({"role": "nobody_knows", "exp": 4102444800}, "ES256", 401, "22023"),
    ],
)
async def test_tokens_of_both_kinds_are_verified(
    stack: Stack, http: httpx.AsyncClient, claims: dict[str, Any], algorithm: str, status: int, code: str | None
) -> None:
    token = stack.keys.sign(claims, algorithm=algorithm)
    headers = {"apikey": stack.urls.publishable_key, "Authorization": f"Bearer {token}"}
    answer = await http.post(f"{stack.urls.url}/rest/v1/rpc/who", headers=headers)

    assert answer.status_code == status
    assert code is None or answer.json()["code"] == code


@pytest.mark.parametrize("token", ["junk", jwt.encode({"role": "service_role"}, "x" * 32), "a.b.c"])
async def test_a_token_signed_by_somebody_else_is_refused(stack: Stack, http: httpx.AsyncClient, token: str) -> None:
    headers = {"apikey": stack.urls.publishable_key, "Authorization": f"Bearer {token}"}
    answer = await http.post(f"{stack.urls.url}/rest/v1/rpc/who", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "PGRST301")
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_missing_grant_is_401_for_anon_and_403_for_a_user(
    stack: Stack, http: httpx.AsyncClient, user: User
) -> None:
    url = f"{stack.urls.url}/rest/v1/keyless?select=*"
    anonymous = await http.get(url, headers=_key(stack.urls.publishable_key))
    signed_in = await http.get(
        url, headers={"apikey": stack.urls.publishable_key, "Authorization": f"Bearer {user.access_token}"}
    )

    assert (anonymous.status_code, signed_in.status_code) == (401, 403)
    assert anonymous.json()["code"] == signed_in.json()["code"] == "42501"


async def test_only_the_public_schema_is_exposed(stack: Stack, http: httpx.AsyncClient) -> None:
    headers = {**_key(stack.urls.secret_key), "Content-Profile": "auth"}
    answer = await http.post(f"{stack.urls.url}/rest/v1/rpc/who", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (406, "PGRST106")


# Tables


@pytest.fixture
async def notes(user: User) -> Client:
    """A user's client with four notes."""
    rows = [
        {"body": "alpha", "stars": 1, "tags": ["x", "y"], "meta": {"size": {"w": 10}, "kind": "a"}, "price": "12.3400"},
        {"body": "beta, (quoted)", "stars": 2, "tags": ["y"], "meta": {"kind": "b"}, "price": None},
        {"body": "gamma", "stars": None, "tags": [], "meta": None, "price": None},
        {"body": "delta", "stars": 4, "tags": ["z"], "meta": {"kind": "a"}, "price": None},
    ]
    await user.client.table("notes").insert(rows).execute()
    return user.client


Filter = Callable[[Any], Any]


@pytest.mark.parametrize(
    ("filtered", "expected"),
    [
        (lambda q: q.eq("body", "alpha"), ["alpha"]),
        (lambda q: q.eq("body", "beta, (quoted)"), ["beta, (quoted)"]),
        (lambda q: q.neq("body", "alpha"), ["beta, (quoted)", "gamma", "delta"]),
        (lambda q: q.gt("stars", 1).lte("stars", 4), ["beta, (quoted)", "delta"]),
        (lambda q: q.is_("stars", None), ["gamma"]),
        (lambda q: q.not_.is_("stars", None), ["alpha", "beta, (quoted)", "delta"]),
        (lambda q: q.in_("body", ["alpha", "beta, (quoted)"]), ["alpha", "beta, (quoted)"]),
        (lambda q: q.in_("stars", [1, 4]), ["alpha", "delta"]),
        (lambda q: q.like("body", "%lt%"), ["delta"]),
        (lambda q: q.ilike("body", "*ALPH*"), ["alpha"]),
        (lambda q: q.contains("tags", ["y"]), ["alpha", "beta, (quoted)"]),
        (lambda q: q.contains("meta", {"kind": "a"}), ["alpha", "delta"]),
        (lambda q: q.contained_by("tags", ["y", "z"]), ["beta, (quoted)", "gamma", "delta"]),
        (lambda q: q.overlaps("tags", ["x", "z"]), ["alpha", "delta"]),
        (lambda q: q.eq("meta->>kind", "b"), ["beta, (quoted)"]),
        (lambda q: q.eq("meta->size->>w", "10"), ["alpha"]),
        (lambda q: q.or_("stars.eq.1,and(stars.gt.3,body.like.d*)"), ["alpha", "delta"]),
        (
            lambda q: q.or_('body.eq."beta, (quoted)",not.and(stars.not.is.null,stars.gt.0)'),
            ["beta, (quoted)", "gamma"],
        ),
    ],
)
async def test_filters_choose_rows_as_the_real_gateway_does(
    notes: Client, filtered: Filter, expected: list[str]
) -> None:
    answer = await filtered(notes.table("notes").select("body")).order("id").execute()
    bodies = [row["body"] for row in answer.data]

    assert bodies == expected


async def test_rows_come_in_the_order_and_the_page_asked_for(notes: Client) -> None:
    first = await notes.table("notes").select("body").order("stars", desc=True, nullsfirst=True).limit(2).execute()
    last = await notes.table("notes").select("body").order("stars", nullsfirst=False).range(1, 2).execute()

    assert [row["body"] for row in first.data] == ["gamma", "delta"]
    assert [row["body"] for row in last.data] == ["beta, (quoted)", "delta"]


async def test_select_renames_casts_and_reaches_into_json(notes: Client) -> None:
    query = notes.table("notes").select("name:body, stars::text, meta->size->w, kind:meta->>kind, price")
    answer = await query.eq("body", "alpha").execute()

    assert answer.data == [{"name": "alpha", "stars": "1", "w": 10, "kind": "a", "price": 12.34}]


async def test_a_count_comes_with_the_range(notes: Client) -> None:
    page = await notes.table("notes").select("body", count="exact").limit(2).execute()
    only_count = await notes.table("notes").select("*", count="exact", head=True).execute()

    assert (len(page.data), page.count) == (2, 4)
    assert (only_count.data, only_count.count) == ([], 4)


async def test_a_page_can_be_asked_for_by_range(
    stack: Stack, http: httpx.AsyncClient, user: User, notes: Client
) -> None:
    headers = {"Authorization": f"Bearer {user.access_token}", "Range": "1-2", "Prefer": "count=exact"}
    page = await http.get(
        f"{stack.urls.url}/rest/v1/notes?select=body&order=id",
        headers={**_key(stack.urls.publishable_key), **headers, "Accept-Profile": "public"},
    )

    assert [row["body"] for row in page.json()] == ["beta, (quoted)", "gamma"]
    assert (page.status_code, page.headers["content-range"]) == (206, "1-2/4")
    assert (page.headers["preference-applied"], page.headers["content-profile"]) == ("count=exact", "public")


async def test_single_wants_exactly_one_row_and_maybe_single_at_most_one(notes: Client) -> None:
    table = notes.table("notes")

    assert (await table.select("body").eq("body", "alpha").single().execute()).data == {"body": "alpha"}
    assert await table.select("body").eq("body", "nobody").maybe_single().execute() is None
    with pytest.raises(APIError) as refused:
        await table.select("body").single().execute()
    assert refused.value.code == "PGRST116"


async def test_rows_are_written_read_back_merged_and_deleted(service: Client) -> None:
    books = service.table("books")
    made = await books.insert({"shelf": "a", "title": "one"}).execute()
    merged = await books.upsert({"shelf": "a", "title": "one", "secret": "s"}).execute()
    ignored = await books.upsert({"shelf": "a", "title": "one", "secret": "t"}, ignore_duplicates=True).execute()
    changed = await books.update({"is_public": True}).eq("title", "one").execute()
    gone = await books.delete().eq("shelf", "a").execute()

    assert made.data == [{"shelf": "a", "title": "one", "is_public": False, "secret": None}]
    assert merged.data[0]["secret"] == "s"
    assert ignored.data == []
    assert (changed.data[0]["is_public"], changed.data[0]["secret"]) == (True, "s")
    assert [row["title"] for row in gone.data] == ["one"]


async def test_an_update_or_delete_without_a_filter_is_refused(service: Client) -> None:
    for query in (service.table("books").update({"secret": "x"}), service.table("books").delete()):
        with pytest.raises(APIError) as refused:
            await query.execute()
        assert refused.value.code == "21000"


async def test_an_update_of_nothing_changes_nothing(service: Client) -> None:
    assert (await service.table("books").update({}).eq("title", "nobody").execute()).data == []


async def test_a_write_that_must_touch_one_row_is_undone_when_it_touches_two(
    stack: Stack, http: httpx.AsyncClient, service: Client
) -> None:
    await service.table("books").insert([{"shelf": "u", "title": "a"}, {"shelf": "u", "title": "b"}]).execute()
    answer = await http.patch(
        f"{stack.urls.url}/rest/v1/books?shelf=eq.u",
        json={"secret": "x"},
        headers={
            **_key(stack.urls.secret_key),
            "Accept": "application/vnd.pgrst.object+json",
            "Prefer": "return=representation",
        },
    )
    left = await service.table("books").select("secret").eq("shelf", "u").execute()

    assert (answer.status_code, answer.json()["details"]) == (406, "The result contains 2 rows")
    assert [row["secret"] for row in left.data] == [None, None]


async def test_what_the_table_does_not_know_is_named(service: Client) -> None:
    for query, code in (
        (service.table("not_there").select("*"), "PGRST205"),
        (service.table("books").insert({"wrong": 1}), "PGRST204"),
        (service.table("books").select("wrong"), "42703"),
        (service.table("books").select("*, notes(*)"), "PGRST200"),
        (service.table("books").select("*").eq("notes.id", 1), "PGRST108"),
        (service.table("books").select("*").order("shelf.sideways"), "PGRST100"),
    ):
        with pytest.raises(APIError) as refused:
            await query.execute()
        assert refused.value.code == code


async def test_users_see_and_write_only_their_own_rows(notes: Client, new_user: Callable[[], Awaitable[User]]) -> None:
    stranger = await new_user()
    ids = [row["id"] for row in (await notes.table("notes").select("id").execute()).data]

    assert (await stranger.client.table("notes").select("*").execute()).data == []
    assert (await stranger.client.table("notes").update({"body": "mine"}).in_("id", ids).execute()).data == []
    with pytest.raises(APIError) as refused:
        await stranger.client.table("notes").insert({"body": "x", "user_id": str(_someone())}).execute()
    assert refused.value.code == "42501"


# Under load and trouble


async def test_many_requests_at_once_share_few_connections(service: Client) -> None:
    answers = await asyncio.gather(*(service.rpc("scalar", {"a": n, "b": 0}).execute() for n in range(60)))

    assert [answer.data for answer in answers] == list(range(60))


async def test_a_megabyte_goes_in_and_out(service: Client) -> None:
    value = {"text": "ü" * 600_000}

    assert (await service.rpc("echo_json", {"value": value}).execute()).data == value


async def test_killed_backends_are_replaced(service: Client, stack: Stack) -> None:
    await service.rpc("scalar", {"a": 1}).execute()
    async with await psycopg.AsyncConnection.connect(stack.urls.admin_database_url, autocommit=True) as admin:
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'authenticator'")

    async def outcome() -> object:
        try:
            return (await service.rpc("scalar", {"a": 1}).execute()).data
        except APIError as error:
            return error.code

    outcomes = [await outcome() for _ in range(12)]

    assert set(outcomes) <= {11, "PGRST001", "57P01"}
    assert outcomes[-1] == 11


@pytest.mark.usefixtures("clean_faults")
async def test_an_answer_can_be_lost_after_the_commit(service: Client, stack: Stack) -> None:
    stack.faults.order(lose_answers=1)
    with pytest.raises(httpx.TransportError):
        await service.table("books").insert({"shelf": "lost", "title": "answer"}).execute()

    assert len((await service.table("books").select("title").eq("shelf", "lost").execute()).data) == 1


@pytest.mark.usefixtures("clean_faults")
async def test_trouble_is_ordered_through_the_admin_route_with_its_key_only(
    stack: Stack, http: httpx.AsyncClient
) -> None:
    url = f"{stack.urls.url}/admin/faults"
    stranger = await http.patch(url, json={"rest_status": 503})
    wrong = await http.patch(url, json={"no_such_fault": 1}, headers={"x-admin-key": "sesame"})
    ordered = await http.patch(url, json={"rest_status": 503}, headers={"x-admin-key": "sesame"})
    troubled = await http.post(f"{stack.urls.url}/rest/v1/rpc/who", headers=_key(stack.urls.secret_key))
    await http.delete(url, headers={"x-admin-key": "sesame"})
    healed = await http.post(f"{stack.urls.url}/rest/v1/rpc/who", headers=_key(stack.urls.secret_key))

    assert [r.status_code for r in (stranger, wrong, ordered, troubled, healed)] == [403, 400, 200, 503, 200]


def _key(key: str) -> dict[str, str]:
    return {"apikey": key}


def _someone() -> str:
    return "00000000-0000-4000-8000-00000000000a"
