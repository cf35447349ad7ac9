import gzip
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2

from recsys_ssl import artifacts
from recsys_ssl.examples import CATALOGUE_SPLIT, list_shards, read_batches, split_dir, write_shard
from recsys_ssl.training.data import count_examples

COLUMNS = {
    "item_id": ([[b"a"], [b"\xf0\x9f\x8d\xb0\tcake\n"], [b""]], pa.large_binary()),
    "tags": ([[b"x", b"y"], [], None], pa.large_binary()),
    "item_row": ([[0], [1], [2**62]], pa.int64()),
    "price": ([[0.5], [], [float("inf")]], pa.float32()),
    "vector": ([[1.0, 2.0], [3.0, 4.0], None], pa.float32()),
}


def make_batch(columns=COLUMNS):
    arrays = [pa.array(values, pa.large_list(kind)) for values, kind in columns.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def make_schema(columns=COLUMNS):
    kinds = {pa.large_binary(): "BYTES", pa.int64(): "INT", pa.float32(): "FLOAT"}
    schema = schema_pb2.Schema()
    for name, (_, kind) in columns.items():
        schema.feature.add(name=name, type=schema_pb2.FeatureType.Value(kinds[kind]))
    return schema


def read_column(paths, name, **options):
    return [value for batch in read_batches(paths, **options) for value in batch.column(name).to_pylist()]


def test_a_batch_comes_back_with_order_types_and_bytes(tmp_path):
    path = write_shard(make_batch(), tmp_path, "train", "part-0")
    (batch,) = read_batches([path], schema=make_schema())
    assert batch.num_rows == 3
    for name, (_, kind) in COLUMNS.items():
        assert batch.schema.field(name).type == pa.large_list(kind)
    assert batch.column("item_id").to_pylist() == [[b"a"], [b"\xf0\x9f\x8d\xb0\tcake\n"], [b""]]
    assert batch.column("item_row").to_pylist() == [[0], [1], [2**62]]
    assert batch.column("vector").to_pylist()[:2] == [[1.0, 2.0], [3.0, 4.0]]


def test_an_empty_list_and_a_null_both_mean_missing(tmp_path):
    path = write_shard(make_batch(), tmp_path, "train", "part-0")
    for options in ({}, {"schema": make_schema()}):
        tags = read_column([path], "tags", **options)
        assert tags[0] == [b"x", b"y"]
        assert [value or [] for value in tags[1:]] == [[], []]
        assert (read_column([path], "price", **options)[1] or []) == []


def test_a_missing_value_is_not_an_empty_string(tmp_path):
    batch = make_batch({"text": ([[b""], []], pa.large_binary())})
    path = write_shard(batch, tmp_path, "train", "part-0")
    first, second = read_column([path], "text")
    assert first == [b""]
    assert not second


def test_a_column_that_no_record_has_comes_back_with_the_schema_only(tmp_path):
    columns = {"item_row": ([[0], [1]], pa.int64()), "price": ([[], None], pa.float32())}
    path = write_shard(make_batch(columns), tmp_path, "train", "part-0")
    (batch,) = read_batches([path], schema=make_schema(columns))
    assert [value or [] for value in batch.column("price").to_pylist()] == [[], []]
    assert batch.schema.field("price").type == pa.large_list(pa.float32())


def test_equal_batches_give_equal_files_whatever_the_order_of_their_columns(tmp_path):
    contents = set()
    for shard, names in enumerate([list(COLUMNS), list(COLUMNS), list(reversed(COLUMNS))]):
        path = write_shard(make_batch({name: COLUMNS[name] for name in names}), tmp_path, "train", f"part-{shard}")
        contents.add(Path(path).read_bytes())
    assert len(contents) == 1


def test_the_files_are_tf_examples_in_the_layout_of_tfx(tmp_path):
    path = write_shard(make_batch(), tmp_path, "eval", "part-0")
    assert path == str(tmp_path / "Split-eval" / "part-0.tfrecord.gz")
    records = list(tf.data.TFRecordDataset(path, compression_type="GZIP").as_numpy_iterator())
    features = tf.train.Example.FromString(records[0]).features.feature
    assert features["tags"].bytes_list.value == [b"x", b"y"]
    assert features["item_row"].int64_list.value == [0]
    assert features["vector"].float_list.value == [1.0, 2.0]


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_batches_hold_at_most_batch_size_records_of_all_shards_in_order(tmp_path, batch_size):
    counts = [3, 0, 7]
    start = 0
    for shard, count in enumerate(counts):
        rows = [[row] for row in range(start, start + count)]
        write_shard(make_batch({"item_row": (rows, pa.int64())}), tmp_path, CATALOGUE_SPLIT, f"part-{shard}")
        start += count
    batches = list(read_batches(list_shards(tmp_path, CATALOGUE_SPLIT), batch_size=batch_size))
    assert [batch.num_rows for batch in batches][:-1] == [batch_size] * (len(batches) - 1)
    rows = np.concatenate([batch.column("item_row").flatten().to_numpy() for batch in batches])
    np.testing.assert_array_equal(rows, np.arange(10))


def test_shards_are_listed_in_sorted_order_without_unfinished_ones(tmp_path):
    batch = make_batch()
    for shard in ("part-00001", "part-00000", "part-00002"):
        write_shard(batch, tmp_path, "train", shard)
    write_shard(batch, tmp_path, "eval", "other")
    unfinished = os.path.join(split_dir(tmp_path, "train"), "part-00003.tfrecord.gz.17.tmp")
    with open(unfinished, "wb") as file:
        file.write(b"half")
    names = [os.path.basename(path) for path in list_shards(tmp_path, "train")]
    assert names == ["part-00000.tfrecord.gz", "part-00001.tfrecord.gz", "part-00002.tfrecord.gz"]


def test_a_split_without_shards_says_to_run_its_stage(tmp_path):
    with pytest.raises(FileNotFoundError, match="no examples in .*Split-test. Run the stage that writes them first"):
        list_shards(tmp_path, "test")


def test_writing_a_shard_again_replaces_it(tmp_path):
    for value in (1, 2):
        path = write_shard(make_batch({"item_row": ([[value]], pa.int64())}), tmp_path, "train", "part-0")
    assert read_column([path], "item_row") == [[2]]
    assert os.listdir(split_dir(tmp_path, "train")) == ["part-0.tfrecord.gz"]


def test_an_interrupted_write_leaves_the_earlier_shard_whole(tmp_path, monkeypatch):
    path = write_shard(make_batch({"item_row": ([[1]], pa.int64())}), tmp_path, "train", "part-0")

    def interrupt(self, record):
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.io.TFRecordWriter, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_shard(make_batch({"item_row": ([[2]], pa.int64())}), tmp_path, "train", "part-0")
    monkeypatch.undo()
    assert list_shards(tmp_path, "train") == [path]
    assert read_column([path], "item_row") == [[1]]


def test_an_empty_shard_has_no_records(tmp_path):
    path = write_shard(make_batch({"item_row": ([], pa.int64())}), tmp_path, "train", "part-0")
    assert list(read_batches([path])) == []


@pytest.mark.parametrize("read", [lambda paths: list(read_batches(paths)), count_examples], ids=["batches", "counting"])
def test_a_damaged_shard_is_named_in_one_line(tmp_path, read):
    whole, damaged = (write_shard(make_batch(), tmp_path, "train", name) for name in ("a", "b"))
    Path(damaged).write_bytes(gzip.compress(gzip.decompress(Path(damaged).read_bytes())[:-5]))
    with pytest.raises(artifacts.DamagedError) as told:
        read([whole, damaged])
    assert str(told.value).startswith(f"{damaged} is damaged, or not whole. Received: ")
    assert str(told.value).endswith(f"Delete {damaged} and run the command that makes it again.")
    assert "\n" not in str(told.value)
