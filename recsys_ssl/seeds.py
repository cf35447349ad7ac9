"""Random streams, each named once: every draw is a function of a seed, a stream and a step (or epoch).

So a run that resumes draws what one that was never interrupted would have drawn, and two streams of one seed are
independent. In a graph a stream is a seed of TensorFlow's stateless ops, outside of one a NumPy generator.
"""

from __future__ import annotations

import enum

import numpy as np
import tensorflow as tf

# Streams of a step lie beside each other: `seed * 8 + stream`. A new stream takes a free number, no other moves.
_STREAMS_PER_SEED = 8


class TrainStream(enum.IntEnum):
    """What a training step of the towers draws."""

    SSL_ITEMS = 0
    FEATURE_MASKS = 1
    VALUE_DROPOUT = 2
    FEATURE_DROPOUT = 3
    QUERY_IDS = 5
    CONTENT_MASKS = 6
    """Parts of an item's content that a masked view hides."""
    ENCODER = 7
    """Dropout of an encoder, and what else it draws in training."""


class PretrainStream(enum.IntEnum):
    """What a step of pre-training draws."""

    ENCODER = 0
    DROPOUT = 1


class FinetuneStream(enum.IntEnum):
    """What fine-tuning draws."""

    SHUFFLE = 0
    ENCODER = 1
    DROPOUT = 2
    SPLIT = 3
    """Which records are trained on, where chance decides."""


class ShardStream(enum.IntEnum):
    """What batches of prepared content draw."""

    ORDER = 0
    TRAIN_TARGETS = 1
    VALIDATION = 2
    VALIDATION_TARGETS = 3


class Apart(enum.IntEnum):
    """Draws of one stream and step lie apart by a bit of the step, one for each reason."""

    INDEPENDENT_VIEWS = 20
    """The two views of `views.draw_independent`; a run of a million steps would meet it again."""
    BONDS = 40
    """Bonds of molecules beside their atoms."""
    VIEWS = 41
    """Views that hide parts of the same content."""
    KINDS = 48
    """Kinds of content beside each other."""
    HISTORY = 56
    """What reads the queries' histories, beside the encoders of content."""


def of_step(seed: int, stream: enum.IntEnum, step: tf.Tensor) -> tf.Tensor:
    """[2] int64, the seed of a stateless op; `step` is a scalar int64."""
    return tf.stack([tf.constant(number_of(seed, stream), tf.int64), step])


def number_of(seed: int, stream: enum.IntEnum) -> int:
    """A stream as one number."""
    return seed * _STREAMS_PER_SEED + stream


def apart(seed: tf.Tensor, place: int, why: Apart) -> tf.Tensor:
    """The stateless seed of the place-th of several draws within a stream and step; [2] int64."""
    return seed + [0, place << why]


def of_epoch(seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """[2] int64, the seed of the order of shards in an epoch, scalar int64."""
    return tf.stack([tf.constant(seed, tf.int64), epoch])


def of_shuffle(seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """Scalar int64, the seed of the shuffle buffer in an epoch."""
    return seed * 1_000_003 + epoch


def set_initial_weights(seed: int) -> None:
    """Makes the weights of the models that are built next a function of the seed.

    Keras draws them from a generator of its own, which `tf.random.set_seed` leaves alone. Above 0: a global seed of 0
    makes TensorFlow compare the shuffle's symbolic seed with 0 and fail.
    """
    import tf_keras as keras

    keras.utils.set_random_seed(seed + 1)


def generator(*facts: int) -> np.random.Generator:
    """A NumPy generator of a seed, or of a stream: its name, the seed, and the step or epoch."""
    return np.random.default_rng([int(fact) for fact in facts])
