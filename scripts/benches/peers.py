"""
This queue beside others on the same Postgres, in interleaved rounds: what is fast, and what being fast costs.

procrastinate, pgqueuer and graphile-worker hold connections and run next to the database; ours speaks https to a
gateway that holds them, and does more for a job: items, credits, fairness, a row for each attempt. The rulers: empty
jobs a second, from the first handler to the last row settled; the call that creates a job → the first line of its
handler, one at a time, each queue in turn; statements a minute of an idle worker, counted by the server's own log.
"""

import argparse
import asyncio
import os
import random
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from scripts import local
from scripts.benches import backlog, peer_process, project, worker_process
from scripts.benches.peer_process import LEFT, Driver, Installed, Peer, Server
from scripts.benches.telling import Figures, latency, percentile, spread, verdict

JOBS = {"default": 4_000, "tuned": 20_000}
"""Hundreds a second with the settings of the first page: fewer jobs say as much."""
SLOTS = {"default": "3", "tuned": "500"}
"""Ours: as the settings leave it, and what `scripts/bench throughput` measures."""
OUR_ROLE = "authenticator"
_DRAIN_SECONDS = 600.0
_PAUSE_SECONDS = (0.15, 0.75)
_ANSWER_SECONDS = 60.0
_SETTLE_SECONDS = 20.0
_WARM_UP = 10
_LOOK_SECONDS = 0.05


async def run(home: Path, args: Sequence[str]) -> Figures:
    """
    `peers [--jobs 20000] [--jobs-default 4000] [--rounds 5] [--samples 200] [--idle-seconds 120] [--keep DIR]
    [--node PATH]`.
    """
    wanted = _wanted(args)
    installed = Installed(wanted.keep, wanted.node)
    await asyncio.to_thread(installed.install)
    for name, reason in installed.missing.items():
        print(f"SKIPPED {name}: {reason}", flush=True)
    names = [name for name in LEFT if name not in installed.missing]
    async with project.stack(home) as stack:
        server = Server(stack.env["ADMIN_DATABASE_URL"], home / "data/postgres/postgres.log")
        bench = Bench(home, stack, server, installed)
        jobs = {"default": wanted.jobs_default, "tuned": wanted.jobs}
        figures = await bench.throughput(names, jobs, wanted.rounds) if wanted.rounds else {}
        if wanted.samples:
            figures |= await bench.quiet(names, wanted.samples, wanted.idle_seconds)
    print(table(figures))
    for line in against(figures):
        print(line)
    return figures


