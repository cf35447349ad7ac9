"""Draws docs/images/evidence_*.png from the committed numbers; lightness, markers and dashes carry the meaning.

python -m benchmarks.evidence.plots
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.lines
import matplotlib.ticker
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.claims import RESULTS, ROOT
from benchmarks.evidence.markdown import DATASET_LABELS, Tables
from benchmarks.evidence.tables import load

IMAGES = ROOT / "docs" / "images"

_INK, _SOFT, _RULE, _DEEP = "#22272e", "#5b6570", "#d5d9df", "#1b4965"
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_SHARES = {"full": "all training data", "sparse": "10% of it"}
_LOOKS = {
    "full": {"color": _DEEP, "marker": "o", "markerfacecolor": _DEEP},
    "sparse": {"color": "#7d8b97", "marker": "D", "markerfacecolor": "white"},
}
_SLICES = ("head", "torso", "tail")
# A very wide interval is cut, and marked so, rather than squash the others.
_WIDEST = 5.0


def draw_gains(tables: Tables) -> Figure | None:
    """Relative gain of each regularizer over none: a panel per data set, both shares, 95% intervals."""
    datasets, labels = tables["datasets"], tables["labels"]
    order = tables["groups"]["towers"]
    arms = [arm for arm in order if any(arm in tables["gains"][share][name] for share in _SHARES for name in datasets)]
    if not arms:
        return None
    figure = Figure(figsize=(2.0 + 1.75 * len(datasets), 1.0 + 0.36 * len(arms)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(datasets), sharey=True))
    for axes, dataset in zip(panels, datasets):
        rows = [
            (y + (0.17 if share == "sparse" else -0.17), share, _relative(tables, share, dataset, arm, "recall_at_50"))
            for y, arm in enumerate(arms)
            for share in _SHARES
        ]
        _forest(axes, rows)
        axes.set_title(DATASET_LABELS[dataset])
    panels[0].set_yticks(range(len(arms)), [labels[arm] for arm in arms])
    panels[0].set_ylim(len(arms) - 0.5, -0.5)
    figure.supxlabel(f"Gain in Recall@50 over {labels['none']}, with 95% interval", fontsize=9)
    _legend(figure)
    return figure


def draw_slices(tables: Tables) -> Figure | None:
    """Relative gain of the recommended arm over none by popularity of the item, both shares."""
    datasets, recommended = tables["datasets"], tables["recommended"]
    if not any(recommended in tables["gains"][share][dataset] for share in _SHARES for dataset in datasets):
        return None
    figure = Figure(figsize=(1.0 + 1.75 * len(datasets), 2.3), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(datasets), sharey=True))
    for axes, dataset in zip(panels, datasets):
        rows = [
            (y + (0.15 if share == "sparse" else -0.15), share, _relative(tables, share, dataset, recommended, part))
            for y, part in enumerate(_SLICES)
            for share in _SHARES
        ]
        _forest(axes, rows)
        axes.set_title(DATASET_LABELS[dataset])
    panels[0].set_yticks(range(len(_SLICES)), _SLICES)
    panels[0].set_ylim(len(_SLICES) - 0.5, -0.5)
    name = tables["labels"][recommended]
    figure.supxlabel(f"Gain of {name} in Recall@50 over {tables['labels']['none']}, with 95% interval", fontsize=9)
    _legend(figure)
    return figure


def draw_all(tables: Tables, to: Path = IMAGES) -> list[Path]:
    """Writes the figures there is data for and returns their paths."""
    with matplotlib.rc_context(_STYLE):
        figures = {"gains": draw_gains(tables), "slices": draw_slices(tables)}
        written = []
        for name, figure in figures.items():
            if figure is not None:
                to.mkdir(parents=True, exist_ok=True)
                written.append(to / f"evidence_{name}.png")
                # No date or version inside: the same numbers give the same file.
                figure.savefig(written[-1], dpi=110, metadata={"Software": None})
    return written


def _relative(tables: Tables, share: str, dataset: str, arm: str, column: str) -> Sequence[float | None] | None:
    row = (tables["gains"][share][dataset].get(arm) or {}).get(column)
    return None if row is None else row["relative"]


def _forest(axes: Axes, rows: Sequence[tuple[float, str, Any]]) -> None:
    """Points with intervals at heights y; where nothing is known the line stays empty."""
    known = [(y, share, found) for y, share, found in rows if found is not None and found[1] is not None]
    axes.axvline(0.0, color=_INK, linewidth=0.8)
    axes.grid(axis="x", color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    if not known:
        return
    reach = np.array([max(abs(low), abs(high)) for _, _, (_, low, high) in known])
    limit = min(reach.max(), _WIDEST * np.median(reach)) or 0.01
    for y, share, (value, low, high) in known:
        look: Mapping[str, Any] = _LOOKS[share]
        axes.plot(np.clip([low, high], -limit, limit), [y, y], color=look["color"], linewidth=1.6)
        for beyond, end, marker in ((low < -limit, -limit, "<"), (high > limit, limit, ">")):
            if beyond:
                axes.plot(end, y, marker, color=look["color"], markersize=4)
        if abs(value) <= limit:
            axes.plot(value, y, look["marker"], color=look["color"], markerfacecolor=look["markerfacecolor"], ms=4.5)
    axes.set_xlim(-1.06 * limit, 1.06 * limit)
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(4, symmetric=True))
    axes.xaxis.set_major_formatter(
        lambda value, _: f"{100 * value:+.3g}%".replace("-", "\N{MINUS SIGN}") if value else "0"
    )
    axes.tick_params(axis="x", labelsize=7.5)


def _legend(figure: Figure) -> None:
    handles = [
        matplotlib.lines.Line2D([], [], label=label, markersize=5, linestyle="-", **_LOOKS[share])
        for share, label in _SHARES.items()
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False, fontsize=8.5)


def main() -> int:
    try:
        written = draw_all(load(RESULTS))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for path in written:
        print(f"{path.relative_to(ROOT)} {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
