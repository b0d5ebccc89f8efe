"""
The troubles of a chaos run: what each does to whom, and how long.

Each is one coroutine that makes the trouble and returns when it is over; whatever it changed is as before then, also
when it is cancelled. What is left to chance is drawn from the dice it is given.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import aiohttp
import psycopg
import tenacity

from scripts.benches import waiting
from scripts.storm import books
from scripts.storm.crew import Crew, Member
from scripts.storm.owner import Owner
from scripts.storm.users import CLASSES, Users
from worker import backoff

_HOUR_SECONDS = 3600.0
_COMMIT_MS = 200
_LOST_ANSWERS = 20
_TERMINATIONS = 8
_BETWEEN_SECONDS = 0.4
_ADMIN_SECONDS = 10.0
_PATIENCE_SECONDS = 120.0


@dataclass
class Scene:
    """All that can be hurt."""

    crew: Crew
    users: Users
    owner: Owner
    admin: Owner
    """The superuser."""
    ground_pid: int
    http: aiohttp.ClientSession
    url: str
    admin_key: str
    lease_seconds: float
    lasts_seconds: float
    """How long what lasts does, more or less."""

    def anybody(self, dice: Random) -> Member:
        return dice.choice(self.crew.members)

    def span(self, dice: Random) -> float:
        return dice.uniform(0.7, 1.3) * self.lasts_seconds

    async def order(self, text: str) -> None:
        """Have the stack make one of its own troubles."""
        await self._ask("POST", "orders", {"order": text})

    async def lose_answers(self, count: int) -> None:
        await self._ask("PATCH", "faults", {"lose_answers": count})

    async def clear(self) -> None:
        """End whatever the stack does wrong."""
        await self._ask("DELETE", "orders", None)

    async def _ask(self, method: str, what: str, body: Any) -> None:
        """Through the same door as everybody, which may be shut for a while."""
        again = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type((aiohttp.ClientError, TimeoutError)),
            wait=backoff.wait_full_jitter(0.1, 1.0),
            stop=tenacity.stop_after_delay(_PATIENCE_SECONDS),
            reraise=True,
        )
        headers, limit = {"x-admin-key": self.admin_key}, aiohttp.ClientTimeout(total=_ADMIN_SECONDS)
        async for attempt in again:
            with attempt:
                url = f"{self.url}/admin/{what}"
                async with self.http.request(method, url, headers=headers, json=body, timeout=limit) as answer:
                    if not answer.ok:
                        raise RuntimeError(await answer.text())


Act = Callable[[Scene, Random], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Fault:
    title: str
    act: Act
    times: int = 1
    """How often in a row it is made when it is measured alone."""


def _send(number: signal.Signals) -> Act:
    async def act(scene: Scene, dice: Random) -> None:
        scene.anybody(dice).signal(number)

    return act


async def _freeze(scene: Scene, dice: Random) -> None:
    await scene.anybody(dice).freeze(scene.lease_seconds * 1.2 + 1.0)


def _shift_clock(direction: int) -> Act:
    async def act(scene: Scene, dice: Random) -> None:
        member = scene.anybody(dice)
        member.shift_clock(direction * _HOUR_SECONDS)
        try:
            await asyncio.sleep(scene.span(dice))
        finally:
            member.shift_clock(0.0)

    return act


async def _restart_postgres(scene: Scene, dice: Random) -> None:
    (before,) = (await scene.admin.rows("select pg_postmaster_start_time()"))[0]
    os.kill(scene.ground_pid, signal.SIGUSR1)

    async def is_new() -> bool:
        return bool((await scene.admin.rows("select pg_postmaster_start_time()"))[0][0] != before)

    await waiting.until(is_new, seconds=_PATIENCE_SECONDS)


async def _terminate_backends(scene: Scene, dice: Random) -> None:
    for _ in range(_TERMINATIONS):
        await scene.admin.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()"
        )
        await asyncio.sleep(dice.uniform(0.0, 2 * _BETWEEN_SECONDS))


async def _hold_snapshot(scene: Scene, dice: Random) -> None:
    with suppress(psycopg.OperationalError):  # another trouble may end the session
        async with await psycopg.AsyncConnection.connect(scene.owner.url) as holder:
            await holder.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await holder.execute("select pg_current_xact_id(), count(*) from public.translation_workers")
            await asyncio.sleep(scene.span(dice) * 2)


async def _slow_commits(scene: Scene, dice: Random) -> None:
    await scene.owner.rows(books.SLOW_COMMITS, _COMMIT_MS)
    try:
        await asyncio.sleep(scene.span(dice))
    finally:
        await scene.owner.rows(books.SLOW_COMMITS, 0)


async def _fail_at_the_provider(scene: Scene, dice: Random) -> None:
    """Not over before each way was met once: other troubles may keep users from their wishes meanwhile."""
    scene.users.failing = True
    try:
        await asyncio.sleep(scene.span(dice) * 2)
        with suppress(TimeoutError):  # the report tells
            await waiting.until(lambda: scene.users.met.issuperset(CLASSES), seconds=_PATIENCE_SECONDS)
    finally:
        scene.users.failing = False
    await scene.users.cancel_throttled()


async def _lose_answers(scene: Scene, dice: Random) -> None:
    await scene.lose_answers(_LOST_ANSWERS)
    await asyncio.sleep(scene.span(dice))
    await scene.lose_answers(0)


def _order(name: str) -> Act:
    async def act(scene: Scene, dice: Random) -> None:
        seconds = scene.span(dice)
        await scene.order(f"{name}:{seconds:.1f}")
        await asyncio.sleep(seconds)

    return act


# Of what there is to go wrong with Realtime, what the worker answers in a way of its own.
_LASTING = (
    *("refuse=realtime", "black-hole", "hang", "upgrade=502", "join-error", "no-ok", "capture-error", "capture-dead"),
    *("lose-all", "lose-every=3", "lose-changes=translation_jobs", "row-error=413", "duplicate=3", "nonsense"),
)
_AT_ONCE = ("token-expired", "channel-crash", "forget", "stale-close", "close=1006", "close=1012", "burst=1000")


async def _trouble_realtime(scene: Scene, dice: Random) -> None:
    for name in dice.sample(_AT_ONCE, 2):
        await scene.order(name)
        await asyncio.sleep(_BETWEEN_SECONDS)
    await _order(dice.choice(_LASTING))(scene, dice)


FAULTS: Mapping[str, Fault] = {
    "kill": Fault("a worker is killed", _send(signal.SIGKILL), 5),
    "terminate": Fault("a worker is asked to stop", _send(signal.SIGTERM), 5),
    "freeze": Fault("a worker is suspended for longer than its lease", _freeze),
    "clock-forward": Fault("a worker's clock jumps an hour ahead, and back", _shift_clock(+1), 2),
    "clock-back": Fault("a worker's clock jumps an hour back, and forth", _shift_clock(-1), 2),
    "restart-postgres": Fault("Postgres is restarted without a checkpoint", _restart_postgres, 3),
    "terminate-backends": Fault("every database session is ended, eight times", _terminate_backends, 3),
    "hold-snapshot": Fault("a session holds a snapshot", _hold_snapshot, 2),
    "slow-commits": Fault("each commit takes 200 ms", _slow_commits, 2),
    "unplug": Fault("the project refuses connections", _order("unplug"), 3),
    "bad-gateway": Fault("REST answers 502", _order("rest-status=502"), 3),
    "lost-answers": Fault("answers are lost after the commit, twenty", _lose_answers, 3),
    "realtime": Fault("Realtime misbehaves in a random way", _trouble_realtime, 5),
    "provider": Fault("the provider fails in all nine ways", _fail_at_the_provider),
}
