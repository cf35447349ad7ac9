"""The best of many scores against a sort of all."""

import numpy as np
import pytest

from recsys_ssl.index.best import order_best


@pytest.mark.parametrize("k", [1, 3, 10, 50, 51, 200, 999])
def test_it_is_the_beginning_of_the_stable_sort(k):
    """Most scores occur several times, and some are endless."""
    scores = np.random.default_rng(k).integers(0, 60, 200).astype(np.float32)
    scores[[3, 70]], scores[[9, 80]] = -np.inf, np.inf
    np.testing.assert_array_equal(order_best(scores, k), np.argsort(-scores, kind="stable")[:k])


def test_equal_scores_keep_their_order():
    assert order_best(np.zeros(100), 4).tolist() == [0, 1, 2, 3]
    assert order_best(np.empty(0), 4).tolist() == []
