"""Expand and compress: slices of a volume along the Ewald sphere, and the exact adjoint that adds slices to one.

A slice has at pixel i and rotation R the trilinear value of the volume at R q_i + centre, a sum over the eight voxels
around it with weights f. Compress adds f times a value to each of the same eight. The volume has an odd side and its
origin in the middle voxel, so p -> -p takes voxels to voxels.
"""

from __future__ import annotations

import functools
from typing import Optional

import numba
import numpy as np


def expand(
    volume: np.ndarray, matrices: np.ndarray, q_voxels: np.ndarray, out: Optional[np.ndarray] = None
) -> np.ndarray:
    """[num_rotations, num_pixels] in the volume's type, its values at rotated pixels.

    Args:
        volume: [side, side, side] float32 or float64, side odd.
        matrices: [num_rotations, 3, 3] float64.
        q_voxels: [num_pixels, 3] float64.
        out: receives the values; a new array when None.

    Raises:
        ValueError: a pixel lies outside of the volume.
    """
    check_fits(volume.shape, q_voxels)
    if out is None:
        out = np.empty((len(matrices), len(q_voxels)), volume.dtype)
    _expand(volume, matrices, q_voxels, out)
    return out


def compress(values: np.ndarray, matrices: np.ndarray, q_voxels: np.ndarray, side: int) -> np.ndarray:
    """[side, side, side] float64, the adjoint of `expand`: <expand(x), y> = <x, compress(y)>.

    Args:
        values: [num_rotations, num_pixels] float32 or float64.

    Raises:
        ValueError: a pixel lies outside of the volume.
    """
    sums, ones = np.zeros((side, side, side, 2)), np.ones(values.shape[1])
    add_slices(values, np.zeros(len(values)), ones, ones, matrices, q_voxels, sums)
    return np.ascontiguousarray(sums[..., 0])


