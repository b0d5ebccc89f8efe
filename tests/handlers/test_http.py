"""Jobs of type http: what an endpoint is sent, where a call may go, and what its answer means."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from tests.handlers.conftest import FakeContext, MakeContext
from tests.support.database import Database
from tests.support.endpoint import Endpoint, running_endpoint
from worker import errors, models
from worker.handlers import answers, guard
from worker.handlers.http import HttpHandler
from worker.handlers.procedures import Procedures

TOKEN = "a-bearer-token"
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()

Call = Callable[..., Awaitable[models.ItemResult]]


@pytest.fixture
async def endpoint(kinds: Database) -> AsyncIterator[Endpoint]:
    """Listed as `cards`."""
    async with running_endpoint() as running:
        add(kinds, "cards", f"{running.url}/api", methods=["POST", "GET"])
        yield running


def add(kinds: Database, name: str, url: str, **more: Any) -> None:
    row = {"name": name, "url": url, "allow_private": True} | more
    columns = ", ".join(row)
    kinds.run(
        f"insert into public.translation_http_endpoints ({columns}) values ({', '.join(['%s'] * len(row))})",
        *row.values(),
    )


@pytest.fixture
def handler(procedures: Procedures) -> HttpHandler:
    return HttpHandler(procedures, tokens={"cards": TOKEN}, secrets={"cards": SECRET})


@pytest.fixture
def call(handler: HttpHandler, make_context: MakeContext) -> Call:
    async def work(content: Any, item: str = "42", **more: Any) -> models.ItemResult:
        return await handler(make_context(content, item, kind="json", **more))

    return work


async def failure(working: Awaitable[Any]) -> errors.ItemError:
    with pytest.raises(errors.ItemError) as failed:
        await working
    return failed.value


def answering(status: int, body: Any = None, **headers: str) -> Any:
    async def answer(_request: web.Request) -> web.StreamResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.Response(status=status, body=raw, headers={name.replace("_", "-"): v for name, v in headers.items()})

    return answer


# What is sent


async def test_an_item_is_one_call_with_json_in_and_out(call: Call, endpoint: Endpoint) -> None:
    endpoint.answer = answering(201, {"card": 42})

    result = await call({"endpoint": "cards", "path": "/card/{item}/render", "body": {"size": "xl"}})

    (seen,) = endpoint.called
    assert (seen.method, seen.path, seen.json) == ("POST", "/api/card/42/render", {"size": "xl"})
    assert seen.headers["content-type"] == "application/json"
    assert result.content["result"] == {"card": 42}
    assert result.content["status"] == 201
    assert result.provider == "cards"


async def test_an_item_may_have_a_path_and_a_body_of_its_own(call: Call, endpoint: Endpoint) -> None:
    each = {"a": {"path": "/first", "body": [1]}, "b": {"body": None}}
    content = {"endpoint": "cards", "path": "/all", "body": {"common": True}, "each": each}

    for item in ("a", "b", "c"):
        await call(content, item)

    seen = [(one.path, one.json) for one in endpoint.called]
    assert seen == [("/api/first", [1]), ("/api/all", None), ("/api/all", {"common": True})]


async def test_without_a_body_the_item_is_sent_and_without_an_endpoint_the_item_is_one(
    call: Call, endpoint: Endpoint
) -> None:
    await call({"endpoint": "cards"}, "42")
    await call({}, "cards")

    assert [one.json for one in endpoint.called] == [{"item": "42"}, {"item": "cards"}]
    assert [one.path for one in endpoint.called] == ["/api", "/api"]


async def test_a_get_has_no_body(call: Call, endpoint: Endpoint) -> None:
    await call({"endpoint": "cards", "method": "GET"})

    assert (endpoint.called[0].method, endpoint.called[0].body) == ("GET", b"")


async def test_the_token_and_who_asks_travel_in_headers(call: Call, endpoint: Endpoint) -> None:
    await call({"endpoint": "cards"}, "año\r\nX-Evil: 1", attempt=2)

    headers = endpoint.called[0].headers
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["x-job-item"] == "a%C3%B1o%0D%0AX-Evil: 1"
    assert headers["x-job-attempt"] == "2"
    assert headers["x-correlation-id"] == headers["x-job-id"]
    assert "x-evil" not in headers
    assert "cookie" not in headers


async def test_every_try_of_an_item_has_one_key_and_no_two_items_share_it(call: Call, endpoint: Endpoint) -> None:
    items = ["a", "b", "x" * 199 + "1", "x" * 199 + "2"]
    for item in items:
        for attempt in (1, 2):
            await call({"endpoint": "cards"}, item, attempt=attempt)

    keys = [one.headers["idempotency-key"] for one in endpoint.called]
    assert keys[::2] == keys[1::2]
    assert len(set(keys)) == len(items)
    assert keys[0] == f"{endpoint.called[0].headers['x-job-id']}:a"


async def test_a_call_is_signed_as_standard_webhooks_are(call: Call, endpoint: Endpoint) -> None:
    await call({"endpoint": "cards", "body": {"tags": ["á"]}})

    (seen,) = endpoint.called
    signed = f"{seen.headers['webhook-id']}.{seen.headers['webhook-timestamp']}.".encode() + seen.body
    digest = hmac.digest(b"0123456789abcdef01234567", signed, hashlib.sha256)
    assert seen.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert seen.headers["webhook-id"] == seen.headers["idempotency-key"]


async def test_an_endpoint_without_token_or_secret_gets_neither(
    call: Call, endpoint: Endpoint, kinds: Database
) -> None:
    add(kinds, "open", endpoint.url)

    await call({"endpoint": "open"})

    assert {"authorization", "webhook-signature"} & endpoint.called[0].headers.keys() == set()


# Where it may go


@pytest.mark.parametrize("path", ["/..", "/a/../b", "/%2e%2e/admin", "/./x"])
async def test_a_path_cannot_climb(call: Call, endpoint: Endpoint, path: str) -> None:
    error = await failure(call({"endpoint": "cards", "path": path}))

    assert (error.error_class, endpoint.called) == ("bad_request", [])


async def test_an_item_in_a_path_cannot_climb_either(call: Call, endpoint: Endpoint) -> None:
    error = await failure(call({"endpoint": "cards", "path": "/{item}"}, ".."))
    await call({"endpoint": "cards", "path": "/{item}"}, "../../admin?x#y")

    assert error.error_class == "bad_request"
    assert [one.path for one in endpoint.called] == ["/api/..%2F..%2Fadmin%3Fx%23y"]


async def test_what_is_not_on_the_list_is_not_called(call: Call, endpoint: Endpoint, kinds: Database) -> None:
    kinds.run("update public.translation_http_endpoints set enabled = false")

    for name in ("cards", "nowhere"):
        error = await failure(call({"endpoint": name}))
        assert (error.error_class, "not on the list" in error.message) == ("bad_request", True)

    assert endpoint.called == []


async def test_a_method_that_was_taken_away_is_not_used(call: Call, endpoint: Endpoint, kinds: Database) -> None:
    kinds.run("update public.translation_http_endpoints set methods = '{GET}'")

    error = await failure(call({"endpoint": "cards", "method": "POST"}))

    assert (error.error_class, endpoint.called) == ("bad_request", [])


async def test_a_private_address_is_refused_unless_it_is_allowed(
    call: Call, endpoint: Endpoint, kinds: Database
) -> None:
    kinds.run(
        "update public.translation_http_endpoints set url = replace(url, 'http:', 'https:'), allow_private = false"
    )

    error = await failure(call({"endpoint": "cards"}))

    assert (error.error_class, error.speaks_for_provider) == ("bad_request", False)
    assert "private address" in error.message
    assert endpoint.called == []


class Resolver(AbstractResolver):
    """A name server that answers as it likes, each time."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self.addresses.pop(0)
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "::ffff:169.254.169.254"])
@pytest.mark.parametrize("allow_private", [False, True])
async def test_a_name_that_leads_to_the_metadata_service_is_refused_even_where_private_is_allowed(
    procedures: Procedures, make_context: MakeContext, kinds: Database, address: str, allow_private: bool
) -> None:
    add(kinds, "cards", "https://cards.example.com", allow_private=allow_private)
    handler = HttpHandler(procedures, tokens={}, secrets={}, resolver=Resolver(address))

    error = await failure(handler(make_context({"endpoint": "cards"}, kind="json")))

    assert (error.error_class, "private address" in error.message) == ("bad_request", True)


