"""Rotations that cover all orientations evenly: the 600-cell, with each of its edges divided by n.

The 120 vertices of the 600-cell are unit quaternions, and so are the points that divide its 600 tetrahedra, once they
are moved out to the sphere. A quaternion and its negative are one rotation, which leaves 10 (5 n^3 + n) of them. Twice
a vertex has coordinates a + b * golden ratio with whole a and b, so points are told apart in whole numbers.

The set is closed under half turns about the axes of the detector, applied before a rotation: R(q) R(half turn). The
rotations lie in fours of these: no turn, about x, about y, about z.

Quaternions are (w, x, y, z), and R(q) v = q v q^-1.

References:
    Loh and Elser 2009, Phys. Rev. E 80, 026705, appendix: the subdivision and its weights.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

_GOLDEN = (1 + 5**0.5) / 2
HALF_TURNS = np.eye(4)
"""[4, 4], the quaternions of no turn and of half turns about x, y and z, in the order of an orbit."""


class Rotations(NamedTuple):
    """A set of rotations in orbits of four, see the module."""

    quaternions: np.ndarray
    """[num_rotations, 4] float64, of length 1."""
    weights: np.ndarray
    """[num_rotations] float64, the share of all orientations that each stands for; sum 1."""


def num_rotations(n: int) -> int:
    """How many rotations `sample_rotations` gives.

    Raises:
        ValueError: n is no whole number of at least 1.
    """
    if n != int(n) or n < 1:
        raise ValueError(
            f"rotations must be a whole number of at least 1. Received: {n}. Use 1-20; 4 is 3,240 of them."
        )
    return 10 * (5 * n**3 + n)


def sample_rotations(n: int) -> Rotations:
    """The 600-cell with edges divided by n: neighbours are about 72 / n degrees apart.

    The weight of a point q of a cell with centre c, before it is moved out to the sphere, is q.c / (|q|^4 |c|): what
    the sphere sees of the flat cell. Vertices count 5/6 and other points on edges 35/36 of that, as published; exact
    Voronoi shares are more even (n = 4: 0.79-1.05 in place of 0.67-1.10 of the mean).
    """
    expected = num_rotations(n)
    vertices = _vertices()
    cells = _cells(_value(vertices))
    shares = np.array([row for row in itertools.product(range(n + 1), repeat=4) if sum(row) == n])
    points = np.einsum("tv,cvxp->ctxp", shares, vertices[cells])
    factors = np.choose((shares > 0).sum(axis=1) - 1, [5 / 6, 35 / 36, 1.0, 1.0])
    values = _value(points) / n
    centres = _value(vertices[cells]).mean(axis=1)[:, None]
    lengths = np.linalg.norm(values, axis=-1)
    weights = factors * (values * centres).sum(axis=-1) / (lengths**4 * np.linalg.norm(centres, axis=-1))

    distinct, first = np.unique(_with_sign(points.reshape(-1, 4, 2)).reshape(-1, 8), axis=0, return_index=True)
    orbits = _orbits(distinct.reshape(-1, 4, 2))
    if len(orbits) != expected:
        raise RuntimeError(f"the 600-cell divided by {n} must give {expected} rotations. Received: {len(orbits)}.")
    quaternions = _value(distinct.reshape(-1, 4, 2))[orbits]
    weights = weights.ravel()[first][orbits]
    return Rotations(quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True), weights / weights.sum())


def _value(pairs: np.ndarray) -> np.ndarray:
    """[..., 4] float64 of coordinates as pairs of whole numbers: half of a + b * golden ratio."""
    return (pairs[..., 0] + pairs[..., 1] * _GOLDEN) / 2


def _vertices() -> np.ndarray:
    """[120, 4, 2] int64, the vertices as pairs."""
    zero, one, two, golden, inverse = (0, 0), (1, 0), (2, 0), (0, 1), (-1, 1)
    rows = [*sorted(set(itertools.permutations([two, zero, zero, zero]))), (one,) * 4]
    for order in itertools.permutations(range(4)):
        swaps = sum(left > right for left, right in itertools.combinations(order, 2))
        if swaps % 2 == 0:
            rows.append(tuple((golden, one, inverse, zero)[place] for place in order))
    signs = np.array(list(itertools.product((1, -1), repeat=4)))
    signed = np.array(rows)[:, None] * signs[:, :, None]
    return np.unique(signed.reshape(-1, 8), axis=0).reshape(-1, 4, 2)


def _cells(vertices: np.ndarray) -> np.ndarray:
    """[600, 4] int64, the vertices of each tetrahedron: four that are neighbours of each other."""
    cosines = vertices @ vertices.T
    near = [set(np.flatnonzero((row > 0.8) & (row < 0.9)).tolist()) for row in cosines]
    cells: list[tuple[int, ...]] = []
    for a in range(len(vertices)):
        for b in (b for b in near[a] if b > a):
            for c in (c for c in near[a] & near[b] if c > b):
                cells.extend((a, b, c, d) for d in near[a] & near[b] & near[c] if d > c)
    return np.array(sorted(cells))


def _with_sign(pairs: np.ndarray) -> np.ndarray:
    """Of a quaternion and its negative, which are one rotation, that with a positive first coordinate other than 0."""
    first = (pairs != 0).any(axis=-1).argmax(axis=-1)
    signs = np.sign(np.take_along_axis(_value(pairs), first[:, None], axis=1)).astype(np.int64)
    return pairs * signs[:, :, None]


def _orbits(pairs: np.ndarray) -> np.ndarray:
    """[num_points] int64, an order of distinct points in which half turns of each other follow one another."""
    w, x, y, z = np.moveaxis(pairs, 1, 0)
    turned = [(w, x, y, z), (-x, w, z, -y), (-y, -z, w, x), (-z, y, -x, w)]
    images = np.concatenate([_with_sign(np.stack(parts, axis=1)) for parts in turned]).reshape(-1, 8)
    rows = np.unique(images, axis=0, return_inverse=True)[1].reshape(4, len(pairs))
    firsts = np.unique(rows.min(axis=0))
    return rows[:, firsts].T.ravel()


# --- Quaternions -----------------------------------------------------------------------------------------


def to_matrices(quaternions: np.ndarray) -> np.ndarray:
    """[..., 3, 3] float64 rotation matrices of [..., 4] quaternions of length 1."""
    w, x, y, z = np.moveaxis(np.asarray(quaternions, np.float64), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def multiply(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[..., 4], the rotations `right` and then `left`."""
    a, b, c, d = np.moveaxis(left, -1, 0)
    e, f, g, h = np.moveaxis(right, -1, 0)
    return np.stack(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ],
        axis=-1,
    )


def invert(quaternions: np.ndarray) -> np.ndarray:
    """[..., 4], the rotations back."""
    return quaternions * np.array([1.0, -1.0, -1.0, -1.0])


def angles_degrees(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """[...], by how much one rotation has to be turned to be the other, 0 to 180."""
    # By the sine too: the cosine alone loses half of the digits at small angles.
    between = multiply(invert(left), right)
    return 2 * np.degrees(np.arctan2(np.linalg.norm(between[..., 1:], axis=-1), np.abs(between[..., 0])))


def draw_rotations(num: int, rng: np.random.Generator) -> np.ndarray:
    """[num, 4] float64, rotations drawn evenly."""
    drawn = rng.standard_normal((num, 4))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
