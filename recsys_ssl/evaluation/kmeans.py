"""k-means and principal components as sums: what a part of the rows says of the model, added up, gives the next model.

Both are of one form, which other alternations of an expectation and a maximisation share:

    expect(model, rows) -> sums        additive: the sums of all rows are those of their parts, added up
    maximize(model, sums) -> model

The parts may be batches of one process (`iterate`) or shards of a Beam job (`pipelines.stages.kmeans`), in any order.
Sums are NamedTuples of arrays, in float64, so that the order shows only in the last digits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy.sparse import csr_matrix

Sums = TypeVar("Sums", bound=NamedTuple)

# Distances of a block of rows to all centroids: 64 MiB of float64.
_BLOCK_BYTES = 64 * 2**20


def add_up(parts: Iterable[Sums]) -> Sums:
    """The sums of all rows from those of their parts, at least one; field by field."""
    return functools.reduce(lambda left, right: type(left)(*(a + b for a, b in zip(left, right, strict=True))), parts)


def iterate(
    expect: Callable[[Any, np.ndarray], NamedTuple],
    maximize: Callable[[Any, Any], Any],
    model: Any,
    parts: Callable[[], Iterable[np.ndarray]],
    iterations: int,
) -> Any:
    """The model after so many rounds of `expect` over all parts and `maximize`, in this process.

    Args:
        parts: gives the same rows [num_rows of the part, dim] each time that it is called.
    """
    for _ in range(iterations):
        model = maximize(model, add_up(expect(model, part) for part in parts()))
    return model


# --- k-means -----------------------------------------------------------------------------------------


class ClusterSums(NamedTuple):
    """What rows say of k clusters."""

    totals: np.ndarray
    """[k, dim] float64, the sum of the rows of each cluster."""
    counts: np.ndarray
    """[k] int64 rows of each cluster."""
    inertia: np.ndarray
    """[] float64, the sum of squared distances from each row to its centroid."""


def find_nearest(centroids: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each row, of equal ones the first, and the squared distance to it.

    |x - c|^2 = |x|^2 - 2 x.c + |c|^2, all of them shifted by the mean centroid, so that rows that lie far from zero
    lose no digits. Holds at most 64 MiB of distances at a time, 8 k bytes a row.

    Args:
        centroids: [k, dim].
        rows: [num_rows, dim].

    Returns:
        [num_rows] int64 and [num_rows] float64 >= 0.
    """
    origin = np.mean(centroids, axis=0, dtype=np.float64)
    shifted = centroids - origin
    norms = np.einsum("kd,kd->k", shifted, shifted)
    nearest = np.empty(len(rows), np.int64)
    distances = np.empty(len(rows), np.float64)
    block_rows = max(1, _BLOCK_BYTES // (8 * len(centroids)))
    for start in range(0, len(rows), block_rows):
        block = rows[start : start + block_rows] - origin
        found = norms - 2.0 * block @ shifted.T
        chosen = found.argmin(axis=1)
        nearest[start : start + block_rows] = chosen
        squares = np.einsum("nd,nd->n", block, block)
        distances[start : start + block_rows] = squares + found[np.arange(len(block)), chosen]
    return nearest, np.maximum(distances, 0.0)


def expect_clusters(centroids: np.ndarray, rows: np.ndarray) -> ClusterSums:
    """The sums of the rows, each in the cluster of its nearest centroid; arguments as `find_nearest`."""
    nearest, distances = find_nearest(centroids, rows)
    # A matrix of ones, [k, num_rows], adds up the rows of each cluster far faster than np.add.at.
    ones = csr_matrix((np.ones(len(rows)), (nearest, np.arange(len(rows)))), (len(centroids), len(rows)))
    return ClusterSums(ones @ rows, np.bincount(nearest, minlength=len(centroids)), distances.sum())


def maximize_clusters(centroids: np.ndarray, sums: ClusterSums) -> np.ndarray:
    """The mean of each cluster's rows, [k, dim] float64; a cluster without rows keeps its centroid.

    With `expect_clusters` this is Lloyd's iteration: no round raises the inertia.

    References:
        Lloyd 1982, IEEE Transactions on Information Theory 28(2), 129-137.
    """
    counts = sums.counts[:, None]
    return np.where(counts > 0, sums.totals / np.maximum(counts, 1), centroids)


# --- Principal components -----------------------------------------------------------------------------


class MomentSums(NamedTuple):
    """What rows say of their mean and covariance."""

    num_rows: np.ndarray
    """[] int64."""
    total: np.ndarray
    """[dim] float64."""
    products: np.ndarray
    """[dim, dim] float64, the sum of x x^T."""


class Projection(NamedTuple):
    """x -> (x - mean) components^T; without whitening, so that directions keep their weight in a distance."""

    mean: np.ndarray
    """[dim]."""
    components: np.ndarray
    """[num_components, dim], orthonormal rows, those of the largest variance first."""

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """[num_rows, dim] -> [num_rows, num_components] of the type of the rows."""
        return ((rows - self.mean) @ self.components.T).astype(rows.dtype, copy=False)


def expect_moments(rows: np.ndarray) -> MomentSums:
    """The moments of rows [num_rows, dim]."""
    exact = rows.astype(np.float64, copy=False)
    return MomentSums(np.array(len(exact)), exact.sum(axis=0), exact.T @ exact)


def find_components(sums: MomentSums, num_components: int | None = None) -> Projection:
    """The principal components of the rows behind some sums.

    Args:
        num_components: how many; all `dim` when None.
    """
    mean = sums.total / sums.num_rows
    _, vectors = np.linalg.eigh(sums.products / sums.num_rows - np.outer(mean, mean))
    return Projection(mean, vectors.T[::-1][:num_components])
