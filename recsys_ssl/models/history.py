"""A causal transformer over what a query chose before, after SASRec.

Its inputs are the vectors that the item tower gives the items, so that a new item works by its content; the state at
an item takes the history's slot in the query tower. All events of a window are foretold from one pass over its items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import tensorflow as tf
import tf_keras as keras
from pydantic import BeforeValidator

HistoryKind = Literal["mean", "transformer"]
Switch = Literal["auto", "on", "off"]
# YAML reads on and off as true and false.
_Switch = Annotated[Switch, BeforeValidator(lambda value: {"True": "on", "False": "off"}.get(repr(value), value))]

UNKNOWN_ITEM = -1
"""In place of a row: an item that the catalogue does not have. Its vector is 0, and it keeps its place."""
UNKNOWN_GAP = 0
"""Bucket of a gap in time that is not known."""
_NUM_GAPS = 34
"""Unknown, below a second, and a bucket for each power of two of seconds, up to 68 years and more."""


@dataclass(frozen=True)
class HistoryConfig:
    """How the query tower reads an item_sequence, and the score.

    Attributes:
        encoder: `mean` of the embeddings of the items' ids, or a causal `transformer` over the items' vectors of the
            item tower, with learned positions and the gaps in time between the items.
        length: how many of the last items the `mean` reads.
        repeats: whether an item of the history scores by its chance to be chosen again, too (`models.repeats`), which
            reads the sequence as long as the spec keeps it; `auto`: where the spec has one and
            `evaluation.mask_seen: false`.
        layers: blocks of attention and a layer of its own width (`transformer` only, as are the next three).
        heads: of the attention; `feature_dim` must be a multiple of it.
        dropout: of the inputs and of every block in training.
        learning_rate: of the transformer's optimiser, Adam; Adagrad's large rate would ruin it.
    """

    encoder: HistoryKind = "mean"
    length: int = 20
    repeats: _Switch = "auto"
    layers: int = 1
    heads: int = 2
    dropout: float = 0.2
    learning_rate: float = 0.001


class Histories(NamedTuple):
    """What the records of a batch chose before, as sequences that several records may share."""

    items: tf.Tensor
    """[num_sequences, width] int64 rows of a table of item vectors, the oldest first; UNKNOWN_ITEM where there is none,
    and behind the end."""
    gaps: tf.Tensor
    """[num_sequences, width] int64 buckets of the time from an item to the next event, see `bucket_gaps`."""
    owner: tf.Tensor
    """[num_records] int64 sequence of a record."""
    visible: tf.Tensor
    """[num_records] int64, how many items of its sequence a record may see."""


class States(NamedTuple):
    """What stands for the histories of some records in the query tower."""

    vectors: tf.Tensor
    """[num_records, feature_dim] float32."""
    known: tf.Tensor
    """[num_records] bool, whether there is a history."""


def bucket_gaps(gap_us: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """Buckets of times between events: unknown, below a second (or negative, where clocks differ), then by log2.

    Args:
        gap_us: [...] int64 microseconds.
        known: [...] bool.

    Returns:
        [...] int64 in 0 ... 33.
    """
    seconds = tf.maximum(gap_us // 1_000_000, 0)
    # The bounds are whole numbers: a logarithm of a float would put some powers of two into the bucket below.
    bounds = tf.constant([2**power for power in range(_NUM_GAPS - 2)], tf.int64)
    bucket = 1 + tf.searchsorted(bounds, tf.reshape(seconds, [-1]), side="right", out_type=tf.int64)
    return tf.where(known, tf.reshape(bucket, tf.shape(seconds)), tf.constant(UNKNOWN_GAP, tf.int64))


class HistoryEncoder(keras.layers.Layer):
    """Items of a sequence -> a state at each of them that knows no later one.

    x_j = drop(W v_j sqrt(item_dim) + p_j + g_j) for the item's vector v_j, its place j from the start and its gap, then
    pre-norm blocks x <- x + drop(attend(norm(x))), x <- x + drop(W_2 relu(W_1 norm(x))), and a last norm. Places count
    from the start, so that a state is the same whatever comes later; the last items of a long history begin at 0, as
    windows of training do.

    References:
        Kang & McAuley 2018, arXiv:1808.09781.
    """

    def __init__(self, config: HistoryConfig, length: int, item_dim: int, width: int):
        """Args:
            length: most items of a sequence.
            item_dim: length of the items' vectors.
            width: length of a state.

        Raises:
            ValueError: the width is no multiple of the heads.
        """
        super().__init__(name="history")
        if width % config.heads:
            raise ValueError(
                f"train.feature_dim must be a multiple of train.history.heads. Received: {width} and {config.heads}. "
                "Change one."
            )
        self.length, self._width = length, width
        small = keras.initializers.RandomNormal(stddev=0.02)
        self._project = keras.layers.Dense(width, name="items")
        self._places = self.add_weight(name="places", shape=[length, width], initializer=small)
        self._gaps = self.add_weight(name="gaps", shape=[_NUM_GAPS, width], initializer=small)
        self._dropout = keras.layers.Dropout(config.dropout)
        self._blocks = [_Block(config, width, name=f"block_{number}") for number in range(config.layers)]
        self._norm = keras.layers.LayerNormalization(name="norm")
        # Called at once, so that every weight exists before a checkpoint is restored or a graph is traced.
        self(tf.zeros([1, 1, item_dim]), tf.zeros([1, 1], tf.int64))

    def call(self, vectors: tf.Tensor, gaps: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Args:
            vectors: [num_sequences, width, item_dim] float32, 0 for an unknown item and behind the end.
            gaps: [num_sequences, width] int64, as in `Histories`.

        Returns:
            [num_sequences, width, state_dim] float32 of about length 1.
        """
        scaled = vectors * vectors.shape[-1] ** 0.5
        inputs = self._project(scaled) + self._places[: tf.shape(vectors)[1]] + tf.gather(self._gaps, gaps)
        states = self._dropout(inputs, training=training)
        for block in self._blocks:
            states = block(states, training=training)
        return self._norm(states) * self._width**-0.5

    def read(self, histories: Histories, table: tf.Tensor, training: bool = False) -> States:
        """The state of each record.

        Args:
            table: [num_rows, item_dim] float32 item vectors that `histories.items` are rows of.
        """
        known = histories.items != UNKNOWN_ITEM
        vectors = tf.gather(table, tf.maximum(histories.items, 0))
        states = self(tf.where(known[..., tf.newaxis], vectors, 0.0), histories.gaps, training=training)
        last = tf.stack([histories.owner, tf.maximum(histories.visible - 1, 0)], axis=1)
        return States(tf.gather_nd(states, last), histories.visible > 0)


class _Block(keras.layers.Layer):
    def __init__(self, config: HistoryConfig, width: int, name: str):
        super().__init__(name=name)
        self._norm, self._inner_norm = (keras.layers.LayerNormalization(name=n) for n in ("norm", "inner_norm"))
        self._attend = keras.layers.MultiHeadAttention(config.heads, width // config.heads, dropout=config.dropout)
        self._inner = [keras.layers.Dense(width, activation="relu"), keras.layers.Dense(width)]
        self._dropouts = [keras.layers.Dropout(config.dropout) for _ in range(2)]

    def call(self, states: tf.Tensor, training: bool) -> tf.Tensor:
        normed = self._norm(states)
        attended = self._attend(normed, normed, use_causal_mask=True, training=training)
        states += self._dropouts[0](attended, training=training)
        widen, narrow = self._inner
        return states + self._dropouts[1](narrow(widen(self._inner_norm(states))), training=training)
