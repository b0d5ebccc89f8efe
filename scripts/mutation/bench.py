"""
A process that does its share: `python -m scripts.mutation.bench learn KIND HOME NTH OF` looks at the tests, and
`… try KIND HOME MINUTES < mutants` tries mutants with what was learned beside HOME.
"""

import json
import sys
import time
from pathlib import Path

from scripts.mutation import rounds, trial_module, trials
from scripts.mutation.known import Known
from scripts.mutation.mutants import Mutant


def main() -> None:
    task, kind, home, *more = sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:]
    home.mkdir(parents=True, exist_ok=True)
    if task == "learn":
        rounds.learn(_bench(kind, home), home / "learned", int(more[0]), int(more[1]))
    else:
        _try(kind, home, until=time.monotonic() + 60 * float(more[0]))


def _try(kind: str, home: Path, until: float) -> None:
    mutants = [Mutant(*fields) for fields in json.load(sys.stdin)]
    results = trials.Results(home / "results")
    if kind == "module":
        trial_module.run(mutants, results, until)
    else:
        known = Known(home.parent.glob(f"{kind}*/learned"))
        rounds.try_out(_bench(kind, home), mutants, known, results, until)


def _bench(kind: str, home: Path) -> rounds.Workbench:
    # Imported here: whoever tries modules must not have them yet.
    if kind == "sql":
        from scripts.mutation import trial_sql

        return trial_sql.Bench(home)
    from scripts.mutation import trial_python

    return trial_python.Bench()


if __name__ == "__main__":
    main()
