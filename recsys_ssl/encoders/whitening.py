"""Vectors of an encoder, made fit for a projection whose weights begin small."""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

_WHITENING_FLOOR = 1e-3
"""Added to the variance of each direction, as a share of their mean, so that noise is not blown up to a signal."""


class FixedWhitening(keras.layers.Layer):
    """(x - mean) A, by vectors that were shown to it once; before, it changes nothing.

    The dimensions of a readout have means far from zero, differ little between records and repeat each other. As
    they are, all records look alike to a projection whose weights begin small, and Adagrad spends its steps on the
    mean and on the few directions that hold nearly all of the variance.
    """

    def build(self, input_shape):
        dim = input_shape[-1]
        self._mean = self.add_weight(name="mean", shape=[dim], initializer="zeros", trainable=False)
        self._kernel = self.add_weight(name="kernel", shape=[dim, dim], initializer="identity", trainable=False)
        super().build(input_shape)

    def fit(self, vectors: tf.Tensor, decorrelate: bool) -> None:
        """Takes mean and A from [num_vectors, dim] vectors.

        Args:
            decorrelate: A gives the vectors the identity as covariance (ZCA), where a direction has more than some
                thousandths of the mean variance. Else each dimension gets variance 1 by itself, and a constant one
                keeps its scale: as an encoder learns, its vectors leave the directions that they began with.
        """
        mean, variance = tf.nn.moments(vectors, axes=[0])
        if decorrelate:
            centred = tf.cast(vectors - mean, tf.float64)
            covariance = tf.matmul(centred, centred, transpose_a=True) / tf.cast(tf.shape(vectors)[0], tf.float64)
            variances, directions = tf.linalg.eigh(covariance)
            mean_variance = tf.reduce_mean(variances)
            scales = tf.math.rsqrt(tf.maximum(variances, 0.0) + _WHITENING_FLOOR * mean_variance)
            scales = tf.where(mean_variance > 1e-12, scales, 1.0)  # vectors that are all alike are centred only
            kernel = tf.matmul(directions * scales, directions, transpose_b=True)
        else:
            kernel = tf.linalg.diag(tf.where(variance > 1e-12, tf.math.rsqrt(variance), 1.0))
        self._mean.assign(mean)
        self._kernel.assign(tf.cast(kernel, tf.float32))

    def call(self, vectors: tf.Tensor) -> tf.Tensor:
        return tf.matmul(vectors - self._mean, self._kernel)
