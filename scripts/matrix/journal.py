"""What a worker's JSON log says about its mode, with the worker's own times. Reads; never waits."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

REALTIME = "Realtime subscription active"
POLLING = "Realtime not heard; polling"
_MODES = {REALTIME: "realtime", POLLING: "polling"}


@dataclass(frozen=True)
class Turn:
    """A change of mode; *at* in seconds since 1970."""

    at: float
    mode: str
    reason: str


class Journal:
    """The log in *path*, which may still grow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._rest = ""
        self.turns: list[Turn] = []
        self.errors: list[str] = []
        """Messages of level ERROR and above, and lines that are not JSON: nobody expects those."""

    def look(self) -> None:
        """Take what has been written since the last look."""
        with self._path.open(encoding="utf-8", errors="replace") as log:
            log.seek(self._read)
            text = self._rest + log.read()
            self._read = log.tell()
        *lines, self._rest = text.split("\n")
        for line in lines:
            self._take(line)

    def after(self, at: float, mode: str) -> Iterator[Turn]:
        return (turn for turn in self.turns if turn.at >= at and turn.mode == mode)

    def _take(self, line: str) -> None:
        try:
            entry = json.loads(line)
            message, severity = entry.pop("message"), entry.pop("severity")
            at = datetime.fromisoformat(entry.pop("time")).timestamp()
        except (ValueError, KeyError, TypeError, AttributeError):
            if line.strip():
                self.errors.append(line[:200])
            return
        if mode := _MODES.get(message):
            self.turns.append(Turn(at, mode, str(entry.get("reason", ""))))
        elif severity in ("ERROR", "CRITICAL"):
            self.errors.append(f"{message} {entry}")
