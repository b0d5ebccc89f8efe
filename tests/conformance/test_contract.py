"""The stand-in's REST and a real PostgREST answer alike, request by request, but for what is listed."""

import psutil  # type: ignore[import-untyped]
import pytest

from tests.conformance import deviations
from tests.conformance.answers import Ground, Server, differences
from tests.conformance.requests import TABLE, Request
from tests.support.waiting import until

LISTED = deviations.read()


@pytest.mark.parametrize("request_", TABLE, ids=lambda request: request.name)
async def test_both_answer_alike_but_for_what_is_listed(servers: tuple[Server, Server], request_: Request) -> None:
    stand_in, postgrest = [await server.answer(request_) for server in servers]
    listed = LISTED.get(request_.name, {}) | (LISTED[deviations.REFUSALS] if "body.code" in stand_in else {})
    found = differences(stand_in, postgrest)

    assert deviations.unlisted(found, listed) == {}
    assert listed.keys() - found.keys() == set()  # what is listed and no longer so is taken off the list


async def test_a_function_that_changed_is_soon_called_as_it_is_now(
    servers: tuple[Server, Server], ground: Ground
) -> None:
    """Both keep what they know of the schema, and statements that are prepared, until `notify pgrst`."""
    called = Request("changed", "POST", "/rpc/changing", {})
    for returns, value in (("int", 1), ("text", "1"), ("setof int", [1])):
        ground.change(
            f"""drop function if exists public.changing; create function public.changing() returns {returns}
                language sql as 'select 1::{returns.removeprefix("setof ")}';
                grant execute on function public.changing to service_role"""
        )
        for server in servers:

            async def answered(server: Server = server, value: object = value) -> bool:
                return (await server.answer(called)).get("body") == value

            await until(answered, f"{returns} is answered")


async def test_a_postgrest_that_ends_is_started_again(servers: tuple[Server, Server]) -> None:
    _, postgrest = servers
    called = Request("called", "POST", "/rpc/scalar", {"a": 1})
    killed = {child.pid: child for child in psutil.Process().children() if child.name() == "postgrest"}
    for child in killed.values():
        child.kill()

    async def answered() -> bool:
        return not any(psutil.pid_exists(pid) for pid in killed) and (await postgrest.answer(called))["status"] == 200

    await until(answered, "it answers again")


def test_every_listed_deviation_is_of_a_request_that_is_asked() -> None:
    assert LISTED.keys() - {request.name for request in TABLE} == {deviations.REFUSALS}
    assert len({request.name for request in TABLE}) == len(TABLE)
