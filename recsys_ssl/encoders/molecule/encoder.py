"""Molecules as features of an item: GROVER's encoder within the towers.

A molecule's vector is the mean readout, what `MoleculeEncoder.embed` gives too: it has no weights, so that vectors of a
frozen encoder can be computed once, and pre-training has learnt with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Optional

import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders.molecule.graph import MoleculeBatch
from recsys_ssl.encoders.molecule.grover import GTransformer, embed_molecules
from recsys_ssl.encoders.molecule.table import MoleculeRows, take_molecules

_CHUNK = 128
"""Molecules that are encoded at a time where no gradient is needed, some 4,000 atoms."""
_WHITENING_FLOOR = 1e-3
"""Added to the variance of each direction, as a share of their mean, so that noise is not blown up to a signal."""


class MoleculePass(NamedTuple):
    """How a call encodes its molecules; by default whole and without dropout, as at serving."""

    hops: Optional[tf.Tensor] = None
    """Scalar int32, hops of messages in training, for which dropout is active; None: no training."""
    mask: Optional[Callable[[MoleculeBatch], MoleculeBatch]] = None
    """Hides parts of the molecules, in each view others; None: all views show the same and it is encoded once."""


WHOLE = MoleculePass()


class FixedWhitening(keras.layers.Layer):
    """(x - mean) A, by vectors that were shown to it once; before, it changes nothing.

    The dimensions of a readout have means far from zero, differ little between molecules and repeat each other. As
    they are, all molecules look alike to a projection whose weights begin small, and Adagrad spends its steps on the
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


def encode_molecules(encoder: GTransformer, molecules: MoleculeRows, how: MoleculePass = WHOLE) -> tf.Tensor:
    """[num_records, 2 * hidden_dim] float32, the vectors of molecules that are all present.

    In training all molecules are one batch, see `GTransformer` for its memory; else they are encoded in chunks.
    """
    if how.hops is None and how.mask is None:
        return _encode_in_chunks(encoder, molecules)
    batch = take_molecules(molecules)
    batch = batch if how.mask is None else how.mask(batch)
    return embed_molecules(encoder, batch, training=how.hops is not None, hops=how.hops)


def _encode_in_chunks(encoder: GTransformer, molecules: MoleculeRows) -> tf.Tensor:
    table, rows = molecules
    # At least one, so that there are vectors to lay end to end.
    num_chunks = tf.maximum(1, -(-tf.size(rows) // _CHUNK))
    width = 2 * encoder.config.hidden_dim
    vectors = tf.TensorArray(tf.float32, num_chunks, infer_shape=False, element_shape=[None, width])

    def encode(chunk: tf.Tensor, vectors: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
        batch = take_molecules(MoleculeRows(table, rows[chunk * _CHUNK : (chunk + 1) * _CHUNK]))
        return chunk + 1, vectors.write(chunk, embed_molecules(encoder, batch))

    _, vectors = tf.while_loop(
        lambda chunk, _: chunk < num_chunks, encode, (tf.constant(0), vectors), parallel_iterations=1
    )
    return tf.ensure_shape(vectors.concat(), [None, width])