def add_slices(
    values: np.ndarray,
    slice_weights: np.ndarray,
    shares: np.ndarray,
    corrections: np.ndarray,
    matrices: np.ndarray,
    q_voxels: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Adds slices and their weights to two volumes that lie in one array, in place.

    sums[..., 0] += f * share_i * value_ij and sums[..., 1] += f * share_i * correction_i * weight_j.

    Args:
        values: [num_rotations, num_pixels], photons.
        slice_weights: [num_rotations] float64, the fluence that each slice has seen.
        shares: [num_pixels] float64, see `mirrors.Layout`.
        corrections: [num_pixels] float64.
        sums: [side, side, side, 2] float64, contiguous: what a point adds to lies side by side.
    """
    check_fits(sums.shape[:3], q_voxels)
    _compress(values, slice_weights, shares, corrections, matrices, q_voxels, sums.reshape(-1), len(sums))


def check_fits(shape: tuple[int, ...], q_voxels: np.ndarray) -> None:
    """Raises ValueError where a volume is no odd cube, or a rotated pixel could lie outside of it."""
    side = shape[0]
    if shape != (side, side, side) or side % 2 == 0:
        raise ValueError(f"a volume must be a cube with an odd side. Received: {list(shape)}.")
    # Below the last voxel, since the one behind a point is read too.
    radius = float(np.sqrt((q_voxels**2).sum(axis=-1).max(initial=0.0)))
    if not radius < (side - 1) / 2:
        raise ValueError(
            f"pixels must lie inside the volume. Received: one {radius:.1f} voxels from the origin, side {side}. "
            f"Take a side of {2 * int(np.ceil(radius)) + 3}."
        )


def symmetrise(volume: np.ndarray) -> np.ndarray:
    """The mean of a volume and its image at -p: Friedel's symmetry of an intensity."""
    return (volume + volume[::-1, ::-1, ::-1]) / 2


def divide_symmetrised(
    numerator: np.ndarray, denominator: np.ndarray, otherwise: np.ndarray, least: float
) -> np.ndarray:
    """[side, side, side] float64, symmetrise(numerator) / symmetrise(denominator) where the latter is above `least`.

    Args:
        numerator, denominator, otherwise: [side, side, side] float64; voxels keep the last one elsewhere.
    """
    out = np.empty(otherwise.shape)
    _divide(numerator, denominator, otherwise, 2 * least, out)
    return out


@functools.lru_cache(maxsize=4)
def radii_of(side: int) -> np.ndarray:
    """[side, side, side] float64, distances of voxels from the origin; not to be written to."""
    squares = (np.arange(side) - (side - 1) / 2) ** 2
    radii = np.sqrt(squares[:, None, None] + squares[:, None] + squares)
    radii.flags.writeable = False
    return radii


@functools.lru_cache(maxsize=4)
def shells_of(side: int) -> np.ndarray:
    """[side**3] int64, radii rounded to whole voxels; not to be written to."""
    shells = np.rint(radii_of(side)).astype(np.int64).ravel()
    shells.flags.writeable = False
    return shells


def shell_means(volume: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """[...] float64, means of a volume over whole shells, linear between them, at some radii of [...]."""
    shells = shells_of(len(volume))
    means = np.bincount(shells, np.asarray(volume, np.float64).ravel()) / np.bincount(shells)
    return np.interp(radii, np.arange(len(means)), means)


# --- Kernels ---------------------------------------------------------------------------------------------

# Four sums of a point lie side by side and are added to at once.
numba.config.SLP_VECTORIZE = 1  # type: ignore[attr-defined]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _expand(volume, matrices, points, out):
    centre = (volume.shape[0] - 1) / 2
    for j in range(matrices.shape[0]):
        rotation = matrices[j]
        for i in range(points.shape[0]):
            x, y, z = _rotate(rotation, points[i, 0], points[i, 1], points[i, 2], centre)
            # Never negative, so that this rounds down.
            l, m, n = int(x), int(y), int(z)  # noqa: E741
            x, y, z = x - l, y - m, z - n
            near = (1 - y) * ((1 - z) * volume[l, m, n] + z * volume[l, m, n + 1]) + y * (
                (1 - z) * volume[l, m + 1, n] + z * volume[l, m + 1, n + 1]
            )
            far = (1 - y) * ((1 - z) * volume[l + 1, m, n] + z * volume[l + 1, m, n + 1]) + y * (
                (1 - z) * volume[l + 1, m + 1, n] + z * volume[l + 1, m + 1, n + 1]
            )
            out[j, i] = (1 - x) * near + x * far


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _compress(values, slice_weights, shares, corrections, matrices, points, sums, side):
    centre, row, plane = (side - 1) / 2, np.uint64(2 * side), np.uint64(2 * side * side)
    for j in range(matrices.shape[0]):
        rotation = matrices[j]
        for i in range(points.shape[0]):
            x, y, z = _rotate(rotation, points[i, 0], points[i, 1], points[i, 2], centre)
            # An index without a sign is not asked whether it counts from the end.
            l, m, n = np.uint64(x), np.uint64(y), np.uint64(z)  # noqa: E741
            x, y, z = x - l, y - m, z - n
            value = shares[i] * values[j, i]
            weight = shares[i] * corrections[i] * slice_weights[j]
            near = plane * l + row * m + np.uint64(2) * n
            _add_pair(sums, near, (1 - x) * (1 - y), value, weight, z)
            _add_pair(sums, near + row, (1 - x) * y, value, weight, z)
            _add_pair(sums, near + plane, x * (1 - y), value, weight, z)
            _add_pair(sums, near + plane + row, x * y, value, weight, z)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _divide(numerator, denominator, otherwise, least, out):
    side = out.shape[0]
    for i in range(side):
        for j in range(side):
            for k in range(side):
                u, v, w = side - 1 - i, side - 1 - j, side - 1 - k
                seen = denominator[i, j, k] + denominator[u, v, w]
                photons = numerator[i, j, k] + numerator[u, v, w]
                out[i, j, k] = photons / seen if seen > least else otherwise[i, j, k]


@numba.njit(inline="always")
def _rotate(rotation, a, b, c, centre):
    return (
        rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2] * c + centre,
        rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2] * c + centre,
        rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2] * c + centre,
    )


@numba.njit(inline="always")
def _add_pair(sums, place, f, value, weight, z):
    """Adds to both sums of a voxel and of the next one, f of which is theirs."""
    sums[place] += f * ((1 - z) * value)
    sums[place + np.uint64(1)] += f * ((1 - z) * weight)
    sums[place + np.uint64(2)] += f * (z * value)
    sums[place + np.uint64(3)] += f * (z * weight)
