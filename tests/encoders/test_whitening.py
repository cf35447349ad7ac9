"""What whitening makes of vectors that were shown to it."""

import numpy as np
import tensorflow as tf

from recsys_ssl.encoders.whitening import FixedWhitening


def test_what_was_shown_gets_mean_0_and_deviation_1():
    layer, rng = FixedWhitening(), np.random.default_rng(0)
    vectors = rng.normal([0.8, -3.0, 0.0], [0.07, 2.0, 1e-3], size=[50, 3]).astype(np.float32)
    np.testing.assert_array_equal(layer(vectors), vectors)
    layer.fit(tf.constant(vectors), decorrelate=False)
    np.testing.assert_allclose(tf.reduce_mean(layer(vectors), axis=0), 0.0, atol=1e-3)
    np.testing.assert_allclose(tf.math.reduce_std(layer(vectors), axis=0), 1.0, atol=1e-3)
    assert layer.trainable_variables == []


def test_a_constant_dimension_is_centred_and_keeps_its_scale():
    layer = FixedWhitening()
    layer.build([None, 2])
    layer.fit(tf.constant([[2.0, 1.0], [2.0, 3.0]]), decorrelate=False)
    np.testing.assert_allclose(layer(tf.constant([[5.0, 3.0]])), [[3.0, 1.0]], rtol=1e-6)


def test_correlated_dimensions_are_decorrelated_and_what_hardly_varies_is_not_blown_up():
    layer, rng = FixedWhitening(), np.random.default_rng(0)
    first, second, noise = rng.normal(size=[3, 5000, 1])
    vectors = np.concatenate([5 + first, first + 0.3 * second, first - 0.3 * second + 1e-5 * noise], axis=1)
    layer.build([None, 3])
    layer.fit(tf.constant(vectors, tf.float32), decorrelate=True)
    whitened = layer(tf.constant(vectors, tf.float32)).numpy()
    np.testing.assert_allclose(whitened.mean(axis=0), 0.0, atol=1e-4)
    # Two directions with variance 1, and the noise, whose own is far below the floor.
    np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(whitened.T)), [0.0, 1.0, 1.0], atol=0.05)
    assert layer.trainable_variables == []


def test_vectors_that_are_all_alike_are_centred_only():
    layer = FixedWhitening()
    layer.build([None, 2])
    layer.fit(tf.constant([[2.0, 1.0]]), decorrelate=True)
    np.testing.assert_allclose(layer(tf.constant([[5.0, 3.0]])), [[3.0, 2.0]], rtol=1e-6)
