"""Pictures of a reconstruction: planes of the volume through the origin, how the run went, and how good it is."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import matplotlib.cm
import matplotlib.colors
import numpy as np
from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_DEEP, _LIGHT = "#1b4965", "#8aa1b4"
_DARKEST_PERCENT, _BRIGHTEST_PERCENT = 5, 99.5


def draw(volume: np.ndarray, history: Sequence[dict[str, Any]], max_radius_voxels: float) -> Figure:
    """Three planes on a logarithmic scale, and likelihood, information and beta by iteration.

    Args:
        volume: [side, side, side].
        history: rows of one start, see `emc.Reconstruction`.
        max_radius_voxels: what lies farther from the origin has been seen by no pixel, and is left blank.
    """
    side, middle = len(volume), len(volume) // 2
    line = np.arange(side) - middle
    is_seen = np.hypot(*np.meshgrid(line, line)) <= max_radius_voxels
    planes = {"y z": volume[middle], "x z": volume[:, middle], "x y": volume[:, :, middle]}
    logs = {name: np.log10(np.where(is_seen & (plane > 0), plane, np.nan)) for name, plane in planes.items()}
    values = np.concatenate([plane[np.isfinite(plane)] for plane in logs.values()])
    low, high = np.percentile(values, [_DARKEST_PERCENT, _BRIGHTEST_PERCENT]) if len(values) else (0.0, 1.0)

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 5.6), layout="constrained")
        upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=[3, 2]))
        axes = upper.subplots(1, 3)
        scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(low, high), "viridis")
        for place, (name, plane) in zip(axes, logs.items(), strict=True):
            first, second = name.split()
            extent = [line[0], line[-1], line[0], line[-1]]
            place.imshow(plane.T, origin="lower", cmap=scale.cmap, norm=scale.norm, extent=extent)
            place.set(xlabel=f"{first}, voxels", ylabel=f"{second}, voxels")
        upper.colorbar(scale, ax=axes, label="log10 photons a pixel", shrink=0.8)

        left, middle_axes, right = lower.subplots(1, 3)
        iterations = [row["iteration"] for row in history]
        curves = (("log_likelihood", "merged", _DEEP, "-"), ("held_out_log_likelihood", "held out", _LIGHT, "--"))
        for key, name, color, style in curves:
            left.plot(iterations, [row[key] for row in history], style, color=color, label=name)
        left.set(xlabel="iteration", ylabel="log-likelihood, nats a pattern")
        left.legend(frameon=False)
        middle_axes.plot(iterations, [row["information"] for row in history], color=_DEEP)
        middle_axes.set(xlabel="iteration", ylabel="information, nats a pattern")
        right.plot(iterations, [row["beta"] for row in history], color=_DEEP)
        right.set(xlabel="iteration", ylabel="beta", yscale="log")
    return figure


def draw_spheres(radii: Sequence[int], curves: Mapping[str, Sequence[Optional[float]]]) -> Figure:
    """Correlations by radius, a line for each of what was compared; nothing is shown where there is none."""
    looks: list[dict[str, Any]] = [{"color": _DEEP, "marker": "o"}, {"color": _LIGHT, "linestyle": "--", "marker": "s"}]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9.2, 2.8), layout="constrained")
        axes = figure.add_subplot()
        for (name, values), look in zip(curves.items(), looks, strict=False):
            known = np.array([np.nan if value is None else value for value in values], np.float64)
            axes.plot(radii, known, label=name, markersize=3, **look)
        axes.set(xlabel="radius, voxels", ylabel="correlation", ylim=(min(0.0, axes.get_ylim()[0]), 1.02))
        axes.legend(frameon=False)
    return figure


def draw_angles(degrees: Sequence[float], floor_degrees: float, label: str) -> Figure:
    """How often angles occur, and the mean angle between a random rotation and the grid."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.4, 2.8), layout="constrained")
        axes = figure.add_subplot()
        axes.hist(degrees, bins=min(60, max(10, len(degrees) // 10)), color=_LIGHT)
        axes.axvline(floor_degrees, color=_DEEP, linestyle="--", label="floor of the grid")
        axes.set(xlabel=f"{label}, degrees", ylabel="patterns")
        axes.legend(frameon=False)
    return figure


def draw_fluences(found: Sequence[float], truth: Sequence[float]) -> Figure:
    """Fluences that were found against the true ones, both of mean 1."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.4, 2.8), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(truth, found, ".", color=_DEEP, markersize=3)
        axes.axline((0.0, 0.0), slope=1.0, color=_LIGHT, linestyle="--")
        axes.set(xlabel="true fluence", ylabel="fluence found")
    return figure


def to_png(figure: Figure) -> bytes:
    """The figure as a picture for a page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
