"""What came out, for people: a line as each row ends, and the table for REALTIME.md."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from scripts import marked
from scripts.matrix.lane import Result

BEGIN, END = "<!-- faults:begin -->", "<!-- faults:end -->"
_HEAD = (
    "| fault | noticed | mode | healthy again | jobs inserted | processed | catch-up finds | slowest pickup |\n"
    "|---|---|---|---|---|---|---|---|\n"
)


def line(result: Result) -> str:
    """One row for a terminal."""
    found = ", ".join(f"{road} {count}" for road, count in sorted(result.found.items()))
    verdict = "ok" if not result.broken else "BROKEN: " + "; ".join(result.broken)
    return (
        f"{result.key:<16} noticed {_seconds(result.noticed):>7}  again {_seconds(result.again):>7}"
        f"  {' → '.join(result.modes):<32} {result.processed}/{result.inserted_in_all} jobs"
        f"  slowest {result.slowest_pickup:5.1f} s  {found}  [{result.reason}]  {verdict}"
    )


def section(results: Sequence[Result], day: date, command: str) -> str:
    """Markdown between the markers, markers included."""
    rows = "".join(_row(result) for result in results)
    lost = sum(result.inserted_in_all - result.processed for result in results)
    total = sum(result.inserted_in_all for result in results)
    told = (
        f"Measured on {day.isoformat()} by `{command}`: the local stack and a worker at its default settings, each a",
        "process of its own, and one job a second. In brackets the bound; the command fails when one is broken.",
        f"{total} jobs in all, {lost} of them lost or done twice.",
    )
    return "\n".join((BEGIN, *told, "", _HEAD + rows + END))


def write(document: Path, text: str) -> None:
    """Put *text* between the markers of *document*. Raises ValueError when it has none."""
    marked.write(document, text, begin=BEGIN, end=END)


def _row(result: Result) -> str:
    row = result.row
    noticed = f"{_seconds(result.noticed)} ({row.noticed:g})" if row.noticed is not None else _seconds(result.noticed)
    settings = f" ({', '.join(f'`{name}={value}`' for name, value in row.settings.items())})" if row.settings else ""
    cells = (
        row.title + settings,
        noticed,
        _mode(result),
        "–" if result.noticed is None else f"{_seconds(result.again)} ({row.again:g})",
        str(result.inserted),
        f"{result.processed} of {result.inserted_in_all}",
        str(result.found.get("catch_up", 0)),
        _seconds(result.slowest_pickup),
    )
    return "| " + " | ".join(cells) + " |\n"


def _mode(result: Result) -> str:
    """What `translation_workers` showed during the trouble, or else the log."""
    others = dict.fromkeys(mode for mode in result.modes if mode != "realtime")
    if not others and result.noticed is not None:
        return "`polling` (in the log)"
    return ", ".join(f"`{mode}`" for mode in others) or "`realtime`"


def _seconds(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds:.2f} s"
