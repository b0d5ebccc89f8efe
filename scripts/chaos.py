"""
The chaos run from the command line: says the plan, lets it happen, says what came out, and fails if anything broke.

`short` is one storm with quick settings, `long` each trouble measured alone at the default settings, then a storm.
"""

import argparse
import asyncio
import dataclasses
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom

from scripts.storm import course, plan, table
from scripts.storm.faults import FAULTS

DOCUMENT = Path(__file__).parents[1] / "REALTIME.md"
MINUTES = {"short": 1.1, "long": 20.0}
RATIO_MIN = 0.7


def main() -> None:
    args = _arguments()
    profile = course.SHORT if args.profile == "short" else course.LONG
    profile = dataclasses.replace(profile, workers=args.workers or profile.workers)
    seconds = 60 * (args.minutes or MINUTES[args.profile])
    print(f"seed {args.seed}, {profile.workers} workers, about {seconds:.0f} s")
    for line in _planned(args, seconds, profile):
        print(f"  {line}")
    run = course.storm if args.profile == "short" else course.long
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as home:
        folder = args.keep or Path(home)
        folder.mkdir(parents=True, exist_ok=not args.keep)
        report = asyncio.run(run(args.seed, seconds, profile, folder, args.faults))
    report.seconds = round(time.monotonic() - began, 1)
    report.broken += table.slowed(report, RATIO_MIN)
    print(table.told(report))
    if args.json:
        args.json.write_text(json.dumps(dataclasses.asdict(report), indent=2) + "\n")
    if args.write:
        table.write(DOCUMENT, table.section(report, profile, datetime.now(UTC).date()))
    sys.exit(1 if report.broken else 0)


def _planned(args: argparse.Namespace, seconds: float, profile: course.Profile) -> list[str]:
    if args.profile == "long":
        return [event.fault for event in plan.rows(args.seed, args.faults)]
    return [f"{event.at:6.1f} s  {event.fault}" for event in plan.storm(args.seed, args.faults, seconds, profile.every)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Hurt workers at random, then check the books.")
    parser.add_argument("--profile", choices=["short", "long"], default="short")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10_000), help="the same plan once more")
    parser.add_argument("--minutes", type=float, help="how long; the long profile's rows take what they take")
    parser.add_argument("--workers", type=int, choices=range(2, 6), help="how many")
    parser.add_argument("--faults", type=_faults, default=tuple(FAULTS), help=f"some of: {', '.join(FAULTS)}")
    parser.add_argument("--json", type=Path, help="write everything that came out to this file")
    parser.add_argument("--keep", type=Path, help="leave logs and data in this new folder")
    parser.add_argument("--write", action="store_true", help="put the table into REALTIME.md")
    return parser.parse_args()


def _faults(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := set(names) - set(FAULTS):
        raise argparse.ArgumentTypeError(f"no such fault: {', '.join(sorted(unknown))}")
    return tuple(name for name in FAULTS if name in names)


if __name__ == "__main__":
    main()
