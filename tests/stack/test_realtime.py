"""Row changes and broadcasts, through the official Python client; the protocol's fine print over a bare socket."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import psycopg
import pytest
from realtime import AsyncRealtimeClient
from realtime.types import RealtimeAcknowledgementStatus, RealtimeSubscribeStates
from websockets.exceptions import InvalidMessage, InvalidStatus

from tests.stack.conftest import Client, User
from tests.stack.phoenix import TIMEOUT_SECONDS, Phoenix, connected
from worker.devstack.stack import Stack

# The client reads a deprecated attribute of websockets 15 when a connection breaks; as an error it would not come back.
pytestmark = pytest.mark.filterwarnings("ignore:ConnectionClosed:DeprecationWarning")

Sql = psycopg.AsyncConnection[tuple[object, ...]]


class Listener:
    """A channel of the official client, with queues instead of callbacks."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.changes: asyncio.Queue[Any] = asyncio.Queue()
        self.broadcasts: asyncio.Queue[Any] = asyncio.Queue()
        self.systems: asyncio.Queue[Any] = asyncio.Queue()
        self.states: asyncio.Queue[tuple[RealtimeSubscribeStates, Exception | None]] = asyncio.Queue()
        channel.on_system(self.systems.put_nowait)
        channel.on_broadcast("*", self.broadcasts.put_nowait)

    def to(self, table: str, event: str = "*", **options: Any) -> "Listener":
        self.channel.on_postgres_changes(
            event,
            schema="public",
            table=table,
            callback=lambda change: self.changes.put_nowait(change["data"]),
            **options,
        )
        return self

    async def subscribe(self) -> RealtimeSubscribeStates:
        await self.channel.subscribe(lambda state, error: self.states.put_nowait((state, error)))
        state: RealtimeSubscribeStates = (await _next(self.states))[0]
        return state

    async def live(self) -> "Listener":
        """Joined, and told so by the `system` message that counts."""
        assert await self.subscribe() is RealtimeSubscribeStates.SUBSCRIBED
        await _next(self.systems)
        return self


async def _next(queue: asyncio.Queue[Any]) -> Any:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        return await queue.get()


Listen = Callable[..., Awaitable[Listener]]


@pytest.fixture
async def listen(stack: Stack) -> AsyncIterator[Listen]:
    """Makes a listener: `await listen(token, topic, private=…)`; closed with the test."""
    clients: list[AsyncRealtimeClient] = []

    async def make(
        token: str | None = None, topic: str | None = None, *, private: bool = False, **broadcast: Any
    ) -> Listener:
        key = stack.urls.publishable_key if token else stack.urls.secret_key
        client = AsyncRealtimeClient(f"{stack.urls.url}/realtime/v1", key, auto_reconnect=True)
        if token:
            await client.set_auth(token)
        clients.append(client)
        config: Any = {"broadcast": broadcast, "presence": {"key": "", "enabled": False}, "private": private}
        return Listener(client.channel(topic or f"t-{uuid.uuid4()}", {"config": config}))

    yield make
    for client in clients:
        await client.close()


# Row changes


async def test_an_insert_is_heard_with_postgres_types(listen: Listen, service: Client, user: User) -> None:
    heard = await (await listen()).to("notes", "INSERT").live()
    row = {"user_id": user.id, "body": "hello", "tags": ["a", "b,c"], "meta": {"k": [1]}, "price": 12.34}
    made = (await service.table("notes").insert(row).execute()).data[0]
    change = await _next(heard.changes)

    assert (change["type"], change["schema"], change["table"], change["errors"]) == ("INSERT", "public", "notes", None)
    assert change["record"] == made
    assert {"name": "tags", "type": "_text"} in change["columns"]
    assert {"name": "id", "type": "int8"} in change["columns"]
    assert change["commit_timestamp"].endswith("Z")


async def test_a_busy_feed_does_not_read_the_same_log_again(
    listen: Listen, service: Client, user: User, sql: Sql
) -> None:
    """Where the slot may restart moves with what was told, long before Postgres sets a mark of its own accord."""
    heard = await (await listen()).to("notes", "INSERT").live()
    before = await _restart(sql)
    for body in ("a", "b", "c"):
        await service.table("notes").insert({"user_id": user.id, "body": body}).execute()
        await _next(heard.changes)

    assert await _restart(sql) > before


