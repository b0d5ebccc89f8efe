"""
docs/licences.md: what `worker run` installs, and under which licence. `--check` only compares.

Read from the metadata of what is installed; the names come from scripts/requirements/run.txt. A package that tells its
licence nowhere, or only in prose, has its word here, looked up by a person.
"""

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs/licences.md"
PINS: Final = ROOT / "scripts/requirements/run.txt"

ALLOWED: Final = frozenset(
    ("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "ZPL-2.1")
)
"""All may be used and shipped beside a program under MIT. MPL-2.0 asks for the source of its own files only."""

# Told by no standard word in their metadata, or not installed on every platform.
_LOOKED_UP: Final = {
    "colorama": "BSD-3-Clause",
    "deprecation": "Apache-2.0",
    "aiosignal": "Apache-2.0",
    "hyperframe": "MIT",
    "pyromark": "MIT",
    "shellingham": "ISC",
    "win32-setctime": "MIT",
}
_CLASSIFIED: Final = {"MIT License": "MIT", "Apache Software License": "Apache-2.0"}

_HEAD: Final = """# Licences

What `worker run` installs (scripts/requirements/run.txt) and under which licence. Written by `scripts/licences`; a test
compares it with what is pinned and refuses a licence that nobody has allowed.

| Package | Licence |
|---|---|
"""


def pinned() -> Iterator[str]:
    """Names of what the worker runs with, in order, each once."""
    seen = set()
    for line in PINS.read_text().splitlines():
        if (found := re.match(r"([\w.-]+)==", line)) and found[1] not in seen:
            seen.add(found[1])
            yield found[1]


def licence(name: str) -> str:
    """An SPDX expression; LookupError when neither the package nor a person has said one."""
    if name in _LOOKED_UP:
        return _LOOKED_UP[name]
    about = metadata.metadata(name).json
    if said := about.get("license_expression"):
        return str(said)
    if (said := str(about.get("license", "")).strip()) in ALLOWED:
        return said
    for line in about.get("classifier", []):
        if (word := line.rpartition("::")[2].strip()) in _CLASSIFIED:
            return _CLASSIFIED[word]
    raise LookupError(f"{name} tells no licence: look it up and write it into scripts/licences.py")


def is_allowed(expression: str) -> bool:
    """Whether each part of an `AND`, or one of an `OR`, is among the allowed."""
    return all(
        any(word.strip("() ") in ALLOWED for word in choice.split(" OR ")) for choice in expression.split(" AND ")
    )


def page() -> str:
    return _HEAD + "".join(f"| {name} | {licence(name)} |\n" for name in pinned())


def main() -> int:
    text = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.read_text() == text else 1
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