def _wanted(args: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench peers")
    parser.add_argument("--jobs", type=int, default=JOBS["tuned"])
    parser.add_argument("--jobs-default", type=int, default=JOBS["default"], help="the same at the default settings")
    parser.add_argument("--rounds", type=int, default=5, help="of jobs a second; 0: not measured")
    parser.add_argument("--samples", type=int, default=200, help="of latency; 0: neither that nor idleness")
    parser.add_argument("--idle-seconds", type=float, default=120)
    parser.add_argument("--keep", type=Path, default=peer_process.HOME, help="where the peers' packages stay")
    parser.add_argument("--node", default=shutil.which("node") or "node")
    return parser.parse_args(args)


class Bench:
    def __init__(self, home: Path, stack: project.Stack, server: Server, installed: Installed) -> None:
        self._home = home
        self._stack = stack
        self._server = server
        self._installed = installed

    # Jobs a second

    async def throughput(self, names: Sequence[str], jobs: Mapping[str, int], rounds: int) -> Figures:
        """*jobs* of a round by setting."""
        await backlog.prepare(self._stack, price=1)
        peers = [Peer(name, mode, LEFT[name]) for name in names for mode in ("default", "tuned")]
        rates: dict[str, list[float]] = {}
        for _ in range(rounds):  # interleaved, so that the machine's moods hit all alike
            for mode in SLOTS:
                rates.setdefault(f"ours, {mode}", []).append(await self._our_rate(mode, jobs[mode]))
            for peer in peers:
                rates.setdefault(peer.label, []).append(await self._rate(peer, jobs[peer.mode]))
            print("round: " + ", ".join(f"{name} {values[-1]:.0f}/s" for name, values in rates.items()), flush=True)
        figures: Figures = {f"peers_jobs_{mode}": count for mode, count in jobs.items()}
        for name, values in rates.items():
            print(f"{name}: {spread(values, 'jobs/s')}; load {os.getloadavg()[0]:.1f}", flush=True)
            figures |= {
                _key(name, "jobs_per_second"): statistics.median(values),
                _key(name, "jobs_per_second_min"): min(values),
                _key(name, "jobs_per_second_max"): max(values),
            }
        return figures

    async def _our_rate(self, mode: str, jobs: int) -> float:
        await backlog.fill(self._stack, jobs)
        environment = project.worker_environment(self._stack.env, LOG_LEVEL="WARNING", MAX_CONCURRENT_JOBS=SLOTS[mode])
        async with worker_process.running(self._home, environment):
            return jobs / (await backlog.drained(self._stack, jobs, seconds=_DRAIN_SECONDS)).seconds

    async def _rate(self, peer: Peer, jobs: int) -> float:
        async with self._driver(peer) as driver:
            await driver.order("load", jobs=jobs)
            self._server.run("vacuum analyze", database=peer.database)
            await driver.order("start", tell=False)
            deadline = time.monotonic() + _DRAIN_SECONDS
            while (hits := await driver.order("hits"))["count"] < jobs or self._server.left(peer):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{peer.label} had {hits['count']} of {jobs} jobs in time")
                await asyncio.sleep(_LOOK_SECONDS)
            return jobs / (time.monotonic_ns() - int(hits["first"])) * 1e9

    @asynccontextmanager
    async def _driver(self, peer: Peer) -> AsyncIterator[Driver]:
        """*peer* in an empty database."""
        await asyncio.to_thread(self._server.make, peer)
        try:
            async with peer_process.running(self._installed.command(peer, self._server.url(peer))) as driver:
                await driver.order("install")
                yield driver
        finally:
            await asyncio.to_thread(self._server.drop, peer)

    # One job at a time, and none

    async def quiet(self, names: Sequence[str], samples: int, idle_seconds: float) -> Figures:
        """Everybody waits for work at once, each worker at its defaults; a job for each in turn, then for none."""
        self._server.prepare([OUR_ROLE])
        await backlog.empty(self._stack)
        await self._stack.owner.execute("update public.translation_job_types set price = 0 where name = 'translation'")
        async with AsyncExitStack() as open_, project.stamps() as stamps:
            environment = project.worker_environment(self._stack.env, stamps.port, WORKER_ID="bench")
            await open_.enter_async_context(
                local.running(
                    "run", home=self._home, until="Realtime subscription active", environment=environment, name="quiet"
                )
            )
            contenders: list[Contender] = [Ours(stamps, await project.sign_up(self._stack.env))]
            makers = await open_.enter_async_context(AsyncExitStack())
            for name in names:
                peer = Peer(name, "default", LEFT[name])
                worker = await open_.enter_async_context(self._driver(peer))
                command = self._installed.command(peer, self._server.url(peer))
                maker = await makers.enter_async_context(peer_process.running(command))
                await worker.order("start", tell=True)
                contenders.append(Theirs(peer, worker, maker))
            figures = await _latencies(contenders, samples)
            await makers.aclose()
            return figures | await self._idle(contenders, idle_seconds)

    async def _idle(self, contenders: Sequence["Contender"], seconds: float) -> Figures:
        await asyncio.sleep(_SETTLE_SECONDS)
        since = self._server.listen()
        await asyncio.sleep(seconds)
        heard, sessions = self._server.heard(since), self._server.sessions()
        figures: Figures = {"peers_idle_seconds": seconds}
        for one in contenders:
            # What the gateway of the stack holds for our worker is the platform's, and there without a worker too.
            held = 0 if one.role == OUR_ROLE else sessions.get(one.role, 0)
            figures[_key(one.label, "statements_per_minute")] = heard[one.role, "statements"] / seconds * 60
            figures[_key(one.label, "connections")] = held
            if one.role == OUR_ROLE:
                figures[_key(one.label, "rest_calls_per_minute")] = heard[one.role, "begins"] / seconds * 60
        return figures


class Contender:
    """Somebody whose worker waits for the next job."""

    label: str
    role: str

    async def sample(self, number: int) -> float:
        """Milliseconds from the call that creates a job to the first line of its handler."""
        raise NotImplementedError


class Ours(Contender):
    label = "ours, default"
    role = OUR_ROLE

    def __init__(self, stamps: project.Stamps, user: project.User) -> None:
        self._stamps = stamps
        self._user = user

    async def sample(self, number: int) -> float:
        arguments = {"p_content": "Good morning.", "p_target_languages": ["es"]}
        called_at = time.monotonic_ns()
        answer = await self._user.client.rpc("create_translation_job", arguments).execute()
        job: project.Stamp = dict(answer.data)  # type: ignore[arg-type]
        stamp = await self._stamps.of(job["id"], seconds=_ANSWER_SECONDS)
        return float(stamp["handler"] - called_at) / 1e6


class Theirs(Contender):
    def __init__(self, peer: Peer, worker: Driver, maker: Driver) -> None:
        self.label = peer.label
        self.role = peer.database
        self._worker = worker
        self._maker = maker

    async def sample(self, number: int) -> float:
        called = await self._maker.order("create", number=number)
        return float(await self._worker.hit(number) - called["called"]) / 1e6


async def _latencies(contenders: Sequence[Contender], samples: int) -> Figures:
    times: dict[str, list[float]] = {one.label: [] for one in contenders}
    for number in range(_WARM_UP + samples):
        for one in contenders:
            await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))
            took = await one.sample(number)
            if number >= _WARM_UP:
                times[one.label].append(took)
    figures: Figures = {"peers_samples": samples}
    for name, values in times.items():
        print(f"{name}: created to handler {latency(values)}; load {os.getloadavg()[0]:.1f}", flush=True)
        figures[_key(name, "create_median_ms")] = statistics.median(values)
        figures[_key(name, "create_p99_ms")] = percentile(values, 0.99)
    return figures


