"""
What a check found: one line for a person, and what cures it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_SHOWN_MAX: Final = 4

INSTALL: Final = (
    "Paste the output of `worker sql` into the SQL editor again and run it: it puts this right and keeps all data."
)


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    ok: bool | None
    """None: could not be looked at, or does not apply; `said` has the reason."""
    said: str
    cure: str = ""
    """A statement for the SQL editor, or the switch to look for; empty unless something is wrong."""


def passed(name: str, said: str) -> Finding:
    return Finding(name, True, said)


def failed(name: str, said: str, cure: str) -> Finding:
    return Finding(name, False, said, cure)


def skipped(name: str, because: str) -> Finding:
    return Finding(name, None, because)


def judged(name: str, said: str, faults: Sequence[tuple[str, str]]) -> Finding:
    """Passed with *said*, unless there are *faults*: what is wrong, and its cure."""
    if not faults:
        return passed(name, said)
    more = f", and {len(faults) - _SHOWN_MAX} more" if len(faults) > _SHOWN_MAX else ""
    wrong = "; ".join(what for what, _ in faults[:_SHOWN_MAX]) + more
    cures = list(dict.fromkeys(cure for _, cure in faults))
    rest = [INSTALL] if len(cures) > _SHOWN_MAX and INSTALL not in cures[:_SHOWN_MAX] else []
    return failed(name, wrong, "\n".join(cures[:_SHOWN_MAX] + rest))
