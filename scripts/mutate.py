"""
Mutants that nobody has tried yet, for some minutes, in an order that is random and always the same.

What was tried is a fair sample of the files it was asked about, however short it ran. Verdicts stay in
scripts/mutation.json for as long as the code they are about does; a changed function starts again with none.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts.mutation import mutants as found
from scripts.mutation import report as reports
from scripts.mutation import trial_python
from scripts.mutation.mutants import ROOT, Mutant

SEED = "state and money"
_MERGE_SECONDS = 20.0
_MEMORY = Path("/dev/shm")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("files", nargs="*", help=f"some of: {', '.join(found.FILES)} (default: all)")
    parser.add_argument("--minutes", type=float, default=20, help="0: only drop what is stale")
    parser.add_argument("--parallel", type=int, default=2, help="processes, each with its own Postgres")
    parser.add_argument("--again", action="store_true", help="try survivors that have no word why, too")
    chosen = parser.parse_args()
    if unknown := set(chosen.files) - set(found.FILES):
        parser.error(f"no file of state or money: {', '.join(sorted(unknown))}")
    report = reports.current(reports.read())
    if chosen.again:
        reports.forget_unexplained(report)
    reports.write(report)
    waiting = reports.untried(report, chosen.files or found.FILES) if chosen.minutes > 0 else []
    random.Random(SEED).shuffle(waiting)
    # A database is copied for each test: in memory, where there is such a place.
    with tempfile.TemporaryDirectory(prefix="mutate-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        Path(folder).chmod(0o755)  # Postgres runs as somebody else
        for kind, mine in _by_kind(waiting):
            _learn(kind, Path(folder), chosen.parallel)
            _try(kind, mine, Path(folder), chosen.minutes * len(mine) / len(waiting), chosen.parallel)
    for file, units in reports.current(reports.read()).items():
        noticed, tried, all_of_them = reports.score(units.values())
        unsettled = sum(len(unit["unsettled"]) for unit in units.values())
        print(f"{file:24} {noticed:4} of {tried:4} noticed, {unsettled:3} unsettled, {all_of_them:4} in all")
    return 0


def _by_kind(waiting: Sequence[Mutant]) -> Iterator[tuple[str, list[Mutant]]]:
    kinds: dict[str, list[Mutant]] = {"module": [], "python": [], "sql": []}
    for mutant in waiting:
        in_python = "python" if not found.is_sql(mutant.file) and trial_python.in_a_function(mutant) else "module"
        kinds["sql" if found.is_sql(mutant.file) else in_python].append(mutant)
    yield from ((kind, mine) for kind, mine in kinds.items() if mine)


def _learn(kind: str, folder: Path, parallel: int) -> None:
    """Every process looks at its share of the tests, for all of them."""
    if kind != "module":
        benches = [_bench("learn", kind, folder / f"{kind}{nth}", str(nth), str(parallel)) for nth in range(parallel)]
        _wait(benches)


def _try(kind: str, mutants: Sequence[Mutant], folder: Path, minutes: float, parallel: int) -> None:
    benches = []
    for nth, share in enumerate(mutants[nth::parallel] for nth in range(min(parallel, len(mutants)))):
        bench = _bench("try", kind, folder / f"{kind}{nth}", str(minutes))
        assert bench.stdin is not None
        json.dump([[one.file, one.start, one.end, one.new, one.unit] for one in share], bench.stdin)
        bench.stdin.close()
        benches.append(bench)
    results = [folder / f"{kind}{nth}" / "results" for nth in range(parallel)]
    merged = [0] * parallel
    try:
        while running := [bench for bench in benches if bench.poll() is None]:
            with contextlib.suppress(subprocess.TimeoutExpired):
                running[0].wait(_MERGE_SECONDS)
            _merge(results, merged)
    finally:
        _wait(benches)
        _merge(results, merged)


def _bench(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "scripts.mutation.bench", *map(str, arguments)]
    # Of pytest, which writes a dot for every test of every mutant, only the faults are heard.
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def _wait(benches: Sequence[subprocess.Popen[str]]) -> None:
    for bench in benches:
        bench.wait()


def _merge(results: Sequence[Path], merged: list[int]) -> None:
    """What is new in *results* into the report as it is now: a person may have written in it meanwhile."""
    report = reports.current(reports.read())
    for nth, path in enumerate(results):
        lines = path.read_text().splitlines() if path.exists() else []
        reports.add(report, lines[merged[nth] :])
        merged[nth] = len(lines)
    reports.write(report)


if __name__ == "__main__":
    sys.exit(main())
