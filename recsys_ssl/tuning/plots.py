"""The figures of a search as SVG. Lightness, dashes and markers carry the meaning, so grey print loses nothing."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from recsys_ssl.tuning.results import Found, Trial
from recsys_ssl.tuning.space import Choice, Dimension, Ladder, LogUniform, Space, Steps, to_unit, write_value

_INK, _SOFT, _RULE, _DEEP = "#22272e", "#5b6570", "#d5d9df", "#1b4965"
_SHADES = LinearSegmentedColormap.from_list("shades", ["#dbe6ee", _DEEP])
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.hashsalt": "recsys_ssl",  # the same study gives the same bytes
    "text.parse_math": False,
}
_COLUMNS = 3


def draw_history(found: Found, metric: str) -> str:
    """The score of each trial in the order of the search, and the best so far."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 3.2), layout="constrained")
        axes = figure.add_subplot()
        new = [trial for trial in found.trials if trial.score is not None and trial.repeats is None]
        again = [trial for trial in found.trials if trial.score is not None and trial.repeats is not None]
        for some, face, label in ((new, _SOFT, "trial"), (again, "white", "repeat, not trained again")):
            if some:
                slots, scores = [trial.slot for trial in some], [trial.score or 0.0 for trial in some]
                axes.plot(slots, scores, "o", color=_SOFT, markerfacecolor=face, markersize=3.5, label=label)
        best = [math.nan if score is None else score for score in found.best_so_far()]
        axes.step([trial.slot for trial in found.trials], best, where="post", color=_DEEP, label="best so far")
        lost = [trial.slot for trial in found.trials if trial.state in ("pruned", "failed")]
        if lost:
            foot = axes.get_xaxis_transform()
            low = [0.02] * len(lost)
            axes.plot(lost, low, "x", color=_SOFT, markersize=4, transform=foot, label="pruned or failed")
        axes.set_xlabel("trial")
        axes.set_ylabel(metric)
        axes.grid(color=_RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(frameon=False, fontsize=8, loc="lower right" if found.larger_is_better else "upper right")
        return _svg(figure)


def draw_importance(importance: dict[str, float]) -> str:
    """Bars of the importance of each setting, the largest first."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 0.6 + 0.28 * len(importance)), layout="constrained")
        axes = figure.add_subplot()
        axes.barh(list(importance), list(importance.values()), color=_DEEP, height=0.6)
        for y, share in enumerate(importance.values()):
            axes.text(share, y, f" {share:.0%}", va="center", fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(0.0, 1.08 * max(importance.values()))
        axes.xaxis.set_visible(False)
        axes.tick_params(axis="y", length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        return _svg(figure)


def draw_parallel(found: Found, space: Space) -> str:
    """A line for each complete trial through the values of its settings; the darker, the better its rank."""
    trials = _by_rank(found)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 3.6), layout="constrained")
        axes = figure.add_subplot()
        for place, trial in enumerate(trials):
            rank = place / max(len(trials) - 1, 1)
            heights = [to_unit(dimension, trial.settings[name]) for name, dimension in space.items()]
            width = 2.2 if place == len(trials) - 1 else 0.9
            axes.plot(range(len(space)), heights, color=_SHADES(rank), linewidth=width)
        for x, dimension in enumerate(space.values()):
            axes.axvline(x, color=_RULE, linewidth=0.8, zorder=0)
            for height, label in _ends(dimension):
                above = height == 1.0
                y, align = height + (0.02 if above else -0.02), "bottom" if above else "top"
                axes.text(x, y, label, ha="center", va=align, fontsize=8, color=_SOFT)
        axes.set_xticks(range(len(space)), [name.replace(".", ".\n", 1) for name in space])
        axes.tick_params(axis="x", length=0, pad=12)
        axes.set_ylim(-0.08, 1.08)
        axes.yaxis.set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        return _svg(figure)


def draw_slices(found: Found, space: Space, metric: str) -> str:
    """The score against each setting by itself; the darker, the later the trial."""
    trials = [trial for trial in found.trials if trial.score is not None and trial.repeats is None]
    rows = math.ceil(len(space) / _COLUMNS)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 2.3 * rows), layout="constrained")
        grid = figure.subplots(rows, _COLUMNS, sharey=True, squeeze=False)
        shades = np.linspace(0.15, 1.0, max(len(trials), 1))[: len(trials)]
        for axes, (name, dimension) in zip(grid.flat, space.items()):
            x = [_on_axis(dimension, trial.settings[name]) for trial in trials]
            axes.scatter(x, [trial.score or 0.0 for trial in trials], c=_SHADES(shades), s=14, linewidths=0)
            if isinstance(dimension, LogUniform):
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
                axes.xaxis.set_minor_formatter(lambda value, _: "")
            if isinstance(dimension, Steps):
                axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
            if isinstance(dimension, (Ladder, Choice)):
                labels = [write_value(value) for value in dimension.values]
                axes.set_xticks(range(len(labels)), labels, rotation=0 if len(labels) < 6 else 45)
            axes.set_xlabel(name)
            axes.grid(color=_RULE, linewidth=0.6)
            axes.set_axisbelow(True)
        for axes in grid[:, 0]:
            axes.set_ylabel(metric, fontsize=8)
        for axes in list(grid.flat)[len(space) :]:
            axes.set_visible(False)
        return _svg(figure)


def _by_rank(found: Found) -> Sequence[Trial]:
    """The complete trials but repeats, the worst first."""
    complete = [trial for trial in found.trials if trial.score is not None and trial.repeats is None]
    return sorted(complete, key=lambda trial: trial.score or 0.0, reverse=not found.larger_is_better)


def _ends(dimension: Dimension) -> list[tuple[float, str]]:
    if isinstance(dimension, (Ladder, Choice)):
        first, last = write_value(dimension.values[0]), write_value(dimension.values[-1])
    else:
        first, last = f"{dimension.low:g}", f"{dimension.high:g}"
    return [(0.0, first), (1.0, last)]


def _on_axis(dimension: Dimension, value: Any) -> float:
    return dimension.values.index(value) if isinstance(dimension, (Ladder, Choice)) else value


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
