"""What an answer of the API means: codes and statuses decide, never the text."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from tests.support.served import served
from worker import errors
from worker.rpc import Rpc, Written, failure, write
from worker.rpc_direct import DirectRpc
from worker.rpc_official import OfficialRpc

Answering = Callable[[Callable[[web.Request], Any]], Any]


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("PT402", 402, errors.StoreRefused),
        ("PT429", 429, errors.StoreRefused),
        ("22P02", 400, errors.StoreRefused),
        ("23514", 400, errors.StoreRefused),
        ("PGRST102", 400, errors.StoreRefused),
        ("PGRST202", 404, errors.SqlMissing),
        ("42883", 404, errors.SqlMissing),
        ("42P01", 404, errors.SqlMissing),
        ("42501", 403, errors.StoreUnauthorized),
        ("42501", 401, errors.StoreUnauthorized),
        ("PGRST301", 401, errors.StoreUnauthorized),
        ("22023", 401, errors.StoreUnauthorized),
        ("22023", 400, errors.StoreRefused),
        (None, 401, errors.StoreUnauthorized),
        ("404", 404, errors.StoreUnauthorized),
        ("301", 301, errors.StoreUnauthorized),
        ("57014", 500, errors.StoreTooSlow),
        ("57P01", 503, errors.StoreUnavailable),
        ("40001", 500, errors.StoreUnavailable),
        ("53300", 503, errors.StoreUnavailable),
        ("08006", 503, errors.StoreUnavailable),
        ("PGRST003", 504, errors.StoreUnavailable),
        ("502", 502, errors.StoreUnavailable),
        ("429", 429, errors.StoreUnavailable),
        (None, 540, errors.StoreUnavailable),
    ],
)
def test_a_refusal_becomes_what_a_caller_can_act_on(
    code: str | None, status: int, expected: type[errors.StoreError]
) -> None:
    assert type(failure(code, None, "Some text.", status)) is expected


def test_what_was_written_is_sent_as_it_was_written() -> None:
    entry = Written({"item": "es", "text": "señal"})
    entry["item"] = "fr"

    assert write([entry, entry]) == b'[{"item":"es","text":"se\xc3\xb1al"},{"item":"es","text":"se\xc3\xb1al"}]'


@pytest.mark.parametrize("value", [float("nan"), "\ud800", object()])
def test_what_json_cannot_carry_is_not_written(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Written({"result": value})


def test_a_refusal_carries_its_stable_word() -> None:
    error = failure("PT402", "credits_short: 30 needed, 20 left", "You need 30 credits.", 402)

    assert isinstance(error, errors.StoreRefused)
    assert (error.code, error.word, error.message) == ("PT402", "credits_short", "You need 30 credits.")


@pytest.fixture(params=[DirectRpc, OfficialRpc])
async def answering(request: pytest.FixtureRequest) -> AsyncIterator[Answering]:
    """Starts an API that answers every procedure with the given handler; over each of our two roads to it."""
    async with AsyncExitStack() as stack:

        async def start(handler: Callable[[web.Request], Any]) -> Rpc:
            app = web.Application()
            app.router.add_post("/rest/v1/rpc/{function}", handler)
            url = await stack.enter_async_context(served(app))
            rpc: Rpc = request.param(url, "sb_secret_x", request_seconds=1)
            stack.push_async_callback(rpc.close)
            return rpc

        yield start


async def test_a_call_is_sent_as_json_under_the_key(answering: Answering) -> None:
    seen: dict[str, Any] = {}

    async def answer(request: web.Request) -> web.Response:
        seen.update(
            body=await request.json(),
            function=request.match_info["function"],
            key=request.headers["apikey"],
            version=request.version,
        )
        return web.json_response({"schema_version": 1})

    rpc = await answering(answer)

    assert await rpc.call("heartbeat", {"p_report": {"ä": None}}) == {"schema_version": 1}
    assert (seen["function"], seen["body"], seen["key"]) == ("heartbeat", {"p_report": {"ä": None}}, "sb_secret_x")


async def test_a_lost_answer_is_asked_for_again_when_the_caller_allows_it(answering: Answering) -> None:
    calls = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        if calls < 3:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(calls)

    rpc = await answering(answer)

    with pytest.raises(errors.StoreUnavailable):
        await rpc.call("record", {})
    assert await rpc.call("record", {}, repeat_seconds=30) == 3


async def test_a_refusal_is_never_repeated(answering: Answering) -> None:
    calls = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.json_response({"code": "PT409", "details": "job_not_due", "message": "No."}, status=409)

    rpc = await answering(answer)

    with pytest.raises(errors.StoreRefused) as refused:
        await rpc.call("retry", {}, repeat_seconds=30)
    assert (refused.value.word, calls) == ("job_not_due", 1)


async def test_a_gateway_that_hides_its_code_is_known_by_its_status(answering: Answering) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"message": "Invalid API key"}, status=401)

    rpc = await answering(answer)

    with pytest.raises(errors.StoreUnauthorized):
        await rpc.call("heartbeat", {})


async def test_no_answer_in_time_is_unavailable(answering: Answering) -> None:
    gate = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        await gate.wait()
        return web.json_response(1)

    rpc = await answering(answer)

    with pytest.raises(errors.StoreUnavailable):
        await rpc.call("heartbeat", {})
    gate.set()


@pytest.mark.parametrize("value", ["\ud800", float("nan"), object()])
async def test_what_json_cannot_carry_is_refused_before_it_is_sent(answering: Answering, value: Any) -> None:
    async def answer(_: web.Request) -> web.Response:
        raise AssertionError("nothing must arrive")

    rpc = await answering(answer)

    with pytest.raises(errors.StoreRefused):
        await rpc.call("record", {"p_results": [value]}, repeat_seconds=30)


async def test_only_an_accepted_call_counts_as_a_sign_of_life(answering: Answering) -> None:
    status = 500

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({}, status=status)

    rpc = await answering(answer)
    before = rpc.answered_at
    with pytest.raises(errors.StoreUnavailable):
        await rpc.call("heartbeat", {})
    assert rpc.answered_at == before
    status = 200

    await rpc.call("heartbeat", {})

    assert rpc.answered_at > before


@pytest.mark.parametrize("answering", [DirectRpc], indirect=True)  # the official client takes the page for the answer
async def test_a_page_in_place_of_an_answer_is_a_wrong_address(answering: Answering) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<html>Sign in to the hotel's network</html>", content_type="text/html")

    rpc = await answering(answer)

    with pytest.raises(errors.StoreUnauthorized):
        await rpc.call("heartbeat", {})


async def test_a_redirect_is_a_wrong_address_and_not_followed(answering: Answering) -> None:
    async def answer(_: web.Request) -> web.Response:
        raise web.HTTPMovedPermanently("/rest/v1/rpc/elsewhere")

    rpc = await answering(answer)

    with pytest.raises(errors.StoreUnauthorized):
        await rpc.call("heartbeat", {})


async def test_half_an_answer_is_no_answer(answering: Answering) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"schema')
        assert request.transport is not None
        request.transport.abort()
        return response

    rpc = await answering(answer)

    with pytest.raises(errors.StoreUnavailable):
        await rpc.call("heartbeat", {})
