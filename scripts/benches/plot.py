"""
The plots of the README from the figures that `--json` kept: `scripts/bench plot FILE... [--to docs/images]`.

Draws only what was measured: each plot whose figures are in one of the files. Needs the extra `plots`. The lines and
letters are of one grey that reads on a light page and on a dark one, and there is no background.
"""

import argparse
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.benches.telling import Figures

GREY, OURS, OTHERS = "#808890", "#2f9e6e", "#8f99a6"
CLAIMS = {
    "1 000": "1 000 waiting",
    "100 000": "100 000 waiting",
    "1 000 000": "1 000 000 waiting",
    "1 000, beside\n1 000 000 finished": "1 000, beside 1 000 000 finished",
    "1 000, beside 100 000\nfor tomorrow": "1 000, beside 100 000 for tomorrow",
    "100 000 of\n10 000 users": "100 000 of 10 000 users",
}
RATES = {
    "graphile-worker, tuned": "peers_graphile_worker_tuned",
    "pgqueuer, tuned": "peers_pgqueuer_tuned",
    "pgqueuer": "peers_pgqueuer_default",
    "this one, 500 slots": "peers_ours_tuned",
    "graphile-worker": "peers_graphile_worker_default",
    "procrastinate, tuned": "peers_procrastinate_tuned",
    "procrastinate": "peers_procrastinate_default",
    "this one, 3 slots": "peers_ours_default",
}


async def run(_home: Path, args: Sequence[str]) -> Figures:
    """`plot FILE... [--to docs/images]`."""
    parser = argparse.ArgumentParser(prog="scripts/bench plot")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--to", type=Path, default=Path("docs/images"))
    wanted = parser.parse_args(args)
    figures: Figures = {}
    for file in wanted.files:
        figures |= json.loads(file.read_text())
    drawn = {"bench-claim.svg": claims(figures), "bench-peers.svg": rates(figures)}
    for name, bars in drawn.items():
        if bars:
            _draw(wanted.to / name, *TITLES[name], bars)
            print(wanted.to / name)
    return {}


TITLES = {
    "bench-claim.svg": ("A claim of ten jobs, by what waits", "shared blocks touched", "linear"),
    "bench-peers.svg": (
        "Empty jobs a second, one worker, same Postgres",
        "jobs a second, from the least to the most",
        "log",
    ),
}

Bar = tuple[str, float, float, float, bool]
"""Label, value, least, most, and whether it is ours."""


def claims(figures: Figures) -> list[Bar]:
    found = {label: figures[key] for label, key in CLAIMS.items() if key in figures}
    return [(label, value, value, value, True) for label, value in found.items()]


def rates(figures: Figures) -> list[Bar]:
    """Fastest first."""
    bars: list[Bar] = []
    for label, key in RATES.items():
        if (value := figures.get(f"{key}_jobs_per_second")) is not None:
            least, most = (figures[f"{key}_jobs_per_second_{end}"] for end in ("min", "max"))
            bars.append((label, value, least, most, "this" in label))
    return sorted(bars, key=lambda bar: -bar[1])


def _draw(path: Path, title: str, unit: str, scale: str, bars: Sequence[Bar]) -> None:
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(7.2, 0.42 * len(bars) + 1.1))
    labels, values, least, most, ours = zip(*bars, strict=True)
    colours = [OURS if own else OTHERS for own in ours]
    if scale == "linear":
        axes.barh(range(len(bars)), values, color=colours, height=0.62)
    else:  # the length of a bar means nothing where there is no zero
        axes.hlines(range(len(bars)), 0.1, max(most) * 10, color=GREY, linewidth=0.4, linestyle="dotted")
        axes.scatter(values, range(len(bars)), color=colours, s=46, zorder=3)
    if least != values:
        ends = [
            [v - low for v, low in zip(values, least, strict=True)],
            [m - v for v, m in zip(values, most, strict=True)],
        ]
        axes.errorbar(values, range(len(bars)), xerr=ends, fmt="none", ecolor=GREY, elinewidth=1, capsize=3)
    for row, (value, high) in enumerate(zip(values, most, strict=True)):
        axes.annotate(f"{value:,.0f}".replace(",", " "), (high, row), (6, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(bars)), labels)
    axes.invert_yaxis()
    axes.set_xscale(scale)
    axes.set_xlim(0, max(most) * 1.18) if scale == "linear" else axes.set_xlim(min(least) / 2, max(most) * 2.5)
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    pyplot.close(figure)


def _pyplot() -> Any:
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
    except ImportError:
        raise SystemExit("The plots need matplotlib: pip install 'supabase-realtime-worker[plots]'.") from None
    matplotlib.use("svg")
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY)
    matplotlib.rcParams.update({**colours, "font.family": "sans-serif", "font.size": 9.5, "svg.hashsalt": "bench"})
    return importlib.import_module("matplotlib.pyplot")
