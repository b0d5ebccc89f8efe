"""
Measurements of the whole, each against processes as they are in use.

Owns which there are; each is a module in `scripts/benches`. Timing lives here and not in tests, because a busy
machine must not fail a build.
"""

import argparse
import asyncio
import importlib
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from scripts.benches.telling import Figures

MINUTES = {
    **{"stack": 1, "gateway": 1, "rpc": 1, "create": 1, "start": 1, "memory": 1, "wire": 1, "claim": 6, "latency": 11},
    **{"herd": 2, "reconnects": 2, "throughput": 3, "scale": 4, "pipeline": 2, "quality": 1, "sse": 2, "panel": 2},
    **{"ops": 5, "peers": 16, "idle": 61},
}
"""About how long each takes on two cores that nothing else uses."""
LONG = ("peers", "idle")
SETS = {
    "all": [name for name in MINUTES if name not in LONG],
    # The figures of docs/performance.md, those that bear no company first.
    "performance": [
        *("start", "create", "throughput", "latency", "peers", "scale", "memory", "gateway", "rpc", "wire", "claim")
    ],
}


def main() -> None:
    names, args = chosen(sys.argv[1:])
    parser = argparse.ArgumentParser(prog="scripts/bench", add_help=not names)
    parser.description = "Measure the whole: " + " ".join([*MINUTES, "plot"])
    parser.usage = "%(prog)s [NAME... | all | performance] [--json FILE] [options of the one that is named]"
    parser.add_argument("--json", type=Path, help="write the figures to this file, after each bench")
    wanted, args = parser.parse_known_args(args)
    names = names or SETS["all"]
    if args and len(names) > 1:
        parser.error(f"{' '.join(args)}: options are for one bench alone")
    failed = measure(names, args, wanted.json)
    if failed:
        sys.exit(f"FAILED: {', '.join(failed)}")


def chosen(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The benches that *arguments* begin with, sets spelled out; and what follows."""
    rest = list(arguments)
    names: list[str] = []
    while rest and rest[0] in {*MINUTES, *SETS, "plot"}:
        name = rest.pop(0)
        names += SETS.get(name, [name])
        if name == "plot":  # its files may be called like a bench
            break
    return list(dict.fromkeys(names)), rest


def measure(names: Sequence[str], args: Sequence[str], kept: Path | None) -> list[str]:
    """Those that failed. One that does holds up no other, and what was measured is in *kept* at once."""
    figures: Figures = {}
    failed = []
    if len(names) > 1:
        print(f"{' '.join(names)}: about {sum(MINUTES[name] for name in names)} minutes", flush=True)
    for name in names:
        started = time.monotonic()
        bench = importlib.import_module(f"scripts.benches.{name}")
        try:
            with tempfile.TemporaryDirectory(prefix="bench-") as home:
                figures |= asyncio.run(bench.run(Path(home), args))
        except (Exception, SystemExit):  # the latter says in a sentence what did not start
            if len(names) == 1:
                raise
            traceback.print_exc()
            failed.append(name)
        if kept:
            kept.write_text(json.dumps(figures, indent=2) + "\n")
        if len(names) > 1:
            print(f"({name}: {(time.monotonic() - started) / 60:.1f} minutes)\n", flush=True)
    return failed


if __name__ == "__main__":
    main()
