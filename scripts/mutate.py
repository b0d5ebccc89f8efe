"""
Mutants that nobody has tried yet, for some minutes, in an order that is random and always the same.

What was tried is a fair sample of the files it was asked about, however short it ran. Verdicts stay in
scripts/mutation.json for as long as the code they are about does; a changed function starts again with none.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.mutation import mutants as found
from scripts.mutation import report as reports
from scripts.mutation.mutants import ROOT, Mutant

SEED = "state and money"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("files", nargs="*", help=f"some of: {', '.join(found.FILES)} (default: all)")
    parser.add_argument("--minutes", type=float, default=20, help="0: only drop what is stale")
    parser.add_argument("--parallel", type=int, default=2, help="processes, each with its own Postgres")
    parser.add_argument("--merge", nargs="*", default=[], type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if unknown := set(chosen.files) - set(found.FILES):
        parser.error(f"no file of state or money: {', '.join(sorted(unknown))}")
    report = reports.current(reports.read())
    waiting = reports.untried(report, chosen.files or found.FILES)
    random.Random(SEED).shuffle(waiting)
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        Path(folder).chmod(0o755)  # Postgres runs as somebody else
        homes = _run(waiting, Path(folder), chosen.minutes, chosen.parallel) if chosen.minutes > 0 else []
        reports.merge([*homes, *chosen.merge], report)
    reports.write(report)
    for file, units in report.items():
        noticed, tried, all_of_them = reports.score(units.values())
        unsettled = sum(len(unit["unsettled"]) for unit in units.values())
        print(f"{file:24} {noticed:4} of {tried:4} noticed, {unsettled:3} unsettled, {all_of_them:4} in all")
    return 0


def _run(waiting: Sequence[Mutant], folder: Path, minutes: float, parallel: int) -> list[Path]:
    """Shares of each kind to as many processes; SQL first, since it takes longest. Their folders."""
    homes = []
    for kind in ("sql", "python"):
        mine = [mutant for mutant in waiting if found.is_sql(mutant.file) == (kind == "sql")]
        shares = [share for nth in range(parallel) if (share := mine[nth::parallel])]
        left = minutes * len(mine) / len(waiting) if waiting else 0
        running = []
        for nth, share in enumerate(shares):
            home = folder / f"{kind}{nth}"
            homes.append(home)
            command = [sys.executable, "-m", "scripts.mutation.bench", kind, str(home), str(left)]
            bench = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, text=True)
            assert bench.stdin is not None
            json.dump([[one.file, one.start, one.end, one.new, one.unit] for one in share], bench.stdin)
            bench.stdin.close()
            running.append(bench)
        for bench in running:
            bench.wait()
    return homes


if __name__ == "__main__":
    sys.exit(main())
