"""Jobs of type sql_functions: what is called, how long it may take, and what its failures are worth."""

from typing import Any

import aiohttp
import pytest

from tests.handlers.conftest import MakeContext
from tests.support.database import Database
from worker import errors, models
from worker.devstack.stack import Stack
from worker.handlers.procedures import Procedures
from worker.handlers.sql_functions import SqlFunctionsHandler


@pytest.fixture(autouse=True)
def functions(kinds: Database) -> Database:
    kinds.run(
        """insert into public.translation_sql_functions (name) select unnest(
             array['league', 'nap', 'long_nap', 'endless_nap', 'stopped', 'fail', 'fat', 'hidden', 'missing'])"""
    )
    return kinds


@pytest.fixture
def call(procedures: Procedures, make_context: MakeContext) -> Any:
    async def work(name: str, content: Any = None) -> models.ItemResult:
        return await SqlFunctionsHandler(procedures)(make_context(content, name, kind="json"))

    return work


async def failure(working: Any) -> errors.ItemError:
    with pytest.raises(errors.ItemError) as failed:
        await working
    return failed.value


async def test_a_function_is_called_with_the_arguments_of_all_and_its_own(call: Any) -> None:
    plain = await call("league")
    both = await call("league", {"args": {"season": 7, "team": "?"}, "each": {"league": {"team": "b"}, "nap": {}}})

    assert plain.content["result"] == {"season": 1, "team": "all"}
    assert both.content["result"] == {"season": 7, "team": "b"}
    assert isinstance(both.content["duration_ms"], int)
    assert plain.warnings == ()


async def test_a_function_may_take_longer_than_its_role_when_its_owner_said_so(call: Any) -> None:
    """Three seconds are the role's; on the platform it is eight. It sleeps for four."""
    result = await call("long_nap", {"args": {"seconds": 4}})

    assert result.content["result"] == 1
    assert result.content["duration_ms"] >= 4000


async def test_a_function_that_runs_into_its_limit_fails_for_good_and_says_what_to_do(call: Any) -> None:
    error = await failure(call("nap", {"args": {"seconds": 30}}))

    assert error.error_class == "bad_request"
    assert "alter function public.nap set statement_timeout" in error.message
    assert "select cron.schedule('nap'" in error.message


async def test_a_limit_above_what_a_call_may_take_is_refused_without_a_call(call: Any, functions: Database) -> None:
    before = functions.value("select last_value from public.calls")

    error = await failure(call("endless_nap"))

    assert error.error_class == "bad_request"
    assert "of 61 s" in error.message
    assert "cron.schedule" in error.message
    assert functions.value("select last_value from public.calls") == before


@pytest.mark.parametrize(
    "change",
    [
        "delete from public.translation_sql_functions where name = 'nap'",
        "update public.translation_sql_functions set enabled = false where name = 'nap'",
    ],
)
async def test_what_was_taken_off_the_list_is_not_called_any_more(call: Any, functions: Database, change: str) -> None:
    await call("nap", {"args": {"seconds": 0}})
    before = functions.value("select last_value from public.calls")
    functions.run(change)

    error = await failure(call("nap", {"args": {"seconds": 0}}))

    assert (error.error_class, "not on the list" in error.message) == ("bad_request", True)
    assert functions.value("select last_value from public.calls") == before


@pytest.mark.parametrize(
    ("name", "content", "error_class", "says"),
    [
        ("missing", None, "bad_request", "There is no one function public.missing"),
        ("league", {"args": {"month": 3}}, "bad_request", "that takes these arguments"),
        ("hidden", None, "bad_request", "grant execute on function public.hidden to service_role"),
        ("fail", {"args": {"code": "P0001"}}, "internal", "P0001: It is raining."),
        ("fail", {"args": {"code": "40001"}}, "internal", "40001: It is raining."),
        ("fail", {"args": {"code": "PT422"}}, "bad_request", "It is raining."),
        ("fail", {"args": {"code": "PT429"}}, "rate_limited", "It is raining."),
        ("fail", {"args": {"code": "PT503"}}, "overloaded", "It is raining."),
        ("fail", {"args": {"code": "53300"}}, "overloaded", "It is raining."),
        ("league", {"args": {"season": "many"}}, "internal", "22P02"),
        ("stopped", None, "internal", "notify pgrst, 'reload schema'"),
    ],
)
async def test_a_failure_is_worth_what_another_try_is(
    call: Any, name: str, content: Any, error_class: str, says: str
) -> None:
    error = await failure(call(name, content))

    assert error.error_class == error_class
    assert says in error.message


async def test_a_large_result_is_left_out_and_the_item_completes(call: Any) -> None:
    result = await call("fat")

    assert result.content["result"] is None
    assert [warning["code"] for warning in result.warnings] == ["result_too_large"]


async def test_a_refused_key_pauses_the_type(kinds_stack: Stack, make_context: MakeContext) -> None:
    async with aiohttp.ClientSession() as session:
        handler = SqlFunctionsHandler(Procedures(session, kinds_stack.urls.url, "sb_secret_wrong"))
        error = await failure(handler(make_context(None, "league", kind="json")))

    assert (error.error_class, error.speaks_for_provider) == ("auth", True)


async def test_nobody_there_is_tried_again(make_context: MakeContext) -> None:
    async with aiohttp.ClientSession() as session:
        handler = SqlFunctionsHandler(Procedures(session, "http://127.0.0.1:1", "key"))
        error = await failure(handler(make_context(None, "league", kind="json")))

    assert error.error_class == "overloaded"
