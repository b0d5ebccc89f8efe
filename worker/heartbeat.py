"""
One call that keeps everything alive: renews all leases, tells how the worker is, hears what it must know.

Every 10 s while a lease is that old, every 30 s while idle, and sooner when asked. Its answer is the net
under Realtime: jobs lost or cancelled are stopped, waiting work rings the bell, the next due job sets the
timer. The first call proves address, key and SQL; a long silence ends the process: nothing lives deaf.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from loguru import logger
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay

from worker import backoff, cures, errors
from worker import clock as clocks
from worker.handlers.own import insert_statement
from worker.runs import Runs
from worker.store import SCHEMA_VERSION, SCHEMA_VERSIONS_AHEAD, JobStore
from worker.wakeup import Bell

# Asked for by several reasons at once, beats still keep this distance.
_DISTANCE_SECONDS: Final = 1.0
_LAST_BEAT_SECONDS: Final = 1.0
_AFTER_TIMER_SECONDS: Final = 1.0
_RESCUE_SPREAD_SECONDS: Final = 0.5  # every idle worker learns of the same lease; they need not all come at once


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often, and how long without an answer is too long. Seconds."""

    busy: float = 10.0
    idle: float = 30.0
    lease: float = 30.0
    exit: float = 300.0


@dataclass(frozen=True, slots=True)
class Condition:
    """What the rest of the worker says about itself in a report."""

    mode: str
    mode_seconds: float
    job_types: Sequence[str]
    """What it would claim now; a type whose provider refuses is left out."""
    languages: tuple[tuple[str, str], ...]
    """Pairs it offers now; a provider may tell them late."""
    probe: bool
    """Ask the database for one broadcast, to hear whether that road is alive."""
    stats: Mapping[str, Any]


