"""
How long to wait before the next try: full jitter, so that a fleet does not come back in lockstep.

Only the arithmetic. The loops are tenacity's; this supplies their `wait`.
"""

import random
from collections.abc import Callable

from tenacity import RetryCallState

Draw = Callable[[float, float], float]


def full_jitter(failures: int, *, base_seconds: float, cap_seconds: float, draw: Draw = random.uniform) -> float:
    """Seconds to wait after *failures* failures in a row: anywhere from 0 to the doubled, capped base."""
    exponent = min(max(failures, 1) - 1, 32)
    return draw(0.0, min(cap_seconds, base_seconds * 2**exponent))


def wait_full_jitter(base_seconds: float, cap_seconds: float) -> Callable[[RetryCallState], float]:
    """The same as a tenacity wait."""

    def wait(state: RetryCallState) -> float:
        return full_jitter(state.attempt_number, base_seconds=base_seconds, cap_seconds=cap_seconds)

    return wait