async def _restart(sql: Sql) -> int:
    found = await sql.execute("select (restart_lsn - '0/0')::bigint from pg_replication_slots")
    ((position,),) = await found.fetchall()
    return int(str(position))


async def test_updates_and_deletes_carry_the_key_of_the_old_row(listen: Listen, service: Client, user: User) -> None:
    heard = await (await listen()).to("notes").live()
    note = (await service.table("notes").insert({"user_id": user.id, "body": "a"}).execute()).data[0]
    inserted = await _next(heard.changes)
    await service.table("notes").update({"body": "b"}).eq("id", note["id"]).execute()
    updated = await _next(heard.changes)
    await service.table("notes").delete().eq("id", note["id"]).execute()
    deleted = await _next(heard.changes)

    assert [c["type"] for c in (inserted, updated, deleted)] == ["INSERT", "UPDATE", "DELETE"]
    assert "old_record" not in inserted
    assert (updated["record"]["body"], updated["old_record"]) == ("b", {"id": note["id"]})
    assert deleted["old_record"] == {"id": note["id"]}
    assert "record" not in deleted


async def test_a_row_that_is_gone_before_the_poll_is_not_told(
    listen: Listen, sql: Sql, service: Client, user: User
) -> None:
    """As on the platform: whether a row may be seen is asked by selecting it, too late for this one."""
    heard = await (await listen()).to("notes", "INSERT").live()
    async with sql.transaction():
        await sql.execute("insert into public.notes (user_id, body) values (%s, 'brief')", [user.id])
        await sql.execute("delete from public.notes where user_id = %s", [user.id])
    await service.table("notes").insert({"user_id": user.id, "body": "kept"}).execute()

    assert (await _next(heard.changes))["record"]["body"] == "kept"


async def test_users_hear_of_their_own_rows_only(
    listen: Listen, new_user: Callable[[], Awaitable[User]], service: Client
) -> None:
    ada, bob = await new_user(), await new_user()
    for_ada = await (await listen(ada.access_token)).to("notes").live()
    for_bob = await (await listen(bob.access_token)).to("notes").live()
    rows = [{"user_id": ada.id, "body": "for ada"}, {"user_id": bob.id, "body": "for bob"}]
    await service.table("notes").insert(rows).execute()
    await service.table("notes").update({"stars": 5}).in_("user_id", [ada.id, bob.id]).execute()

    for listener, body in ((for_ada, "for ada"), (for_bob, "for bob")):
        told = [await _next(listener.changes) for _ in range(2)]
        assert [(c["type"], c["record"]["body"]) for c in told] == [("INSERT", body), ("UPDATE", body)]
        assert listener.changes.empty()


async def test_a_policy_the_stack_never_saw_decides_who_hears(listen: Listen, service: Client, user: User) -> None:
    heard = await (await listen(user.access_token)).to("books").live()
    witness = await (await listen()).to("books").live()
    shelf = f"shelf-{uuid.uuid4()}"
    hidden, public, lent = ({"shelf": shelf, "title": title, "secret": "s"} for title in ("hidden", "public", "lent"))
    await service.table("books").insert(hidden).execute()
    await service.table("books").insert({**public, "is_public": True}).execute()
    for _ in range(2):
        await _next(witness.changes)  # the card comes after both were told
    await service.table("readers").insert({"shelf": shelf, "reader": user.id}).execute()
    await service.table("books").insert(lent).execute()
    told = [await _next(heard.changes) for _ in range(2)]

    assert [c["record"] for c in told] == [
        {"shelf": shelf, "title": "public", "is_public": True},
        {"shelf": shelf, "title": "lent", "is_public": False},
    ]  # and never the column that users may not select


async def test_filters_and_selected_columns_are_kept(listen: Listen, service: Client, user: User) -> None:
    heard = await listen()
    heard.to("notes", "INSERT", filter=f"user_id=eq.{user.id},stars=gte.3", select=["body"])
    await heard.live()
    rows = [{"user_id": user.id, "body": f"{stars} stars", "stars": stars} for stars in (1, 3, 2, 4)]
    await service.table("notes").insert(rows).execute()
    told = [(await _next(heard.changes))["record"] for _ in range(2)]

    assert [record["body"] for record in told] == ["3 stars", "4 stars"]
    assert all(record.keys() == {"id", "body"} for record in told)


