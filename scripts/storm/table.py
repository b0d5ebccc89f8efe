"""What came out, for people: lines for a terminal, and the table for REALTIME.md."""

import os
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from scripts import marked
from scripts.storm.course import Profile, Report
from scripts.storm.faults import FAULTS

BEGIN, END = "<!-- chaos:begin -->", "<!-- chaos:end -->"
_HEAD = (
    "| trouble | times | jobs/s before | jobs/s after | after ÷ before | longest time without a finished job |\n"
    "|---|---|---|---|---|---|\n"
)


def slowed(report: Report, ratio_min: float) -> list[str]:
    """Rows whose throughput did not come back."""
    return [
        f"{row.fault}: {row.after:.1f} jobs/s after it, {row.before:.1f} before"
        for row in report.rows
        if row.ratio < ratio_min
    ]


def told(report: Report) -> str:
    """The whole report for a terminal."""
    return "\n".join(
        (
            f"{len(report.happened)} troubles in {report.seconds:.0f} s, {report.worker_starts} starts of workers;"
            f" the last job ended {report.dust_seconds:.0f} s after the last trouble",
            *_columns(report.counts.items()),
            *_columns(sorted(report.calls.items())),
            *(f"BROKEN: {what}" for what in report.broken),
            f"seed {report.seed}: " + ("all is well" if not report.broken else f"{len(report.broken)} broken"),
        )
    )


def section(report: Report, profile: Profile, day: date) -> str:
    """Markdown between the markers, markers included."""
    rows = "".join(
        f"| {FAULTS[row.fault].title} | {row.times} | {row.before:.1f} | {row.after:.1f} | {row.ratio:.0%} |"
        f" {row.longest_gap_seconds:.1f} s |\n"
        for row in report.rows
    )
    jobs = sum(count for name, count in report.counts.items() if name in _ENDS)
    storm = len(report.happened) - len(report.rows)
    words = (
        f"Measured on {day.isoformat()} by `scripts/chaos --profile long --seed {report.seed}`:",
        f"{profile.workers} workers, {report.seconds / 60:.0f} minutes, {len(report.rows)} rows and then {storm}",
        f"troubles in a storm; {jobs} jobs, {report.worker_starts} starts of workers. Load average of the machine's",
        f"{os.cpu_count()} processors: {min(report.load_averages):.0f} to {max(report.load_averages):.0f}.",
        "Nothing was broken." if not report.broken else f"Broken: {'; '.join(report.broken)}.",
    )
    return "\n".join((BEGIN, *words, "", _HEAD + rows + END))


_ENDS = ("jobs completed", "jobs failed", "jobs cancelled")


def write(document: Path, text: str) -> None:
    """Put *text* between the markers of *document*. Raises ValueError when it has none."""
    marked.write(document, text, begin=BEGIN, end=END)


def _columns(pairs: Iterable[tuple[str, int]]) -> list[str]:
    return [f"  {name:<44} {count:>8}" for name, count in pairs]
