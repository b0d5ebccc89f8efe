"""
How long to wait after a failure, or behind others: the arithmetic. The loops are tenacity's; this supplies
their `wait`.
"""

import random
from collections.abc import Callable
from typing import Final

from tenacity import RetryCallState

from worker import cures

Draw = Callable[[float, float], float]

# What only a person can cure is asked for slowly: it neither passes by itself nor gets better by asking.
_PERSON_SECONDS: Final = (30.0, 60.0)
# Behind one ring: what the slowest may lose; and what a claim and the word of it take, if nobody measured and at most.
_HERD_SECONDS_MAX: Final = 1.0
_TOLD_SECONDS: Final = 0.05
_TOLD_SECONDS_MAX: Final = 0.2


def grown(failures: int, *, base_seconds: float, cap_seconds: float) -> float:
    """The base, doubled with each failure in a row after the first, capped."""
    return float(min(cap_seconds, base_seconds * 2 ** min(max(failures, 1) - 1, 32)))


def full_jitter(failures: int, *, base_seconds: float, cap_seconds: float, draw: Draw = random.uniform) -> float:
    """Seconds to wait after *failures* failures in a row: anywhere from 0 to the doubled, capped base."""
    return draw(0.0, grown(failures, base_seconds=base_seconds, cap_seconds=cap_seconds))


def person_seconds(*, draw: Draw = random.uniform) -> float:
    """Seconds to wait for a person who may cure what refuses us."""
    return draw(*_PERSON_SECONDS)


def herd_seconds(workers: int, *, told_seconds: float | None) -> float:
    """
    Over how long *workers* that heard the same ring spread their looks; 0 for a worker alone.

    Who draws the least looks first and tells the others within *told_seconds* (None: not measured), who then
    need not look. Growing with the number of workers costs nobody time: the least of many draws stays small.
    """
    if workers <= 1:
        return 0.0
    told_seconds = _TOLD_SECONDS if told_seconds is None else min(told_seconds, _TOLD_SECONDS_MAX)
    return min(_HERD_SECONDS_MAX, (workers - 1) * told_seconds / 2)


def wait_full_jitter(base_seconds: float, cap_seconds: float) -> Callable[[RetryCallState], float]:
    """`full_jitter` as a tenacity wait."""

    def wait(state: RetryCallState) -> float:
        return full_jitter(state.attempt_number, base_seconds=base_seconds, cap_seconds=cap_seconds)

    return wait


def wait_for_store(base_seconds: float, cap_seconds: float) -> Callable[[RetryCallState], float]:
    """The same for calls of the database, slow while it refuses us for something that a person must cure."""
    quick = wait_full_jitter(base_seconds, cap_seconds)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        return person_seconds() if cures.needs_a_person(error) else quick(state)

    return wait
