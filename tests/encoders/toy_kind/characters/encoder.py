"""A dense layer on the counts of a text's bytes."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from recsys_ssl.encoders import store
from recsys_ssl.encoders.characters.settings import EncoderConfig, Sizes
from recsys_ssl.encoders.contract import WHOLE, Mask, Pass


class Characters(NamedTuple):
    packed: tf.Tensor
    """[num_records] string."""

    def present(self) -> tf.Tensor:
        return self.packed != ""

    def gather(self, records: tf.Tensor) -> Characters:
        return Characters(tf.gather(self.packed, records))


class CharacterEncoder(keras.Model):
    def __init__(self, config: Sizes):
        super().__init__(name="characters")
        self.config, self.dim = config, config.dim
        self._dense = keras.layers.Dense(config.dim)
        self._dense.build([None, 256])

    def encode(self, content: Characters, how: Pass = WHOLE) -> tf.Tensor:
        return self._dense(count_bytes(content.packed, how.mask))


def count_bytes(packed: tf.Tensor, mask: Mask | None) -> tf.Tensor:
    """[num_records, 256] float32."""
    values = tf.io.decode_raw(tf.strings.reduce_join(packed), tf.uint8)
    owners = tf.repeat(tf.range(tf.size(packed)), tf.strings.length(packed))
    one_hot = tf.one_hot(values, 256)
    if mask is not None:
        shown = tf.random.stateless_uniform(tf.shape(values), mask.seed) >= mask.rate
        one_hot *= tf.cast(shown, tf.float32)[:, tf.newaxis]
    return tf.math.unsorted_segment_sum(one_hot, owners, tf.size(packed))


def make(config: EncoderConfig) -> CharacterEncoder:
    return CharacterEncoder(Sizes(config.dim)) if config.pretrained is None else store.load(config.pretrained)


def restore(settings: dict) -> CharacterEncoder:
    return CharacterEncoder(Sizes(**settings))


def unpack(packed: tf.Tensor) -> Characters:
    return Characters(packed)


def concat(contents) -> Characters:
    return Characters(tf.concat([content.packed for content in contents], axis=0))
