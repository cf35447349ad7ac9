import numpy as np
import pytest

from benchmarks.evidence import tested
from recsys_ssl.evaluation.metrics import average_precision


def test_recall_counts_hits_and_pairs_of_each_user_inside_the_slice():
    ranks, user = np.array([1.0, 50.0, 50.5, 3.0, 80.0]), np.array([0, 0, 0, 2, 2])
    hits, pairs = tested.recall_by_user(ranks, user, 3, 50)
    np.testing.assert_array_equal(hits, [2, 0, 1])
    np.testing.assert_array_equal(pairs, [3, 0, 2])
    inside = np.array([False, True, True, False, True])
    hits, pairs = tested.recall_by_user(ranks, user, 3, 50, inside)
    np.testing.assert_array_equal(hits, [1, 0, 0])
    np.testing.assert_array_equal(pairs, [2, 0, 1])


def test_average_precision_sums_the_rankings_of_a_user():
    ranks, offsets, cluster = np.array([1.0, 4.0, 2.0, 30.0]), np.array([0, 2, 3, 4]), np.array([1, 0, 1])
    sums, rankings = tested.average_precision_by_user(ranks, offsets, cluster, 2, 10)
    np.testing.assert_allclose(sums, [1 / 2, (1 / 1 + 2 / 4) / 2 + 0.0])
    np.testing.assert_array_equal(rankings, [1, 2])
    precision, ones = average_precision(ranks, offsets, 10)
    assert sums.sum() / rankings.sum() == pytest.approx(precision.sum() / ones.sum())
