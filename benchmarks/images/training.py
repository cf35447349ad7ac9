"""Encoders of images that are trained for a number of core-seconds, with labels and without.

Every arm spends the same process time on its steps; tracing, probes and reading are not counted. The learning rate is a
function of the share that is spent, so that each schedule ends with its budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from recsys_ssl import seeds
from recsys_ssl.encoders.dropout import DropoutSeed
from recsys_ssl.encoders.image.encoder import ImageEncoder
from recsys_ssl.encoders.image.pretext import PRETEXT, PretrainData
from recsys_ssl.encoders.image.settings import PretrainConfig
from recsys_ssl.encoders.image.views import Augmentation, augment, normalise, to_pixels
from recsys_ssl.encoders.pretrain_step import PretrainStep
from recsys_ssl.encoders.schedules import WarmUpThenDecay
from recsys_ssl.seeds import FinetuneStream

_PARTS = 1000
"""Of a budget, by which the learning rate counts."""
_ENCODE = 512
_SUPERVISED_CROP = 0.6
_STEP = tf.TensorSpec([], tf.int64)


class Spent(NamedTuple):
    """What a training took."""

    steps: int
    core_seconds: float


class BudgetRate(WarmUpThenDecay):
    """`WarmUpThenDecay` over the share of a budget that is spent, in place of steps."""

    def __init__(self, largest: float):
        super().__init__(largest / 10, largest, largest / 10, _PARTS // 20, _PARTS)
        self.spent = tf.Variable(0.0, trainable=False)
        """Of 1000 parts."""

    def __call__(self, step):
        return super().__call__(self.spent)


def spend(take: Callable[[int], None], rate: BudgetRate, core_seconds: float) -> Spent:
    """Takes steps, counted from 0, until the budget is spent; the first one, which traces, is not timed."""
    take(0)
    steps, used, started = 1, 0.0, time.process_time()
    while used < core_seconds:
        rate.spent.assign(_PARTS * used / core_seconds)
        take(steps)
        steps, used = steps + 1, time.process_time() - started
    return Spent(steps, round(used, 2))


def make_encoder(config: PretrainConfig) -> ImageEncoder:
    """One from scratch, by the seed of the settings."""
    seeds.set_initial_weights(config.seed)
    return ImageEncoder(config.sizes)


def pretrain(images: np.ndarray, config: PretrainConfig, core_seconds: float) -> tuple[ImageEncoder, Spent]:
    """An encoder pre-trained on [num_images, size, size, channels] uint8."""
    data = PretrainData(SimpleNamespace(name="", train=images, validation=images[:0], rejected={}))
    seeds.set_initial_weights(config.seed)
    model = PRETEXT.make_model(config, data)
    step, rate = PretrainStep(model, PRETEXT, config), BudgetRate(config.max_learning_rate)
    step.optimizer.learning_rate = rate
    take = step.compile()
    return model.encoder, spend(lambda number: take(data.train_batch(config, number)), rate, core_seconds)


def train_classifier(
    encoder: ImageEncoder, images: np.ndarray, labels: np.ndarray, config: PretrainConfig, core_seconds: float
) -> tuple[Callable[[np.ndarray], np.ndarray], Spent]:
    """Trains the encoder and a linear head on it by cross-entropy of augmented images.

    Returns:
        Images -> classes; and what was spent.
    """
    head = keras.layers.Dense(int(labels.max()) + 1)
    head.build([None, encoder.dim])
    variables = encoder.trainable_variables + head.trainable_variables
    rate, dropout = BudgetRate(config.max_learning_rate), DropoutSeed(encoder)
    optimizer = keras.optimizers.legacy.Adam(rate)
    light = Augmentation(_SUPERVISED_CROP, 0.2, 0.2, config.colour, config.flip)

    @tf.function(
        input_signature=[tf.TensorSpec([None, *images.shape[1:]], tf.uint8), tf.TensorSpec([None], tf.int32), _STEP],
        autograph=False,
    )
    def take(batch: tf.Tensor, right: tf.Tensor, step: tf.Tensor) -> None:
        dropout.reset(seeds.number_of(config.seed, FinetuneStream.DROPOUT), step)
        pixels = augment(to_pixels(batch), light, seeds.of_step(config.seed, FinetuneStream.ENCODER, step))
        with tf.GradientTape() as tape:
            logits = head(encoder.embed(normalise(pixels), training=True))
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(right, logits))
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))

    def take_step(number: int) -> None:
        rows = seeds.generator(config.seed, FinetuneStream.SHUFFLE, number).integers(0, len(labels), config.batch_size)
        take(images[rows], labels[rows].astype(np.int32), tf.constant(number, tf.int64))

    spent = spend(take_step, rate, core_seconds)

    def classify(test_images: np.ndarray) -> np.ndarray:
        return head(encode(encoder, test_images)).numpy().argmax(axis=1)

    return classify, spent


def encode(encoder: ImageEncoder, images: np.ndarray) -> np.ndarray:
    """[num_images, dim] float32."""
    embed = tf.function(
        lambda batch: encoder.embed(normalise(to_pixels(batch))),
        input_signature=[tf.TensorSpec([None, *images.shape[1:]], tf.uint8)],
        autograph=False,
    )
    return np.concatenate([embed(images[start : start + _ENCODE]) for start in range(0, len(images), _ENCODE)])
