"""
Which triggers make jobs, and which go the old way: the switches of a rollout, as one small truth table.

The README has the table, and a test reads it from there. Pure: whoever holds the flags decides what follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["admin", "cron", "match"]
KINDS: Final[tuple[Kind, ...]] = ("admin", "cron", "match")

# The same as translation_private.trigger_priority has them, for jobs that come without a named trigger.
PRIORITIES: Final[Mapping[Kind, int]] = {"admin": 8, "match": 6, "cron": 3}


@dataclass(frozen=True, slots=True)
class Flags:
    jobs: Literal["off", "per-trigger", "on"] = "on"
    admin: bool = False
    """Read with `per-trigger` only, like the next two."""
    cron: bool = False
    match: bool = False

    def lets(self, kind: Kind) -> bool:
        """Whether a trigger of *kind* makes jobs."""
        if self.jobs == "per-trigger":
            return {"admin": self.admin, "cron": self.cron, "match": self.match}[kind]
        return self.jobs == "on"

    def kinds(self) -> list[Kind]:
        """Those that make jobs."""
        return [kind for kind in KINDS if self.lets(kind)]
