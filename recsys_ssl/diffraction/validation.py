"""How good a reconstruction is, where the truth is known; `halves` compares it with itself.

A reconstruction is defined up to a rotation. Of an intensity that is its whole freedom: the mirror image of a volume
with Friedel's symmetry is one of its rotations. Where the Ewald sphere is flat, a pattern turned by half a turn in its
own plane is the same, and so orientations are compared up to that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from recsys_ssl.diffraction.rotations import (
    HALF_TURNS,
    angles_degrees,
    draw_rotations,
    invert,
    multiply,
    sample_rotations,
    to_matrices,
)
from recsys_ssl.diffraction.slices import expand, radii_of, shells_of

_POINTS_PER_SHELL = 150
_POINTS_PER_SPHERE = 2000
_START_RADIANS = 0.1
_FRAME_STEPS = 5


class Alignment(NamedTuple):
    """How a volume is turned against another."""

    quaternion: np.ndarray
    """[4]: the volume at R p is the other at p."""
    correlation: float
    """Mean over shells at the few points that are sampled; `sphere_correlations` has more of them."""


class FluenceError(NamedTuple):
    """Of fluences scaled to the same mean."""

    correlation: float
    median_relative_error: float


# --- Volumes ---------------------------------------------------------------------------------------------


def shell_correlations(volume: np.ndarray, truth: np.ndarray, radii: Sequence[int]) -> np.ndarray:
    """[num_radii] float64, Pearson correlations of two volumes over the voxels of each shell, -1 to 1.

    Args:
        volume, truth: [side, side, side], in the same orientation.
        radii: of shells one voxel thick.

    Returns:
        NaN for a shell where one of them is constant.
    """
    if volume.shape != truth.shape:
        raise ValueError(f"volumes must be of one size. Received: {list(volume.shape)} and {list(truth.shape)}.")
    shells, left, right = shells_of(len(truth)), volume.ravel(), truth.ravel()
    found = []
    for radius in radii:
        inside = shells == radius
        a, b = left[inside] - left[inside].mean(), right[inside] - right[inside].mean()
        lengths = np.sqrt((a @ a) * (b @ b))
        found.append(a @ b / lengths if lengths > 0 else np.nan)
    return np.array(found)


def sphere_correlations(
    volume: np.ndarray, truth: np.ndarray, radii: Sequence[float], quaternion: np.ndarray
) -> np.ndarray:
    """[num_radii] float64, Pearson correlations of two volumes over spheres, -1 to 1.

    Both are read between voxels alike, by trilinear interpolation at points that lie evenly on each sphere, so that
    neither is blurred more than the other; `shell_correlations` of a rotated volume compares an interpolated one with
    voxels, and is lower by about 0.01.

    Args:
        volume: [side, side, side].
        truth: the same, sides may differ.
        radii: of spheres, in voxels.
        quaternion: [4], how the volume is turned: at R p it is compared with the truth at p, see `align`.

    Returns:
        NaN for a sphere on which one of them is constant.
    """
    points = np.multiply.outer(np.asarray(radii, np.float64), spread_points(_POINTS_PER_SPHERE)).reshape(-1, 3)
    shape = (len(radii), _POINTS_PER_SPHERE)
    seen = expand(volume.astype(np.float64), to_matrices(quaternion)[None], points).reshape(shape)
    wanted = expand(truth.astype(np.float64), np.eye(3)[None], points).reshape(shape)
    products = (_normalise(seen) * _normalise(wanted)).sum(axis=-1)
    return np.where((seen.std(axis=-1) > 0) & (wanted.std(axis=-1) > 0), products, np.nan)


def spread_points(num: int) -> np.ndarray:
    """[num, 3] float64 of length 1, along a spiral of the golden angle: each stands for the same area."""
    heights = 1 - (2 * np.arange(num) + 1) / num
    turns = np.arange(num) * (np.pi * (3 - 5**0.5))
    across = np.sqrt(1 - heights**2)
    return np.stack([across * np.cos(turns), across * np.sin(turns), heights], axis=1)


def align(volume: np.ndarray, truth: np.ndarray, radii: Sequence[int], n: int = 4) -> Alignment:
    """The rotation at which a volume correlates best with another, by a grid of rotations and then by simplex.

    Args:
        volume, truth: [side, side, side], sides may differ.
        radii: shells that count, alike.
        n: of the grid, see `rotations.sample_rotations`.
    """
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((len(radii), _POINTS_PER_SHELL, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    points = (directions * np.array(radii, np.float64)[:, None, None]).reshape(-1, 3)
    shape = (-1, len(radii), _POINTS_PER_SHELL)
    wanted = _normalise(expand(truth.astype(np.float64), np.eye(3)[None], points).reshape(shape))[0]
    sampled = volume.astype(np.float64)

    def correlate(quaternions: np.ndarray) -> np.ndarray:
        seen = _normalise(expand(sampled, to_matrices(quaternions), points).reshape(shape))
        return np.einsum("jrp,rp->j", seen, wanted) / len(radii)

    grid = sample_rotations(n).quaternions
    best = grid[correlate(grid).argmax()]

    def misfit(turn: np.ndarray) -> float:
        return -float(correlate(_turned(best, turn)[None])[0])

    simplex = np.concatenate([np.zeros((1, 3)), _START_RADIANS * np.eye(3)])
    found = minimize(misfit, np.zeros(3), method="Nelder-Mead", options={"initial_simplex": simplex})
    return Alignment(_turned(best, found.x), -float(found.fun))


def _normalise(values: np.ndarray) -> np.ndarray:
    """Less the mean of the last axis, and of length 1 along it."""
    values = values - values.mean(axis=-1, keepdims=True)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-300)


def _turned(quaternion: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """[4], a rotation after a small one."""
    small = np.concatenate([[1.0], turn / 2])
    return multiply(quaternion, small / np.linalg.norm(small))


def rotate(volume: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """[side, side, side] float64, the volume at R p for each p; 0 where that, or a voxel beside it, is outside."""
    side = len(volume)
    inside = radii_of(side) < (side - 1) / 2
    points = np.argwhere(inside) - (side - 1) / 2
    rotated = np.zeros(volume.shape)
    rotated[inside] = expand(volume.astype(np.float64), to_matrices(quaternion)[None], points)[0]
    return rotated


# --- Orientations ----------------------------------------------------------------------------------------


def global_rotation(found: np.ndarray, truth: np.ndarray, num_candidates: int = 100) -> np.ndarray:
    """[4], the rotation of the frame: found is about it times truth, up to half turns in the plane of a pattern.

    Each of the first patterns proposes one. That with the smallest median error becomes the mean of what all patterns
    propose that it fits to twice its median error, a few times over.

    Args:
        found, truth: [num_patterns, 4].
    """
    turns = np.stack([multiply(each, invert(truth)) for each in (found, multiply(found, HALF_TURNS[3]))])
    proposed = turns[:, :num_candidates].reshape(-1, 4)
    frame = min(proposed, key=lambda candidate: np.median(_errors(found, truth, candidate)))
    for _ in range(_FRAME_STEPS):
        angles = angles_degrees(turns, frame)
        nearest = turns[angles.argmin(axis=0), np.arange(len(truth))]
        inliers = nearest[angles.min(axis=0) <= 2 * np.median(angles.min(axis=0))]
        # The mean of quaternions up to sign: Markley et al. 2007.
        frame = np.linalg.eigh(inliers.T @ inliers)[1][:, -1]
    return frame


def orientation_errors_degrees(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """[num_patterns] float64, angles between found and true orientations in one frame, up to half turns in the plane.

    Compare with `grid_floor_degrees`: no grid does better than the distance to its nearest rotation.
    """
    return _errors(found, truth, global_rotation(found, truth))


def _errors(found: np.ndarray, truth: np.ndarray, frame: np.ndarray) -> np.ndarray:
    expected = multiply(frame, truth)
    return np.minimum(angles_degrees(found, expected), angles_degrees(found, multiply(expected, HALF_TURNS[3])))


def grid_floor_degrees(n: int, num_draws: int = 1000, seed: int = 0) -> float:
    """Mean angle between a random rotation and the nearest one of the grid: about 31 / n degrees."""
    grid = sample_rotations(n).quaternions
    drawn = draw_rotations(num_draws, np.random.default_rng(seed))
    cosines = np.abs(drawn @ grid.T).max(axis=1)
    return float(2 * np.degrees(np.arccos(np.minimum(cosines, 1.0))).mean())


def fluence_error(found: np.ndarray, truth: np.ndarray) -> FluenceError:
    """How well fluences of [num_patterns] agree, each divided by its mean."""
    found, truth = found / found.mean(), truth / truth.mean()
    errors = np.abs(found - truth) / truth
    return FluenceError(float(np.corrcoef(found, truth)[0, 1]), float(np.median(errors)))
