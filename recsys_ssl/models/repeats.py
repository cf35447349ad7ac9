"""That a query has chosen an item before, as a part of the score that no vector could say exactly."""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf
import tf_keras as keras

from recsys_ssl.features.batch import History, count_later


class Choices(NamedTuple):
    """What the queries of a batch have chosen before, each pair of a query and an item once."""

    records: tf.Tensor
    """[num_pairs] int64 query, ascending."""
    codes: tf.Tensor
    """[num_pairs] int64 what the history calls the item."""
    counts: tf.Tensor
    """[num_pairs] float32 >= 1, how often the history has it."""
    ages: tf.Tensor
    """[num_pairs] float32 >= 0, how many choices came after its last one."""
    places: tf.Tensor
    """[num_pairs] int64, where in the whole history its last choice stands."""


def count_choices(
    history: History, num_records: tf.Tensor, kept: tf.Tensor, names: tf.Tensor, span: tf.Tensor
) -> Choices:
    """Counts the items of every query's history; costs a hash of each choice that is kept.

    Args:
        kept: [num_kept] int64 ascending, places in the history; the others count for the ages alone.
        names: [num_kept] int64 in 0..span-1, what `Choices.codes` call each kept choice.
        span: scalar int64.
    """
    records, ages = tf.gather(history.records, kept), tf.gather(count_later(history.records, num_records), kept)
    keys, pair = tf.unique(records * span + names, tf.int64)
    num_pairs = tf.size(keys, tf.int64)
    return Choices(
        records=keys // span,
        codes=keys % span,
        counts=tf.math.unsorted_segment_sum(tf.ones_like(pair, tf.float32), pair, num_pairs),
        ages=tf.cast(tf.math.unsorted_segment_min(ages, pair, num_pairs), tf.float32),
        places=tf.math.unsorted_segment_max(kept, pair, num_pairs),
    )


class RepeatTerm(keras.layers.Layer):
    """Lets an item of a query's history score by the vectors or by having been chosen before, whichever explains it.

    s(q, i) = log(e^t(q, i) + e^r(q, i)) with t = <q, i> / temperature + the prior, as of any item, and
    r(q, i) = w0 + w1 log n + w2 log(1 + a) where the history of q holds i n > 0 times, the last time a choices ago;
    s = t elsewhere. So an item is as likely as the sum of two chances: to be found, and to be chosen again. Were r
    added to t, popular items would gain as many times their chance as rare ones, though they are chosen anyway. w is
    learned with the towers. Exported scores are in units of the dot product: all of it times the temperature.

    A sum of vectors cannot tell the items of a long history apart: that takes as many dimensions as there are items.
    r is few numbers instead, one for each item of a history. Since s >= t, the k best of all items are among the k
    best by vectors and the items of the history, and an index of vectors need not know of it.

    Attributes:
        temperature: of the main loss.
        item_slot: of the id feature of items whose codes the histories hold.
        end_of_known: codes from this one on name no single item, but unknown ones, which have no r.

    References:
        Anderson et al. 2014, WWW, "The dynamics of repeat consumption": counts and recency foretell what comes again.
        Ren et al. 2019, AAAI, "RepeatNet": the sum of the chances to repeat and to explore.
    """

    def __init__(self, temperature: float, item_slot: int, end_of_known: int, num_items: int):
        """Args:
        num_items: of the catalogue. At first every item of a history has a chance of about 1 in 100 to come again,
            where the items together have a logit of log(num_items), the mean being 0.
        """
        super().__init__(name="repeats")
        self.temperature, self.item_slot, self.end_of_known = temperature, item_slot, end_of_known
        first = keras.initializers.Constant([math.log(num_items / 100), 1.0, 0.0])
        self.weight = self.add_weight(name="weight", shape=[3], initializer=first)

    def call(self, counts: tf.Tensor, ages: tf.Tensor) -> tf.Tensor:
        """[num_pairs] float32 r, of items with these counts and ages, see `Choices`."""
        w0, w1, w2 = tf.unstack(self.weight)
        return w0 + w1 * tf.math.log(counts) + w2 * tf.math.log1p(ages)

    def find(self, history: History, num_records: tf.Tensor, candidates: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The candidates that queries have chosen before.

        Only the choices that are candidates are counted: a binary search for each choice finds them.

        Args:
            candidates: [num_candidates] int64, one or more distinct codes of items, in any order.

        Returns:
            [num_pairs, 2] int64 query and position of the candidate, distinct, and [num_pairs] float32 r.
        """
        num_candidates = tf.size(candidates, tf.int64)
        order = tf.argsort(candidates)
        places = tf.searchsorted(tf.gather(candidates, order), history.codes, out_type=tf.int64)
        columns = tf.gather(order, tf.minimum(places, num_candidates - 1))
        kept = tf.where((tf.gather(candidates, columns) == history.codes) & (history.codes < self.end_of_known))[:, 0]
        columns = tf.cast(tf.gather(columns, kept), tf.int64)
        found = count_choices(history, num_records, kept, columns, num_candidates)
        return tf.stack([found.records, found.codes], axis=1), self(found.counts, found.ages)

    def score(self, history: History, num_records: tf.Tensor) -> tuple[Choices, tf.Tensor]:
        """All known items that queries have chosen before, and [num_pairs] float32 temperature * r."""
        kept = tf.where(history.codes < self.end_of_known)[:, 0]
        codes, span = tf.gather(history.codes, kept), tf.constant(self.end_of_known, tf.int64)
        found = count_choices(history, num_records, kept, codes, span)
        return found, self.temperature * self(found.counts, found.ages)
