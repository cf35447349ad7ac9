"""Patterns as the E-step wants them: sums over pixels of photons times slices, for all mirror images at once.

Two forms with the same methods: dense and folded into characters, where both directions are one matrix product of a
quarter of the size; and sparse, where few pixels have a photon.
"""

from __future__ import annotations

from typing import Union

import numpy as np
import scipy.sparse as sp
from scipy.linalg.blas import get_blas_funcs

from recsys_ssl.diffraction.mirrors import Layout, transform

DENSEST = 0.01
"""Share of pixels with photons above which a dense product is cheaper."""


def make_block(counts: sp.csr_matrix, layout: Layout, dtype: np.dtype) -> Block:
    """Patterns in the cheaper form.

    Args:
        counts: [num_patterns, num_pixels], photons or functions of them that are 0 where there are none.
        dtype: of the arithmetic, float32 or float64.
    """
    is_dense = counts.nnz > DENSEST * counts.shape[0] * counts.shape[1]
    return DenseBlock(counts, layout, dtype) if is_dense else SparseBlock(counts, layout, dtype)


class DenseBlock:
    """Patterns folded into characters, over the group's size: group_size * num_orbits numbers each."""

    def __init__(self, counts: sp.csr_matrix, layout: Layout, dtype: np.dtype):
        size, num_orbits, num_good = layout.group_size, layout.num_orbits, layout.num_good
        by_image = _in_orbits(counts, layout.pixels).toarray().reshape(-1, size, num_orbits)
        self._folded = transform(np.ascontiguousarray(by_image.transpose(1, 0, 2), dtype=dtype))
        self._folded /= size
        self._good = self._folded[:, :, :num_good]
        self._shares = layout.shares[:num_good]
        self._multiply = get_blas_funcs("gemm", dtype=dtype)
        self.bytes = self._folded.nbytes

    def weighted_sums(self, weights: np.ndarray) -> np.ndarray:
        """[num_patterns] float64, sums over good pixels of photons times weights, [num_good] of each orbit."""
        return len(self._good) * (self._good[0] @ (weights * self._shares))

    def products(self, values: np.ndarray) -> np.ndarray:
        """[group_size, num_slices, num_patterns], sums over good pixels i of photons at i times values at g i.

        Args:
            values: [group_size, num_slices, num_good].
        """
        values = transform(values * self._shares.astype(values.dtype))
        return transform(np.matmul(values, self._good.transpose(0, 2, 1)))

    def merge(self, responsibilities: np.ndarray, merged: np.ndarray) -> None:
        """Adds sums over patterns and mirrors g of responsibility times photons, in place.

        Args:
            responsibilities: [group_size, num_slices, num_patterns], which are overwritten.
            merged: [group_size, num_slices, num_orbits] by character, contiguous: `transform` makes them mirror images.
        """
        by_character = transform(responsibilities)
        for character, sums in enumerate(merged):
            # BLAS counts along columns, and adds to its result.
            left, right = self._folded[character].T, by_character[character].T
            self._multiply(1.0, left, right, 1.0, sums.T, overwrite_c=True)


class SparseBlock:
    """Patterns as the pixels that have photons: 12 bytes each, twice."""

    def __init__(self, counts: sp.csr_matrix, layout: Layout, dtype: np.dtype):
        self._size, self._num_orbits, num_good = layout.group_size, layout.num_orbits, layout.num_good
        self._by_pixel = _in_orbits(counts, layout.pixels).astype(dtype).T.tocsr()
        self._good = _in_orbits(counts, layout.pixels[:, :num_good]).astype(dtype)
        self._shares = layout.shares[:num_good]
        self._others = [np.arange(self._size) ^ mirror for mirror in range(self._size)]
        self.bytes = 12 * (self._by_pixel.nnz + self._good.nnz)

    def weighted_sums(self, weights: np.ndarray) -> np.ndarray:
        """See `DenseBlock`."""
        return self._good @ np.tile(weights * self._shares, self._size)

    def products(self, values: np.ndarray) -> np.ndarray:
        """See `DenseBlock`."""
        values = values * self._shares.astype(values.dtype)
        num_slices = values.shape[1]
        found = np.empty((self._size, num_slices, self._good.shape[0]), values.dtype)
        for mirror, others in enumerate(self._others):
            found[mirror] = (self._good @ values[others].transpose(0, 2, 1).reshape(-1, num_slices)).T
        return found

    def merge(self, responsibilities: np.ndarray, merged: np.ndarray) -> None:
        """See `DenseBlock`."""
        num_slices = responsibilities.shape[1]
        by_image = np.zeros_like(merged)
        for mirror, others in enumerate(self._others):
            seen = self._by_pixel @ np.ascontiguousarray(responsibilities[mirror].T)
            by_image += seen.reshape(self._size, self._num_orbits, num_slices)[others].transpose(0, 2, 1)
        merged += transform(by_image) / self._size


Block = Union[DenseBlock, SparseBlock]


def _in_orbits(counts: sp.csr_matrix, pixels: np.ndarray) -> sp.csr_matrix:
    """[num_patterns, group_size * num_orbits], the columns of pixels in orbits, image by image."""
    return sp.csr_matrix(counts)[:, pixels.ravel()]
