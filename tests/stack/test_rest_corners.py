"""What is seldom asked of the REST gateway, and what it cannot read, over plain HTTP."""

from collections.abc import AsyncIterator

import httpx
import pytest

from worker.devstack.stack import Stack

BOOKS = [
    {"shelf": "corner", "title": 'the "red" book', "is_public": True},
    {"shelf": "corner", "title": "a ferry at noon", "is_public": False},
    {"shelf": "corner", "title": "ferries", "is_public": True},
]


@pytest.fixture
async def api(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """The REST API with the secret key."""
    key = {"apikey": stack.urls.secret_key, "authorization": f"Bearer {stack.urls.secret_key}"}
    async with httpx.AsyncClient(base_url=f"{stack.urls.url}/rest/v1", headers=key, timeout=10) as session:
        yield session


@pytest.fixture
async def books(api: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """The same, with three books on a shelf."""
    made = await api.post("/books", json=BOOKS)
    assert made.status_code == 201, made.text
    yield api
    await api.delete("/books", params={"shelf": "eq.corner"})


@pytest.mark.parametrize(
    ("condition", "titles"),
    [
        ({"title": "fts.ferry"}, ["a ferry at noon", "ferries"]),
        ({"title": "fts(english).noon"}, ["a ferry at noon"]),
        ({"title": "plfts.noon ferry"}, ["a ferry at noon"]),
        ({"title": "like(any).{a%,f%}"}, ["a ferry at noon", "ferries"]),
        ({"title": "like(all).{%f%,%s}"}, ["ferries"]),
        ({"or": '(title.eq."the \\"red\\" book",title.eq.ferries)'}, ["ferries", 'the "red" book']),
    ],
)
async def test_words_and_alternatives_are_looked_for(
    books: httpx.AsyncClient, condition: dict[str, str], titles: list[str]
) -> None:
    answer = await books.get("/books", params={"shelf": "eq.corner", "select": "title", "order": "title", **condition})

    assert [row["title"] for row in answer.json()] == titles


@pytest.mark.parametrize(
    "query",
    [
        {"select": "title::te xt"},
        {"order": "title.asc.descending"},
        {"title": "is.something"},
        {"title": "in.ferries"},
        {"title": "ferries"},
        {"or": "(title)"},
        {"limit": "some"},
        {"title": "near.ferries"},
    ],
)
async def test_a_query_that_cannot_be_read_is_refused(api: httpx.AsyncClient, query: dict[str, str]) -> None:
    refused = await api.get("/books", params=query)

    assert (refused.status_code, refused.json()["code"]) == (400, "PGRST100")


@pytest.mark.parametrize("body", [[{}, 1], [{"shelf": "a"}, {"title": "b"}], 3])
async def test_rows_are_objects_with_the_same_keys(api: httpx.AsyncClient, body: object) -> None:
    refused = await api.post("/books", json=body)

    assert (refused.status_code, refused.json()["code"]) == (400, "PGRST102")


async def test_no_rows_are_written_as_asked(api: httpx.AsyncClient) -> None:
    written = await api.post("/books", json=[], headers={"prefer": "return=representation"})

    assert (written.status_code, written.json()) == (201, [])


async def test_columns_that_a_row_leaves_out_are_null_or_their_default_as_asked(api: httpx.AsyncClient) -> None:
    rows = [{"shelf": "default", "title": "plain"}, {"shelf": "default", "title": "told", "is_public": True}]
    columns = {"columns": "shelf,title,is_public"}
    made = await api.post(
        "/books", params=columns, json=rows, headers={"prefer": "missing=default,return=representation"}
    )
    await api.delete("/books", params={"shelf": "eq.default"})
    without = await api.post("/books", params=columns, json=rows, headers={"prefer": "return=representation"})
    await api.delete("/books", params={"shelf": "eq.default"})

    assert [row["is_public"] for row in made.json()] == [False, True]
    assert [row["is_public"] for row in without.json()] == [None, True]


async def test_where_there_is_no_key_nothing_is_merged(api: httpx.AsyncClient) -> None:
    headers = {"prefer": "resolution=merge-duplicates,return=representation"}
    twice = [await api.post("/keyless", json={"body": "same"}, headers=headers) for _ in range(2)]
    there = await api.get("/keyless", params={"body": "eq.same"})

    assert [answer.status_code for answer in twice] == [201, 201]
    assert there.json() == [{"body": "same"}] * 2


async def test_a_page_beyond_the_end_of_a_counted_answer_is_refused(books: httpx.AsyncClient) -> None:
    beyond = await books.get("/books", params={"shelf": "eq.corner", "offset": "3"}, headers={"prefer": "count=exact"})

    assert (beyond.status_code, beyond.json()["code"]) == (416, "PGRST103")


@pytest.mark.parametrize(("path", "code"), [("/rpc/scalar", "PGRST101"), ("/books", "PGRST117")])
async def test_a_method_that_means_nothing_is_refused(api: httpx.AsyncClient, path: str, code: str) -> None:
    refused = await api.put(path, json={"a": 1})

    assert (refused.status_code, refused.json()["code"]) == (405, code)


async def test_an_answer_in_another_format_is_refused(api: httpx.AsyncClient) -> None:
    refused = await api.get("/books", headers={"accept": "text/html"})

    assert (refused.status_code, refused.json()["code"]) == (406, "PGRST107")
