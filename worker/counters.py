"""
What happened so far, as plain numbers. Parts add to them; `/metrics` and the heartbeat read them.

No part reads a counter to decide anything.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    rings: Counter[str] = field(default_factory=Counter)
    """Bell rings by road: changes, broadcast, catch_up, timer, poll."""
    claims: Counter[str] = field(default_factory=Counter)
    """Claim calls that were answered, by what rang."""
    jobs_claimed: Counter[str] = field(default_factory=Counter)
    """Jobs claimed, by what the database says found them."""
    jobs_ended: Counter[str] = field(default_factory=Counter)
    """Runs by how they ended: the job's status after it, or lost, cancelled, lease_over, shutdown."""
    items: Counter[str] = field(default_factory=Counter)
    """Items by outcome: completed, failed, retry, throttled."""
    found_ms: Counter[str] = field(default_factory=Counter)
    """Milliseconds from claimable to claimed, summed, by what found the job."""
    store_calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Calls by (function, answer): ok, unavailable, refused, unauthorized, sql_missing."""
    store_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds spent waiting for answers, by function."""
    sessions: Counter[str] = field(default_factory=Counter)
    """Realtime sessions by how they ended."""
    mode_changes: Counter[str] = field(default_factory=Counter)
    """Changes of mode, by the new mode."""
