"""
Why a Realtime session ended, and what follows: a name for the metric, how long to stay away, what a person can do.

A reason is the server's own word, an HTTP status, a close code, or our own word for a proof that failed. The
pause is random: the workers of a fleet lose their sockets together and shall not come back together.
"""

import random
import re
from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from worker import backoff

T = TypeVar("T")

AGED: Final = "aged"
DOUBTED: Final = "doubted"
HANDOVERS: Final = frozenset({AGED, DOUBTED})
"""Ends that are no trouble: the successor was ready."""

_BASE_SECONDS: Final = 1.0
_CAP_SECONDS: Final = 10.0
# A server takes 100 joins a second on the smallest plan, and a worker makes two.
_SECONDS_A_WORKER: Final = 0.04


class _Pause(NamedTuple):
    least_seconds: float
    spread_seconds: float


_QUICK = _Pause(0, 0)
_RESTART = _Pause(0, 2)
_LIMITED = _Pause(30, 10)
_REFUSED = _Pause(30, 30)

_PAUSES: Final[Mapping[str, _Pause]] = {
    "socket closed 1012": _RESTART,
    "RealtimeRestarting": _RESTART,
    "Server requested disconnect": _RESTART,
    "ChannelRateLimitReached": _LIMITED,
    "ConnectionRateLimitReached": _LIMITED,
    "ClientJoinRateLimitReached": _LIMITED,
    "DatabaseConnectionRateLimitReached": _LIMITED,
    # Not "Too many database timeouts": that passes.
    "Too many messages": _LIMITED,
    "Too many joins": _LIMITED,
    "Too many connected users": _LIMITED,
    "Too many channels": _LIMITED,
    "HTTP 429": _LIMITED,
    "HTTP 401": _REFUSED,
    "HTTP 403": _REFUSED,
    "HTTP 404": _REFUSED,
    "HTTP 540": _REFUSED,
    "InvalidJWTToken": _REFUSED,
    "MalformedJWT": _REFUSED,
    "JwtSign": _REFUSED,
    "RealtimeDisabledForTenant": _REFUSED,
    "TenantNotFound": _REFUSED,
}

_KEY: Final = (
    "Realtime refuses the key: set SUPABASE_SECRET_KEY to the project's secret key (sb_secret_…); a self-hosted "
    "project whose gateway does not exchange such keys needs SUPABASE_SERVICE_ROLE_KEY."
)
_OFF: Final = "Switch Realtime on in the project's settings (Realtime, Enable service)."
_PAUSED: Final = "The project is paused: restore it in the dashboard."

_CURES: Final[Mapping[str, str]] = {
    "HTTP 401": _KEY,
    "HTTP 403": "The project is suspended, or Realtime is switched off: look at its settings in the dashboard.",
    "HTTP 404": "There is no Realtime at SUPABASE_URL: check the address, and that Realtime is enabled.",
    "HTTP 540": _PAUSED,
    "InvalidJWTToken": _KEY,
    "MalformedJWT": _KEY,
    "JwtSign": _KEY,
    "RealtimeDisabledForTenant": _OFF,
    "TenantNotFound": _OFF,
    "Unable to subscribe to changes": (
        "Switch Realtime on, and run: alter publication supabase_realtime add table public.translation_jobs, "
        "public.translation_workers; (only those that are missing; sql/install.sql does it too)."
    ),
    "Unauthorized": (
        "Use the project's secret key; if it is that, run: create policy translation_workers_listen on "
        "realtime.messages for select to service_role using (realtime.topic() = 'translation_jobs');"
    ),
    "HTTP 429": "Too many connections for this plan: fewer subscribers, or a larger plan.",
    "ConnectionRateLimitReached": "Too many connections for this plan: fewer subscribers, or a larger plan.",
    "Too many messages": "Too many messages for this plan: fewer subscribers, or a larger plan.",
}


def label(reason: str) -> str:
    """*reason* without what varies: its class, for metrics and for telling one incident from another."""
    if reason.startswith(("HTTP ", "socket closed ")):
        return reason
    return re.sub(r"[0-9]+", "n", reason.split(":")[0])[:60]


def pause_seconds(reason: str, *, failures: int, workers: int = 1, draw: backoff.Draw = random.uniform) -> float:
    """How long to stay away after *failures* sessions in a row, of which the last ended for *reason*."""
    least_seconds, spread_seconds = _starting(_PAUSES, reason) or _QUICK
    spread_seconds = max(
        spread_seconds,
        backoff.grown(failures, base_seconds=_BASE_SECONDS, cap_seconds=_CAP_SECONDS),
        min(_CAP_SECONDS, workers * _SECONDS_A_WORKER),
    )
    return least_seconds + draw(0.0, spread_seconds)


def cure(reason: str) -> str | None:
    """One sentence for the person who can help; None when it will pass."""
    return _starting(_CURES, reason)


def _starting(table: Mapping[str, T], reason: str) -> T | None:
    return next((value for start, value in table.items() if reason.startswith(start)), None)