async def test_a_row_written_under_a_replication_role_is_heard(listen: Listen, stack: Stack, user: User) -> None:
    heard = await (await listen()).to("notes", "INSERT").live()
    async with await psycopg.AsyncConnection.connect(stack.urls.admin_database_url) as admin:
        await admin.execute("set session_replication_role = replica")
        await admin.execute("insert into public.notes (user_id, body) values (%s, 'copied')", [user.id])

    assert (await _next(heard.changes))["record"]["body"] == "copied"


async def test_one_commit_of_many_rows_arrives_whole_and_in_order(listen: Listen, sql: Sql, user: User) -> None:
    heard = await (await listen()).to("notes", "INSERT", select=["stars"]).live()
    await sql.execute(
        "insert into public.notes (user_id, body, stars) select %s, 'many', n from generate_series(1, 250) n", [user.id]
    )

    assert [(await _next(heard.changes))["record"]["stars"] for _ in range(250)] == list(range(1, 251))


async def test_a_row_that_is_too_large_is_told_by_its_small_columns(listen: Listen, sql: Sql, user: User) -> None:
    heard = await (await listen()).to("notes", "INSERT").live()
    await sql.execute("insert into public.notes (user_id, body, stars) values (%s, repeat('x', 1100000), 3)", [user.id])
    change = await _next(heard.changes)

    assert change["errors"] == ["Error 413: Payload Too Large"]
    assert (change["record"]["stars"], "body" in change["record"]) == (3, False)


@pytest.mark.parametrize(
    ("binding", "reason"),
    [
        ({"event": "*", "schema": "public", "table": "readers"}, "Please check Realtime is enabled"),
        ({"event": "*", "schema": "public", "table": "notes", "filter": "wrong=eq.1"}, "Exception: column r.wrong"),
        (
            {"event": "*", "schema": "public", "table": "notes", "filter": "user_id=eq.1"},
            "Exception: invalid input syntax",
        ),
        ({"event": "*", "schema": "public", "table": "notes", "filter": "user_id=sounds.1"}, "Exception: "),
    ],
)
async def test_a_subscription_that_makes_no_sense_leaves_the_channel_open(
    stack: Stack, binding: dict[str, str], reason: str
) -> None:
    async with connected(stack, stack.urls.secret_key) as phoenix:
        await phoenix.join("odd", postgres_changes=[binding])
        reply = await phoenix.until("phx_reply")
        system = await phoenix.until("system")

        assert reply["payload"]["status"] == "ok"
        assert (system["payload"]["status"], system["payload"]["extension"]) == ("error", "postgres_changes")
        assert reason in system["payload"]["message"]


async def test_rows_nobody_could_be_shown_come_as_errors(stack: Stack, sql: Sql) -> None:
    async with connected(stack, stack.urls.secret_key) as phoenix:
        await phoenix.join("keyless", postgres_changes=[{"event": "*", "schema": "public", "table": "keyless"}])
        await phoenix.until("system")
        await sql.execute("insert into public.keyless values ('x')")
        data = (await phoenix.until("postgres_changes"))["payload"]["data"]

        assert data["errors"] == ["Error 400: Bad Request, no primary key"]
        assert (data["record"], data["columns"], data["commit_timestamp"]) == ({}, [], None)


# Broadcasts


async def test_clients_talk_to_each_other_and_not_to_themselves(listen: Listen) -> None:
    topic = f"t-{uuid.uuid4()}"
    one, two, vain = await listen(topic=topic), await listen(topic=topic), await listen(topic=topic, self=True)
    for listener in (one, two, vain):
        await listener.subscribe()
    await one.channel.send_broadcast("hello", {"n": 1})
    assert (await _next(two.broadcasts))["payload"] == {"n": 1}
    await vain.channel.send_broadcast("bye", {"n": 2})

    assert (await _next(two.broadcasts))["payload"] == {"n": 2}
    assert [(await _next(vain.broadcasts))["event"] for _ in range(2)] == ["hello", "bye"]
    assert (await _next(one.broadcasts))["event"] == "bye"


