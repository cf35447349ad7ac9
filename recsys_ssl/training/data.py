"""Training batches from example files: a stream whose order is a function of the seed and the step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from recsys_ssl import examples, seeds
from recsys_ssl.features.batch import FeatureBatch, FeatureLayout, batch_from_sparse


class Interactions(NamedTuple):
    """A batch of positive events."""

    query: FeatureBatch
    """Features of the queries; without any record when queries are items."""
    query_rows: tf.Tensor
    """[batch_size] int64 catalogue rows of the queries when queries are items, else zeros."""
    item_rows: tf.Tensor
    """[batch_size] int64 catalogue rows of the positives."""
    example_weight: tf.Tensor
    """[batch_size] float32."""


def count_examples(shards: Sequence[str]) -> int:
    """The number of records, by one pass over the compressed files."""
    records = tf.data.TFRecordDataset(list(shards), compression_type="GZIP", num_parallel_reads=2)
    with examples.reading_shards(shards):
        return int(records.batch(4096).reduce(tf.constant(0, tf.int64), lambda n, batch: n + tf.size(batch, tf.int64)))


def stream(
    shards: Sequence[str],
    layout: FeatureLayout,
    same_as_items: bool,
    batch_size: int,
    num_examples: int,
    shuffle_buffer: int,
    seed: int,
    first_step: int,
) -> tf.data.Dataset:
    """Batches from step `first_step` on, without end, shuffled anew in every epoch.

    Shard order and shuffling depend on the seed and the epoch alone, so a run that resumes at a step sees
    the same batches as one that was never interrupted; it reads, but does not parse, what it skips.
    """
    steps_per_epoch = num_examples // batch_size
    paths = tf.constant(list(shards))

    def read_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(paths, seed=seeds.of_epoch(seed, epoch))
        records = tf.data.Dataset.from_tensor_slices(order).interleave(
            lambda path: tf.data.TFRecordDataset(path, compression_type="GZIP"),
            cycle_length=4,
            block_length=64,
            num_parallel_calls=2,
            deterministic=True,
        )
        records = records.shuffle(shuffle_buffer, seed=seeds.of_shuffle(seed, epoch), reshuffle_each_iteration=False)
        return records.batch(batch_size, drop_remainder=True)

    epochs = tf.data.Dataset.range(first_step // steps_per_epoch, tf.int64.max)
    batches = epochs.flat_map(read_epoch).skip(first_step % steps_per_epoch)
    return batches.map(lambda serialized: parse(serialized, layout, same_as_items), 2, deterministic=True).prefetch(2)


def parse(serialized: tf.Tensor, layout: FeatureLayout, same_as_items: bool) -> Interactions:
    """Parses a batch of serialized encoded interactions."""
    columns = {"item_row": tf.io.FixedLenFeature([], tf.int64), "example_weight": tf.io.FixedLenFeature([], tf.float32)}
    if same_as_items:
        columns["query_row"] = tf.io.FixedLenFeature([], tf.int64)
    else:
        columns |= {f.name: tf.io.VarLenFeature(tf.float32 if f.dim else tf.int64) for f in layout.features}
    parsed = tf.io.parse_example(serialized, columns)
    num_records = tf.size(serialized, tf.int64)
    if same_as_items:
        empty = FeatureLayout((), (), ())
        query = batch_from_sparse(empty, {}, tf.constant(0, tf.int64))
        query_rows = parsed["query_row"]
    else:
        query = batch_from_sparse(layout, parsed, num_records)
        query_rows = tf.zeros_like(parsed["item_row"])
    return Interactions(query, query_rows, parsed["item_row"], parsed["example_weight"])
