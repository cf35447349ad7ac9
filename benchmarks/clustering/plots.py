"""Draws docs/images/clusters_*.png from the numbers of the tables; markers and dashes carry the meaning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from benchmarks.clustering.arms import DOMAINS
from benchmarks.clustering.summary import Facts, find_peak
from recsys_ssl.evaluation.plots import STYLE

# Okabe and Ito's palette, which the colour-blind tell apart.
_LOOKS: Mapping[str, Mapping[str, Any]] = {
    "images": {"color": "#0072B2", "marker": "o"},
    "towers": {"color": "#D55E00", "marker": "s"},
    "molecules": {"color": "#009E73", "marker": "^"},
}
_DASHES = ("-", "--", "-.", ":")
_RULE = "#d5d9df"


def draw_relation(facts: Facts) -> Figure:
    """Cluster accuracy over linear probe, a panel per domain; floors are hollow, bars are intervals over seeds."""
    figure = Figure(figsize=(3.1 * len(facts["arms"]), 3.3), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(facts["arms"])))
    for axes, (domain, arms) in zip(panels, facts["arms"].items()):
        look, relation = _LOOKS[domain], facts["relations"][domain]
        axes.grid(color=_RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        ends = []
        for arm, own in arms.items():
            (x, x_half), (y, y_half) = own["probes"]["linear"], own["clusters"]["plain"]["1"]["accuracy"]
            face = "white" if DOMAINS[domain].is_floor(arm) else look["color"]
            bars = {"xerr": 100 * (x_half or 0.0), "yerr": 100 * (y_half or 0.0), "elinewidth": 0.8}
            axes.errorbar(
                100 * x, 100 * y, fmt=look["marker"], color=look["color"], markerfacecolor=face, ms=5.5, **bars
            )
            name = DOMAINS[domain].name(arm)
            axes.annotate(_shorten(name), (100 * x, 100 * y), xytext=(5, 4), textcoords="offset points", fontsize=6.5)
            ends.append(x)
        title = DOMAINS[domain].label
        if relation is not None:
            line = np.array([min(ends), max(ends)])
            axes.plot(
                100 * line, 100 * (relation["slope"] * line + relation["intercept"]), color="#5b6570", lw=0.9, ls="--"
            )
            title += f", R² {relation['r2']:.2f}"
        axes.set_title(title, fontsize=9.5)
        axes.margins(0.16, 0.12)
    figure.supxlabel("Linear probe, % of test right", fontsize=9)
    panels[0].set_ylabel("Clusters, % of test right")
    return figure


def draw_curves(facts: Facts) -> Figure:
    """Accuracy and ARI over clusters per class, with each ARI's highest marked, and accuracy over components kept."""
    figure = Figure(figsize=(9.2, 3.5), layout="constrained")
    accuracy, ari, kept = figure.subplots(1, 3)
    for axes, title, label in (
        (accuracy, "Accuracy, Hungarian", "clusters per class"),
        (ari, "ARI, highest marked", "clusters per class"),
        (kept, "Accuracy, a cluster per class", "share of the components kept"),
    ):
        axes.set_title(title, fontsize=9.5)
        axes.set_xlabel(label)
        axes.grid(color=_RULE, linewidth=0.6)
        axes.set_axisbelow(True)
    kept.set_xscale("log", base=2)
    handles = []
    for domain, arms in facts["arms"].items():
        for number, arm in enumerate(filter(DOMAINS[domain].is_encoder, arms)):
            clusters = arms[arm]["clusters"]["plain"]
            look = {
                "color": _LOOKS[domain]["color"],
                "ls": _DASHES[number % len(_DASHES)],
                "lw": 0.9 + 0.5 * (number // len(_DASHES)),
            }
            factors = [float(over) for over in clusters]
            for axes, score in ((accuracy, "accuracy"), (ari, "ari")):
                axes.plot(factors, [100 * of[score][0] for of in clusters.values()], **look)
            peak = find_peak(clusters)
            ari.plot(float(peak), 100 * clusters[peak]["ari"][0], _LOOKS[domain]["marker"], color=look["color"], ms=5)
            curve, dim = arms[arm]["components"], min(arms[arm]["sizes"][2], arms[arm]["sizes"][0])
            numbers = [dim if name == "all" else int(name) for name in curve]
            (line,) = kept.plot([of / dim for of in numbers], [100 * of[0] for of in curve.values()], **look)
            line.set_label(f"{DOMAINS[domain].label}: {_shorten(DOMAINS[domain].name(arm))}")
            handles.append(line)
    accuracy.set_ylabel("% of test right")
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=7.5)
    return figure


def draw_all(facts: Facts, to: Path) -> list[Path]:
    """Writes both figures and returns their paths."""
    with matplotlib.rc_context(STYLE):
        written = []
        for name, figure in {"relation": draw_relation(facts), "curves": draw_curves(facts)}.items():
            to.mkdir(parents=True, exist_ok=True)
            written.append(to / f"clusters_{name}.png")
            # No date or version inside: the same numbers give the same file.
            figure.savefig(written[-1], dpi=110, metadata={"Software": None})
    return written


def _shorten(name: str) -> str:
    return name.replace("principal components", "PCs").removeprefix("GROVER ").removeprefix("towers, ")