async def test_a_broadcast_is_acknowledged_when_asked_for(listen: Listen) -> None:
    listener = await listen(ack=True)
    await listener.subscribe()
    acknowledged = asyncio.Event()
    push = await listener.channel.push("broadcast", {"type": "broadcast", "event": "probe", "payload": {}})
    push.receive(RealtimeAcknowledgementStatus.Ok, lambda _: acknowledged.set())

    async with asyncio.timeout(TIMEOUT_SECONDS):
        await acknowledged.wait()


async def test_the_database_broadcasts_at_commit_and_only_what_was_committed(listen: Listen, sql: Sql) -> None:
    topic = f"t-{uuid.uuid4()}"
    heard = await (await listen(topic=topic, private=True, replication_ready=True)).live()
    async with sql.transaction(force_rollback=True):
        await sql.execute("select realtime.send('{\"n\": 0}', 'e', %s)", [topic])
    started_at = time.perf_counter()
    for n in (1, 2):
        await sql.execute("select realtime.send(jsonb_build_object('n', %s::int), 'e', %s)", [n, topic])
    first, second = await _next(heard.broadcasts), await _next(heard.broadcasts)

    assert time.perf_counter() - started_at < 1
    assert (first["event"], first["payload"]["n"], second["payload"]["n"]) == ("e", 1, 2)
    assert first["meta"]["id"] == first["payload"]["id"]


async def test_a_private_and_a_public_topic_of_one_name_are_two(listen: Listen, sql: Sql) -> None:
    topic = f"t-{uuid.uuid4()}"
    private, public = await listen(topic=topic, private=True), await listen(topic=topic)
    for listener in (private, public):
        await listener.subscribe()
    for is_private in (True, False):
        await sql.execute("select realtime.send(%s, 'e', %s, %s)", [json.dumps({"p": is_private}), topic, is_private])

    assert (await _next(private.broadcasts))["payload"]["p"] is True
    assert (await _next(public.broadcasts))["payload"]["p"] is False
    assert private.broadcasts.empty()


async def test_policies_decide_who_joins_a_private_topic(listen: Listen, user: User) -> None:
    own = await listen(user.access_token, f"room:{user.id}", private=True)
    other = await listen(user.access_token, f"room:{uuid.uuid4()}", private=True)

    assert await own.subscribe() is RealtimeSubscribeStates.SUBSCRIBED
    assert await other.subscribe() is RealtimeSubscribeStates.CHANNEL_ERROR


async def test_a_refused_private_join_says_why(stack: Stack, user: User) -> None:
    async with connected(stack) as phoenix:
        await phoenix.join("secrets", user.access_token, private=True)
        reply = (await phoenix.until("phx_reply"))["payload"]

        assert reply == {
            "status": "error",
            "response": {
                "reason": "Unauthorized: You do not have permissions to read from this Channel topic: secrets"
            },
        }


async def test_who_may_only_listen_is_not_heard(listen: Listen, new_user: Callable[[], Awaitable[User]]) -> None:
    ada, bob = await new_user(), await new_user()
    lobby = await listen(ada.access_token, "lobby", private=True)
    speaker = await listen(bob.access_token, "lobby", private=True, ack=True)
    room = await listen(ada.access_token, f"room:{ada.id}", private=True, self=True)
    for listener in (lobby, speaker, room):
        assert await listener.subscribe() is RealtimeSubscribeStates.SUBSCRIBED
    await room.channel.send_broadcast("unheard", {})
    await speaker.channel.send_broadcast("heard", {})

    assert (await _next(lobby.broadcasts))["event"] == "heard"
    assert room.broadcasts.empty()


async def test_broadcasts_are_sent_over_http(listen: Listen, stack: Stack, http: httpx.AsyncClient, user: User) -> None:
    listener = await listen(user.access_token, "lobby", private=True)
    await listener.subscribe()
    url = f"{stack.urls.url}/realtime/v1/api/broadcast"
    key = {"apikey": stack.urls.secret_key}
    message = {"topic": "lobby", "event": "many", "payload": {"n": 1}, "private": True}
    many = await http.post(url, json={"messages": [message]}, headers=key)
    one = await http.post(f"{url}/lobby/events/single?private=true", json={"n": 2}, headers=key)
    wrong = await http.post(url, json={"messages": [{}]}, headers=key)
    nobody = await http.post(url, json={"messages": [message]})

    assert [r.status_code for r in (many, one, wrong, nobody)] == [202, 202, 422, 401]
    assert [(await _next(listener.broadcasts))["event"] for _ in range(2)] == ["many", "single"]


