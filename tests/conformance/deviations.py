"""
Where the stand-in and the real PostgREST differ, as `deviations.toml` has it: request, part, what each says, and why
it does not matter.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

REFUSALS: Final = "*"
ABSENT: Final = "—"
ANYTHING: Final = "…"
PATH: Final = Path(__file__).parent / "deviations.toml"

Differences = dict[str, tuple[Any, Any]]


def read() -> Mapping[str, Differences]:
    """What is listed, by request and part."""
    listed: dict[str, Differences] = {}
    for name, group in tomllib.loads(PATH.read_text()).items():
        assert group["why"], name
        for request, part, stand_in, postgrest in group["differ"]:
            assert part not in listed.setdefault(request, {}), (request, part)
            listed[request][part] = (stand_in, postgrest)
    return listed


def unlisted(found: Mapping[str, tuple[Any, Any]], listed: Differences) -> Differences:
    """What of *found* is not listed as it was found; None is what a side did not say."""
    return {part: pair for part, pair in found.items() if not _fits(pair, listed.get(part))}


def _fits(pair: tuple[Any, Any], listed: tuple[Any, Any] | None) -> bool:
    return listed is not None and all(_is(said, said_so) for said, said_so in zip(pair, listed, strict=True))


def _is(said: Any, listed: Any) -> bool:
    if listed == ABSENT:
        return said is None
    return said is not None if listed == ANYTHING else bool(said == listed)
