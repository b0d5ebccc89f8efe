"""
What happens when, drawn from a seed: the same seed, the same storm.

Only arithmetic. What cannot be the same twice is how the processes interleave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

_CALM_SECONDS = 2.0  # before the first, and after the last


@dataclass(frozen=True)
class Event:
    """*fault* begins *at* seconds after the storm does; *draw* seeds what it chooses (which worker, how far, …)."""

    at: float
    fault: str
    draw: str


def storm(seed: int, faults: Sequence[str], seconds: float, every_seconds: float) -> list[Event]:
    """
    Each of *faults* at least once within *seconds*, one about *every_seconds*, in random order.

    They may overlap. All come once before one comes again, so that a short storm has seen them all.
    """
    dice = Random(f"{seed}/faults")
    count = max(len(faults), round((seconds - 2 * _CALM_SECONDS) / every_seconds))
    names: list[str] = []
    while len(names) < count:
        names += dice.sample(faults, len(faults))
    gap = (seconds - 2 * _CALM_SECONDS) / count
    starts = [_CALM_SECONDS + gap * (n + dice.uniform(0.0, 0.8)) for n in range(count)]
    return [
        Event(round(at, 2), name, f"{seed}/{n}") for n, (at, name) in enumerate(zip(starts, names[:count], strict=True))
    ]


def rows(seed: int, faults: Sequence[str]) -> list[Event]:
    """Each of *faults* once, one after the other, in random order; when is not said."""
    order = Random(f"{seed}/rows").sample(faults, len(faults))
    return [Event(0.0, name, f"{seed}/row/{name}") for name in order]
