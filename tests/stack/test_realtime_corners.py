"""What clients seldom send to Realtime, and what they must not: over a bare socket and over HTTP."""

import json
from typing import Any

import httpx
import psycopg
import pytest

from tests.stack.conftest import User
from tests.stack.phoenix import Phoenix, connected
from worker.devstack.stack import Stack

Sql = psycopg.AsyncConnection[tuple[object, ...]]

TOO_LARGE = "x" * 3_000_001


async def joined(phoenix: Phoenix, topic: str, token: str | None = None, **config: Any) -> None:
    await phoenix.join(topic, token, **config)
    assert (await phoenix.until("phx_reply"))["payload"]["status"] == "ok"


async def answers(phoenix: Phoenix) -> bool:
    """Whether the socket lives, and nothing else was said before the answer."""
    ref = await phoenix.send("phoenix", "heartbeat", {})
    return bool((await phoenix.receive())["ref"] == ref)


def binary(*parts: str, body: bytes, kind: int = 3, encoding: int = 0) -> bytes:
    """A client's broadcast as bytes: join_ref, ref, topic, event, metadata, and what it carries."""
    head = [part.encode() for part in parts]
    return bytes([kind, *map(len, head), encoding]) + b"".join(head) + body


async def test_a_broadcast_that_is_too_large_is_refused_when_an_answer_was_asked_for(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        await joined(phoenix, "large", broadcast={"ack": True})
        await phoenix.send("realtime:large", "broadcast", {"event": "e", "payload": {"text": TOO_LARGE}})
        reply = await phoenix.receive()

        assert reply["payload"] == {"status": "error", "response": {"reason": "payload_size_exceeded"}}


async def test_a_broadcast_that_is_too_large_is_dropped_without_a_word_otherwise(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        await joined(phoenix, "large", broadcast={"self": True})
        await phoenix.send("realtime:large", "broadcast", {"event": "e", "payload": {"text": TOO_LARGE}})

        assert await answers(phoenix)


async def test_json_in_a_binary_frame_is_a_broadcast_like_any_other(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        await joined(phoenix, "binary", broadcast={"self": "true"})
        await phoenix.ws.send(binary("1", "2", "realtime:binary", "e", "", body=b'{"n": 1}', encoding=1))
        heard = await phoenix.receive()

        assert heard["payload"] == {"type": "broadcast", "event": "e", "payload": {"n": 1}}


async def test_raw_bytes_are_not_told_to_a_client_that_speaks_the_first_version(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        await joined(phoenix, "binary", broadcast={"self": True})
        await phoenix.ws.send(binary("1", "2", "realtime:binary", "e", "", body=b"\x00\xff"))

        assert await answers(phoenix)


async def test_a_client_of_the_second_version_gets_its_bytes_back_as_they_were(stack: Stack) -> None:
    async with connected(stack, version="2.0.0") as phoenix:
        await phoenix.ws.send(
            json.dumps(["1", "1", "realtime:binary", "phx_join", {"config": {"broadcast": {"self": True}}}])
        )
        reply = json.loads(await phoenix.ws.recv())
        await phoenix.ws.send(binary("1", "2", "realtime:binary", "e", "", body=b"\x00\xff"))
        heard = await phoenix.ws.recv()

        assert reply[:4] == ["1", "1", "realtime:binary", "phx_reply"]
        assert heard == bytes([4, len("realtime:binary"), 1, 0, 0]) + b"realtime:binarye\x00\xff"


@pytest.mark.parametrize(
    "junk", [binary("1", "2", "t", "e", "", body=b"", kind=9), '["1"]', "[1, 2, 3, 4, 5]", '{"topic": 1}', b"\x03"]
)
@pytest.mark.parametrize("version", ["1.0.0", "2.0.0"])
async def test_junk_of_either_version_is_dropped(stack: Stack, version: str, junk: str | bytes) -> None:
    async with connected(stack, version=version) as phoenix:
        await phoenix.ws.send(junk)
        beat = {"1.0.0": '{"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "7"}',
                "2.0.0": '[null, "7", "phoenix", "heartbeat", {}]'}[version]  # fmt: skip
        await phoenix.ws.send(beat)
        reply = json.loads(await phoenix.ws.recv())

        assert (reply[1] if version == "2.0.0" else reply["ref"]) == "7"


async def test_presence_is_taken_and_not_shown(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        await joined(phoenix, "present")
        ref = await phoenix.send("realtime:present", "presence", {"event": "track", "payload": {}})
        reply = await phoenix.receive()

        assert (reply["ref"], reply["payload"]["status"]) == (ref, "ok")


async def test_an_event_of_ones_own_making_is_not_answered(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        await joined(phoenix, "own")
        await phoenix.send("realtime:own", "shout", {})

        assert await answers(phoenix)


@pytest.mark.parametrize("topic", ["realtime:", "elsewhere:topic"])
async def test_a_topic_has_a_name_behind_its_prefix(stack: Stack, topic: str) -> None:
    async with connected(stack) as phoenix:
        await phoenix.send(topic, "phx_join", {})
        reply = await phoenix.until("phx_reply")

        assert reply["payload"]["response"]["reason"].startswith("TopicNameRequired")


async def test_a_socket_joins_a_hundred_topics(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        for number in range(100):
            await joined(phoenix, f"many {number}")
        await phoenix.join("one more")
        reply = await phoenix.until("phx_reply")

        assert reply["payload"]["response"]["reason"].startswith("ChannelRateLimitReached")


async def test_a_token_that_is_none_or_the_same_changes_nothing(stack: Stack, user: User) -> None:
    async with connected(stack) as phoenix:
        await joined(phoenix, "token", user.access_token)
        for token in (None, stack.urls.publishable_key, user.access_token):
            await phoenix.send("realtime:token", "access_token", {"access_token": token})

        assert await answers(phoenix)


async def test_a_new_token_is_taken_by_a_channel_that_follows_no_changes(stack: Stack, user: User) -> None:
    async with connected(stack) as phoenix:
        await joined(phoenix, "token")
        await phoenix.send("realtime:token", "access_token", {"access_token": user.access_token})

        assert await answers(phoenix)


async def test_one_broadcast_is_sent_over_http_as_json_or_as_bytes(stack: Stack, http: httpx.AsyncClient) -> None:
    url = f"{stack.urls.url}/realtime/v1/api/broadcast/posted/events/e"
    headers = {"apikey": stack.urls.secret_key}
    async with connected(stack, version="2.0.0") as phoenix:
        await phoenix.ws.send('["1", "1", "realtime:posted", "phx_join", {}]')
        await phoenix.ws.recv()
        sent = [
            await http.post(url, json={"n": 1}, headers=headers),
            await http.post(url, content=b"\x00", headers={**headers, "content-type": "application/octet-stream"}),
        ]
        heard = [await phoenix.ws.recv(), await phoenix.ws.recv()]

        assert [answer.status_code for answer in sent] == [202, 202]
        assert json.loads(heard[0])[4] == {"type": "broadcast", "event": "e", "payload": {"n": 1}}
        assert heard[1] == bytes([4, len("realtime:posted"), 1, 0, 0]) + b"realtime:postede\x00"


@pytest.mark.parametrize("body", [b"{", b"\xff"])
async def test_a_broadcast_over_http_that_is_no_json_is_refused(
    stack: Stack, http: httpx.AsyncClient, body: bytes
) -> None:
    url = f"{stack.urls.url}/realtime/v1/api/broadcast/posted/events/e"
    headers = {"apikey": stack.urls.secret_key, "content-type": "application/json"}
    answer = await http.post(url, content=body, headers=headers)

    assert (answer.status_code, answer.json()) == (422, {"errors": {"messages": ["is invalid"]}})


async def test_a_table_that_tells_its_whole_old_rows_is_told_so(stack: Stack, sql: Sql) -> None:
    await sql.execute(
        """create table public.whole (id int primary key, body text, large text);
           alter table public.whole replica identity full;
           alter table public.whole alter large set storage external;
           alter publication supabase_realtime add table public.whole;
           grant select on public.whole to service_role"""
    )
    binding = {"event": "*", "schema": "public", "table": "whole"}
    async with connected(stack, stack.urls.secret_key) as phoenix:
        await joined(phoenix, "whole", postgres_changes=[binding])
        await phoenix.until("system")
        await sql.execute("insert into public.whole values (1, 'a', repeat('x', 9000))")
        await sql.execute("update public.whole set body = 'b'")  # the large value stays where it is
        await sql.execute("delete from public.whole")
        told = [(await phoenix.until("postgres_changes"))["payload"]["data"] for _ in range(3)]
    await sql.execute("drop table public.whole")

    assert [change["type"] for change in told] == ["INSERT", "UPDATE", "DELETE"]
    assert (told[1]["record"]["body"], told[1]["old_record"]["body"]) == ("b", "a")
    assert (told[2]["old_record"]["id"], told[2]["old_record"]["body"]) == (1, "b")


async def test_a_policy_that_fails_for_a_row_hides_that_row_alone(stack: Stack, sql: Sql, user: User) -> None:
    await sql.execute(
        """create table public.risky (id int primary key, n int);
           alter table public.risky enable row level security;
           create policy divides on public.risky for select to authenticated using (1 / n > 0);
           alter publication supabase_realtime add table public.risky;
           grant select on public.risky to authenticated"""
    )
    binding = {"event": "INSERT", "schema": "public", "table": "risky"}
    async with connected(stack) as phoenix:
        await joined(phoenix, "risky", user.access_token, postgres_changes=[binding])
        await phoenix.until("system")
        await sql.execute("insert into public.risky values (1, 1), (2, 0), (3, 1)")
        told = [(await phoenix.until("postgres_changes"))["payload"]["data"]["record"]["id"] for _ in range(2)]
    await sql.execute("drop table public.risky")

    assert told == [1, 3]
