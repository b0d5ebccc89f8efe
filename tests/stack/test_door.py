"""The one port of the stack, opened and closed as often as anybody likes."""

from collections.abc import AsyncIterator

import httpx
import pytest
from aiohttp import web

from worker.devstack.door import Door


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async def greet(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", greet)
    door = Door(app, "127.0.0.1", 0)
    await door.set_up()
    yield door
    await door.tear_down()


async def test_a_port_stays_the_same_however_often_it_is_opened(door: Door) -> None:
    ports = []
    async with httpx.AsyncClient() as http:
        for close in (False, True, True):
            await door.open()
            ports.append(door.port)
            assert (await http.get(f"http://127.0.0.1:{door.port}/")).text == "hello"
            if close:
                await door.close()
                await door.close()

    assert len(set(ports)) == 1


async def test_whom_a_closed_door_let_in_before_may_stay(door: Door) -> None:
    await door.open()
    async with httpx.AsyncClient() as inside, httpx.AsyncClient() as outside:
        await inside.get(f"http://127.0.0.1:{door.port}/")
        await door.close()
        with pytest.raises(httpx.ConnectError):
            await outside.get(f"http://127.0.0.1:{door.port}/")

        assert (await inside.get(f"http://127.0.0.1:{door.port}/")).text == "hello"
