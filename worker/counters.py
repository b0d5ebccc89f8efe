"""
What happened so far, as plain numbers. Parts add to them; `/metrics` and the heartbeat read them.

No part reads a counter to decide anything.
"""

import bisect
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

DELAY_BOUNDS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the buckets of `Delays`, in seconds; what is longer is in one more."""

PICKUP_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)
"""From claimable to claimed: from the fast road to a queue that is full."""

RUN_BOUNDS: Final = (0.05, 0.25, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)
"""One language: from a cached line to a book."""

LANGUAGES_MAX: Final = 60
"""Languages told apart; the rest share `OTHER`, so that nobody's jobs can make the numbers grow for ever."""

OTHER: Final = "other"


@dataclass(slots=True)
class Delays:
    """A histogram of seconds."""

    bounds: tuple[float, ...] = DELAY_BOUNDS
    counts: list[int] = field(default_factory=list)
    total: float = 0.0
    last: float | None = None
    """The latest one; None before the first."""

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def note(self, seconds: float) -> None:
        self.counts[bisect.bisect_left(self.bounds, seconds)] += 1
        self.total += seconds
        self.last = seconds


@dataclass(slots=True)
class Counters:
    rings: Counter[str] = field(default_factory=Counter)
    """Bell rings by road: changes, broadcast, catch_up, timer, poll."""
    heard_first: Counter[str] = field(default_factory=Counter)
    """New jobs by the road that told first: changes, broadcast."""
    unheard: Counter[str] = field(default_factory=Counter)
    """New jobs by the road that never told, though it was open."""
    claims: Counter[str] = field(default_factory=Counter)
    """Claim calls that were answered, by what rang."""
    jobs_claimed: Counter[str] = field(default_factory=Counter)
    """Jobs claimed, by what the database says found them."""
    jobs_ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Runs by (job type, end): the job's status after it, or lost, cancelled, lease_over, shutdown, broken."""
    items: Counter[str] = field(default_factory=Counter)
    """Items by outcome: completed, failed, retry, throttled."""
    item_errors: Counter[str] = field(default_factory=Counter)
    """Items that did not succeed in this try, by error class."""
    pickups: defaultdict[str, Delays] = field(default_factory=lambda: defaultdict(lambda: Delays(PICKUP_BOUNDS)))
    """From claimable to claimed, by what found the job; by the database's clock."""
    language_runs: dict[str, Delays] = field(default_factory=dict)
    """How long a try of one language of a translation took, by language; see `note_language`."""
    memory: Counter[str] = field(default_factory=Counter)
    """Segments asked of the translation memory: hit, miss."""
    loop_lag: Delays = field(default_factory=Delays)
    """How much later than asked the event loop came round, measured each second."""
    store_calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Calls by (function, answer): ok, unavailable, refused, unauthorized, sql_missing."""
    store_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds spent waiting for answers, by function."""
    sessions: Counter[str] = field(default_factory=Counter)
    """Realtime sessions by how they ended."""
    mode_changes: Counter[str] = field(default_factory=Counter)
    """Changes of mode, by the new mode."""
    delays: defaultdict[str, Delays] = field(default_factory=lambda: defaultdict(Delays))
    """
    How long a proof took: `changes` from sending the heartbeat to hearing its row, `broadcast` from sending the
    heartbeat to hearing its message, `probe` from a push to its acknowledgement.
    """
    undecoded: int = 0
    """Frames that said nothing readable."""

    def note_language(self, language: str, seconds: float) -> None:
        """A try of *language* took *seconds*."""
        if language not in self.language_runs and len(self.language_runs) >= LANGUAGES_MAX:
            language = OTHER
        self.language_runs.setdefault(language, Delays(RUN_BOUNDS)).note(seconds)
