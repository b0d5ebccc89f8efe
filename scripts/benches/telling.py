"""How a measurement is told: medians with their spread, and whether its bar is held."""

import statistics
from collections.abc import Sequence

Figures = dict[str, float]


def spread(values: Sequence[float], unit: str) -> str:
    return (
        f"median {statistics.median(values):.3g} {unit} (from {min(values):.3g} to {max(values):.3g}, n={len(values)})"
    )


def latency(values: Sequence[float]) -> str:
    """*values* in milliseconds."""
    return (
        f"median {statistics.median(values):.3g} ms, p99 {percentile(values, 0.99):.3g}, max {max(values):.3g} "
        f"(least {min(values):.3g}, n={len(values)})"
    )


def verdict(held: bool) -> str:
    """What a line with a bar ends in."""
    return "" if held else "; MISSED"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least *share* (0 to 1) of *values* do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]
