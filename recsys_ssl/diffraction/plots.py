"""A picture of a reconstruction: planes of the volume through the origin, and how the run went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
