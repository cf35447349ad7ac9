"""How likely an item is as an in-batch candidate: exact counts, a streaming estimate, a mixed proposal."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def exact_log_probability(train_counts: np.ndarray) -> np.ndarray:
    """log of each item's share of the training positives; an item without any counts as half a positive.

    Args:
        train_counts: [num_items] int.

    Returns:
        [num_items] float32.
    """
    counts = np.maximum(train_counts.astype(np.float64), 0.5)
    return np.log(counts / max(train_counts.sum(), 1)).astype(np.float32)


def mixed_log_probability(log_probability: tf.Tensor, batch_size: int, num_uniform: int, num_items: int) -> tf.Tensor:
    """log Q* of a candidate when `num_uniform` catalogue items join the batch's own.

    Q* = (B Q + B' / num_items) / (B + B').

    References:
        Yang et al. 2020, WWW Companion, "Mixed negative sampling for learning two-tower neural networks".
    """
    uniform = num_uniform / num_items
    return tf.math.log((batch_size * tf.exp(log_probability) + uniform) / (batch_size + num_uniform))


class StreamingFrequency(tf.Module):
    """Estimates how often items occur in a stream of batches, in bounded memory: 16 bytes per bucket and hash.

    For each item of the batch at step t: B[h] <- (1 - rate) B[h] + rate (t - A[h]), A[h] <- t, where A holds the
    last step and B the mean gap between occurrences; the probability of an item is 1 / max over hashes of B. A
    collision makes an item look more frequent, and the maximum over hashes takes the least of that.

    References:
        Yi et al. 2019, RecSys, "Sampling-bias-corrected neural modeling", Algorithm 2.
    """

    def __init__(self, num_buckets: int, initial_gap: float, rate: float = 0.01, num_hashes: int = 2):
        """Args:
        num_buckets: buckets per hash; several times the number of items keeps collisions rare.
        initial_gap: expected steps between two occurrences of an item before it was seen.
        rate: weight of the newest gap, in (0, 1).
        """
        super().__init__()
        self._rate = rate
        self._num_buckets = num_buckets
        # Odd multipliers of a multiplicative hash, fixed so that a checkpoint means the same everywhere.
        self._multipliers = tf.constant([2654435761, 2246822519, 3266489917, 668265263][:num_hashes], tf.int64)
        self._offsets = tf.range(num_hashes, dtype=tf.int64) * num_buckets
        self.last_step = tf.Variable(tf.zeros([num_hashes * num_buckets], tf.int64), trainable=False)
        self.gap = tf.Variable(tf.fill([num_hashes * num_buckets], float(initial_gap)), trainable=False)

    def update(self, rows: tf.Tensor, step: tf.Tensor) -> None:
        """Counts one batch.

        Args:
            rows: [num_distinct] int64 distinct items of the batch.
            step: scalar int64, growing by 1 from 1.
        """
        buckets, _ = tf.unique(tf.reshape(self._buckets(rows), [-1]))
        seen_gap = tf.cast(step - tf.gather(self.last_step, buckets), tf.float32)
        gap = (1.0 - self._rate) * tf.gather(self.gap, buckets) + self._rate * seen_gap
        self.gap.scatter_nd_update(buckets[:, tf.newaxis], gap)
        self.last_step.scatter_nd_update(buckets[:, tf.newaxis], tf.fill(tf.shape(buckets), step))

    def log_probability(self, rows: tf.Tensor) -> tf.Tensor:
        """[num_rows] float32, log of the estimated probability that a batch holds the item."""
        return -tf.math.log(tf.reduce_max(tf.gather(self.gap, self._buckets(rows)), axis=1))

    def _buckets(self, rows: tf.Tensor) -> tf.Tensor:
        hashed = tf.bitwise.right_shift((rows[:, tf.newaxis] + 1) * self._multipliers, tf.constant(15, tf.int64))
        return tf.math.floormod(hashed, self._num_buckets) + self._offsets
