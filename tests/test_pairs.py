"""Pairs of queries and items, as they stand in the files, in order, and as a matrix."""

import numpy as np
import pytest

from recsys_ssl import examples
from recsys_ssl.pairs import Pairs, read_pairs


@pytest.mark.parametrize("split", ["train", "eval", "test"])
def test_pairs_are_the_events_in_file_order(shop, split):
    pairs = read_pairs(shop.encoded.interactions, split)
    assert pairs.item_rows.tolist() == [event["item_row"][0] for event in shop.events[split]]
    assert pairs.times_us.tolist() == [event["timestamp_us"][0] for event in shop.events[split]]
    assert pairs.query_ids[pairs.query_codes].tolist() == [event["query_id"][0] for event in shop.events[split]]
    assert len(set(pairs.query_ids)) == len(pairs.query_ids)


def test_a_log_without_time_has_no_times(tmp_path, make_records):
    records = make_records({"query_id": [[b"a"], [b"b"]], "item_row": [[4], [2]]})
    examples.write_shard(records, tmp_path, "train", "part-0")
    pairs = read_pairs(tmp_path, "train")
    assert pairs.times_us is None
    assert pairs.in_order()[0].tolist() == [4, 2]


def test_a_repeated_pair_counts_once_in_the_matrix():
    pairs = Pairs(np.array([0, 0, 1]), np.array([2, 2, 0]), np.array([b"a", b"b", b"c"], object))
    assert pairs.to_matrix(3).toarray().tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]


def test_the_order_is_that_of_time_within_each_query():
    ids = np.array([b"a", b"b", b"c"], object)
    pairs = Pairs(np.array([1, 0, 1, 1]), np.array([7, 5, 8, 9]), ids, np.array([30, 10, 20, 20]))
    rows, starts = pairs.in_order()
    assert (rows.tolist(), starts.tolist()) == ([5, 8, 9, 7], [0, 1, 4, 4])