class Heartbeat:
    def __init__(
        self,
        *,
        store: JobStore,
        runs: Runs,
        bell: Bell,
        rhythm: Rhythm,
        identity: Mapping[str, Any],
        condition: Callable[[], Condition],
        on_beat: Callable[[float, int], None],
        handlers: Sequence[str] = (),
        on_chores: Callable[[float], None] = lambda due_seconds: None,
        clock: clocks.Clock = clocks.SYSTEM,
    ) -> None:
        """
        *identity*: what never changes: version, slots.
        *handlers*: job types there are handlers for; the database says once which of them it does not know.
        *on_chores*: told in how many seconds there is something to do for the whole project.
        *on_beat*: told when the call was sent whose heartbeat row must now be heard through Realtime, and how many
        workers there are.
        """
        self._store = store
        self._runs = runs
        self._bell = bell
        self._rhythm = rhythm
        self._identity = dict(identity)
        self._condition = condition
        self._on_beat = on_beat
        self._on_chores = on_chores
        self._handlers = self._handlers_untold = tuple(handlers)
        self._is_outdated = False
        self._clock = clock
        self._sent_at = clock.monotonic()
        self._look_again_at: float | None = None
        self._asked = False
        self._changed = asyncio.Event()
        self._languages_told: tuple[tuple[str, str], ...] | None = None
        self._failures = 0
        self._repeat_seconds = 0.0
        self._told: str | None = None
        self.trouble: str | None = None
        """What a person must cure, while the database refuses us for good; None otherwise."""

    def soon(self) -> None:
        """Beat without waiting for the next turn."""
        self._asked = True
        self._changed.set()

    def reconsider(self) -> None:
        """Leases came or went: the next beat may be due at another time."""
        self._changed.set()

    async def first(self, *, patience_seconds: float) -> None:
        """
        Prove that address, key and SQL are right.

        Raises:
            ConfigurationError: they are not, or nobody answered for *patience_seconds*.
        """
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(errors.StoreUnavailable),
                stop=stop_after_delay(patience_seconds),
                wait=backoff.wait_full_jitter(0.5, 3.0),
                sleep=self._clock.sleep,
                reraise=True,
            ):
                with attempt:
                    await self._beat()
        except errors.StoreError as error:
            raise errors.ConfigurationError(cures.cure(error)) from error

    async def run(self) -> None:
        """Beat until cancelled. Raises StoreSilent when nothing was accepted for too long."""
        while True:
            await self._turn()
            try:
                await self._beat()
            except errors.StoreError as error:
                self._note_failure(error)
            else:
                self._note_success()

    async def last(self) -> None:
        """Say good-bye, so that the others need not wait for silence. Best effort."""
        try:
            async with asyncio.timeout(_LAST_BEAT_SECONDS):
                await self._store.heartbeat_translation_worker(self._report(self._condition()))
        except (errors.StoreError, TimeoutError) as error:
            logger.warning("Last heartbeat not accepted", error=type(error).__name__)

    async def _turn(self) -> None:
        while (wait_seconds := self._due_at() - self._clock.monotonic()) > 0:
            self._changed.clear()
            await self._clock.wait(self._changed, wait_seconds)
        self._asked = False

    def _due_at(self) -> float:
        if self._failures:
            return self._sent_at + self._repeat_seconds
        if self._asked:
            return self._sent_at + _DISTANCE_SECONDS
        due = [self._sent_at + self._rhythm.idle]
        if (renewal_at := self._runs.first_renewal(self._rhythm.busy)) is not None:
            due.append(renewal_at)
        if self._look_again_at is not None:
            due.append(self._look_again_at)
        return max(min(due), self._sent_at + _DISTANCE_SECONDS)

    async def _beat(self) -> None:
        leases = self._runs.leases()
        condition = self._condition()
        report = self._report(condition) | {"leases": leases, "probe": condition.probe}
        if condition.languages != self._languages_told:
            report["languages"] = [list(pair) for pair in condition.languages]
        if self._handlers_untold:
            report["handlers"] = list(self._handlers_untold)
        self._sent_at = self._clock.monotonic()
        answer = await self._store.heartbeat_translation_worker(report)
        self._languages_told = condition.languages
        self._handlers_untold = ()
        _report_unknown(answer.get("unknown_types") or [])
        self._note_version(answer.get("schema_version") or 0)
        self._on_beat(self._sent_at, int(answer.get("workers") or 1))
        self._obey(answer, leases)

    def _obey(self, answer: Mapping[str, Any], leases: Sequence[dict[str, Any]]) -> None:
        lost, cancelled = set(answer.get("lost") or []), set(answer.get("cancelled") or [])
        gone = lost | cancelled
        self._runs.renew((lease for lease in leases if lease["job_id"] not in gone), self._sent_at)
        self._runs.stop((lease for lease in leases if lease["job_id"] in lost), "lost")
        self._runs.stop((lease for lease in leases if lease["job_id"] in cancelled), "cancelled")
        if (chores_ms := answer.get("chores_ms")) is not None:
            self._on_chores(chores_ms / 1000)
        if answer.get("waiting"):
            self._bell.ring("poll")
        self._look_again_at = None
        if (next_due_ms := answer.get("next_due_ms")) is not None:
            self._bell.ring_in(next_due_ms / 1000)
            self._look_again_in(next_due_ms / 1000 + _AFTER_TIMER_SECONDS)  # for the one due after it
        if (next_rescue_ms := answer.get("next_rescue_ms")) is not None:
            self._look_again_in(next_rescue_ms / 1000 + random.uniform(0, _RESCUE_SPREAD_SECONDS))

    def _look_again_in(self, seconds: float) -> None:
        at = self._sent_at + seconds
        self._look_again_at = at if self._look_again_at is None else min(at, self._look_again_at)

    def _report(self, condition: Condition) -> dict[str, Any]:
        return {
            **self._identity,
            "mode": condition.mode,
            "job_types": list(condition.job_types),
            "mode_ms": round(condition.mode_seconds * 1000),
            "running": len(self._runs),
            "stats": {**condition.stats, "handlers": list(self._handlers)},
            "lease_ms": round(self._rhythm.lease * 1000),
        }

    def _note_failure(self, error: errors.StoreError) -> None:
        self._failures += 1
        silent_seconds = self._clock.monotonic() - self._store.answered_at
        if silent_seconds > self._rhythm.exit:
            raise errors.StoreSilent(f"The database has accepted nothing for {silent_seconds:.0f} seconds.")
        cure = cures.cure(error)
        if passes := isinstance(error, errors.StoreUnavailable) and not cures.needs_a_person(error):
            self._repeat_seconds = backoff.full_jitter(
                self._failures, base_seconds=0.5, cap_seconds=self._rhythm.busy / 2
            )
        else:
            self._repeat_seconds = backoff.person_seconds()
            self.trouble = cure
        kind = "passing" if passes else cure
        if kind != self._told and (self._failures >= 3 or not passes):  # once per incident
            self._told = kind
            logger.error("Heartbeat not accepted", cure=cure)

    def _note_version(self, installed: int) -> None:
        """Work on with SQL that is far newer, since stopping would be worse; but say so, once."""
        was, self._is_outdated = self._is_outdated, installed > SCHEMA_VERSION + SCHEMA_VERSIONS_AHEAD
        if self._is_outdated and not was:
            logger.error(
                "The installed SQL is too new for this worker",
                installed=installed,
                made_for=SCHEMA_VERSION,
                cure="Start a newer worker: this one may miss what the SQL expects of it.",
            )

    def _note_success(self) -> None:
        if self._told is not None:
            logger.info("Heartbeat accepted again", failures=self._failures)
        self._failures = 0
        self._told = None
        self.trouble = None


def _report_unknown(job_types: Sequence[str]) -> None:
    for name in job_types:
        logger.warning(
            "A handler has no job type in the database; nobody can create such a job",
            job_type=name,
            cure=insert_statement(name),
        )
