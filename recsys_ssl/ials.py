"""iALS: a matrix of positives as the product of two thin ones, by alternating least squares on all of its cells.

The vectors q of queries and i of items minimise

    sum over cells of weight * (positive - q'i)^2 + sum over queries of lambda_q |q|^2 + over items of lambda_i |i|^2

where a positive cell has weight `alpha` and any other weight 1, and lambda of a row is `regularization` times the mean
weight of its cells to the power of `frequency_exponent`: 0 is one constant for all. Rendle et al. write that mean
weight as (positives + alpha_0 * cells) with the weight alpha_0 of any cell; up to a constant, which the scale of the
vectors takes up, it is the same with alpha_0 = 1 / (alpha - 1).

A half step solves for one side with the other fixed: one small linear system per row, which conjugate gradients
improve from the row's last solution. All rows of a block are solved at once, so the dense part is one matrix product.

References:
    Hu, Koren and Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets".
    Takacs, Pilaszy and Tikk 2011, "Applications of the conjugate gradient method for implicit feedback collaborative
    filtering".
    Rendle et al. 2021, "Revisiting the Performance of iALS on Item Recommendation Benchmarks", arXiv:2110.14037.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

_START = 0.1  # standard deviation of a start vector's length
_TRAIN_STEPS = 3  # of conjugate gradients in a half step, as in Takacs et al. and `implicit`
_TOLERANCE = 1e-5  # of the residual, relative to the right-hand side, where a system counts as solved
_BLOCK_BYTES = 4 * 2**20
_BLOCK_ROWS = 4096

Progress = Callable[[int, int], None]
"""Called after each iteration with how many are done and how many there are."""


@dataclass(frozen=True)
class Settings:
    """What the factorisation minimises, and how long.

    Attributes:
        factors: numbers per vector.
        alpha: weight of a positive cell, against 1 of any other.
        regularization: lambda of a row without positives.
        frequency_exponent: how much more a row with many positives is regularised; 0: not, 1: in proportion to the
            weight of its cells.
        iterations: pairs of half steps.
    """

    factors: int = 128
    alpha: float = 5.0
    regularization: float = 30.0
    frequency_exponent: float = 0.0
    iterations: int = 15

    def __post_init__(self):
        for name in ("factors", "iterations"):
            value = getattr(self, name)
            if value != int(value) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1. Received: {name}={value}.")
        for name in ("alpha", "regularization"):
            value = getattr(self, name)
            if not 0.0 < value < math.inf:
                raise ValueError(f"{name} must be positive. Received: {name}={value}. Use 1-100.")
        if not 0.0 <= self.frequency_exponent <= 2.0:
            raise ValueError(
                "frequency_exponent must lie in [0, 2]. "
                f"Received: frequency_exponent={self.frequency_exponent}. Use 0 (a constant) to 1."
            )


def fit(
    matrix: sp.csr_matrix, settings: Settings, seed: int = 0, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Factorises a matrix of positives; a score is the dot product of a query's and an item's vector.

    The queries come last: their vectors are the least-squares solutions for the items', which is what `fold_in` gives.
    Memory: the vectors, 4 * factors bytes a query and an item; the positives three times, 12 bytes each; and a block of
    4 MiB, or 4 * factors bytes for each of 4,096 rows and two more of that size where that is more.

    Args:
        matrix: [num_queries, num_items]; a stored value other than 0 is a positive, whatever it is.
        settings: see `Settings`.
        seed: of the items' start.
        progress: see `Progress`.

    Returns:
        [num_queries, factors] and [num_items, factors] float32. A row or column without positives is 0, which is its
        solution.
    """
    by_query = _positives(matrix)
    by_item = by_query.T.tocsr()
    shape = (by_item.shape[0], settings.factors)
    items = np.random.default_rng(seed).standard_normal(shape, np.float32) * np.float32(_START / math.sqrt(shape[1]))
    items[by_item.getnnz(axis=1) == 0] = 0.0
    queries = np.zeros((by_query.shape[0], settings.factors), np.float32)
    for iteration in range(settings.iterations):
        _improve(queries, by_query, items, settings, _TRAIN_STEPS)
        _improve(items, by_item, queries, settings, _TRAIN_STEPS)
        if progress is not None:
            progress(iteration + 1, settings.iterations)
    return fold_in(by_query, items, settings), items


def fold_in(matrix: sp.csr_matrix, item_factors: np.ndarray, settings: Settings) -> np.ndarray:
    """The vectors of queries, seen in training or not: the least-squares solutions for fixed items.

    Args:
        matrix: [num_queries, num_items] as in `fit`.
        item_factors: [num_items, factors] float32.
        settings: those of the fit.

    Returns:
        [num_queries, factors] float32, 0 where a query has no positive.

    Raises:
        ValueError: the items are not those of the matrix.
    """
    if item_factors.shape != (matrix.shape[1], settings.factors):
        raise ValueError(
            f"item_factors must be [num_items, factors] = [{matrix.shape[1]}, {settings.factors}]. "
            f"Received: {list(item_factors.shape)}. Fold in with the items and settings of the fit."
        )
    queries = np.zeros((matrix.shape[0], settings.factors), np.float32)
    _improve(queries, _positives(matrix), item_factors, settings, 2 * settings.factors)
    return queries


def _positives(matrix: sp.spmatrix) -> sp.csr_matrix:
    """A copy in which each stored value is one positive."""
    positives = sp.csr_matrix(matrix, copy=True)
    positives.sum_duplicates()
    positives.eliminate_zeros()
    return positives


# --- A half step ----------------------------------------------------------------------------------------


