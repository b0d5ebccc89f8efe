"""What a worker's JSON log says about its mode, with the worker's own times. Reads; never waits."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
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
            record = json.loads(line)["record"]
        except (ValueError, KeyError, TypeError):
            if line.strip():
                self.errors.append(line[:200])
            return
        if mode := _MODES.get(record["message"]):
            self.turns.append(Turn(record["time"]["timestamp"], mode, str(record["extra"].get("reason", ""))))
        elif record["level"]["no"] >= 40:
            extra = {name: value for name, value in record["extra"].items() if isinstance(value, str | int | float)}
            self.errors.append(f"{record['message']} {extra}")
