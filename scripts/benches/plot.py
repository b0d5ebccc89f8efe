"""
The plots of the README and its pages from what `--json` kept: `scripts/bench plot FILE... [--to docs/images]`.

Draws only what was measured: each plot of `bars` whose figures are in one of the files. Needs the extra `plots`. The
lines and letters are of one grey that reads on a light page and on a dark one, and there is no background.
"""

import argparse
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.benches.bars import PLOTS, Bar, Plot
from scripts.benches.telling import Figures

GREY, OURS, OTHERS = "#808890", "#2f9e6e", "#8f99a6"


async def run(_home: Path, args: Sequence[str]) -> Figures:
    """`plot FILE... [--to docs/images]`."""
    parser = argparse.ArgumentParser(prog="scripts/bench plot")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--to", type=Path, default=Path("docs/images"))
    wanted = parser.parse_args(args)
    figures: Figures = {}
    for file in wanted.files:
        figures |= json.loads(file.read_text())
    for name, plot in PLOTS.items():
        if bars := plot.bars(figures):
            _draw(wanted.to / name, plot, bars)
            print(wanted.to / name)
    return {}


def _draw(path: Path, plot: Plot, bars: Sequence[Bar]) -> None:
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(7.2, 0.42 * len(bars) + 1.1))
    rows, values = range(len(bars)), [bar.value for bar in bars]
    colours = [OURS if bar.is_ours else OTHERS for bar in bars]
    reach = [max(bar.most, bar.mark or 0) for bar in bars]
    if plot.scale == "linear":
        axes.barh(rows, values, color=colours, height=0.62)
        axes.set_xlim(0, max(reach) * 1.18)
    else:  # the length of a bar means nothing where there is no zero
        axes.set_xscale(plot.scale)
        axes.hlines(rows, min(values) / 100, max(reach) * 10, color=GREY, linewidth=0.4, linestyle="dotted")
        axes.scatter(values, rows, color=colours, s=46, zorder=3)
        axes.set_xlim(min(bar.least for bar in bars) / 2, max(reach) * 2.5)
    if any(bar.least != bar.most for bar in bars):
        ends = [[bar.value - bar.least for bar in bars], [bar.most - bar.value for bar in bars]]
        axes.errorbar(values, rows, xerr=ends, fmt="none", ecolor=GREY, elinewidth=1, capsize=3)
    for row, bar in enumerate(bars):
        if bar.mark is not None:
            axes.vlines(bar.mark, row - 0.38, row + 0.38, color=GREY, linewidth=2)
        axes.annotate(_told(bar.value), (reach[row], row), (6, 0), textcoords="offset points", va="center")
    axes.set_yticks(rows, [bar.label for bar in bars])
    axes.invert_yaxis()
    axes.set_xlabel(plot.unit)
    axes.set_title(plot.title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    pyplot.close(figure)


def _told(value: float) -> str:
    """Three digits that matter, and thousands apart."""
    return f"{value:,.0f}".replace(",", " ") if value >= 100 else f"{value:.3g}"


def _pyplot() -> Any:
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
    except ImportError:
        raise SystemExit("The plots need matplotlib: pip install 'supabase-realtime-worker[plots]'.") from None
    matplotlib.use("svg")
    colours = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY)
    matplotlib.rcParams.update({**colours, "font.family": "sans-serif", "font.size": 9.5, "svg.hashsalt": "bench"})
    return importlib.import_module("matplotlib.pyplot")
