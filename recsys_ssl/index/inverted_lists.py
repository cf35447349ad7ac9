"""Approximate search in plain TensorFlow: only the blocks of items whose means lie nearest to the query are scored.

Items are divided by k-means into cells, and each cell by halves into blocks of nearly equal size, so that blocks are a
rectangle: a search is a product with the means, a gather of blocks and a product with these. It needs no op that a
stock server lacks.

References:
    Jegou et al. 2011, Product Quantization for Nearest Neighbor Search, IEEE TPAMI 33(1), the inverted file of Sec. IV.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from scipy.cluster.vq import kmeans2

from recsys_ssl import seeds
from recsys_ssl.index.variables import take_rows

# Fewer and larger blocks make the product with the means cheap, more and smaller ones that with the items.
_BLOCKS_PER_CELL = 4
_ROWS_PER_CENTROID = 50
_ITERATIONS = 10
_CHUNK = 8192


class Blocks(NamedTuple):
    """Which item lies in which block."""

    means: np.ndarray
    """[num_blocks, dim] float32."""
    rows: np.ndarray
    """[num_blocks, block_size] int32 rows of items, each once; -1 behind the last of a block."""


class InvertedLists(tf.Module):
    """The items block by block: 4 dim + 8 bytes an item, and a sixth more for blocks that are not full.

    A request takes 4 dim block_size num_probed bytes a query.

    Attributes:
        num_probed: how many blocks a search scores, at least.
        num_blocks: how many there are.
    """

    name_of_search = "inverted lists, approximate"

    def __init__(self, vectors: np.ndarray, blocks: Blocks, num_probed: int):
        """Args:
        vectors: [num_items, dim] float32.
        num_probed: how many blocks a search scores, at least.
        """
        super().__init__()
        self._num_items, self.num_probed = len(vectors), num_probed
        self.num_blocks, self._block_size = blocks.rows.shape
        self.means = tf.Variable(blocks.means, trainable=False)
        self.rows = tf.Variable(blocks.rows, trainable=False)
        self.vectors = tf.Variable(vectors[np.maximum(blocks.rows, 0)], trainable=False)
        filled = np.flatnonzero(blocks.rows.reshape(-1) >= 0)
        places = np.empty(len(vectors), np.int32)
        places[blocks.rows.reshape(-1)[filled]] = filled
        self.places = tf.Variable(places, trainable=False)

    def look_up(self, rows: tf.Tensor) -> tf.Tensor:
        """[..., dim] float32, the vectors of the items at `rows`."""
        flat = tf.reshape(self.vectors, [-1, self.vectors.shape[2]])
        return tf.gather(flat, tf.gather(self.places, rows))

    def search(self, queries: tf.Tensor, k: tf.Tensor, num_excluded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows [num_queries, <= k + num_excluded] of items in the nearest blocks, best first.

        Where these have no more items the score is -inf and the row 0.
        """
        fetched = tf.minimum(k + num_excluded, self._num_items)
        # Half of a block at least is full, see `make_blocks`.
        probed = tf.minimum(tf.maximum(self.num_probed, 4 * fetched // self._block_size + 1), self.num_blocks)
        nearest = tf.math.top_k(tf.matmul(queries, self.means, transpose_b=True), probed, sorted=False).indices
        scores = tf.einsum("qd,qpbd->qpb", queries, take_rows(self.vectors, nearest))
        rows = tf.gather(self.rows, nearest)
        scores = tf.where(rows < 0, -np.inf, scores)
        flat = [tf.shape(queries)[0], probed * self._block_size]
        best, places = tf.math.top_k(tf.reshape(scores, flat), tf.minimum(fetched, flat[1]))
        found = tf.gather(tf.reshape(rows, flat), places, batch_dims=1)
        return best, tf.maximum(found, 0)


def choose_block_size(num_items: int) -> int:
    """A power of two near a fifth of the square root, where both products of a search take as long."""
    return 2 ** max(3, round(math.log2(math.sqrt(num_items) / 5)))


def make_blocks(vectors: np.ndarray, block_size: int, seed: int = 0) -> Blocks:
    """Divides items into blocks of at most `block_size`, and of more than half of it unless a cell is smaller.

    k-means on a sample finds the cells. A cell with more than a block is halved at the median of its principal axis
    until its parts fit. Takes 8 num_items bytes and 16 MiB for each 1,000 cells.

    Args:
        vectors: [num_items, dim] float32.
        block_size: items a block, at least 1.
    """
    parts = [
        part
        for cell in _make_cells(vectors, block_size, seed)
        for part in _halve(vectors, cell, block_size)
        if len(cell)
    ]
    rows = np.full((len(parts), block_size), -1, np.int32)
    for block, part in enumerate(parts):
        rows[block, : len(part)] = np.sort(part)
    means = np.stack([vectors[part].mean(axis=0) for part in parts])
    return Blocks(means.astype(np.float32), rows)


def _make_cells(vectors: np.ndarray, block_size: int, seed: int) -> list[np.ndarray]:
    """The rows of each cell."""
    num_cells = max(1, len(vectors) // (_BLOCKS_PER_CELL * block_size))
    rng = seeds.generator(seed)
    sample = rng.choice(len(vectors), min(len(vectors), _ROWS_PER_CENTROID * num_cells), replace=False)
    sample.sort()
    start = vectors[sample[np.linspace(0, len(sample) - 1, num_cells).astype(int)]]
    # A cell that loses all of its items keeps its place.
    centroids, _ = kmeans2(vectors[sample], start, _ITERATIONS, minit="matrix", missing="warn")
    half_norms = 0.5 * np.square(centroids).sum(axis=1)
    nearest = np.empty(len(vectors), np.int32)
    for first in range(0, len(vectors), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        nearest[chunk] = (vectors[chunk] @ centroids.T - half_norms).argmax(axis=1)
    order = np.argsort(nearest, kind="stable")
    return np.split(order, np.cumsum(np.bincount(nearest, minlength=num_cells))[:-1])


def _halve(vectors: np.ndarray, rows: np.ndarray, block_size: int) -> list[np.ndarray]:
    """The parts of a cell, each of at most `block_size` rows."""
    if len(rows) <= block_size:
        return [rows]
    centred = vectors[rows] - vectors[rows].mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    order = np.argsort(centred @ axes[:, -1], kind="stable")
    # Whole blocks to the left, so that few blocks are not full.
    half = math.ceil(len(rows) / block_size) // 2
    cut = round(len(rows) * half / math.ceil(len(rows) / block_size))
    return [part for side in (order[:cut], order[cut:]) for part in _halve(vectors, rows[np.sort(side)], block_size)]


def choose_num_probed(blocks: Blocks, queries: np.ndarray, best_rows: np.ndarray, recall: float) -> int:
    """How many blocks must be scored to find a share of the items that queries ought to get.

    Args:
        queries: [num_queries, dim] float32.
        best_rows: [num_queries, k] rows that exact search finds.
        recall: in (0, 1], the mean share of them.
    """
    block_of = np.empty(int(blocks.rows.max()) + 1, np.int32)
    block, place = np.nonzero(blocks.rows >= 0)
    block_of[blocks.rows[block, place]] = block
    affinities = queries @ blocks.means.T
    own = np.take_along_axis(affinities, block_of[best_rows].astype(np.int64), axis=1)
    # How many blocks are searched before that of each item.
    before = np.stack(
        [(of_query[np.newaxis] > mine[:, np.newaxis]).sum(axis=1) for of_query, mine in zip(affinities, own)]
    )
    return int(np.quantile(before, recall, method="higher")) + 1
