"""
Troubles with a name, a value and an end: `NAME[=VALUE][:SECONDS]`.

Owns which there are and what each does at its begin and its end; carries several out at once, each in a task of its
own. The rule: an order that is over leaves nothing wrong behind, however it ended. What touches the same field of
`Faults` is not for the same time.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from worker.devstack import nonsense
from worker.devstack.changes import ChangeFeed
from worker.devstack.door import Door
from worker.devstack.faults import Faults
from worker.devstack.realtime import Realtime

_NONSENSE_SECONDS = 0.5
_UPGRADE_STATUSES = (401, 403, 404, 429, 500, 502, 503)
_CLOSE_CODES = (1000, 1001, 1006, 1011, 1012)
_ROW_ERRORS = (400, 401, 413)
_WHOSE = ("realtime", "rest", "all")

Value = str | int | float | None


@dataclass(frozen=True)
class Scene:
    """All that can be troubled."""

    faults: Faults
    realtime: Realtime
    feed: ChangeFeed
    door: Door


@dataclass(frozen=True)
class Fault:
    """
    One kind of trouble.

    Without `at_once` it lasts: `fields` are set and set back, `begin` and `end` are called around it, and `again` every
    half second. With it there is only the begin.
    """

    says: str
    value: Value = None  # taken when none is given; None: it takes none
    allowed: tuple[Value, ...] = ()
    at_once: bool = False
    needs_end: bool = False  # whoever ordered it could not end it
    fields: Callable[[Any], dict[str, Any]] = lambda _: {}
    begin: Callable[[Scene, Any], Awaitable[None]] | None = None
    again: Callable[[Scene, Any], None] | None = None
    end: Callable[[Scene], Awaitable[None]] | None = None


@dataclass(frozen=True)
class Order:
    name: str
    value: Value
    seconds: float | None
    """How long; None: until it is cleared, or at once when it does not last."""

    @property
    def fault(self) -> Fault:
        return FAULTS[self.name]

    @classmethod
    def read(cls, text: str) -> "Order":
        """`NAME[=VALUE][:SECONDS]`. Raises ValueError that says what is allowed."""
        text, seconds = _split_seconds(text.strip())
        name, _, given = text.partition("=")
        if name not in FAULTS:
            raise ValueError(f"There is no fault {name!r}; there are {', '.join(FAULTS)}.")
        fault = FAULTS[name]
        if fault.at_once and seconds is not None:
            raise ValueError(f"{name} happens at once and takes no seconds.")
        if fault.needs_end and seconds is None:
            raise ValueError(f"{name} needs an end, as in {name}:20, because nobody could end it from outside.")
        return cls(name, _value(name, fault, given), seconds)

    def __str__(self) -> str:
        value = f"={self.value}" if self.value not in (None, "") else ""
        return f"{self.name}{value}" + (f":{self.seconds:g}" if self.seconds is not None else "")


def _split_seconds(text: str) -> tuple[str, float | None]:
    """A reason may have colons too: only a number after the last one is a time."""
    head, _, tail = text.rpartition(":")
    try:
        seconds = float(tail)
    except ValueError:
        return text, None
    if not head:
        return text, None
    if not 0 < seconds <= 86_400:
        raise ValueError(f"{text}: seconds are more than 0 and at most a day.")
    return head, seconds


def _value(name: str, fault: Fault, given: str) -> Value:
    if fault.value is None:
        if given:
            raise ValueError(f"{name} takes no value.")
        return None
    if not given:
        return fault.value
    try:
        value = type(fault.value)(given)
    except ValueError:
        raise ValueError(f"{name} takes a number, not {given!r}.") from None
    if fault.allowed and value not in fault.allowed:
        raise ValueError(f"{name} takes one of {', '.join(map(str, fault.allowed))}, not {given!r}.")
    if isinstance(value, int | float) and value <= 0:
        raise ValueError(f"{name} takes a number above 0, not {given!r}.")
    return value


# What they do


def _cut(whose: Callable[[Any], bool] = lambda _: True) -> Callable[[Scene, Any], Awaitable[None]]:
    """End what is connected, so that everybody has to come anew."""

    async def begin(scene: Scene, value: Any) -> None:
        if whose(value):
            await scene.realtime.close_sockets(1006)

    return begin


async def _close(scene: Scene, code: int) -> None:
    await scene.realtime.close_sockets(code)


async def _slam(scene: Scene, _: Any) -> None:
    await scene.door.slam()


async def _open(scene: Scene) -> None:
    await scene.door.open()


async def _hold(scene: Scene, _: Any) -> None:
    for socket in scene.realtime.sockets:
        socket.hold()


async def _resume(scene: Scene) -> None:
    for socket in scene.realtime.sockets:
        socket.resume()


async def _interrupt_changes(scene: Scene, _: Any) -> None:
    for channel in scene.realtime.channels:
        channel.interrupt_changes()


async def _tell_of_gap(scene: Scene, _: Any = None) -> None:
    scene.feed.tell_of_gap()


async def _expire(scene: Scene, _: Any) -> None:
    for channel in scene.realtime.channels:
        channel.shut_down("Token has expired 0 seconds ago")


async def _crash(scene: Scene, _: Any) -> None:
    for channel in scene.realtime.channels:
        channel.crash()


async def _forget(scene: Scene, _: Any) -> None:
    for socket in scene.realtime.sockets:
        socket.forget_channels()


async def _stale_close(scene: Scene, _: Any) -> None:
    scene.realtime.push_to_all("phx_close", {}, ref="stale")


async def _large_frame(scene: Scene, size: int) -> None:
    body = {"type": "broadcast", "event": "large", "payload": {"filler": "x" * size}}
    scene.realtime.push_to_all("broadcast", body)


async def _burst(scene: Scene, count: int) -> None:
    for n in range(count):
        for channel in scene.realtime.channels:
            channel.invent_insert({"id": str(uuid.uuid4())})
        if n % 500 == 0:
            await asyncio.sleep(0)


def _talk_nonsense(scene: Scene, kind: str) -> None:
    for socket in scene.realtime.sockets:
        if kind in nonsense.RAW:
            socket.write_raw(nonsense.RAW[kind])
            continue
        if kind in ("all", "binary"):
            for data in nonsense.BINARY:
                socket.push_raw(data)
        for text in nonsense.texts(kind, [channel.topic for channel in socket.channels]):
            socket.push_raw(text)


FAULTS: Mapping[str, Fault] = {
    "unplug": Fault(
        "the whole project is away: connections are refused, those open are cut", needs_end=True, begin=_slam, end=_open
    ),
    "refuse": Fault(
        "connections are reset",
        "realtime",
        _WHOSE,
        fields=lambda whose: {"refuse": whose},
        begin=_cut(lambda whose: whose != "rest"),
    ),
    "black-hole": Fault(
        "Realtime's packets vanish: no byte, no close",
        fields=lambda _: {"black_hole": True},
        begin=_hold,
        end=_resume,
    ),
    "hang": Fault("websocket pings are answered and nothing else", fields=lambda _: {"mute_all": True}),
    "upgrade": Fault(
        "the websocket is refused with this HTTP status",
        502,
        _UPGRADE_STATUSES,
        fields=lambda status: {"upgrade_status": status},
        begin=_cut(),
    ),
    "slow-join": Fault(
        "joins take so many seconds", 12.0, fields=lambda seconds: {"join_delay_ms": seconds * 1000}, begin=_cut()
    ),
    "join-error": Fault(
        "joins are refused with this reason, after 5 s",
        "UnableToConnectToProject: Realtime was unable to connect to the project database",
        fields=lambda reason: {"join_error": reason, "refusal_delay_ms": 5000},
        begin=_cut(),
    ),
    "no-ok": Fault(
        "joins succeed, `Subscribed to PostgreSQL` never comes",
        fields=lambda _: {"drop_system_ok": True},
        begin=_cut(),
    ),
    "capture-error": Fault(
        "a `system` error on an open channel; the ok follows at the end",
        "Too many database timeouts",
        fields=lambda message: {"capture_error": message},
        begin=_interrupt_changes,
    ),
    "capture-dead": Fault(
        "changes are lost without a word; the ok is repeated at the end",
        fields=lambda _: {"capture_dead": True},
        end=_tell_of_gap,
    ),
    "repeat-ok": Fault("`Subscribed to PostgreSQL` once more", at_once=True, begin=_tell_of_gap),
    "token-expired": Fault("`Token has expired` and `phx_close` on every channel", at_once=True, begin=_expire),
    "channel-crash": Fault("`phx_error` on every channel", at_once=True, begin=_crash),
    "forget": Fault("every channel is forgotten without a word", at_once=True, begin=_forget),
    "stale-close": Fault("a `phx_close` for a join of long ago", at_once=True, begin=_stale_close),
    "close": Fault("sockets are closed with this code; 1006 cuts them", 1012, _CLOSE_CODES, at_once=True, begin=_close),
    "lose-every": Fault(
        "every n-th event is lost",
        3,
        fields=lambda every: {"drop_change_every": every, "drop_broadcast_every": every},
    ),
    "lose-all": Fault(
        "all events are lost with everything green", fields=lambda _: {"mute_changes": True, "mute_broadcasts": True}
    ),
    "lose-changes": Fault(
        "row changes are lost; with a value, those of this table",
        "",
        fields=lambda table: {"mute_table": table} if table else {"mute_changes": True},
    ),
    "lose-broadcasts": Fault(
        "the database's broadcasts are lost; with a value, those of this event",
        "",
        fields=lambda event: {"mute_event": event} if event else {"mute_broadcasts": True},
    ),
    "rate-limit": Fault(
        "over so many change messages a second they are thrown away", 1, fields=lambda limit: {"rate_limit": limit}
    ),
    "row-error": Fault(
        "changes come with this error instead of their row", 413, _ROW_ERRORS, fields=lambda e: {"change_error": e}
    ),
    "duplicate": Fault("each event comes so often", 2, fields=lambda times: {"repeat_events": times}),
    "frame": Fault("one frame of so many bytes on every channel", 2 * 1024 * 1024, at_once=True, begin=_large_frame),
    "burst": Fault("so many INSERT events of rows that do not exist", 10_000, at_once=True, begin=_burst),
    "nonsense": Fault(
        "frames that no server should send, every half second", "all", nonsense.KINDS, again=_talk_nonsense
    ),
    "rest-status": Fault("REST requests are refused with this status", 503, fields=lambda s: {"rest_status": s}),
    "rest-delay": Fault("REST answers so many ms late", 1000, fields=lambda ms: {"rest_delay_ms": ms}),
}


def described() -> list[str]:
    """A line for each."""
    lines = []
    for name, fault in FAULTS.items():
        shown = name if fault.value is None else f"{name}={fault.value}" if fault.value != "" else f"{name}[=…]"
        lines.append(f"{shown.partition(':')[0]:<44} {'at once' if fault.at_once else 'lasts':<8} {fault.says}")
    return lines


# Carrying out


@dataclass(eq=False)
class Orders:
    """Carries orders out while `run` runs."""

    scene: Scene
    _tasks: dict[asyncio.Task[None], Order] = field(default_factory=dict)
    _group: asyncio.TaskGroup | None = None

    @property
    def active(self) -> list[str]:
        return [str(order) for order in self._tasks.values()]

    async def run(self) -> None:
        """Until cancelled; then everything that is still wrong is put right."""
        async with asyncio.TaskGroup() as self._group:
            await asyncio.Event().wait()

    async def place(self, order: Order) -> None:
        """Begin it; when this returns it has begun, and its end comes by itself."""
        assert self._group is not None
        fault = order.fault
        logger.info("Trouble begins", order=str(order))
        self.scene.faults.order(**fault.fields(order.value))
        if fault.begin is not None:
            await fault.begin(self.scene, order.value)
        if not fault.at_once:
            task = self._group.create_task(self._last(order))
            self._tasks[task] = order
            task.add_done_callback(self._tasks.pop)

    async def clear(self) -> None:
        """End them all, and whatever else was set."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.scene.faults.clear()

    async def _last(self, order: Order) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(order.seconds):
                    while order.fault.again is not None:
                        order.fault.again(self.scene, order.value)
                        await asyncio.sleep(_NONSENSE_SECONDS)
                    await asyncio.Event().wait()
        finally:
            calm = Faults()
            self.scene.faults.order(**{name: getattr(calm, name) for name in order.fault.fields(order.value)})
            if order.fault.end is not None:
                await order.fault.end(self.scene)
            logger.info("Trouble over", order=str(order))
