"""Encoders of images that are trained for a number of steps, with labels and without."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
import tf_keras as keras
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from recsys_ssl import seeds
from recsys_ssl.encoders.dropout import DropoutSeed
from recsys_ssl.encoders.image.encoder import ImageEncoder
from recsys_ssl.encoders.image.pretext import PRETEXT, PretrainData
from recsys_ssl.encoders.image.settings import PretrainConfig
from recsys_ssl.encoders.image.views import Augmentation, augment, normalise, to_pixels
from recsys_ssl.encoders.pretrain_step import PretrainStep
from recsys_ssl.encoders.schedules import WarmUpThenDecay
from recsys_ssl.seeds import FinetuneStream

_ENCODE = 512
_SUPERVISED_CROP = 0.6
_PENALTY, _PROBE_STEPS = 0.1, 100
_STEP = tf.TensorSpec([], tf.int64)

Take = Callable[[int], object]
"""Takes a step of training, counted from 0."""


def make_encoder(config: PretrainConfig) -> ImageEncoder:
    """One from scratch, by the seed of the settings."""
    seeds.set_initial_weights(config.seed)
    return ImageEncoder(config.sizes)


def make_pretraining(images: np.ndarray, config: PretrainConfig) -> tuple[ImageEncoder, Take]:
    """An encoder, and what pre-trains it on [num_images, size, size, channels] uint8 in `config.steps` steps."""
    data = PretrainData(SimpleNamespace(name="", train=images, validation=images[:0], rejected={}))
    seeds.set_initial_weights(config.seed)
    model = PRETEXT.make_model(config, data)
    take = PretrainStep(model, PRETEXT, config).compile()
    return model.encoder, lambda step: take(data.train_batch(config, step))


class Classifier:
    """An encoder and a linear head on it, trained together by the cross-entropy of augmented images."""

    def __init__(self, encoder: ImageEncoder, images: np.ndarray, labels: np.ndarray, config: PretrainConfig):
        """Takes [num_images, size, size, channels] uint8 and [num_images] classes, counted from 0."""
        self._encoder, self._images, self._labels, self._config = encoder, images, labels.astype(np.int32), config
        self._head = keras.layers.Dense(int(labels.max()) + 1)
        self._head.build([None, encoder.dim])
        self._dropout = DropoutSeed(encoder)
        warmup = int(config.warmup_share * config.steps)
        rate = WarmUpThenDecay(
            config.init_learning_rate, config.max_learning_rate, config.final_learning_rate, warmup, config.steps
        )
        self._optimizer = keras.optimizers.legacy.Adam(rate)
        specs = [tf.TensorSpec([None, *images.shape[1:]], tf.uint8), tf.TensorSpec([None], tf.int32), _STEP]
        self._take = tf.function(self._take_step, input_signature=specs, autograph=False)

    def fit_head(self) -> None:
        """Begins with the head that a linear probe finds for the encoder as it is (Kumar et al., arXiv:2202.10054).

        Else the gradients of a head that knows nothing undo what the encoder has learned.
        """
        vectors = encode(self._encoder, self._images)
        scaler = StandardScaler().fit(vectors)
        probe = LogisticRegression(C=_PENALTY, max_iter=_PROBE_STEPS).fit(scaler.transform(vectors), self._labels)
        kernel = probe.coef_.T / scaler.scale_[:, np.newaxis]
        self._head.set_weights([kernel, probe.intercept_ - scaler.mean_ @ kernel])

    def take(self, step: int) -> None:
        config = self._config
        rows = seeds.generator(config.seed, FinetuneStream.SHUFFLE, step).integers(
            0, len(self._labels), config.batch_size
        )
        self._take(self._images[rows], self._labels[rows], tf.constant(step, tf.int64))

    def _take_step(self, batch: tf.Tensor, right: tf.Tensor, step: tf.Tensor) -> None:
        config, encoder, head = self._config, self._encoder, self._head
        self._dropout.reset(seeds.number_of(config.seed, FinetuneStream.DROPOUT), step)
        light = Augmentation(_SUPERVISED_CROP, 0.2, 0.2, config.colour, config.flip)
        pixels = augment(to_pixels(batch), light, seeds.of_step(config.seed, FinetuneStream.ENCODER, step))
        with tf.GradientTape() as tape:
            logits = head(encoder.embed(normalise(pixels), training=True))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(right, logits))
        variables = encoder.trainable_variables + head.trainable_variables
        self._optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    def classify(self, images: np.ndarray) -> np.ndarray:
        """[num_images] classes of [num_images, size, size, channels] uint8."""
        return self._head(encode(self._encoder, images)).numpy().argmax(axis=1)


def encode(encoder: ImageEncoder, images: np.ndarray) -> np.ndarray:
    """[num_images, dim] float32."""
    embed = tf.function(
        lambda batch: encoder.embed(normalise(to_pixels(batch))),
        input_signature=[tf.TensorSpec([None, *images.shape[1:]], tf.uint8)],
        autograph=False,
    )
    return np.concatenate([embed(images[start : start + _ENCODE]) for start in range(0, len(images), _ENCODE)])
