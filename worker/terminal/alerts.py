"""
`worker alerts`: what an operator should know now.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from worker.terminal import operator


def alerts(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array instead of lines.")] = False,
) -> None:
    """List what is wrong with the queue, with its cure. Exit 1 when any of it is critical. ALERT_… set the limits."""
    from worker import settings

    limits = settings.load_alerts(Path(".env")).arguments()
    found: list[dict[str, Any]] = operator.asked(lambda rpc: rpc.call("translation_alerts", limits))
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    elif found:
        typer.echo("\n".join(line for alert in found for line in lines(alert)))
    else:
        typer.echo("No alerts.")
    if any(alert["severity"] == "critical" for alert in found):
        raise typer.Exit(1)


def lines(alert: dict[str, Any]) -> list[str]:
    """How an alert looks on a terminal."""
    details = json.dumps(alert["details"], ensure_ascii=False)
    return [
        f"{alert['severity']:<8} {alert['alert']}: {alert['message']}",
        f"         {details}",
        f"         → {alert['cure']}",
    ]
