"""Training batches from example files: a stream whose order is a function of the seed and the step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from recsys_ssl import examples, seeds
from recsys_ssl.features.batch import FeatureBatch, FeatureLayout, batch_from_sparse
from recsys_ssl.models.history import Histories
from recsys_ssl.training.sequences import SequenceReader


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
    histories: Histories | tuple[()] = ()
    """Of the queries, as rows of the catalogue; () where a history encoder does not read them."""


def count_examples(shards: Sequence[str]) -> int:
    """The number of records, by one pass over the compressed files."""
    records = tf.data.TFRecordDataset(list(shards), compression_type="GZIP", num_parallel_reads=2)
    with examples.reading_shards(shards):
        return int(records.batch(4096).reduce(tf.constant(0, tf.int64), lambda n, batch: n + tf.size(batch, tf.int64)))


def stream(
    shards: Sequence[str],
    parse_batch: Callable[[tf.Tensor], Interactions],
    batch_size: int,
    num_examples: int,
    shuffle_buffer: int,
    seed: int,
    first_step: int,
) -> tf.data.Dataset:
    """Batches from step `first_step` on, without end, shuffled anew in every epoch.

    Shard order and shuffling depend on the seed and the epoch alone, so a run that resumes at a step sees
    the same batches as one that was never interrupted; it reads, but does not parse, what it skips.

    Args:
        parse_batch: [batch_size] serialized records -> a batch.
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
    return batches.map(parse_batch, 2, deterministic=True).prefetch(2)


def parse(
    serialized: tf.Tensor, layout: FeatureLayout, same_as_items: bool, reader: SequenceReader | None = None
) -> Interactions:
    """Parses a batch of serialized encoded interactions.

    Args:
        reader: makes histories of an item_sequence, where a history encoder reads them.
    """
    columns = _of_event(() if same_as_items else [feature.name for feature in layout.features], layout)
    if same_as_items:
        columns["query_row"] = tf.io.FixedLenFeature([], tf.int64)
    if reader is not None:
        columns |= {"history_us": tf.io.VarLenFeature(tf.int64), "timestamp_us": tf.io.FixedLenFeature([], tf.int64)}
    parsed = tf.io.parse_example(serialized, columns)
    if same_as_items:
        query = batch_from_sparse(FeatureLayout((), (), ()), {}, tf.constant(0, tf.int64))
        query_rows = parsed["query_row"]
    else:
        query = batch_from_sparse(layout, parsed, tf.size(serialized, tf.int64))
        query_rows = tf.zeros_like(parsed["item_row"])
    histories: Histories | tuple[()] = ()
    if reader is not None:
        times = tf.RaggedTensor.from_sparse(parsed["history_us"])
        histories = reader.read_codes(parsed[reader.sequence], times, parsed["timestamp_us"])
    return Interactions(query, query_rows, parsed["item_row"], parsed["example_weight"], histories)


def parse_windows(serialized: tf.Tensor, layout: FeatureLayout, reader: SequenceReader) -> Interactions:
    """Parses serialized windows, see `features.windows`: a batch of all of their events.

    The batch has the codes of what each event sees too, the most recent last, as `parse` gives them.
    """
    types = {"item_row": tf.int64, "gap_us": tf.int64, "visible": tf.int64, "event": tf.string}
    ragged = {name: tf.io.RaggedFeature(kind, row_splits_dtype=tf.int64) for name, kind in types.items()}
    windows = tf.io.parse_example(serialized, ragged)
    events = windows["event"].values
    columns = _of_event([feature.name for feature in layout.features if feature.name != reader.sequence], layout)
    parsed = tf.io.parse_example(events, columns)
    histories = reader.read_windows(windows["item_row"], windows["gap_us"], windows["visible"])
    parsed[reader.sequence] = reader.visible_codes(windows["item_row"], histories)
    query = batch_from_sparse(layout, parsed, tf.size(events, tf.int64))
    query_rows = tf.zeros_like(parsed["item_row"])
    return Interactions(query, query_rows, parsed["item_row"], parsed["example_weight"], histories)


def _of_event(names: Sequence[str], layout: FeatureLayout) -> dict[str, Any]:
    """What is read of an encoded event, with the features of these names."""
    columns = {"item_row": tf.io.FixedLenFeature([], tf.int64), "example_weight": tf.io.FixedLenFeature([], tf.float32)}
    features = [feature for feature in layout.features if feature.name in names]
    return columns | {f.name: tf.io.VarLenFeature(tf.float32 if f.dim else tf.int64) for f in features}
