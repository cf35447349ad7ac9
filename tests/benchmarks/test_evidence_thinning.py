"""A share of a log: which events are kept, and what else still tells of the others."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from benchmarks.evidence.thinning import thin
from recsys_ssl import examples, lists


def read_column(root, split, name):
    batches = examples.read_batches(examples.list_shards(root, split))
    return np.concatenate([b.column(b.schema.get_field_index(name)).flatten().to_numpy() for b in batches])


def test_a_share_keeps_distinct_events_and_counts_them_anew(shop, tmp_path):
    source = tmp_path / "whole"
    source.mkdir()
    (source / "encoded-interactions").symlink_to(shop.encoded.interactions)
    (source / "encoded-catalogue").symlink_to(shop.encoded.catalogue)
    kept = {}
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        thin(source, tmp_path / name, 0.25, seed, shop.spec)
        kept[name] = read_column(tmp_path / name / "encoded-interactions", "train", "item_row")
    rows = read_column(source / "encoded-interactions", "train", "item_row")
    assert len(kept["one"]) == round(0.25 * len(rows))
    np.testing.assert_array_equal(kept["one"], kept["same"])
    assert not np.array_equal(kept["one"], kept["other"])

    (windows,) = examples.list_shards(tmp_path / "one" / "encoded-interactions", "sequences")
    (batch,) = examples.read_batches([windows])
    events = batch.column(batch.schema.get_field_index("event")).flatten().to_pylist()
    examples_of = [tf.train.Example.FromString(event).features.feature for event in events]
    found = [example["item_row"].int64_list.value[0] for example in examples_of]
    assert sorted(found) == sorted(kept["one"].tolist())

    counts = read_column(tmp_path / "one" / "encoded-catalogue", "catalogue", "train_count")
    np.testing.assert_array_equal(counts, np.bincount(kept["one"], minlength=len(counts)))
    assert (counts <= read_column(source / "encoded-catalogue", "catalogue", "train_count")).all()
    for split in ("eval", "test"):
        held_out = [
            read_column(root / "encoded-interactions", split, "item_row") for root in (source, tmp_path / "one")
        ]
        np.testing.assert_array_equal(*held_out)


@pytest.mark.parametrize("split", ["train", "eval", "test"])
def test_histories_do_not_tell_of_lost_events(shop, tmp_path, split):
    source = tmp_path / "whole"
    source.mkdir()
    (source / "encoded-interactions").symlink_to(shop.encoded.interactions)
    (source / "encoded-catalogue").symlink_to(shop.encoded.catalogue)
    thin(source, tmp_path / "thin", 0.25, 0, shop.spec)

    def read(root, of_split):
        shards = examples.list_shards(root / "encoded-interactions", of_split)
        return [record for batch in examples.read_batches(shards) for record in batch.to_pylist()]

    shards = examples.list_shards(source / "encoded-catalogue", "catalogue")
    codes = np.concatenate([lists.flat(batch, "product", pa.int64())[0] for batch in examples.read_batches(shards)])
    roots = source, tmp_path / "thin"
    whole, left = ({(e["query_id"][0], codes[e["item_row"][0]]) for e in read(root, "train")} for root in roots)
    before = {(e["query_id"][0], e["item_row"][0], e["timestamp_us"][0]): e["history"] for e in read(source, split)}
    forgotten = 0
    for event in read(tmp_path / "thin", split):
        query = event["query_id"][0]
        history = before[query, event["item_row"][0], event["timestamp_us"][0]]
        expected = [code for code in history or [] if (query, code) in left or (query, code) not in whole]
        assert (event["history"] or []) == expected
        forgotten += len(history or []) - len(expected)
        if split != "train" and "history_us" in event:
            assert len(event["history_us"] or []) == len(expected)
    assert forgotten > 0
