"""Pairs of queries and items, as they stand in the files and as a matrix."""

import numpy as np
import pytest

from recsys_ssl.pairs import Pairs, read_pairs


@pytest.mark.parametrize("split", ["train", "eval", "test"])
def test_pairs_are_the_events_in_file_order(shop, split):
    pairs = read_pairs(shop.encoded.interactions, split)
    assert pairs.item_rows.tolist() == [event["item_row"][0] for event in shop.events[split]]
    assert pairs.query_ids[pairs.query_codes].tolist() == [event["query_id"][0] for event in shop.events[split]]
    assert len(set(pairs.query_ids)) == len(pairs.query_ids)


def test_a_repeated_pair_counts_once_in_the_matrix():
    pairs = Pairs(np.array([0, 0, 1]), np.array([2, 2, 0]), np.array([b"a", b"b", b"c"], object))
    assert pairs.to_matrix(3).toarray().tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
