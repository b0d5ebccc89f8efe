"""A process that tries its share: `python -m scripts.mutation.bench sql|python HOME MINUTES < mutants`."""

import json
import sys
import time
from pathlib import Path

from scripts.mutation import trials
from scripts.mutation.mutants import Mutant


def main() -> None:
    kind, home, minutes = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    until = time.monotonic() + 60 * minutes
    mutants = [Mutant(*fields) for fields in json.load(sys.stdin)]
    home.mkdir(parents=True, exist_ok=True)
    results = trials.Results(home / "results")
    if kind == "sql":
        from scripts.mutation import trial_sql

        trial_sql.run(mutants, home, results, until)
    else:
        from scripts.mutation import trial_python

        for verdict in trial_python.run(mutants):
            results.add(verdict)
            if time.monotonic() > until:
                return


if __name__ == "__main__":
    main()
