"""Bodies that are too much, too little, or not what they say: a 4xx with a sentence, and the server goes on."""

import asyncio
import io
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.web.site import Answer, Site, User
from worker.web import bodies

GOOD = {"content": "Good day.", "target_languages": ["es"]}


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"[1]", 422, "object"),
        (b"null", 422, "object"),
        (b'"text"', 422, "object"),
        (b"\xff\xfe{}", 400, "UTF-8"),
        (b'{"content": "caf\xe9", "target_languages": ["es"]}', 400, "UTF-8"),
        (b'{"content": "a", "content": "b", "target_languages": ["es"]}', 400, "twice"),
        (b'{"content": {"a": 1, "a": 2}, "content_kind": "json", "target_languages": ["es"]}', 400, "twice"),
        (b'{"content": NaN, "target_languages": ["es"]}', 400, "JSON"),
        (b'{"content": "\\ud800", "target_languages": ["es"]}', 400, "JSON"),
        (b'{"content": "a\\u0000b", "target_languages": ["es"]}', 422, "NUL"),
        (b'{"content": "x", "target_languages": ["es"], "title": "\\u0000"}', 422, "NUL"),
        (b'{"content": "x", "target_languages": ["es"], "metadata": {"\\u0000": 1}}', 422, "NUL"),
        (b'{"content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "nested"),
        (b'{"content": ' + b"9" * 5000 + b', "target_languages": ["es"]}', 400, "JSON"),
        (b'{"content": 1e999, "target_languages": ["es"]}', 400, "JSON"),
    ],
)
async def test_what_cannot_be_read_is_refused_with_a_sentence(ada: User, body: bytes, status: int, word: str) -> None:
    answer = await ada.ask("POST", "/api/jobs", data=body, headers={"Content-Type": "application/json"})

    assert answer.status == status, answer.body
    assert answer.code
    assert word in answer.json["error"]["message"]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"target_languages": "es"}, "target_languages"),
        ({"target_languages": None}, "target_languages"),
        ({"target_languages": [1]}, "target_languages"),
        ({"priority": "5"}, "priority"),
        ({"priority": 11}, "priority"),
        ({"priority": True}, "priority"),
        ({"run_at": 1700000000}, "run_at"),
        ({"run_at": "1700000000"}, "run_at"),
        ({"run_at": "2030-01-01T00:00:00"}, "run_at"),
        ({"after": ["no id"]}, "after"),
        ({"title": "x" * 201}, "title"),
        ({"title": "x" * 100_000}, "title"),
        ({"metadata": []}, "metadata"),
        ({"colour": "red"}, "colour"),
        ({"content_kind": "pdf"}, "content_kind"),
        ({"idempotency_key": ""}, "idempotency_key"),
    ],
)
async def test_a_wrong_field_is_named_and_never_quoted(ada: User, change: dict[str, Any], place: str) -> None:
    answer = await ada.ask("POST", "/api/jobs", json=GOOD | change)

    assert (answer.status, answer.code) == (422, "body_invalid")
    assert place in answer.json["error"]["message"]
    assert len(answer.body) < 500


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
)
async def test_another_content_type_is_refused(ada: User, content_type: str) -> None:
    answer = await ada.ask("POST", "/api/jobs", data=json.dumps(GOOD).encode(), headers={"Content-Type": content_type})

    assert (answer.status, answer.code) == (415, "content_type_unknown")


async def test_a_megabyte_is_taken_and_no_more(site: Site, ada: User) -> None:
    site.project.run("update public.translation_job_types set price = 0 where name = 'translation'")
    room = bodies.BODY_BYTES_MAX - len(json.dumps(GOOD | {"content": ""}).encode())

    async def sent(data: Any) -> Answer:
        return await ada.ask("POST", "/api/jobs", data=data, headers={"Content-Type": "application/json"})

    def body(chars: int) -> io.BytesIO:
        return io.BytesIO(json.dumps(GOOD | {"content": "x" * chars}).encode())

    async def chunks() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    fits, over, endless = await sent(body(room)), await sent(body(room + 1)), await sent(chunks())

    assert fits.status == 202, fits.body
    assert (over.status, over.code) == (413, "body_too_large")
    assert (endless.status, endless.code) == (413, "body_too_large")


async def raw(site: Site, user: User, head: str, body: bytes, *, end: bool) -> bytes:
    """Send bytes as they are; the answer's first line and body."""
    address = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(
            f"POST /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
            f"Content-Type: application/json\r\n{head}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        if end:
            writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read(4096)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_body_that_ends_early_makes_no_job(site: Site, ada: User) -> None:
    await raw(site, ada, "Content-Length: 500", json.dumps(GOOD).encode(), end=True)

    assert (await ada.ask("GET", "/api/jobs")).json["jobs"] == []


async def test_a_body_that_does_not_come_is_not_waited_for(
    site: Site, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "_BODY_SECONDS", 0.1)

    assert b" 408 " in await raw(site, ada, "Content-Length: 500", b'{"content"', end=False)


async def test_a_body_that_is_not_packed_as_it_says_is_refused(site: Site, ada: User) -> None:
    answer = await raw(site, ada, "Content-Length: 4\r\nContent-Encoding: gzip", b"none", end=False)

    assert b" 400 " in answer.splitlines()[0]
