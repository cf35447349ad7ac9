"""Dropout that a resumed run repeats."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
import tf_keras as keras


class DropoutSeed(tf.Module):
    """Makes the dropout of a model a function of a seed and a step, so that a resumed run repeats it.

    Dropout layers draw from Keras' generators, which keep counters that no checkpoint holds. This gives all of them
    one generator, which `reset` sets at the start of a step; each layer, and each hop of messages, still draws a mask
    of its own.
    """

    def __init__(self, model: keras.Model):
        super().__init__()
        self._generator = tf.random.Generator.from_state([0, 0, 0], alg="philox")
        for layer in model.submodules:
            if isinstance(layer, keras.layers.Dropout):
                if not layer.built:  # or the first call would want Keras' own generator
                    layer.build([None])
                layer._random_generator = self

    def reset(self, seed: int, step: tf.Tensor) -> None:
        """Begins the masks of a step, scalar int64."""
        counter = [tf.constant(0, tf.int64), tf.cast(step, tf.int64), tf.constant(seed, tf.int64)]
        self._generator.state.assign(tf.stack(counter))

    def random_uniform(self, shape: Sequence[int], minval: int, maxval: int, dtype: tf.DType) -> tf.Tensor:
        """What a dropout layer that draws for itself asks of its generator."""
        return self._generator.uniform(shape, minval, maxval, dtype)

    def dropout(self, inputs: tf.Tensor, rate: float, noise_shape: tf.Tensor | None = None) -> tf.Tensor:
        """What Keras' own dropout layer asks of its generator."""
        seed = self.random_uniform([2], 0, tf.int32.max, tf.int32)
        return tf.nn.experimental.stateless_dropout(inputs, rate=rate, seed=seed, noise_shape=noise_shape)