async def test_a_name_that_changes_its_mind_is_judged_by_where_the_call_would_go(
    procedures: Procedures, make_context: MakeContext, kinds: Database, endpoint: Endpoint
) -> None:
    """Loopback at first, which is allowed here; then the address of a metadata service."""
    port = endpoint.url.rsplit(":", 1)[1]
    add(kinds, "moving", f"http://cards.example.com:{port}")
    handler = HttpHandler(procedures, tokens={}, secrets={}, resolver=Resolver("127.0.0.1", "169.254.169.254"))

    await handler(make_context({"endpoint": "moving"}, kind="json"))
    error = await failure(handler(make_context({"endpoint": "moving"}, kind="json")))

    assert (error.error_class, len(endpoint.called)) == ("bad_request", 1)


@pytest.mark.parametrize(
    ("address", "of_the_internet", "private"),
    [
        ("93.184.216.34", True, True),
        ("2606:2800:220:1:248:1893:25c8:1946", True, True),
        ("10.0.0.8", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, True),
        ("127.0.0.1", False, True),
        ("::1", False, True),
        ("fd00:ec2::254", False, True),
        ("::ffff:10.0.0.8", False, True),
        ("64:ff9b::a00:8", False, True),
        ("2002:a00:8::", False, True),
        ("0.0.0.0", False, False),
        ("169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:a9fe:a9fe::", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1%eth0", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
    ],
)
def test_which_addresses_may_be_called(address: str, of_the_internet: bool, private: bool) -> None:
    assert guard.may_reach(address, allow_private=False) is of_the_internet
    assert guard.may_reach(address, allow_private=True) is private


async def test_a_redirect_is_not_followed_and_says_so(call: Call, endpoint: Endpoint) -> None:
    endpoint.answer = answering(302, b"", Location="http://169.254.169.254/latest/meta-data")

    error = await failure(call({"endpoint": "cards"}))

    assert error.error_class == "bad_request"
    assert "redirects are not followed" in error.message
    assert len(endpoint.called) == 1


# What an answer means


@pytest.mark.parametrize(
    ("status", "headers", "error_class", "wait_seconds"),
    [
        (400, {}, "bad_request", None),
        (404, {}, "bad_request", None),
        (422, {}, "bad_request", None),
        (401, {}, "auth", None),
        (403, {}, "auth", None),
        (408, {}, "overloaded", None),
        (425, {}, "overloaded", None),
        (429, {"Retry-After": "7"}, "rate_limited", 7.0),
        (500, {}, "overloaded", None),
        (503, {"Retry-After": "9"}, "overloaded", 9.0),
    ],
)
async def test_a_status_says_what_another_try_is_worth(
    call: Call, endpoint: Endpoint, status: int, headers: dict[str, str], error_class: str, wait_seconds: float | None
) -> None:
    endpoint.answer = answering(status, {"error": {"message": f"It is  raining on {TOKEN}.\n"}}, **headers)

    error = await failure(call({"endpoint": "cards"}))

    assert (error.error_class, error.retry_after_seconds) == (error_class, wait_seconds)
    assert error.message == f"cards answered {status}: It is raining on ***."
    assert error.speaks_for_provider is False


@pytest.mark.parametrize(
    ("body", "result"), [(b"", None), (b"done", "done"), (b'{"a": [1, null]}', {"a": [1, None]}), (b"NaN", "NaN")]
)
async def test_any_text_is_a_result(call: Call, endpoint: Endpoint, body: bytes, result: Any) -> None:
    endpoint.answer = answering(200, body)

    assert (await call({"endpoint": "cards"})).content["result"] == result


@pytest.mark.parametrize(
    ("body", "says"), [(b"\xff\xfe\x00", "not JSON"), (b'"' + b"x" * 262_144 + b'"', "more than 256 kB")]
)
async def test_what_cannot_be_kept_fails_the_item(call: Call, endpoint: Endpoint, body: bytes, says: str) -> None:
    endpoint.answer = answering(200, body)

    error = await failure(call({"endpoint": "cards"}))

    assert (error.error_class, says in error.message) == ("bad_output", True)


async def test_an_endpoint_that_does_not_answer_in_its_time_is_tried_again(
    call: Call, endpoint: Endpoint, kinds: Database
) -> None:
    async def never(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    endpoint.answer = never
    kinds.run("update public.translation_http_endpoints set timeout_seconds = 1")

    error = await failure(call({"endpoint": "cards"}))

    assert (error.error_class, error.message) == ("overloaded", "cards did not answer within 1 seconds.")


async def test_an_endpoint_that_is_not_there_is_tried_again(call: Call, kinds: Database) -> None:
    add(kinds, "away", "http://127.0.0.1:1")

    error = await failure(call({"endpoint": "away"}))

    assert (error.error_class, error.message) == ("overloaded", "away could not be reached.")


# Line by line


def streaming(*lines: Any) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for line in lines:
            raw = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
            await response.write(raw)
        await response.write_eof()
        return response

    return answer


async def test_an_endpoint_tells_how_far_it_is_and_then_its_result(
    handler: HttpHandler, make_context: MakeContext, endpoint: Endpoint
) -> None:
    context: FakeContext = make_context({"endpoint": "cards"}, kind="json")
    halves = [b'{"progress": 40, "mess', b'age": "half way"}\n\n{"progress": "?"}\n']
    endpoint.answer = streaming(*halves, {"progress": 90}, {"result": {"done": True}})

    result = await handler(context)

    told = [(report["done_chars"], report.get("message")) for report in context.reports]
    assert told == [(0, None), (40, "half way"), (90, None)]
    assert result.content["result"] == {"done": True}


class Pieces:
    """An answer's body, in just these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.content = self
        self._pieces = pieces

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


@pytest.mark.parametrize(
    "pieces", [(b"one\ntwo\nthree",), (b"o", b"ne", b"\n", b"\ntw", b"o\nthree\n"), (b"one\n", b"two\n", b"three")]
)
async def test_lines_are_whole_however_they_arrive(pieces: tuple[bytes, ...]) -> None:
    response: Any = Pieces(*pieces)

    assert [line async for line in answers.lines(response, bytes_max=5)] == [b"one", b"two", b"three"]
    with pytest.raises(ValueError, match="too large"):
        [line async for line in answers.lines(response, bytes_max=4)]


@pytest.mark.parametrize(
    ("lines", "error_class"),
    [
        ([{"progress": 10}], "overloaded"),
        ([b"no json\n"], "bad_output"),
        ([b"[1]\n"], "bad_output"),
        ([b'{"result": NaN}\n'], "bad_output"),
        ([b'{"message": "' + b"x" * 300_000], "bad_output"),
        ([{"error": "The picture is blank."}], "bad_request"),
        ([{"error": {"message": "The picture is blank."}}], "bad_request"),
    ],
)
async def test_a_stream_without_a_result_fails_the_item(
    call: Call, endpoint: Endpoint, lines: list[Any], error_class: str
) -> None:
    endpoint.answer = streaming(*lines)

    error = await failure(call({"endpoint": "cards"}))

    assert error.error_class == error_class
    assert "blank" in error.message or error_class != "bad_request"


@pytest.mark.parametrize(("wait", "seconds"), [(None, 0.0), (30, 30.0), (-1, 0.0), (10**9, 86400.0), ("x", 0.0)])
async def test_a_stream_may_ask_for_another_try(call: Call, endpoint: Endpoint, wait: Any, seconds: float) -> None:
    endpoint.answer = streaming({"error": {"message": "Not yet.", "retry": True, "retry_after_seconds": wait}})

    with pytest.raises(errors.RetryLater) as later:
        await call({"endpoint": "cards"})

    assert (later.value.delay_seconds, later.value.reason) == (seconds, "Not yet.")
