"""
A chaos run in order: the ground, the workers, the load, the troubles, the dust, the books.

Two kinds: a storm, whose troubles come at random and overlap; and rows, one trouble after the other, with the
throughput measured before and after each.
"""

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import aiohttp
import psycopg

from scripts import local
from scripts.benches import waiting
from scripts.storm import books, crew, plan
from scripts.storm.faults import FAULTS, Scene
from scripts.storm.owner import Owner
from scripts.storm.users import Users

_DUST_SECONDS = 300.0
_LOOK_SECONDS = 0.5
_WARM_SECONDS = 5.0


@dataclass(frozen=True)
class Profile:
    """How hard, and how exactly. Seconds."""

    workers: int
    waiting: int
    delay_ms: int
    lasts: float
    """How long a trouble that lasts does, more or less."""
    every: float
    """How far apart the troubles of a storm are."""
    measured: float
    """How long throughput is measured before and after a row."""
    settled: float
    """How long after a row's trouble the measuring begins."""
    settings: Mapping[str, str]
    """Of the workers, where not at their defaults."""
    lease: float


SHORT = Profile(
    workers=3,
    waiting=15,
    delay_ms=150,
    lasts=3.0,
    every=4.0,
    measured=8.0,
    settled=4.0,
    settings={
        **{"LEASE_SECONDS": "3", "BEAT_SECONDS": "1", "HEALTH_CHECK_SECONDS": "3", "POLL_SECONDS": "0.5"},
        "START_SECONDS": "120",  # of a slow machine, where the project may be away for a while as well
    },
    lease=3.0,
)
LONG = Profile(
    workers=4, waiting=60, delay_ms=1000, lasts=6.0, every=10.0, measured=15.0, settled=5.0, settings={}, lease=30.0
)


@dataclass
class Row:
    """Throughput around one trouble, in jobs that ended a second."""

    fault: str
    times: int
    before: float
    after: float
    longest_gap_seconds: float
    """For how long at most no job ended, from the trouble's begin on."""

    @property
    def ratio(self) -> float:
        return self.after / self.before if self.before else 0.0


@dataclass
class Report:
    seed: int
    seconds: float = 0.0
    happened: list[plan.Event] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    """Of failure, that jobs met at their provider."""
    worker_starts: int = 0
    load_averages: list[float] = field(default_factory=list)
    """Of the machine over the last minute, after each row and at the end: others may work beside."""
    dust_seconds: float = 0.0
    """From the last trouble's end to the end of the last job."""
    broken: list[str] = field(default_factory=list)


async def storm(
    seed: int, seconds: float, profile: Profile, home: Path, faults: Sequence[str] = tuple(FAULTS)
) -> Report:
    """Troubles at random for *seconds*."""
    report = Report(seed)
    async with _scene(seed, profile, home) as scene:
        await _blow(scene, report, plan.storm(seed, faults, seconds, profile.every))
        await _settle(scene, report)
    return report


async def long(
    seed: int, seconds: float, profile: Profile, home: Path, faults: Sequence[str] = tuple(FAULTS)
) -> Report:
    """Row by row, then a storm for what is left of *seconds*, a minute at least."""
    report, began = Report(seed), time.monotonic()
    async with _scene(seed, profile, home) as scene:
        await asyncio.sleep(_WARM_SECONDS)
        for event in plan.rows(seed, faults):
            report.rows.append(await _measure(scene, event, profile))
            report.happened.append(event)
            report.load_averages.append(round(os.getloadavg()[0], 1))
            tell(_row_line(report.rows[-1]))
        left = max(60.0, seconds - (time.monotonic() - began))
        await _blow(scene, report, plan.storm(seed, faults, left, profile.every))
        await _settle(scene, report)
    return report


