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

_LARGEST_SIDE = 1625
"""The places of voxels are numbers of 32 bits, none the number of more."""


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
    points = np.ascontiguousarray(q_voxels.T)
    _expand(np.ascontiguousarray(volume).reshape(-1), len(volume), matrices, points, out)
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
    points = np.ascontiguousarray(q_voxels.T)
    _compress(values, slice_weights, shares, corrections, matrices, points, sums.reshape(-1), len(sums))


def check_fits(shape: tuple[int, ...], q_voxels: np.ndarray) -> None:
    """Raises ValueError where a volume is no odd cube, or a rotated pixel could lie outside of it."""
    side = shape[0]
    if shape != (side, side, side) or side % 2 == 0:
        raise ValueError(f"a volume must be a cube with an odd side. Received: {list(shape)}.")
    if side > _LARGEST_SIDE:
        raise ValueError(f"a volume has at most {_LARGEST_SIDE} voxels along an edge. Received: {side}. Bin pixels.")
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


@functools.lru_cache(maxsize=4)
def _shell_sizes(side: int) -> np.ndarray:
    return np.bincount(shells_of(side))


def shell_means(volume: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """[...] float64, means of a volume over whole shells, linear between them, at some radii of [...]."""
    shells = shells_of(len(volume))
    means = np.bincount(shells, np.asarray(volume, np.float64).ravel()) / _shell_sizes(len(volume))
    return np.interp(radii, np.arange(len(means)), means)


# --- Kernels ---------------------------------------------------------------------------------------------

# Four sums of a point lie side by side and are added to at once.
numba.config.SLP_VECTORIZE = 1  # type: ignore[attr-defined]


# Indices have no sign, so that none is asked whether it counts from the end; rows of x, y and z fill vector registers.


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _expand(volume, side, matrices, points, out):
    row, plane = np.uint32(side), np.uint32(side * side)
    for j in range(matrices.shape[0]):
        rotation, slice_ = matrices[j], out[j]
        for i in range(points.shape[1]):
            place, x, y, z = _locate(rotation, points[0, i], points[1, i], points[2, i], side)
            x, y, z = volume.dtype.type(x), volume.dtype.type(y), volume.dtype.type(z)
            near = _between(_along(volume, place, z), _along(volume, np.uint32(place + row), z), y)
            place = np.uint32(place + plane)
            far = _between(_along(volume, place, z), _along(volume, np.uint32(place + row), z), y)
            slice_[i] = _between(near, far, x)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _compress(values, slice_weights, shares, corrections, matrices, points, sums, side):
    num_points, row, plane = points.shape[1], np.uint64(2 * side), np.uint64(2 * side * side)
    places, offsets = np.empty(num_points, np.uint32), np.empty((3, num_points))
    for j in range(matrices.shape[0]):
        rotation, slice_, slice_weight = matrices[j], values[j], slice_weights[j]
        # Where points are is found for many at a time; adding goes one by one.
        for i in range(num_points):
            found = _locate(rotation, points[0, i], points[1, i], points[2, i], side)
            places[i], offsets[0, i], offsets[1, i], offsets[2, i] = found
        for i in range(num_points):
            x, y, z = offsets[0, i], offsets[1, i], offsets[2, i]
            value = shares[i] * slice_[i]
            weight = shares[i] * corrections[i] * slice_weight
            near = np.uint64(2) * np.uint64(places[i])
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
def _locate(rotation, a, b, c, side):
    """The voxel below a rotated point, as its place in the flat volume, and how far along each axis to the next."""
    centre = (side - 1) / 2
    x = rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2] * c + centre
    y = rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2] * c + centre
    z = rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2] * c + centre
    # Never negative, so that this rounds down.
    l, m, n = np.int32(x), np.int32(y), np.int32(z)  # noqa: E741
    return np.uint32((l * np.int32(side) + m) * np.int32(side) + n), x - l, y - m, z - n


@numba.njit(inline="always")
def _along(volume, place, z):
    return _between(volume[place], volume[place + np.uint32(1)], z)


@numba.njit(inline="always")
def _between(left, right, share):
    return left + share * (right - left)


@numba.njit(inline="always")
def _add_pair(sums, place, f, value, weight, z):
    """Adds to both sums of a voxel and of the next one, f of which is theirs."""
    sums[place] += f * ((1 - z) * value)
    sums[place + np.uint64(1)] += f * ((1 - z) * weight)
    sums[place + np.uint64(2)] += f * (z * value)
    sums[place + np.uint64(3)] += f * (z * weight)
