"""
`worker verify`: a line for each prerequisite, and under each that is not met its cure.
"""

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Final

import typer

from worker.terminal import operator

if TYPE_CHECKING:
    from worker.verify import Finding

_MARKS: Final = {True: "✓", False: "✗", None: "–"}
_NAME_WIDTH: Final = 17


def verify(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of lines.")] = False,
) -> None:
    """Check a project end to end, with its address and key alone, and name what cures each fault. Exit 1 if any."""
    from worker import logs

    url, key = operator.address_and_key()
    logs.configure(level="ERROR", json=False)
    found = asyncio.run(_collected(url, key, quiet=as_json))
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in found], ensure_ascii=False, indent=2))
    else:
        typer.echo(_summary(found))
    if any(finding.ok is False for finding in found):
        raise typer.Exit(1)


async def _collected(url: str, key: str, *, quiet: bool) -> "list[Finding]":
    from worker.verify import verify as findings

    found = []
    async for finding in findings(url, key):
        found.append(finding)
        if not quiet:
            typer.echo("\n".join(lines(finding)))
    return found


def lines(finding: "Finding") -> list[str]:
    """How a finding looks on a terminal."""
    cure = [f"    → {line}" for line in finding.cure.splitlines()]
    return [f"{_MARKS[finding.ok]} {finding.name:<{_NAME_WIDTH}} {finding.said}", *cure]


def _summary(found: "list[Finding]") -> str:
    wrong = sum(finding.ok is False for finding in found)
    if wrong:
        return f"\n{wrong} of {len(found)} checks failed."
    return f"\nAll well: {sum(finding.ok is True for finding in found)} checks passed."
