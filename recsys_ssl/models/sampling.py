"""How likely an item is as an in-batch candidate: exact counts, or a streaming estimate."""

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


HASH = "splitmix64"
"""Names how `StreamingFrequency` finds the buckets of an item: a checkpoint of another hash means other items."""

# Where each hash begins: multiples of the golden ratio's 64 bits, fixed so that a checkpoint means the same everywhere.
_SALTS = [number * 0x9E3779B97F4A7C15 % (1 << 64) for number in range(1, 5)]


class StreamingFrequency(tf.Module):
    """Estimates how often items occur in a stream of batches, in bounded memory: 16 bytes per bucket and hash.

    For an item that stands c times in the batch of step t: B[h] <- k B[h] + (1 - k) (t - A[h]) / c, A[h] <- t, where A
    holds the last step and B the mean gap between occurrences; an item has 1 / max over hashes of B occurrences in a
    step. A collision makes an item look more frequent, and the maximum over hashes takes the least of that.
    k = min((1 - rate)^c, N[h] / (N[h] + c)), N[h] <- N[h] + c: a plain mean of all gaps, in which the first guess
    counts as one, until it has as many as the moving average remembers.

    The paper has c = 1 and k = 1 - rate throughout: an item is as frequent as once a step at most, too little for the
    popular items of a large batch, and the first guess stands for long where items are rare.

    References:
        Yi et al. 2019, RecSys, "Sampling-bias-corrected neural modeling", Algorithm 2.
    """

    def __init__(self, num_buckets: int, initial_gap: float, rate: float = 0.01, num_hashes: int = 2):
        """Args:
        num_buckets: buckets per hash; several times the number of items keeps collisions rare.
        initial_gap: expected steps between two occurrences of an item before it was seen.
        rate: least weight of the newest occurrence, in (0, 1).
        num_hashes: 1 to 4.
        """
        super().__init__()
        self._rate = rate
        self._num_buckets = num_buckets
        self._salts = tf.constant([_signed(salt) for salt in _SALTS[:num_hashes]], tf.int64)
        self._offsets = tf.range(num_hashes, dtype=tf.int64) * num_buckets
        self.last_step = tf.Variable(tf.zeros([num_hashes * num_buckets], tf.int64), trainable=False)
        self.gap = tf.Variable(tf.fill([num_hashes * num_buckets], float(initial_gap)), trainable=False)
        self.num_gaps = tf.Variable(tf.ones([num_hashes * num_buckets]), trainable=False)

    def update(self, rows: tf.Tensor, counts: tf.Tensor, step: tf.Tensor) -> None:
        """Counts one batch.

        Args:
            rows: [num_distinct] int64 distinct items of the batch.
            counts: [num_distinct] float32, how often each stands in it, at least once.
            step: scalar int64, growing by 1 from 1.
        """
        hashed = self._buckets(rows)
        buckets, position = tf.unique(tf.reshape(hashed, [-1]))
        of_hash = tf.repeat(counts, hashed.shape[1])
        occurrences = tf.math.unsorted_segment_sum(of_hash, position, tf.size(buckets))
        gap = tf.cast(step - tf.gather(self.last_step, buckets), tf.float32) / occurrences
        before = tf.gather(self.num_gaps, buckets)
        kept = tf.minimum((1.0 - self._rate) ** occurrences, before / (before + occurrences))
        places = buckets[:, tf.newaxis]
        self.gap.scatter_nd_update(places, kept * tf.gather(self.gap, buckets) + (1.0 - kept) * gap)
        self.num_gaps.scatter_nd_update(places, before + occurrences)
        self.last_step.scatter_nd_update(places, tf.fill(tf.shape(buckets), step))

    def log_probability(self, rows: tf.Tensor) -> tf.Tensor:
        """[num_rows] float32, log of the estimated occurrences of the item in a batch."""
        return -tf.math.log(tf.reduce_max(tf.gather(self.gap, self._buckets(rows)), axis=1))

    def _buckets(self, rows: tf.Tensor) -> tf.Tensor:
        hashed = _mix(rows[:, tf.newaxis] + self._salts)
        return tf.math.floormod(_shift_right(hashed, 1), self._num_buckets) + self._offsets


def _mix(values: tf.Tensor) -> tf.Tensor:
    """The finaliser of SplitMix64: every bit of a value decides every bit of its hash; int64 that wraps around.

    References:
        Steele et al. 2014, OOPSLA, "Fast splittable pseudorandom number generators".
    """
    values = tf.bitwise.bitwise_xor(values, _shift_right(values, 30)) * _signed(0xBF58476D1CE4E5B9)
    values = tf.bitwise.bitwise_xor(values, _shift_right(values, 27)) * _signed(0x94D049BB133111EB)
    return tf.bitwise.bitwise_xor(values, _shift_right(values, 31))


def _shift_right(values: tf.Tensor, places: int) -> tf.Tensor:
    """Shifts zeros in, where TensorFlow's shift of int64 repeats the sign."""
    shifted = tf.bitwise.right_shift(values, tf.constant(places, tf.int64))
    return tf.bitwise.bitwise_and(shifted, tf.constant((1 << (64 - places)) - 1, tf.int64))


def _signed(number: int) -> int:
    """The int64 of the same 64 bits."""
    return number - (1 << 64) if number >> 63 else number
