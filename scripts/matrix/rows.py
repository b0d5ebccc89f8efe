"""
The rows of the matrix: the trouble, how long it lasts, and the bounds that must hold.

Only data. Where a bound is not the general one, its reason stands beside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

AT_ONCE_SECONDS = 1.0
# One health interval and five seconds.
BY_PROOF_SECONDS = 35.0
# The cap of the backoff and eight seconds.
AGAIN_SECONDS = 18.0
# Where coming back quickly might make it worse: rate limits, and change capture that falls silent, which a rate limit
# looks like; and a refused key.
_RATE_FLOOR_SECONDS = 30.0
_KEY_FLOOR_SECONDS = 60.0
# How long a session waits for the server's word that change capture is on.
_OK_SECONDS = 15.0

JOBS = "translation_jobs"


@dataclass(frozen=True)
class Row:
    """Seconds throughout. `noticed` None: the mode need not change. `jobs`: so many at once when the trouble begins."""

    title: str
    orders: tuple[str, ...] = ()
    lasts: float = 0.0
    noticed: float | None = None
    again: float = AGAIN_SECONDS
    sabotage: str = ""
    """The name of the signal that makes the worker's own saboteur act."""
    jobs: int = 0
    early: bool = False
    """Each event comes before its row can be seen, and not again."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What is not at its default."""


def _lasting(title: str, order: str, seconds: float, noticed: float | None = AT_ONCE_SECONDS, **more: float) -> Row:
    orders = tuple(f"{name}:{seconds:g}" for name in order.split())
    return Row(title, orders, seconds, noticed, again=more.get("again", AGAIN_SECONDS), jobs=int(more.get("jobs", 0)))


def _once(title: str, order: str, noticed: float | None = AT_ONCE_SECONDS) -> Row:
    return Row(title, (order,), 0, noticed)


_MAYBE_LIMITED = AGAIN_SECONDS + _RATE_FLOOR_SECONDS

ROWS: Mapping[str, Row] = {
    "refused-120": _lasting("Realtime refuses connections, 120 s", "refuse", 120),
    "refused-20": _lasting("Realtime refuses connections, 20 s", "refuse", 20),
    "refused-5": _lasting("Realtime refuses connections, 5 s", "refuse", 5),
    "away": _lasting("the whole project refuses connections, 20 s", "unplug", 20),
    "http-401": _lasting("HTTP 401 at the upgrade, 10 s", "upgrade=401", 10, again=AGAIN_SECONDS + _KEY_FLOOR_SECONDS),
    "http-429": _lasting("HTTP 429 at the upgrade, 10 s", "upgrade=429", 10, again=_MAYBE_LIMITED),
    "http-502": _lasting("HTTP 502 at the upgrade, 20 s", "upgrade=502", 20),
    "slow-join": _lasting("joins take 12 s", "slow-join=12", 25),
    "join-error": _lasting("joins are refused after 5 s", "join-error", 20),
    "no-ok": _lasting("no `system` ok after the join", "no-ok", 20, again=AGAIN_SECONDS + _OK_SECONDS),
    "system-error": _lasting("`system` error, ok after 8 s", "capture-error", 8),
    "repeated-ok": _once("`system` ok repeated", "repeat-ok", None),
    "phx-error": _once("`phx_error`", "channel-crash"),
    "stale-close": _once("`phx_close` of an old join", "stale-close", None),
    "expired": _once("token expired: error and `phx_close`", "token-expired"),
    "close-1000": _once("socket closed, 1000", "close=1000"),
    "close-1001": _once("socket closed, 1001", "close=1001"),
    "close-1011": _once("socket closed, 1011", "close=1011"),
    "close-1012": _once("socket closed, 1012", "close=1012"),
    "reset": _once("TCP reset", "close=1006"),
    "black-hole": _lasting("black hole, 60 s: no byte, no close", "black-hole", 60, BY_PROOF_SECONDS),
    "hung": _lasting("hung server, 60 s: pings answered, nothing else", "hang", 60, BY_PROOF_SECONDS),
    "forgotten": _once("channel forgotten by the server", "forget", BY_PROOF_SECONDS),
    "muted": _lasting("change capture muted, 60 s", "lose-changes", 60, BY_PROOF_SECONDS, again=_MAYBE_LIMITED),
    "capture-dead": _lasting(
        "change capture dead for 60 s, then ok again", "capture-dead", 60, BY_PROOF_SECONDS, again=_MAYBE_LIMITED
    ),
    "all-lost": _lasting("every event lost, 60 s", "lose-all", 60, BY_PROOF_SECONDS, again=_MAYBE_LIMITED),
    "some-lost": _lasting("every third event lost, 60 s", "lose-every=3", 60, None, again=_MAYBE_LIMITED),
    "jobs-lost": _lasting(
        "every event of jobs lost, the proofs come through, 60 s",
        f"lose-changes={JOBS} lose-broadcasts=ready",
        60,
        None,
    ),
    "early": Row(
        "events come before the row is visible, and only then",
        (f"lose-changes={JOBS}:40", "lose-broadcasts=ready:40"),
        40,
        early=True,
    ),
    "rate-limit": _lasting(
        "rate limiter drops changes in silence, 60 s", "rate-limit=1", 60, None, again=_MAYBE_LIMITED, jobs=80
    ),
    "broadcasts-lost": _lasting("every broadcast lost, 40 s", "lose-broadcasts", 40, None),
    "duplicates": _lasting("every event three times, 15 s", "duplicate=3", 15, None),
    "error-413": _lasting("changes with error 413, 40 s", "row-error=413", 40, None),
    "error-401": _lasting("changes with error 401, 40 s", "row-error=401", 40, None, again=_MAYBE_LIMITED),
    "frame-2mib": _once("a frame of 2 MiB", "frame=2097152", None),
    "burst": _once("10 000 events at once", "burst=10000", None),
    "nonsense": _lasting("nonsense frames, 15 s", "nonsense", 15, None),
    "half-frame": _lasting("half a frame, then the rest is garbage, 5 s", "nonsense=half", 5, BY_PROOF_SECONDS),
    "not-utf8": _lasting("text that is not UTF-8, 5 s", "nonsense=utf8", 5, None),
    "rest-503": _lasting("REST answers 503, 20 s", "rest-status=503", 20, None),
    "listen-task": Row("the client's listen task dies", noticed=BY_PROOF_SECONDS, sabotage="SIGUSR1"),
    "callback": Row("a callback raises", noticed=BY_PROOF_SECONDS, sabotage="SIGUSR2"),
}
