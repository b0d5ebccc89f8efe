"""Each trouble that can be ordered does what it says, ends by itself, and leaves nothing behind."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import psycopg
import pytest
from typer.testing import CliRunner
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.stack.conftest import Client, User
from tests.stack.phoenix import Phoenix, connected
from tests.support.waiting import until
from worker import cli, errors
from worker.devstack import rate
from worker.devstack import stack as stacks
from worker.devstack.orders import FAULTS, Order
from worker.devstack.stack import Stack

Sql = psycopg.AsyncConnection[tuple[object, ...]]
Place = Callable[[str], Awaitable[httpx.Response]]

MARK = "after the trouble"
SILENCE_SECONDS = 0.3


@pytest.fixture
async def place(stack: Stack, http: httpx.AsyncClient) -> AsyncIterator[Place]:
    """Places an order through the admin route; all are ended with the test. An empty one ends them now."""
    headers = {"x-admin-key": "sesame"}
    url = f"{stack.urls.url}/admin/orders"

    async def ask(order: str) -> httpx.Response:
        if not order:
            return await http.delete(url, headers=headers)
        return await http.post(url, json={"order": order}, headers=headers)

    yield ask
    await ask("")


@pytest.fixture
def note(service: Client, user: User) -> Callable[[str], Awaitable[Any]]:
    """Inserts a row that is told of."""

    async def insert(body: str) -> Any:
        return await service.table("notes").insert({"user_id": user.id, "body": body}).execute()

    return insert


Note = Callable[[str], Awaitable[Any]]


def entered(stack: Stack) -> AbstractAsyncContextManager[Phoenix]:
    """A socket with the secret key: what a table's changes are told to."""
    return connected(stack, stack.urls.secret_key)


async def live(phoenix: Phoenix) -> None:
    """Join the topic `t`, and hear of notes from now on."""
    changes = [{"event": "INSERT", "schema": "public", "table": table} for table in ("notes", "books")]
    await phoenix.join("t", postgres_changes=changes)
    await phoenix.until("system")


async def body(phoenix: Phoenix) -> str:
    """The text of the next note that is told of."""
    record: dict[str, str] = (await phoenix.until("postgres_changes"))["payload"]["data"]["record"]
    return record["body"]


async def is_alive(phoenix: Phoenix) -> bool:
    """Whether the socket still answers heartbeats."""
    ref = await phoenix.send("phoenix", "heartbeat", {})
    return bool((await phoenix.until("phx_reply"))["ref"] == ref)


async def is_silent(phoenix: Phoenix) -> bool:
    """Whether the socket has nothing else to say than that it is alive."""
    ref = await phoenix.send("phoenix", "heartbeat", {})
    return bool((await phoenix.receive())["ref"] == ref)


async def push_reason(phoenix: Phoenix) -> str:
    """Why a broadcast to the topic is refused."""
    await phoenix.send("realtime:t", "broadcast", {"type": "broadcast", "event": "e", "payload": {}})
    reason: str = (await phoenix.until("phx_reply"))["payload"]["response"]["reason"]
    return reason


