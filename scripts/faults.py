"""
The fault matrix from the command line: deals rows out to lanes, prints what comes out, and writes it to REALTIME.md.

A lane makes one trouble at a time; several lanes work side by side, because most of the time is waiting.
"""

import argparse
import asyncio
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from scripts.matrix import table
from scripts.matrix.lane import Result, lane
from scripts.matrix.rows import ROWS

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "REALTIME.md"


def main() -> None:
    args = _arguments()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as home:
        folder = args.keep or Path(home)
        for nr in range(args.lanes):
            (folder / f"lane-{nr}").mkdir(parents=True)
        results = asyncio.run(_run(args.rows, args.lanes, folder))
    broken = [result for result in results if result.broken]
    print(f"{len(results)} rows in {time.monotonic() - started:.0f} s, {len(broken)} with a broken bound")
    if args.json:
        args.json.write_text(json.dumps([dataclasses.asdict(result) for result in results], indent=2) + "\n")
    if args.write:
        table.write(DOCUMENT, table.section(results, datetime.now(UTC).date(), "scripts/faults"))
    sys.exit(1 if broken else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/faults", description="Measure what a worker does about each trouble."
    )
    parser.add_argument("--rows", type=_rows, default=list(ROWS), help=f"some of: {', '.join(ROWS)}")
    parser.add_argument("--lanes", type=int, default=6, help="stacks with a worker each that work side by side")
    parser.add_argument("--json", type=Path, help="write everything that was measured to this file")
    parser.add_argument("--keep", type=Path, help="leave logs and data in this folder")
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave REALTIME.md as it is")
    args = parser.parse_args()
    args.write = args.write and args.rows == list(ROWS)  # a table of some rows would look like all there are
    return args


def _rows(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := set(names) - set(ROWS):
        raise argparse.ArgumentTypeError(f"no such row: {', '.join(sorted(unknown))}")
    return [name for name in ROWS if name in names]


async def _run(names: Sequence[str], lanes: int, home: Path) -> list[Result]:
    waiting = list(names)
    results: dict[str, Result] = {}

    async def work(nr: int) -> None:
        async with lane(home / f"lane-{nr}") as stage:
            while waiting:
                name = waiting.pop(0)
                results[name] = await stage.run(name, ROWS[name])
                print(table.line(results[name]), flush=True)
                for error in results[name].errors:
                    print(f"{'':<16} log: {error}", flush=True)

    async with asyncio.TaskGroup() as group:
        for nr in range(min(lanes, len(waiting))):
            group.create_task(work(nr))
    return [results[name] for name in names]


if __name__ == "__main__":
    main()
