"""
Measurements of the whole, each against processes as they are in use.

Owns which there are; each is a module in `scripts/benches`. Timing lives here and not in tests, because a busy
machine must not fail a build.
"""

import argparse
import asyncio
import importlib
import json
import tempfile
from pathlib import Path

from scripts.benches.telling import Figures

SHORT = (
    *("stack", "gateway", "rpc", "create", "start", "memory", "claim", "latency"),
    *("herd", "reconnects", "throughput", "scale", "pipeline", "quality", "sse", "panel", "ops"),
)
LONG = ("idle", "peers")  # an hour, and half of one with packages to fetch; `all` leaves them out


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure the whole.")
    parser.add_argument("bench", choices=[*SHORT, *LONG, "plot", "all"], nargs="?", default="all")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    wanted, args = parser.parse_known_args()
    figures: Figures = {}
    for name in SHORT if wanted.bench == "all" else [wanted.bench]:
        bench = importlib.import_module(f"scripts.benches.{name}")
        with tempfile.TemporaryDirectory(prefix="bench-") as home:
            figures |= asyncio.run(bench.run(Path(home), args))
    if wanted.json:
        wanted.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