# The protocol


@pytest.mark.parametrize("path", ["/realtime/v1/websocket", "/socket/websocket"])
async def test_both_addresses_answer_heartbeats(stack: Stack, path: str) -> None:
    async with connected(stack, path=path) as phoenix:
        ref = await phoenix.send("phoenix", "heartbeat", {})

        assert await phoenix.receive() == {
            "topic": "phoenix",
            "event": "phx_reply",
            "payload": {"status": "ok", "response": {}},
            "ref": ref,
        }


async def test_a_join_echoes_its_bindings_with_stable_ids(stack: Stack) -> None:
    binding = {"event": "INSERT", "schema": "public", "table": "notes", "filter": "stars=eq.1"}
    ids = []
    async with connected(stack, stack.urls.secret_key) as phoenix:
        for _ in range(2):
            await phoenix.join("echo", postgres_changes=[binding, {"event": "*", "schema": "public"}])
            entries = (await phoenix.until("phx_reply"))["payload"]["response"]["postgres_changes"]
            assert entries[0] == {**binding, "id": entries[0]["id"]}
            ids.append([entry["id"] for entry in entries])

    assert ids[0] == ids[1]
    assert 0 not in ids[0]
    assert len(set(ids[0])) == 2


async def test_a_second_join_closes_the_first_after_its_own_reply(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        first = await phoenix.join("twice")
        await phoenix.until("phx_reply")
        second = await phoenix.join("twice")
        reply, close = await phoenix.receive(), await phoenix.receive()

        assert (reply["event"], reply["ref"], reply["payload"]["status"]) == ("phx_reply", second, "ok")
        assert (close["event"], close["ref"]) == ("phx_close", first)


async def test_leaving_is_answered_and_then_closed(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        joined = await phoenix.join("left")
        await phoenix.until("phx_reply")
        left = await phoenix.send("realtime:left", "phx_leave", {})
        reply, close = await phoenix.receive(), await phoenix.receive()
        pushed = await phoenix.send("realtime:left", "broadcast", {"event": "x", "payload": {}})
        unmatched = await phoenix.receive()

        assert (reply["ref"], reply["payload"]["status"]) == (left, "ok")
        assert (close["event"], close["ref"], close["payload"]) == ("phx_close", joined, {})
        assert (unmatched["ref"], unmatched["payload"]["response"]) == (pushed, {"reason": "unmatched topic"})


async def test_a_frame_nobody_can_read_costs_nothing(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        for junk in ("{", "[]", '{"topic": 1}', b"\x09"):
            await phoenix.ws.send(junk)
        await phoenix.send("phoenix", "heartbeat", {})

        assert (await phoenix.receive())["payload"]["status"] == "ok"


@pytest.mark.parametrize("key", ["wrong", "sb_secret_wrong"])
async def test_a_wrong_key_is_refused_at_the_upgrade(stack: Stack, key: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connected(stack, key):
            pass

    assert refused.value.response.status_code == 401


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"role": "authenticated", "exp": 1}, "InvalidJWTToken: Token has expired"),
        ({"role": "authenticated"}, "InvalidJWTToken: Fields `role` and `exp` are required"),
    ],
)
async def test_a_bad_token_is_refused_at_the_join(stack: Stack, claims: dict[str, Any], reason: str) -> None:
    async with connected(stack) as phoenix:
        await phoenix.join("t", stack.keys.sign(claims))
        first = (await phoenix.until("phx_reply"))["payload"]
        await phoenix.join("t", "junk")
        second = (await phoenix.until("phx_reply"))["payload"]

        assert first["response"]["reason"].startswith(reason)
        assert second["response"]["reason"].startswith("MalformedJWT")


async def test_an_expired_token_closes_the_channel_and_leaves_the_socket(stack: Stack, user: User) -> None:
    token = stack.keys.sign({"role": "authenticated", "sub": user.id, "exp": int(time.time()) + 2})
    async with connected(stack) as phoenix:
        joined = await phoenix.join("brief", token)
        system, close = await phoenix.until("system"), await phoenix.receive()
        await phoenix.send("phoenix", "heartbeat", {})

        assert system["payload"]["message"].startswith("Token has expired")
        assert (close["event"], close["ref"]) == ("phx_close", joined)
        assert (await phoenix.receive())["payload"]["status"] == "ok"