def _improve(vectors: np.ndarray, rows: sp.csr_matrix, other: np.ndarray, settings: Settings, steps: int) -> None:
    """Improves the vectors of one side in place, towards the solutions for the other side's.

    Args:
        vectors: [num_rows, factors] float32, where the steps start; rows without positives become 0.
        rows: [num_rows, num_columns] positives.
        other: [num_columns, factors] float32.
        steps: the most steps of conjugate gradients.
    """
    gram = other.T @ other
    lengths = rows.getnnz(axis=1)
    ridges = _ridges(lengths, rows.shape[1], settings)
    vectors[lengths == 0] = 0.0
    for members in _blocks(lengths, settings.factors):
        systems = _Systems(rows, members, other, gram, ridges[members], settings.alpha)
        vectors[members] = _conjugate_gradients(vectors[members], systems.multiply, systems.right, steps)


def _ridges(lengths: np.ndarray, num_columns: int, settings: Settings) -> np.ndarray:
    """[num_rows] float32, lambda of rows with so many positives among so many cells."""
    mean_weight = 1.0 + (settings.alpha - 1.0) * lengths / num_columns
    return (settings.regularization * mean_weight**settings.frequency_exponent).astype(np.float32)


def _blocks(lengths: np.ndarray, factors: int) -> Iterator[np.ndarray]:
    """Rows with positives, in blocks of similar lengths whose gathered vectors fit in `_BLOCK_BYTES`, or of one row."""
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    capacity = max(1, _BLOCK_BYTES // (4 * factors))
    start = 0
    while start < len(order):
        # A block is as wide as its longest row, which is its last.
        widths = lengths[order[start : start + _BLOCK_ROWS]]
        fitting = np.arange(1, len(widths) + 1) * widths <= capacity
        stop = start + max(1, int(np.count_nonzero(fitting)))
        yield order[start:stop]
        start = stop


class _Systems:
    """The linear systems of a block of rows: (gram + (alpha - 1) sum of y y' + lambda I) x = alpha sum of y.

    The sums go over the other side's vectors y at a row's positives. These are gathered once, padded to the longest
    row, where they fit in a block, as they do unless one row alone is longer; then they are gathered anew each time, a
    block at a time.
    """

    right: np.ndarray
    """[num_members, factors]."""

    def __init__(
        self,
        rows: sp.csr_matrix,
        members: np.ndarray,
        other: np.ndarray,
        gram: np.ndarray,
        ridges: np.ndarray,
        alpha: float,
    ):
        first = rows.indptr[members][:, np.newaxis]
        lengths = rows.indptr[members + 1][:, np.newaxis] - first
        place = np.arange(lengths.max())
        inside = place < lengths
        self._columns = rows.indices[first + np.where(inside, place, 0)]
        self._inside = inside.astype(np.float32)
        self._other, self._gram, self._ridges, self._extra = other, gram, ridges[:, np.newaxis], np.float32(alpha - 1.0)
        step = max(1, _BLOCK_BYTES // (4 * other.shape[1] * len(members)))
        self._parts = [slice(start, start + step) for start in range(0, len(place), step)]
        self._held = self._gather(self._parts[0]) if len(self._parts) == 1 else None
        self.right = np.float32(alpha) * self._sum(lambda vectors, inside: inside)

    def multiply(self, block: np.ndarray) -> np.ndarray:
        """[num_members, factors], the matrix of each row times its vector in `block`."""
        columns = block[:, :, np.newaxis]
        positives = self._sum(lambda vectors, inside: inside * np.matmul(vectors, columns)[:, :, 0])
        return block @ self._gram + self._ridges * block + self._extra * positives

    def _gather(self, part: slice) -> np.ndarray:
        """[num_members, part, factors]."""
        return self._other[self._columns[:, part]]

    def _sum(self, weigh: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """[num_members, factors], the sum of weight * y with the weights [num_members, part] of gathered vectors."""
        total = np.zeros((len(self._columns), self._other.shape[1]), np.float32)
        for part in self._parts:
            vectors = self._gather(part) if self._held is None else self._held
            weights = weigh(vectors, self._inside[:, part])
            total += np.matmul(weights[:, np.newaxis, :], vectors)[:, 0]
        return total


def _conjugate_gradients(
    start: np.ndarray, multiply: Callable[[np.ndarray], np.ndarray], right: np.ndarray, steps: int
) -> np.ndarray:
    """Solves a symmetric positive definite system for each row at once.

    Args:
        start: [num_rows, factors] float32.
        multiply: the matrix of each row times its vector.
        right: [num_rows, factors] float32.
        steps: the most steps; fewer where all rows are solved.
    """
    solution = start.copy()
    residual = right - multiply(solution)
    direction = residual.copy()
    squared = np.einsum("rf,rf->r", residual, residual)
    enough = _TOLERANCE**2 * np.einsum("rf,rf->r", right, right)
    for _ in range(steps):
        open_rows = squared > enough
        if not open_rows.any():
            break
        image = multiply(direction)
        curvature = np.einsum("rf,rf->r", direction, image)
        # A solved row stays as it is: its further steps would be quotients of rounding errors.
        rate = np.divide(squared, curvature, out=np.zeros_like(squared), where=open_rows & (curvature > 0.0))
        solution += rate[:, np.newaxis] * direction
        residual -= rate[:, np.newaxis] * image
        before, squared = squared, np.einsum("rf,rf->r", residual, residual)
        direction *= np.divide(squared, before, out=np.zeros_like(squared), where=open_rows)[:, np.newaxis]
        direction += residual
    return solution