@asynccontextmanager
async def _scene(seed: int, profile: Profile, home: Path) -> AsyncIterator[Scene]:
    """Everything at work, and everything ended in order afterwards."""
    admin_key = secrets.token_hex(16)
    async with AsyncExitStack() as owned:
        ground_pid = await owned.enter_async_context(_ground(home, admin_key))
        env = dict(line.split("=", 1) for line in (home / "stack.env").read_text().splitlines())
        owner, admin = Owner(env["DATABASE_URL"]), Owner(env["ADMIN_DATABASE_URL"])
        async with await psycopg.AsyncConnection.connect(owner.url, autocommit=True) as connection:
            await connection.execute(books.PLANT.encode())
        http = await owned.enter_async_context(aiohttp.ClientSession())
        settings = local.worker_environment(env, TRANSLATOR="pseudo", LOG_JSON="true", **profile.settings)
        workers = await owned.enter_async_context(crew.working(home, settings, profile.workers))
        users = Users(seed, env, owner, http, profile.waiting, profile.delay_ms)
        await users.sign_up()
        tasks = await owned.enter_async_context(asyncio.TaskGroup())
        loading = tasks.create_task(users.run())
        yield Scene(
            workers, users, owner, admin, ground_pid, http, env["SUPABASE_URL"], admin_key, profile.lease, profile.lasts
        )
        loading.cancel()


@asynccontextmanager
async def _ground(home: Path, admin_key: str) -> AsyncIterator[int]:
    log = home / "ground.log"
    with local.open_log(log) as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "scripts.storm.ground", str(home)),
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env={**crew.environment(), "PYTHONUNBUFFERED": "1", "STACK_ADMIN_KEY": admin_key},
            cwd=local.ROOT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + local.START_SECONDS
        while "Stack ready" not in log.read_text():
            if process.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the stack did not start:\n{log.read_text()}")
            await asyncio.sleep(_LOOK_SECONDS)
        yield process.pid
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


# Troubles


async def _blow(scene: Scene, report: Report, events: Sequence[plan.Event]) -> None:
    """Let *events* happen, each at its time, whether or not those before are over."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as troubles:
        for event in events:
            await asyncio.sleep(max(0.0, began + event.at - time.monotonic()))
            tell(f"{time.monotonic() - began:7.1f} s  {FAULTS[event.fault].title}")
            troubles.create_task(FAULTS[event.fault].act(scene, Random(event.draw)))
            report.happened.append(event)
    await scene.clear()


async def _measure(scene: Scene, event: plan.Event, profile: Profile) -> Row:
    """Throughput, the trouble as often as it is to be, throughput again."""
    fault, dice = FAULTS[event.fault], Random(event.draw)
    before = await _throughput(scene.owner, profile.measured)
    began = await books.now(scene.owner)
    for n in range(fault.times):
        if n:
            await asyncio.sleep(dice.uniform(1.0, 3.0))
        await fault.act(scene, dice)
    await scene.clear()
    await asyncio.sleep(profile.settled)
    after = await _throughput(scene.owner, profile.measured)
    gap = await books.longest_gap_seconds(scene.owner, began, await books.now(scene.owner))
    return Row(event.fault, fault.times, round(before, 2), round(after, 2), round(gap, 2))


async def _throughput(owner: Owner, seconds: float) -> float:
    since = await books.now(owner)
    await asyncio.sleep(seconds)
    until = await books.now(owner)
    return await books.ended(owner, since, until) / float((until - since).total_seconds())


# The dust


async def _settle(scene: Scene, report: Report) -> None:
    """No more wishes; everything that is open comes to its end; the workers go home; the books are read."""
    began = time.monotonic()
    scene.users.stop()

    async def is_over() -> bool:
        return scene.users.done and not (await scene.owner.rows(books.OPEN))[0][0]

    with suppress(TimeoutError):  # the books tell
        await waiting.until(is_over, seconds=_DUST_SECONDS, every_seconds=_LOOK_SECONDS)
    report.dust_seconds = round(time.monotonic() - began, 1)
    await scene.crew.close()
    report.broken += await books.balance(scene.owner, list(scene.users.made.values()))
    report.broken += scene.crew.wrong_ends + scene.users.complaints
    report.counts = await books.counts(scene.owner)
    report.calls = dict(scene.users.calls)
    report.classes = sorted(scene.users.met)
    report.worker_starts = scene.crew.starts
    report.load_averages.append(round(os.getloadavg()[0], 1))


def tell(text: str) -> None:
    print(text, flush=True)


def _row_line(row: Row) -> str:
    return (
        f"{row.fault:<20} ×{row.times}  before {row.before:6.2f}/s  after {row.after:6.2f}/s"
        f"  {row.ratio:4.0%}  longest gap {row.longest_gap_seconds:5.1f} s"
    )
