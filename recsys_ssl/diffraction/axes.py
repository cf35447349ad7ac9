"""Particles that look much the same however far they are turned about one axis: how well that axis is known.

An error of orientation in full means little for them, since the turn about the axis hardly shows. What shows is where
the axis points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from recsys_ssl.diffraction.rotations import to_matrices
from recsys_ssl.diffraction.validation import sphere_correlations, spread_points

_CANDIDATES = 400
_RADII_OF_CANDIDATES = 6
_FRAME_STEPS = 5
_HALF_TURN = np.array([-1.0, -1.0, 1.0])
"""In the plane of a pattern, which looks the same where the Ewald sphere is flat."""


def find_axis(volume: np.ndarray, radii: Sequence[int], fold: int) -> np.ndarray:
    """[3] float64 of length 1: about which a turn by 1 / fold changes the volume least.

    Args:
        volume: [side, side, side].
        radii: of spheres that count, see `validation.sphere_correlations`.
        fold: 5 for a particle that comes to itself after a fifth of a turn.
    """
    few = radii[:: max(1, len(radii) // _RADII_OF_CANDIDATES)]

    def agree(axis: np.ndarray, of: Sequence[int]) -> float:
        half = np.pi / fold
        turn = np.concatenate([[np.cos(half)], np.sin(half) * axis / np.linalg.norm(axis)])
        return float(np.nanmean(sphere_correlations(volume, volume, of, turn)))

    candidates = spread_points(2 * _CANDIDATES)[:_CANDIDATES]  # one of each pair of directions
    best = max(candidates, key=lambda axis: agree(axis, few))
    found = minimize(lambda axis: -agree(axis, radii), best, method="Nelder-Mead", options={"xatol": 1e-3}).x
    return found / np.linalg.norm(found)


def axis_tilts_degrees(found: np.ndarray, truth: np.ndarray, axis: np.ndarray, start: np.ndarray) -> np.ndarray:
    """[num_patterns] float64, angles between where an axis of the particle points in a pattern and where it was found.

    An axis has no direction, and half turns in the plane of a pattern are none, so angles are 0 to 90. The frame of the
    found orientations is that in which the axes agree best.

    Args:
        found, truth: [num_patterns, 4] quaternions.
        axis: [3], in the frame of `truth`.
        start: [3], about the same axis in the frame of `found`, e.g. by `validation.align`.
    """
    back, there = to_matrices(found).transpose(0, 2, 1), to_matrices(truth).transpose(0, 2, 1)
    wanted = there @ axis
    images = np.stack([wanted, wanted * _HALF_TURN])
    own = start / np.linalg.norm(start)
    for _ in range(_FRAME_STEPS):
        cosines = np.abs((images * (back @ own)).sum(axis=-1))
        nearest = images[cosines.argmax(axis=0), np.arange(len(wanted))]
        inliers = cosines.max(axis=0) >= np.median(cosines.max(axis=0))
        # The line that is nearest to what the patterns propose.
        proposed = (back.transpose(0, 2, 1) @ nearest[:, :, None])[inliers, :, 0]
        own = np.linalg.eigh(proposed.T @ proposed)[1][:, -1]
    cosines = np.abs((images * (back @ own)).sum(axis=-1)).max(axis=0)
    return np.degrees(np.arccos(np.minimum(cosines, 1.0)))
