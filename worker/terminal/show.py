"""
Jobs on a terminal: a table, one job, live bars.
"""

import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text  # what people typed is never markup

_console = Console(width=None if sys.stdout.isatty() else 160)  # a pipe has no edge to fit
_ENDED = ("completed", "failed", "cancelled")


def table(jobs: Sequence[Mapping[str, Any]]) -> None:
    _console.print(_table(jobs))


class LiveTable:
    """The same table, kept current in its place. A context manager."""

    def __init__(self) -> None:
        self._live = Live(console=_console, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, jobs: Sequence[Mapping[str, Any]]) -> None:
        if _console.is_terminal:
            self._live.update(_table(jobs), refresh=True)
        else:  # nothing can be redrawn in a pipe
            table(jobs)


def _table(jobs: Sequence[Mapping[str, Any]]) -> Table:
    shown = Table("created", box=None)
    shown.add_column("id", no_wrap=True, min_width=36)  # somebody will want to copy it
    for name in ("status", "progress", "languages", "title"):
        shown.add_column(name)
    for job in jobs:
        languages = ",".join(job.get("target_languages") or ())
        created = str(job["created_at"])[:19].replace("T", " ")
        shown.add_row(created, job["id"], job["status"], f"{job['progress']}%", languages, Text(job.get("title") or ""))
    return shown


def job(job: Mapping[str, Any]) -> None:
    _console.print(f"{job['id']}  [bold]{job['status']}[/]  {job['progress']}%", highlight=False)
    if job.get("error"):
        _console.print(f"{job['error'].get('class')}: {job['error'].get('message')}", style="red", markup=False)
    items = Table("item", "status", "tries", "chunks", "credits", "error", box=None)
    for item in job["items"]:
        error = item.get("error") or {}
        items.add_row(
            item["item"],
            item["status"],
            str(item["attempts"]),
            f"{item.get('chunks_done') or 0}/{item.get('chunks_total') or 0}",
            str(item.get("credits") or 0),
            Text(str(error.get("message") or "")),
        )
    _console.print(items)


class Bars:
    """One live bar per item of a job. A context manager."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:>8}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[status]}"),
            TimeElapsedColumn(),
            console=_console,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, job: Mapping[str, Any]) -> None:
        for item in job["items"]:
            bar = self._bar(item["item"])
            total = item.get("chunks_total") or 1
            done = total if item["status"] in _ENDED else item.get("chunks_done") or 0
            self._progress.update(bar, total=total, completed=done, status=item["status"])
            if item["status"] in _ENDED:
                self._progress.stop_task(bar)

    def _bar(self, name: str) -> TaskID:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=1, status="pending")
        return self._bars[name]
