"""The report's figures as SVG. Lightness, dashes and markers carry the meaning, so grey print loses nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from recsys_ssl.evaluation.metrics import choose_reported_k, label_of, name_recall
from recsys_ssl.text import make_visible

_INK, _SOFT, _RULE, _DEEP = "#22272e", "#5b6570", "#d5d9df", "#1b4965"
_ARMS: dict[str, dict[str, Any]] = {
    "treatment": {"color": _DEEP, "linestyle": "-", "marker": "o"},
    "control": {"color": "#8aa1b4", "linestyle": "--", "marker": "s"},
    "popularity": {"color": "#b8a47e", "linestyle": ":", "marker": "^"},
    "own_counts": {"color": "#8c6d46", "linestyle": "-.", "marker": "v"},
}
_ARM_NAMES = {
    "treatment": "Treatment",
    "control": "Control",
    "popularity": "Most popular",
    "own_counts": "Own counts",
}
"""The last only where queries may choose again."""
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.hashsalt": "recsys_ssl",  # The same report gives the same bytes.
    "text.parse_math": False,  # A slice may be named $5$.
}


def draw_forest(report: Mapping[str, Any]) -> str:
    """Relative lift per slice with its interval, in the metric `forest_metric`."""
    metric = forest_metric(report)
    overall = [row for row in report["metrics"] if row["metric"] == metric]
    sliced = [row for row in report["slices"] if row["metric"] == metric]
    labels = ["All", *(make_visible(row["slice"]) for row in sliced)]
    rows = overall + sliced
    bounds = np.array([row["relative_interval"] or (np.nan, np.nan) for row in rows], np.float64)
    lifts = np.array([np.nan if row["relative"] is None else row["relative"] for row in rows], np.float64)
    limit = _limit(bounds, lifts)
    groups = [None, *(make_visible(row["dimension"]) for row in sliced)]

    with matplotlib.rc_context(STYLE):
        positions, headings = _positions(groups)
        figure = Figure(figsize=(9.2, 0.75 + 0.26 * (positions[-1] + 1)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvline(0.0, color=_INK, linewidth=0.8)
        for y, row, lift, (low, high) in zip(positions, rows, lifts, bounds):
            is_overall = y == 0
            if np.isfinite(low):
                axes.plot(
                    np.clip([low, high], -limit, limit), [y, y], color=_DEEP, linewidth=2.6 if is_overall else 1.6
                )
                for end, beyond, marker in ((-limit, low < -limit, "<"), (limit, high > limit, ">")):
                    if beyond:
                        axes.plot(end, y, marker, color=_DEEP, markersize=4)
            if np.isfinite(lift) and abs(lift) <= limit:
                face = _DEEP if is_overall or row.get("significant") else "white"
                axes.plot(lift, y, "D" if is_overall else "o", color=_DEEP, markerfacecolor=face, markersize=5.5)
            axes.text(
                1.02, y, _lift_text(lift), transform=axes.get_yaxis_transform(), va="center", ha="left", fontsize=8.5
            )
            axes.text(
                1.15,
                y,
                f"n = {row['n']:,}",
                transform=axes.get_yaxis_transform(),
                va="center",
                ha="left",
                fontsize=8,
                color=_SOFT,
            )
        for y, heading in headings:
            axes.text(
                -0.01,
                y,
                heading,
                transform=axes.get_yaxis_transform(),
                ha="right",
                va="center",
                fontsize=8,
                color=_SOFT,
                style="italic",
            )
        axes.set_yticks(positions, labels)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(positions[-1] + 0.7, -0.7)
        axes.set_xlim(-1.04 * limit, 1.04 * limit)
        axes.xaxis.set_major_formatter(lambda value, _: _signed(100 * value, "+.3g") if abs(value) > 1e-12 else "0")
        axes.set_xlabel(f"Relative lift in {label_of(metric)}, treatment over control")
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=_RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        return to_svg(figure)


def draw_recall_curve(report: Mapping[str, Any]) -> str:
    """Recall@k over k for both arms and the floors."""
    curve = report["recall_curve"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        for arm, look in _ARMS.items():
            if arm not in curve:
                continue
            axes.plot(curve["k"], curve[arm], label=_ARM_NAMES[arm], linewidth=1.6, markersize=4, **look)
        axes.set_xscale("log")
        ticks = [k for k in (1, 5, 10, 20, 50, 100, 200) if k <= curve["k"][-1]]
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("k (log scale)")
        axes.set_ylabel("Recall@k")
        axes.grid(color=_RULE, linewidth=0.6)
        axes.legend(frameon=False, loc="upper left")
        return to_svg(figure)


def draw_exposure(report: Mapping[str, Any]) -> str:
    """Share of head, torso, tail and cold items among each arm's first ten, beside catalogue and held-out pairs."""
    exposure = report["exposure"]
    bars = {"Catalogue": "catalogue", "Held-out pairs": "held_out"}
    bars |= {label: arm for arm, label in _ARM_NAMES.items() if arm in exposure}
    greys = (_DEEP, "#5f8aa6", "#a9c3d3", "#eef2f5")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 3.3), layout="constrained")
        axes = figure.add_subplot()
        left = np.zeros(len(bars))
        for index, (name, color) in enumerate(zip(exposure["slices"], greys)):
            widths = np.array([exposure[key][index] for key in bars.values()])
            axes.barh(
                list(bars), widths, left=left, color=color, edgecolor="#7d8b97", linewidth=0.5, label=name, height=0.66
            )
            for y, (start, width) in enumerate(zip(left, widths)):
                if width >= 0.09:
                    ink = "white" if index < 2 else _INK
                    axes.text(start + width / 2, y, f"{width:.0%}", ha="center", va="center", color=ink, fontsize=8)
            left += widths
        axes.invert_yaxis()
        axes.set_xlim(0.0, 1.0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside upper center", ncols=4, frameon=False, handlelength=1.2, columnspacing=1.4)
        return to_svg(figure)


def forest_metric(report: Mapping[str, Any]) -> str:
    """The metric of the slice plot: the primary where every slice has it (a recall), else Recall@k of the catalogue."""
    primary = report["verdict"]["primary"]
    if "slice_metrics" not in report:  # of earlier versions
        return primary if primary.startswith("recall") else "recall_at_50"
    return primary if primary in report["slice_metrics"] else name_recall(choose_reported_k(report["counts"]["items"]))


def _positions(groups: list) -> tuple[list[int], list[tuple[int, str]]]:
    """One line per row, with a line for the heading before each new group: row lines, and (line, heading)."""
    positions, headings, line, previous = [], [], 0, None
    for group in groups:
        if group != previous:
            headings.append((line, group))
            line += 1
        positions.append(line)
        line, previous = line + 1, group
    return positions, headings


def _limit(bounds: np.ndarray, lifts: np.ndarray) -> float:
    """Half the width of the axis: a few very wide intervals are cut (and marked so) rather than squash the rest."""
    reach = np.concatenate([np.abs(bounds).max(axis=1), np.abs(lifts[:1])])
    reach = reach[np.isfinite(reach)]
    if not len(reach) or reach.max() == 0.0:
        return 0.01
    return float(min(reach.max(), 4.0 * np.median(reach))) or float(reach.max())


def _lift_text(lift: float) -> str:
    return _signed(100 * lift, "+.1f") if np.isfinite(lift) else "undefined"


def _signed(percent: float, form: str) -> str:
    return f"{percent:{form}}%".replace("-", "\N{MINUS SIGN}")


def to_svg(figure: Figure) -> str:
    """The figure, the same bytes for the same figure."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