async def eventually(look: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Wait until *look* says yes."""
    await until(look, what)


async def broadcast(stack: Stack, *events: str) -> None:
    """Send *events* to the topic, from the database and each in a commit of its own."""
    async with await psycopg.AsyncConnection.connect(stack.urls.database_url, autocommit=True) as connection:
        for event in events:
            await connection.execute("select realtime.send('{}', %s, 't', false)", [event])


async def test_every_fault_can_be_ordered_as_it_is_listed() -> None:
    for name, fault in FAULTS.items():
        end = ":1" if not fault.at_once else ""

        assert Order.read(f"{name}{end}").value == fault.value


@pytest.mark.parametrize(
    ("text", "name", "value", "seconds"),
    [
        ("refuse", "refuse", "realtime", None),
        ("refuse=rest:20", "refuse", "rest", 20),
        ("close=1001", "close", 1001, None),
        ("slow-join=12:0.5", "slow-join", 12.0, 0.5),
        ("join-error=Unauthorized: no", "join-error", "Unauthorized: no", None),
        ("join-error=Unauthorized: no:7", "join-error", "Unauthorized: no", 7),
        ("lose-changes", "lose-changes", "", None),
    ],
)
def test_an_order_is_a_name_a_value_and_a_time(text: str, name: str, value: object, seconds: float | None) -> None:
    assert Order.read(text) == Order(name, value, seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("smoke", "There is no fault 'smoke'; there are unplug, refuse, "),
        ("close=999", "close takes one of 1000, 1001, 1006, 1011, 1012, not '999'."),
        ("close:5", "close happens at once and takes no seconds."),
        ("hang=3:5", "hang takes no value."),
        ("upgrade=no", "upgrade takes a number, not 'no'."),
        ("burst=-1", "burst takes a number above 0, not '-1'."),
        ("hang:0", "seconds are more than 0 and at most a day."),
        ("unplug", "unplug needs an end, as in unplug:20"),
    ],
)
async def test_a_wrong_order_says_what_is_allowed(place: Place, text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Order.read(text)

    assert sentence in (await place(text)).json()["error"]


def test_the_command_lists_the_faults_and_refuses_others() -> None:
    listed = CliRunner().invoke(cli.app, ["stack", "--fault", "list"])
    refused = CliRunner().invoke(cli.app, ["stack", "--fault", "smoke"])

    assert [line.split()[0].split("=")[0].split("[")[0] for line in listed.output.splitlines()] == list(FAULTS)
    assert isinstance(refused.exception, errors.ConfigurationError)


async def test_ordered_on_the_command_line_it_begins_when_somebody_listens(
    stack: Stack, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "_BEFORE_TROUBLE_SECONDS", 0.01)
    loop = stack.orders._group._loop  # type: ignore[union-attr]
    assert loop is not None
    watching = asyncio.run_coroutine_threadsafe(stacks._trouble(stack, [Order.read("close=1011")]), loop)
    async with entered(stack) as phoenix:
        await phoenix.join("t")
        with pytest.raises(ConnectionClosed):
            await phoenix.until("anything")

    assert phoenix.ws.close_code == 1011
    await asyncio.wrap_future(watching)


# Connections


async def test_an_order_ends_by_itself(stack: Stack, place: Place) -> None:
    answer = await place("upgrade=503:0.2")
    with pytest.raises(InvalidStatus) as refused:
        async with entered(stack):
            pass

    async def is_over() -> bool:
        with contextlib.suppress(InvalidStatus):
            async with entered(stack):
                return True
        return False

    assert (answer.status_code, refused.value.response.status_code) == (202, 503)
    await eventually(is_over, "the upgrade works again")
    assert stack.faults == type(stack.faults)()


async def test_unplugged_nobody_gets_in_and_the_port_stays_the_same(stack: Stack, place: Place) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("unplug:0.5")
        with pytest.raises(ConnectionClosed):
            await phoenix.until("anything")
    with pytest.raises(ConnectionRefusedError):
        async with entered(stack):
            pass

    async def is_back() -> bool:
        with contextlib.suppress(OSError):
            async with entered(stack) as phoenix:
                return await is_alive(phoenix)
        return False

    await eventually(is_back, "the stack lets us in again")


@pytest.mark.parametrize(("whose", "realtime", "rest"), [("realtime", False, True), ("rest", True, False)])
async def test_connections_are_reset(
    stack: Stack, place: Place, note: Note, whose: str, realtime: bool, rest: bool
) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place(f"refuse={whose}")
        survived = True
        try:
            await is_alive(phoenix)
        except ConnectionClosed:
            survived = False
        written = True
        try:
            await note("anything")
        except httpx.HTTPError:
            written = False

        assert (survived, written) == (realtime, rest)


async def test_in_the_black_hole_no_byte_comes_and_nothing_is_closed(stack: Stack, place: Place, note: Note) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("black-hole")
        pong = asyncio.ensure_future(await phoenix.ws.ping())
        await note("unheard")
        url = f"{stack.urls.url.replace('http', 'ws')}/realtime/v1/websocket?apikey={stack.urls.secret_key}"
        with pytest.raises(TimeoutError):
            await connect(url, open_timeout=SILENCE_SECONDS)
        assert not pong.done()
        await place("")
        async with asyncio.timeout(10):
            await pong
        await note(MARK)

        assert await body(phoenix) == MARK


async def test_a_hung_server_answers_pings_and_nothing_else(stack: Stack, place: Place) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("hang")
        await phoenix.send("phoenix", "heartbeat", {})
        async with asyncio.timeout(10):
            await (await phoenix.ws.ping())
        await place("")

        assert await is_alive(phoenix)


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1011, 1012])
async def test_sockets_are_closed_with_the_code(stack: Stack, place: Place, code: int) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place(f"close={code}")
        with pytest.raises(ConnectionClosed):
            await phoenix.until("anything")

        assert phoenix.ws.close_code == code


# Joins and channels


async def test_a_slow_join_is_answered_when_the_trouble_is_over(stack: Stack, place: Place) -> None:
    await place("slow-join=60")
    async with entered(stack) as phoenix:
        await phoenix.join("t")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(phoenix.receive(), SILENCE_SECONDS)
        await place("")

        assert (await phoenix.until("phx_reply"))["payload"]["status"] == "ok"


async def test_a_refused_join_gives_the_reason(stack: Stack, place: Place) -> None:
    await place("join-error=RealtimeRestarting: please stand by")
    assert stack.faults.refusal_delay_ms == 5000
    stack.faults.refusal_delay_ms = 0
    async with entered(stack) as phoenix:
        await phoenix.join("t")
        reply = (await phoenix.until("phx_reply"))["payload"]

    assert (reply["status"], reply["response"]["reason"]) == ("error", "RealtimeRestarting: please stand by")


async def test_the_ok_can_be_missing_from_a_join_that_succeeds(stack: Stack, place: Place, note: Note) -> None:
    await place("no-ok")
    async with entered(stack) as phoenix:
        changes = [{"event": "INSERT", "schema": "public", "table": "notes"}]
        await phoenix.join("t", postgres_changes=changes)
        joined = await phoenix.receive()
        await until(lambda: stack.orders.scene.feed._subscribers, "it is subscribed all the same")
        await note(MARK)
        told = await phoenix.receive()

    assert (joined["event"], told["event"]) == ("phx_reply", "postgres_changes")


async def test_a_system_error_leaves_the_channel_open_and_the_ok_follows(
    stack: Stack, place: Place, note: Note
) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("capture-error")
        error = (await phoenix.until("system"))["payload"]
        await note("unheard")
        assert await is_alive(phoenix)
        await place("")
        again = (await phoenix.until("system"))["payload"]
        await note(MARK)

        assert (error["status"], error["message"]) == ("error", "Too many database timeouts")
        assert (again["status"], again["message"]) == ("ok", "Subscribed to PostgreSQL")
        assert await body(phoenix) == MARK


async def test_dead_change_capture_says_nothing_until_it_lives_again(stack: Stack, place: Place, note: Note) -> None:
    async with entered(stack) as phoenix, entered(stack) as late:
        await live(phoenix)
        await place("capture-dead")
        await late.join("t", postgres_changes=[{"schema": "public", "table": "notes"}])
        assert (await late.until("phx_reply"))["payload"]["status"] == "ok"
        told = stack.orders.scene.feed._told
        await note("unheard")
        await until(lambda: stack.orders.scene.feed._told > told, "the change is lost")
        assert await is_silent(phoenix)
        assert await is_silent(late)
        await place("")
        systems = [(await client.until("system"))["payload"]["message"] for client in (phoenix, late)]
        await note(MARK)

        assert systems == ["Subscribed to PostgreSQL"] * 2
        assert await body(phoenix) == MARK


async def test_the_ok_can_be_repeated(stack: Stack, place: Place) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("repeat-ok")

        assert (await phoenix.until("system"))["payload"]["message"] == "Subscribed to PostgreSQL"


async def test_an_expired_token_ends_the_channel_and_not_the_socket(stack: Stack, place: Place) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("token-expired")
        system, close = await phoenix.until("system"), await phoenix.receive()

        assert system["payload"]["message"].startswith("Token has expired")
        assert (system["payload"]["status"], close["event"], close["ref"]) == ("error", "phx_close", "1")
        assert await push_reason(phoenix) == "unmatched topic"


async def test_a_crashed_channel_says_so_and_is_gone(stack: Stack, place: Place, note: Note) -> None:
    async with entered(stack) as phoenix, entered(stack) as witness:
        await live(phoenix)
        await place("channel-crash")
        await live(witness)
        await note(MARK)

        assert await body(witness) == MARK
        assert (await phoenix.receive())["event"] == "phx_error"
        assert await is_silent(phoenix)
        assert await push_reason(phoenix) == "unmatched topic"


async def test_a_forgotten_channel_is_gone_without_a_word(stack: Stack, place: Place, note: Note) -> None:
    async with entered(stack) as phoenix, entered(stack) as witness:
        await live(phoenix)
        await place("forget")
        await live(witness)
        await note(MARK)

        assert await body(witness) == MARK
        assert await is_silent(phoenix)
        assert await push_reason(phoenix) == "unmatched topic"


async def test_a_stale_close_means_nothing(stack: Stack, place: Place, note: Note) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("stale-close")
        close = await phoenix.receive()
        await note(MARK)

        assert (close["event"], close["ref"]) == ("phx_close", "stale")
        assert await body(phoenix) == MARK


# Events


async def test_every_nth_event_is_lost(stack: Stack, place: Place, note: Note) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("lose-every=2")
        for n in range(6):
            await note(str(n))
        heard = [await body(phoenix) for _ in range(3)]
        await broadcast(stack, *"abcdef")
        told = [(await phoenix.until("broadcast"))["payload"]["event"] for _ in range(3)]

        assert heard in (["0", "2", "4"], ["1", "3", "5"])
        assert told in (["a", "c", "e"], ["b", "d", "f"])


async def test_the_changes_of_one_table_are_lost(stack: Stack, place: Place, note: Note, service: Client) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("lose-changes=notes")
        await note("unheard")
        await service.table("books").insert({"shelf": "quiet", "title": MARK}).execute()

        assert (await phoenix.until("postgres_changes"))["payload"]["data"]["record"]["title"] == MARK


async def test_the_broadcasts_of_one_event_are_lost(stack: Stack, place: Place) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("lose-broadcasts=ready")
        await broadcast(stack, "ready", "beat")

        assert (await phoenix.until("broadcast"))["payload"]["event"] == "beat"


async def test_all_events_are_lost_with_everything_green(stack: Stack, place: Place, note: Note) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        told = stack.orders.scene.feed._told
        await place("lose-all")
        await note("unheard")
        await broadcast(stack, "unheard")
        await until(lambda: stack.orders.scene.feed._told > told, "the change is lost")
        assert await is_silent(phoenix)
        await place("")
        await note(MARK)

        assert await body(phoenix) == MARK


async def test_over_the_rate_whole_polls_are_thrown_away(
    stack: Stack, place: Place, sql: Sql, user: User, note: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate, "_TICK_SECONDS", 0.2)
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("rate-limit=5")
        many = "insert into public.notes (user_id, body) select %s, 'many' from generate_series(1, 20)"
        await sql.execute(many, [user.id])
        assert [await body(phoenix) for _ in range(20)] == ["many"] * 20

        async def is_heard(expected: bool) -> bool:
            await note(MARK)
            try:
                return (await asyncio.wait_for(body(phoenix), SILENCE_SECONDS) == MARK) is expected
            except TimeoutError:
                return expected is False

        await eventually(lambda: is_heard(False), "it is over the rate")
        await eventually(lambda: is_heard(True), "it is under the rate again")


def test_the_rate_is_an_average_over_finished_ticks_and_falls_with_time() -> None:
    now = [0.0]
    counted = rate.Rate(lambda: now[0])
    counted.count(100)
    at_once = counted.per_second()
    now[0] = 5.0
    after_a_tick = counted.per_second()
    now[0] = 50.0
    later = counted.per_second()
    now[0] = 70.0

    assert (at_once, after_a_tick, later, counted.per_second()) == (0.0, 20.0, 2.0, 0.0)


@pytest.mark.parametrize(
    ("code", "error"), [(400, "Error 400: Bad Request, no primary key"), (401, "Error 401: Unauthorized")]
)
async def test_changes_come_with_an_error_and_without_a_row(
    stack: Stack, place: Place, note: Note, code: int, error: str
) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place(f"row-error={code}")
        await note("unseen")
        data = (await phoenix.until("postgres_changes"))["payload"]["data"]

        assert (data["errors"], data["record"], data["columns"], data["commit_timestamp"]) == ([error], {}, [], None)


async def test_a_row_that_is_called_too_large_keeps_its_small_columns(stack: Stack, place: Place, note: Note) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("row-error=413")
        made = await note("x" * 100)
        data = (await phoenix.until("postgres_changes"))["payload"]["data"]

        assert data["errors"] == ["Error 413: Payload Too Large"]
        assert (data["record"]["id"], "body" in data["record"]) == (made.data[0]["id"], False)


async def test_events_come_more_than_once(stack: Stack, place: Place, note: Note) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("duplicate=3")
        await note("thrice")
        rows = [await body(phoenix) for _ in range(3)]
        await broadcast(stack, "thrice")
        told = [(await phoenix.until("broadcast"))["payload"]["event"] for _ in range(3)]
        await place("")
        await note(MARK)

        assert (rows, told) == (["thrice"] * 3, ["thrice"] * 3)
        assert await body(phoenix) == MARK


async def test_a_burst_is_of_rows_that_do_not_exist(stack: Stack, place: Place) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("burst=500")
        told = [(await phoenix.until("postgres_changes"))["payload"] for _ in range(1000)]  # two tables

        assert len({payload["data"]["record"]["id"] for payload in told}) == 500
        assert {payload["data"]["table"] for payload in told} == {"notes", "books"}


async def test_a_row_can_be_announced_before_there_is_one(stack: Stack, place: Place, http: httpx.AsyncClient) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        order = {"table": "notes", "record": {"id": 7}}
        await http.post(f"{stack.urls.url}/admin/announce", json=order, headers={"x-admin-key": "sesame"})
        payload = (await phoenix.until("postgres_changes"))["payload"]

        assert (payload["data"]["record"], payload["data"]["table"], len(payload["ids"])) == ({"id": 7}, "notes", 1)
        assert await is_silent(phoenix)  # about the other table


# Frames


async def test_a_frame_can_be_larger_than_the_client_takes(stack: Stack, place: Place) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("frame=2097152")
        with pytest.raises(ConnectionClosed):
            await phoenix.until("anything")

        assert sent_code(phoenix) == 1009


async def test_nonsense_is_of_every_kind_and_leaves_the_channel_alive(stack: Stack, place: Place, note: Note) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("nonsense:0.1")
        await until(lambda: not stack.orders.active, "it is over")
        await note(MARK)
        frames: list[Any] = []
        while not (frames and isinstance(frames[-1], str) and MARK in frames[-1]):
            frames.append(await asyncio.wait_for(phoenix.ws.recv(), 10))
        texts = [frame for frame in frames if isinstance(frame, str)]
        parsed = [json.loads(text) for text in texts if is_json(text)]

    assert any(isinstance(frame, bytes) for frame in frames)
    assert len(parsed) < len(texts)
    assert any(not isinstance(frame, dict) for frame in parsed)
    objects = [frame for frame in parsed if isinstance(frame, dict)]
    assert any("ref" not in frame for frame in objects)
    assert {"phx_unheard_of", "system", "postgres_changes", "broadcast"} <= {frame.get("event") for frame in objects}


def sent_code(phoenix: Phoenix) -> int | None:
    """With what code the client closed the connection."""
    sent = phoenix.ws.protocol.close_sent
    return sent.code if sent is not None else None


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


async def test_half_a_frame_swallows_what_follows(stack: Stack, place: Place) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("nonsense=half:0.1")
        await phoenix.send("phoenix", "heartbeat", {})
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(phoenix.ws.recv(), SILENCE_SECONDS)
        phoenix.ws.transport.abort()  # it would wait for a close frame that is swallowed too


async def test_text_that_is_not_utf8_ends_the_connection(stack: Stack, place: Place) -> None:
    async with entered(stack) as phoenix:
        await live(phoenix)
        await place("nonsense=utf8:0.1")
        with pytest.raises(ConnectionClosed):
            await phoenix.until("anything")

        assert sent_code(phoenix) == 1007
