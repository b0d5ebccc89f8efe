"""
`worker stats`: the queue in numbers.
"""

import json
from typing import Annotated, Any

import typer

from worker.terminal import operator

_CAP = 10001


def stats(
    as_json: Annotated[bool, typer.Option("--json", help="As the database says it.")] = False,
) -> None:
    """Show how many jobs wait, run and have ended, what they cost, and which workers there are."""
    found: dict[str, Any] = operator.asked(lambda rpc: rpc.call("translation_queue_stats", {}))
    typer.echo(json.dumps(found, ensure_ascii=False, indent=2) if as_json else "\n".join(lines(found)))


def lines(found: dict[str, Any]) -> list[str]:
    """How the numbers look on a terminal."""
    credits = found["credits_in_an_hour"]
    reserved = credits["reserved"]
    rate = f", {100 * credits['refunded'] / reserved:.1f} % of {reserved} refunded" if reserved else ""
    oldest = found["oldest_waiting_ms"]
    rows = {
        "unfinished": _counts(found["live"]),
        "waiting": _counts({name: n for name, n in found["waiting_by_type"].items() if n}),
        "oldest waiting": "none" if oldest is None else f"{oldest / 1000:.1f} s",
        "running": f"{found['claims']}, {found['stuck']} of them stuck",
        "ended in an hour": _counts(found["ended_in_an_hour"]),
        "credits in an hour": f"{credits['consumed']} used, {credits['refunded']} refunded{rate}",
        "created ever": str(found["created"]),
        "workers": _counts(found["workers"]),
    }
    return [f"{name:<18} {value}" for name, value in rows.items()]


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{_capped(n)} {name}" for name, n in sorted(numbers.items())) or "none"


def _capped(n: int) -> str:
    return "over 10000" if n >= _CAP else str(n)
