import math

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, recall_score

from recsys_ssl.evaluation import metrics

# Two rankings: held-out items at ranks 1, 3 and 12, and at rank 4.
RANKS, OFFSETS = np.array([12.0, 1.0, 3.0, 4.0]), np.array([0, 3, 4])


def value(ratio):
    numerators, denominators = ratio
    return numerators.sum() / denominators.sum()


def oracle(name, rankings):
    """One ranking, one rank at a time."""
    hits, pairs, means = 0, 0, []
    metric, _, k = name.partition("_at_")
    k = int(k or 0)
    for ranks in rankings:
        ranks = sorted(ranks)
        hits += sum(rank <= k for rank in ranks)
        pairs += len(ranks)
        if metric == "user_recall":
            means.append(sum(rank <= k for rank in ranks) / len(ranks))
        if metric == "map":
            precisions = [(i + 1) / rank for i, rank in enumerate(ranks) if rank <= k]
            means.append(sum(precisions) / min(k, len(ranks)))
        if metric == "ndcg":
            gain = sum(1 / math.log2(1 + rank) for rank in ranks if rank <= k)
            means.append(gain / sum(1 / math.log2(2 + i) for i in range(min(k, len(ranks)))))
        if metric == "mrr":
            means.append(1 / ranks[0])
    return hits / pairs if metric == "recall" else sum(means) / len(means)


def test_hand_arithmetic():
    assert value(metrics.recall(RANKS, OFFSETS, 10)) == 3 / 4
    assert value(metrics.recall(RANKS, OFFSETS, 2)) == 1 / 4
    assert value(metrics.recall_per_ranking(RANKS, OFFSETS, 10)) == (2 / 3 + 1 / 1) / 2
    assert value(metrics.recall_per_ranking(RANKS, OFFSETS, 2)) == (1 / 3 + 0 / 1) / 2
    assert value(metrics.average_precision(RANKS, OFFSETS, 10)) == pytest.approx(((1 / 1 + 2 / 3) / 3 + 1 / 4) / 2)
    assert value(metrics.average_precision(RANKS, OFFSETS, 2)) == pytest.approx(((1 / 1) / 2 + 0) / 2)
    ideal = 1 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    first = (1 / math.log2(2) + 1 / math.log2(4)) / ideal
    assert value(metrics.ndcg(RANKS, OFFSETS, 10)) == pytest.approx((first + 1 / math.log2(5)) / 2)
    assert value(metrics.reciprocal_rank(RANKS, OFFSETS)) == (1 / 1 + 1 / 4) / 2