async def test_a_new_token_changes_what_is_heard(
    stack: Stack, service: Client, new_user: Callable[[], Awaitable[User]]
) -> None:
    ada, bob = await new_user(), await new_user()
    async with connected(stack) as phoenix:
        await phoenix.join(
            "t", ada.access_token, postgres_changes=[{"event": "INSERT", "schema": "public", "table": "notes"}]
        )
        await phoenix.until("system")
        await phoenix.send("realtime:t", "access_token", {"access_token": bob.access_token})
        again = await phoenix.until("system")
        rows = [{"user_id": ada.id, "body": "for ada"}, {"user_id": bob.id, "body": "for bob"}]
        await service.table("notes").insert(rows).execute()
        change = await phoenix.until("postgres_changes")

        assert again["payload"]["message"] == "Subscribed to PostgreSQL"
        assert change["payload"]["data"]["record"]["body"] == "for bob"


# Trouble


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1006])
async def test_the_official_client_comes_back_after_a_close(
    stack: Stack, listen: Listen, service: Client, user: User, http: httpx.AsyncClient, code: int
) -> None:
    heard = await (await listen()).to("notes", "INSERT").live()
    await http.post(f"{stack.urls.url}/admin/close", json={"code": code}, headers={"x-admin-key": "sesame"})
    await _next(heard.systems)
    await service.table("notes").insert({"user_id": user.id, "body": "after"}).execute()

    assert (await _next(heard.changes))["record"]["body"] == "after"


@pytest.mark.usefixtures("clean_faults")
async def test_changes_can_go_missing_with_everything_green(
    stack: Stack, listen: Listen, service: Client, user: User
) -> None:
    heard = await (await listen()).to("notes", "INSERT").live()
    other = await (await listen()).to("books", "INSERT").live()
    stack.faults.mute_changes = True
    await service.table("notes").insert({"user_id": user.id, "body": "unheard"}).execute()
    await asyncio.sleep(0.1)  # there is no event to wait for: nothing is what must happen
    stack.faults.mute_changes = False
    await service.table("books").insert({"shelf": "m", "title": str(uuid.uuid4())}).execute()
    await _next(other.changes)

    assert heard.changes.empty()


@pytest.mark.usefixtures("clean_faults")
async def test_joins_and_upgrades_can_be_refused(stack: Stack, listen: Listen) -> None:
    stack.faults.order(join_error="RealtimeRestarting: Realtime is restarting, please standby")
    refused = await (await listen()).subscribe()
    stack.faults.order(join_error="", upgrade_status=502)
    with pytest.raises(InvalidStatus) as no_upgrade:
        async with connected(stack):
            pass

    assert refused is RealtimeSubscribeStates.CHANNEL_ERROR
    assert no_upgrade.value.response.status_code == 502


@pytest.mark.usefixtures("clean_faults")
async def test_the_socket_can_fall_silent_while_pings_are_answered(stack: Stack) -> None:
    async with connected(stack) as phoenix:
        stack.faults.mute_all = True
        await phoenix.send("phoenix", "heartbeat", {})
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await (await phoenix.ws.ping())
        stack.faults.mute_all = False
        ref = await phoenix.send("phoenix", "heartbeat", {})

        assert (await phoenix.receive())["ref"] == ref


@pytest.mark.usefixtures("clean_faults")
async def test_connections_can_be_reset(stack: Stack) -> None:
    stack.faults.refuse = "realtime"
    with pytest.raises((InvalidMessage, OSError, EOFError)):
        async with connected(stack):
            pass


async def test_any_frame_can_be_pushed_to_every_channel(stack: Stack, http: httpx.AsyncClient) -> None:
    async with AsyncExitStack() as open_:
        phoenix: Phoenix = await open_.enter_async_context(connected(stack))
        await phoenix.join("t")
        await phoenix.until("phx_reply")
        order = {"event": "phx_close", "payload": {}, "ref": "stale"}
        await http.post(f"{stack.urls.url}/admin/push", json=order, headers={"x-admin-key": "sesame"})

        assert (await phoenix.receive())["ref"] == "stale"
