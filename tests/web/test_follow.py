"""A terminal that follows a stream through interruptions, and believes a refusal."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.support.served import served
from worker import errors
from worker.terminal.follow import Stream


class Server:
    """Answers each connection with the next of *turns*: a status, or frames after which it hangs up."""

    def __init__(self, *turns: int | str) -> None:
        self.turns = list(turns)
        self.asked: list[str | None] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.headers.get("Last-Event-ID"))
        turn = self.turns.pop(0)
        if isinstance(turn, int):
            return web.json_response({"error": {"message": "There is no such job."}}, status=turn)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(turn.encode())
        return response


async def followed(server: Server) -> AsyncIterator[tuple[str, Any]]:
    app = web.Application()
    app.add_routes([web.get("/api/stream", server.answer)])
    async with served(app) as url:
        async for event in Stream(f"{url}/", "token", "/api/stream").events():
            yield event


async def test_a_stream_that_breaks_is_continued_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "_pause", lambda *_: 0.0)
    server = Server(
        'id: a-1\nevent: snapshot\ndata: {"jobs":[]}\n\n: here\n\nid: a-2\nevent: job\ndata: {"id":"x"}\n\n',
        503,
        'event: close\ndata: {"reason":"server stops"}\n\n',
        'event: close\ndata: {"reason":"finished","status":"completed"}\n\n',
    )
    events = [event async for event in followed(server)]

    assert [name for name, _ in events] == ["snapshot", "job", "close", "close"]
    assert events[1][1] == {"id": "x"}
    assert server.asked == [None, "a-2", "a-2", "a-2"]


async def test_a_refusal_is_told_in_its_own_words() -> None:
    with pytest.raises(errors.WorkerError, match=r"^There is no such job\.$"):
        [event async for event in followed(Server(404))]