@pytest.mark.parametrize("name", metrics.METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_metrics_agree_with_the_loop(name, seed):
    rng = np.random.default_rng(seed)
    rankings = [rng.choice(120, rng.integers(1, 70), replace=False) + 1.0 for _ in range(50)]
    offsets = np.cumsum([0, *map(len, rankings)])
    assert value(metrics.METRICS[name](np.concatenate(rankings), offsets)) == pytest.approx(oracle(name, rankings))


def test_metrics_agree_with_scikit_learn():
    """Each of 40 queries scores 90 items without ties; some of them are held out."""
    rng = np.random.default_rng(0)
    scores = rng.permuted(np.tile(np.arange(90.0), (40, 1)), axis=1)
    held_out = rng.random((40, 90)) < rng.uniform(0.02, 0.5, (40, 1))
    held_out[:, 0] = True
    places = np.argsort(np.argsort(-scores, axis=1), axis=1) + 1.0
    ranks, offsets = places[held_out], np.cumsum([0, *held_out.sum(axis=1)])

    for k in (1, 10, 50):
        assert value(metrics.ndcg(ranks, offsets, k)) == pytest.approx(ndcg_score(held_out, scores, k=k))
        recall = recall_score(held_out.ravel(), (places <= k).ravel())
        assert value(metrics.recall(ranks, offsets, k)) == pytest.approx(recall)
        recall = recall_score(held_out, places <= k, average="samples")
        assert value(metrics.recall_per_ranking(ranks, offsets, k)) == pytest.approx(recall)
    # Without a cut-off all held-out items of a ranking are expected, as scikit-learn does.
    precision = label_ranking_average_precision_score(held_out, scores)
    assert value(metrics.average_precision(ranks, offsets, 90)) == pytest.approx(precision)
    # With one held-out item the average precision is the reciprocal of its rank.
    best = (places == np.where(held_out, places, np.inf).min(axis=1, keepdims=True)).astype(int)
    precision = label_ranking_average_precision_score(best, scores)
    assert value(metrics.reciprocal_rank(ranks, offsets)) == pytest.approx(precision)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_the_best_ranking_scores_one_and_the_worst_almost_zero(name):
    best, offsets = np.concatenate([np.arange(1.0, 6), np.arange(1.0, 9)]), np.array([0, 5, 13])
    assert value(metrics.METRICS[name](best, offsets)) == pytest.approx(1)
    assert value(metrics.METRICS[name](best + 1e9, offsets)) == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("name", metrics.METRICS)
@pytest.mark.parametrize("num_tied", [1, 9, 12, 19, 60])
def test_tied_positives_never_score_above_one(name, num_tied):
    # m held-out items tied with e others take the places j * (m + e + 1) / (m + 1).
    for others in (0, 1, 5):
        places = np.arange(1, num_tied + 1) * (num_tied + others + 1) / (num_tied + 1)
        assert value(metrics.METRICS[name](places, np.array([0, num_tied]))) <= 1 + 1e-12


@pytest.mark.parametrize("name", metrics.METRICS)
def test_order_of_pairs_and_rankings_does_not_matter(name):
    swapped = value(metrics.METRICS[name](np.array([4.0, 3.0, 12.0, 1.0]), np.array([0, 1, 4])))
    assert swapped == pytest.approx(value(metrics.METRICS[name](RANKS, OFFSETS)))


@pytest.mark.parametrize("name", metrics.METRICS)
def test_a_better_rank_is_never_worth_less(name):
    values = [value(metrics.METRICS[name](np.array([rank, 70.0]), np.array([0, 2]))) for rank in range(1, 70)]
    assert (np.diff(values) <= 0).all()
    assert values[0] > values[-1]


def test_labels_tell_pooled_metrics_from_those_of_each_ranking():
    labels = [metrics.label_of(name) for name in ("recall_at_20", "user_recall_at_20", "ndcg_at_20", "mrr")]
    assert labels == ["Recall@20", "Recall@20 per query", "NDCG@20", "MRR"]


@pytest.mark.parametrize("num_items", [15, 60, 160, 1000])
def test_each_catalogue_has_the_metrics_of_each_ranking_and_no_further_pooled_recall(num_items):
    names = list(metrics.list_metrics(num_items))
    ks = sorted({10, 50, metrics.choose_reported_k(num_items)})
    assert [name for name in names if name.startswith("recall")] == [f"recall_at_{k}" for k in ks]
    assert {"user_recall_at_20", "ndcg_at_20"} <= set(names)


def test_one_query_with_many_items_decides_the_pooled_recall_only():
    """Nine rankings that hit their only item, and one that misses its 91."""
    ranks, offsets = np.concatenate([np.ones(9), np.full(91, 1000.0)]), np.append(np.arange(10), 100)
    assert value(metrics.recall(ranks, offsets, 20)) == 9 / 100
    assert value(metrics.recall_per_ranking(ranks, offsets, 20)) == 9 / 10


def test_the_border_of_k_is_inside():
    one = np.array([0, 1])
    assert value(metrics.recall(np.array([10.0]), one, 10)) == 1
    assert value(metrics.recall(np.array([10.5]), one, 10)) == 0
    assert value(metrics.ndcg(np.array([10.0]), one, 10)) == pytest.approx(1 / math.log2(11))


def test_recall_of_a_ranking_without_pairs_adds_nothing():
    numerators, denominators = metrics.recall(np.array([1.0, 99.0]), np.array([0, 0, 1, 1, 2]), 10)
    assert numerators.tolist() == [0, 1, 0, 0]
    assert denominators.tolist() == [0, 1, 0, 1]


def test_coverage_counts_each_item_once():
    top = np.array([[0, 1, 2], [1, 0, 3], [4, -1, -1]])
    assert metrics.coverage(top, num_items=10, k=2) == 3 / 10
    assert metrics.coverage(top, num_items=10, k=3) == 5 / 10
    assert metrics.coverage(np.full((2, 3), -1), num_items=10) == 0


def test_the_recall_curve_passes_through_recall():
    ks = np.array([1, 2, 3, 4, 10, 12, 100])
    expected = [value(metrics.recall(RANKS, OFFSETS, k)) for k in ks]
    assert metrics.recall_curve(RANKS, ks).tolist() == expected