# One table


def _key(label: str, what: str) -> str:
    return f"peers_{label.replace(', ', '_').replace('-', '_')}_{what}"


def table(figures: Figures) -> str:
    """The figures of a run as one table, a dash where nothing was measured."""
    labels = [f"{name}, {mode}" for name in ("ours", *LEFT) for mode in ("default", "tuned")]
    head = ("", "jobs/s (from-to)", "created to handler, median / p99 ms", "idle statements/min", "connections")
    lines = [head]
    for label in labels:

        def of(what: str, label: str = label) -> float | None:
            return figures.get(_key(label, what))

        rate, low, high = (of(f"jobs_per_second{end}") for end in ("", "_min", "_max"))
        median, p99 = of("create_median_ms"), of("create_p99_ms")
        asked, calls, held = of("statements_per_minute"), of("rest_calls_per_minute"), of("connections")
        cells = (
            f"{rate:.0f} ({low:.0f}-{high:.0f})" if rate is not None else "-",
            f"{median:.1f} / {p99:.1f}" if median is not None else "-",
            ("-" if asked is None else f"{asked:.0f}") + ("" if calls is None else f" ({calls:.1f} REST calls)"),
            f"{held:.0f}" if held is not None else "-",
        )
        if set(cells) != {"-"}:
            lines.append((label, *cells))
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def against(figures: Figures) -> list[str]:
    """Ours beside pgqueuer, the fastest of Python's, in the same run."""
    lines = []
    for mode, what, unit, more in (
        ("tuned", "jobs_per_second", "jobs/s", True),
        ("default", "create_median_ms", "ms", False),
    ):
        ours, theirs = (figures.get(_key(f"{name}, {mode}", what)) for name in ("ours", "pgqueuer"))
        if ours is not None and theirs is not None:
            held = ours > theirs if more else ours < theirs
            lines.append(f"{what}, {mode}: {ours:.4g} {unit}, pgqueuer {theirs:.4g}{verdict(held)}")
    return lines
