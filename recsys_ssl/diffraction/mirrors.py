"""The pixels of a detector in orbits of mirror images, which leave a quarter of the slices to be computed.

A half turn about x before a rotation, R(q) R(half turn), takes the pixel (x, y, z) to where (x, -y, -z) was. With
Friedel's symmetry, W(-p) = W(p), it sees what (-x, y, z) saw: the slice is the same one seen in a mirror. So are the
slices of half turns about y and z. Rotations that come in fours of half turns need one slice, where mirror images of
used pixels are used pixels of the same kind and correction. Where they are not, e.g. for an off-centre beam, an orbit
is one pixel and every rotation has its own slice.

Mirrors commute, so sums over pixels of a pattern times a slice, for all four mirror images, are four products of a
quarter of the length in the characters of the group: `transform`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from scipy.spatial import cKDTree

from recsys_ssl.diffraction.geometry import Detector, Mask

_NEAR_VOXELS = 1e-4
_NEAR_CORRECTION = 1e-4
# The sign of x and y in the image of a pixel, for no turn and half turns about x, y and z.
_SIGNS = np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [-1, -1, 1]])


@dataclass(frozen=True)
class Layout:
    """Used pixels in orbits, the good ones first.

    Attributes:
        pixels: [group_size, num_orbits] int64, rows of the detector. A pixel on an axis is its own mirror image and
            comes more than once.
        shares: [num_orbits] float64, one over how often each pixel of an orbit comes, so that sums count it once.
        num_good: how many orbits are of good pixels.
        q_voxels: [group_size, num_orbits, 3] float64.
        corrections: [num_orbits] float64, the same for all pixels of an orbit.
    """

    pixels: np.ndarray
    shares: np.ndarray
    num_good: int
    q_voxels: np.ndarray
    corrections: np.ndarray

    @property
    def group_size(self) -> int:
        return self.pixels.shape[0]

    @property
    def num_orbits(self) -> int:
        return self.pixels.shape[1]


def make_layout(detector: Detector, folded: bool = True) -> Layout:
    """Orbits of mirror images where the detector has that symmetry, else of one pixel each.

    Args:
        folded: False: one pixel each in any case.
    """
    used = np.flatnonzero(detector.mask != Mask.BAD)
    images = _find_images(detector, used) if folded else None
    if images is None:
        images = used[None]
    firsts = np.unique(images.min(axis=0), return_index=True)[1]
    orbits = images[:, firsts]
    # Stable: pixels stay in the detector's order among those of their kind.
    orbits = orbits[:, np.argsort(detector.mask[orbits[0]], kind="stable")]
    return Layout(
        pixels=orbits,
        shares=1.0 / (orbits == orbits[0]).sum(axis=0),
        num_good=int((detector.mask[orbits[0]] == Mask.GOOD).sum()),
        q_voxels=np.ascontiguousarray(detector.q_voxels[orbits]),
        corrections=detector.correction[orbits].mean(axis=0),
    )


def _find_images(detector: Detector, used: np.ndarray) -> np.ndarray | None:
    """[4, num_used] rows of the mirror images of used pixels; None where one is not there, or differs."""
    tree = cKDTree(detector.q_voxels[used])
    images = []
    for signs in _SIGNS:
        distances, found = tree.query(detector.q_voxels[used] * signs)
        rows = used[found]
        same_kind = (detector.mask[rows] == detector.mask[used]).all()
        same_correction = np.allclose(detector.correction[rows], detector.correction[used], rtol=_NEAR_CORRECTION)
        if distances.max() > _NEAR_VOXELS or not same_kind or not same_correction:
            return None
        images.append(rows)
    return np.stack(images)


def transform(values: np.ndarray) -> np.ndarray:
    """Sums over an orbit with the signs of each character, in place; twice is `group_size` times the values.

    Args:
        values: [group_size, ...], contiguous, by mirror image, or by character.

    Returns:
        The same array, by character, or by mirror image.
    """
    if len(values) == 4:
        _transform(values.reshape(4, -1))
    return values


@numba.njit(cache=True, nogil=True)
def _transform(values):
    for i in range(values.shape[1]):
        left, right = values[0, i] + values[1, i], values[2, i] + values[3, i]
        other_left, other_right = values[0, i] - values[1, i], values[2, i] - values[3, i]
        values[0, i], values[1, i] = left + right, other_left + other_right
        values[2, i], values[3, i] = left - right, other_left - other_right
