"""Example files: TFRecords of tf.Example, one directory per split, in the layout of TFX.

`<root>/Split-<split>/<shard>.tfrecord.gz`. Everything is read and written a RecordBatch at a time; no
record becomes a Python object on the way.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf
from tfx_bsl.coders import example_coder

from recsys_ssl import artifacts, lists

CATALOGUE_SPLIT = "catalogue"
INTERACTION_SPLITS = ("train", "eval", "test")
DISLIKED_SPLIT = "disliked"
"""Beside the splits of interactions: what queries rated low, where the spec masks it."""
SEQUENCES_SPLIT = "sequences"
"""Beside the splits of encoded interactions: the train events in windows of a query's sequence, see `features.windows`;
where the spec has an item_sequence."""

# Level 1 writes three times as fast as the default 6 and is read equally fast.
_OPTIONS = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


def split_dir(root: str | Path, split: str) -> str:
    return os.path.join(str(root), f"Split-{split}")


def list_shards(root: str | Path, split: str) -> list[str]:
    """The sorted shard paths of a split.

    Raises:
        FileNotFoundError: there is no shard.
    """
    shards = sorted(tf.io.gfile.glob(os.path.join(glob.escape(split_dir(root, split)), "*.tfrecord.gz")))
    if not shards:
        raise FileNotFoundError(f"no examples in {split_dir(root, split)}. Run the stage that writes them first.")
    return shards


def write_shard(batch: pa.RecordBatch, root: str | Path, split: str, shard: str) -> str:
    """Writes one shard atomically, so that a retried worker can only write it again, and returns its path.

    Args:
        batch: columns are large_list<large_binary | int64 | float32>, one list per record; an empty list
            and a null both mean that the feature is missing.
        shard: name of the shard, unique within the split.
    """
    path = os.path.join(split_dir(root, split), f"{shard}.tfrecord.gz")
    with artifacts.whole_file(path) as unfinished, tf.io.TFRecordWriter(unfinished, _OPTIONS) as writer:
        for record in serialize(batch):
            writer.write(record)
    return path


def serialize(batch: pa.RecordBatch) -> list[bytes]:
    """[num_records] serialized tf.Examples, the same bytes for the same batch: features in the order of their names.

    Protocol buffers write the map of an Example in an order that changes from record to record. Each column is
    therefore serialized by itself; joined messages are one message with the fields of all.
    """
    encoder, binary = example_coder.RecordBatchToExamplesEncoder(), pa.large_binary()
    batch, parts = _drop_empty(batch), []
    for name in sorted(batch.schema.names):
        column = pa.RecordBatch.from_arrays([batch.column(name)], names=[name])
        parts.append(pa.array(encoder.encode(column), binary))
    return pc.binary_join_element_wise(*parts, pa.scalar(b"", binary)).to_pylist()


def _drop_empty(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Empty lists become nulls: statistics count an empty list as present, and no presence could be asked for.

    Integers are bookkeeping or codes, whose readers need the type even when no record has a value.
    """
    columns = [
        column if pa.types.is_integer(column.type.value_type) else lists.empty_as_null(column)
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def read_batches(paths: Sequence[str], batch_size: int = 4096, schema=None) -> Iterator[pa.RecordBatch]:
    """Yields the records of example files as RecordBatches of large_list columns.

    Args:
        batch_size: records per RecordBatch, the only memory that is held.
        schema: a TFMD Schema. Without it a batch has the columns that its own records have.
    """
    decoder = example_coder.ExamplesToRecordBatchDecoder(schema.SerializeToString() if schema else None)
    records = tf.data.TFRecordDataset(list(paths), compression_type="GZIP").batch(batch_size)
    with reading_shards(paths):
        for serialized in records.as_numpy_iterator():
            yield decoder.DecodeBatch(list(serialized))


@contextlib.contextmanager
def reading_shards(paths: Sequence[str]) -> Iterator[None]:
    """TensorFlow's error at damaged records, which names no file, becomes one that does.

    Raises:
        DamagedError: a shard cannot be read to its end.
    """
    try:
        yield
    except tf.errors.DataLossError:
        for path in paths:
            with artifacts.reading(path):
                for _ in tf.data.TFRecordDataset(path, compression_type="GZIP").batch(4096):
                    pass
        raise
