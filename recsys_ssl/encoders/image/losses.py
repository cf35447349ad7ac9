"""Losses of pre-training, functions of arrays; all are to be minimised.

References:
    Atito et al. 2021, arXiv:2104.03602, Section 3; Chen et al. 2020, arXiv:2002.05709 (NT-Xent); Chen et al. 2021,
    arXiv:2104.02057 (momentum contrast); Kendall et al. 2018, arXiv:1705.07115 (uncertainty).
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_NOT_IT = -1e9
"""Logit of what is not among the choices."""


def l1(reconstructed: tf.Tensor, clean: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
    """Mean of |reconstructed - clean| over pixels and channels of the whole batch.

    Args:
        reconstructed, clean: [num_images, size, size, channels] float32.
        mask: [num_images, size, size, 1] bool, the pixels that count; None: all.

    Returns:
        Scalar, 0 or more; 0.0 when no pixel counts.
    """
    distance = tf.abs(reconstructed - clean)
    if mask is None:
        return tf.reduce_mean(distance)
    counted = tf.cast(mask, distance.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(distance * counted), tf.reduce_sum(counted) * distance.shape[-1])


def nt_xent(first: tf.Tensor, second: tf.Tensor, temperature: float) -> tf.Tensor:
    """Cross-entropy of finding the other view of an image among all other views of the batch.

    -1/(2n) sum_i log(exp(cos(z_i, z_j) / T) / sum_{k != i} exp(cos(z_i, z_k) / T)), z the 2n views, j the other of i.

    Args:
        first, second: [num_images, dim] float32, row by row two views of an image; rows need not be normalised.
        temperature: T, positive.

    Returns:
        Scalar; log(2n - 1) by chance, 0.0 for a single image, which has no others.
    """
    return tf.reduce_mean(_cross_entropy(*view_logits(first, second, temperature)))


def view_logits(first: tf.Tensor, second: tf.Tensor, temperature: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Likeness of each of 2n views to all, and which is the right one.

    Returns:
        [2n, 2n] float32 logits, that of a view with itself very low; [2n] int32 columns.
    """
    num_images = tf.shape(first)[0]
    views = tf.math.l2_normalize(tf.concat([first, second], axis=0), axis=1)
    logits = tf.matmul(views, views, transpose_b=True) / temperature
    logits = tf.linalg.set_diag(logits, tf.fill([2 * num_images], _NOT_IT))
    places = tf.range(num_images)
    return logits, tf.concat([places + num_images, places], axis=0)


def momentum_contrast(queries: tf.Tensor, keys: tf.Tensor, temperature: float) -> tf.Tensor:
    """2T times the cross-entropy of finding a view's key among those of all images, MoCo v3's form.

    2T * -1/n sum_i log(exp(cos(q_i, k_i) / T) / sum_j exp(cos(q_i, k_j) / T))

    Args:
        queries: [num_images, dim] float32, of one view by the student.
        keys: [num_images, dim] float32, of the other view by the teacher; no gradient passes.
        temperature: T, positive.

    Returns:
        Scalar; 2T log(n) by chance.
    """
    keys = tf.stop_gradient(tf.math.l2_normalize(keys, axis=1))
    logits = tf.matmul(tf.math.l2_normalize(queries, axis=1), keys, transpose_b=True) / temperature
    return 2.0 * temperature * tf.reduce_mean(_cross_entropy(logits, tf.range(tf.shape(queries)[0])))


def rotation_loss(logits: tf.Tensor, quarters: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy of the four rotations; log(4) by chance.

    Args:
        logits: [num_images, 4] float32.
        quarters: [num_images] int32 in 0-3.
    """
    return tf.reduce_mean(_cross_entropy(logits, quarters))


def weigh(losses: Sequence[tf.Tensor], weights: Sequence[float]) -> tf.Tensor:
    """sum_k w_k L_k."""
    return tf.add_n([weight * loss for loss, weight in zip(losses, weights, strict=True)])


def weigh_by_uncertainty(
    losses: Sequence[tf.Tensor], log_variances: tf.Tensor, weights: Sequence[float], precisions: Sequence[float]
) -> tf.Tensor:
    """sum_k w_k exp(-a_k s_k) L_k + s_k / 2; may be negative.

    The form of the first version since July 2021; what is learned is s_k, the logarithm of the variance of a task.

    Args:
        losses: of the tasks.
        log_variances: [num_tasks] float32, s.
        weights: w.
        precisions: a: 1 of a cross-entropy, 1/2 of an L1 distance.
    """
    weighed = [
        weight * tf.exp(-precision * log_variance) * loss + 0.5 * log_variance
        for loss, log_variance, weight, precision in zip(
            losses, tf.unstack(log_variances), weights, precisions, strict=True
        )
    ]
    return tf.add_n(weighed)


def _cross_entropy(logits: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Of each row."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(right, logits)
