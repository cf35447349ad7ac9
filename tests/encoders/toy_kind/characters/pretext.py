"""Which characters a text has is predicted from a part of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl import seeds
from recsys_ssl.encoders.characters.embed import read
from recsys_ssl.encoders.characters.encoder import CharacterEncoder, Characters, count_bytes
from recsys_ssl.encoders.characters.settings import Sizes
from recsys_ssl.encoders.contract import WHOLE, Mask, Pass


@dataclass
class Summary:
    num_train: int
    num_validation: int
    rejected: dict


class Data:
    def __init__(self, texts):
        self.name, self.files = f"{len(texts)}-texts", {}
        self._train, self._validation = texts[::2], texts[1::2]
        self.summary = Summary(len(self._train), len(self._validation), {})

    def train_batch(self, config, step):
        rng = seeds.generator(seeds.ShardStream.ORDER, config.seed, step)
        return np.array(self._train)[rng.integers(0, len(self._train), config.batch_size)]

    def validation_batches(self, config):
        return [np.array(self._validation)]


class Model(keras.Model):
    def __init__(self, config: Sizes):
        super().__init__()
        self.encoder = CharacterEncoder(config)
        self.head = keras.layers.Dense(256)
        self.head.build([None, config.dim])

    def loss(self, texts, how):
        logits = self.head(self.encoder.encode(Characters(texts), how))
        present = tf.cast(count_bytes(texts, None) > 0, tf.float32)
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(present, logits))


class CharacterPretext:
    batch_spec = tf.TensorSpec([None], tf.string)
    noun = "texts"

    def prepare(self, source, directory, config, workers, tell, column=None):
        return Data(list(read(source, column)))

    def make_model(self, config, data):
        return Model(Sizes(config.dim))

    def losses(self, model, batch, config, seed):
        return {"loss": model.loss(batch, Pass(seed, Mask(config.mask_rate, seed)))}

    def follow(self, model, step):
        pass

    def evaluate(self, model, batch):
        return {"loss": model.loss(batch, WHOLE)}

    def summarise(self, sums):
        return dict(sums)

    def describe(self, validation):
        return {}


PRETEXT = CharacterPretext()
