"""Ranking metrics, all of them functions of the exact ranks of the held-out items.

Every metric is a ratio of sums over rankings, so that a resampled metric is a ratio of resampled sums. The
functions take `ranks` [num_pairs] float (1 is best; fractional when tied, see `ranking.rank`) in CSR form:
ranking `r` owns `ranks[offsets[r]:offsets[r + 1]]`. It has at least one held-out item, except in `recall`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np

from recsys_ssl.evaluation.queries import RankingTask

Ratio = tuple[np.ndarray, np.ndarray]
"""Numerators and denominators, each [num_rankings] float64; the metric is the ratio of their sums."""

PER_QUERY = frozenset({"user_recall_at_20"})
"""The metrics of which a query with several rankings has the mean of its own, so that all queries weigh the same."""


def recall(ranks: np.ndarray, offsets: np.ndarray, k: int) -> Ratio:
    """Returns the share of held-out (ranking, item) pairs among the first k.

    Recall@k = sum_r #{i in T_r : rank(i) <= k} / sum_r |T_r|, over pairs (micro) as in the paper. In [0, 1], higher
    is better; a ranking with more than k held-out items cannot reach 1. Undefined without a pair.

    References:
        Yao et al. 2021, arXiv:2007.12865, section 4.
    """
    return _sum_per_ranking(ranks <= k, offsets), np.diff(offsets).astype(np.float64)


def recall_per_ranking(ranks: np.ndarray, offsets: np.ndarray, k: int) -> Ratio:
    """Returns the mean over rankings of the share of held-out items among the first k (macro).

    mean_r #{i in T_r : rank(i) <= k} / |T_r|, the Recall@k of most work on collaborative filtering, a ranking being a
    user. In [0, 1], higher is better; a ranking with more than k held-out items cannot reach 1. Undefined without a
    ranking.

    References:
        He et al. 2020, LightGCN, arXiv:2002.02126, section 4.1.
    """
    hits, pairs = recall(ranks, offsets, k)
    return hits / pairs, np.ones(len(pairs))


def average_precision(ranks: np.ndarray, offsets: np.ndarray, k: int) -> Ratio:
    """Returns the mean over rankings of the average precision among the first k (MAP@k).

    AP@k = sum_{j : rank_j <= k} (j / rank_j) / min(k, |T|), where rank_1 < rank_2 < ... are the ranks of the
    held-out items. In [0, 1], higher is better; 1 when the held-out items come first. Undefined without a ranking.
    """
    ranking, ordered, place = _ordered(ranks, offsets)
    precision = np.where(ordered <= k, place / ordered, 0.0)
    sums = np.bincount(ranking, precision, minlength=len(offsets) - 1)
    return sums / np.minimum(k, np.diff(offsets)), np.ones(len(offsets) - 1)


def ndcg(ranks: np.ndarray, offsets: np.ndarray, k: int) -> Ratio:
    """Returns the mean over rankings of the normalised discounted cumulative gain among the first k.

    NDCG@k = sum_{i : rank(i) <= k} 1 / log2(1 + rank(i)) / sum_{j=1}^{min(k, |T|)} 1 / log2(1 + j). In [0, 1],
    higher is better; 1 when the held-out items come first. Undefined without a ranking.
    """
    gains = np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(1.0 + np.arange(1, k + 1)))])
    return _sum_per_ranking(gains, offsets) / ideal[np.minimum(k, np.diff(offsets))], np.ones(len(offsets) - 1)


def reciprocal_rank(ranks: np.ndarray, offsets: np.ndarray) -> Ratio:
    """Returns the mean over rankings of 1 / (rank of the best held-out item) (MRR).

    In (0, 1], higher is better; no cut-off. Undefined without a ranking.
    """
    return 1.0 / np.minimum.reduceat(ranks, offsets[:-1]), np.ones(len(offsets) - 1)


METRICS: Mapping[str, Callable[[np.ndarray, np.ndarray], Ratio]] = {
    "recall_at_10": lambda ranks, offsets: recall(ranks, offsets, 10),
    "recall_at_50": lambda ranks, offsets: recall(ranks, offsets, 50),
    "map_at_10": lambda ranks, offsets: average_precision(ranks, offsets, 10),
    "map_at_50": lambda ranks, offsets: average_precision(ranks, offsets, 50),
    "ndcg_at_10": lambda ranks, offsets: ndcg(ranks, offsets, 10),
    "user_recall_at_20": lambda ranks, offsets: recall_per_ranking(ranks, offsets, 20),
    "ndcg_at_20": lambda ranks, offsets: ndcg(ranks, offsets, 20),
    "mrr": reciprocal_rank,
}
POOLED_K: Mapping[str, int] = {"recall_at_10": 10, "recall_at_50": 50}
"""The recalls of all held-out pairs, which every slice of items has too."""
RECALL_K: Mapping[str, int] = {**POOLED_K, "user_recall_at_20": 20}
"""The metrics that say only whether an item is among the first k, so that they reach 1 when k is the catalogue."""
_LABELS: Mapping[str, str] = {
    "recall": "Recall{}",
    "map": "MAP{}",
    "ndcg": "NDCG{}",
    "user_recall": "Recall{} per query",
    "mrr": "MRR{}",
}
_MOST_K = 50
# Recall@k of a random order is k over the items ranked: beyond a fifth of them most of the figure says nothing of a
# model, and with all of them it is 1 for every model.
MOST_K_SHARE = 0.2


def label_of(metric: str) -> str:
    """A metric's name as people read it: `recall_at_10` is Recall@10, `user_recall_at_20` Recall@20 per query."""
    name, _, k = metric.partition("_at_")
    return _LABELS[name].format(f"@{k}" if k else "")


def choose_k(num_items: int) -> int:
    """The k of the Recall@k that tells models apart: 50, or a tenth of a catalogue of fewer than 500 items, at least 1.

    Recall@k of a random order is k / num_items. At k = num_items every model has 1; at a tenth, chance finds a tenth at
    most and nine tenths are left to tell models apart. The rule knows the catalogue alone, so that runs of all seeds
    and settings on it are judged by the same figure.
    """
    return min(_MOST_K, max(1, num_items // 10))


def name_recall(k: int) -> str:
    """The name of Recall@k among the metrics."""
    return f"recall_at_{k}"


def choose_reported_k(num_items: int) -> int:
    """The k of the Recall@k that slices are shown by: 50 where that is few of the items, else that of `choose_k`."""
    return _MOST_K if MOST_K_SHARE * num_items >= _MOST_K else choose_k(num_items)


def list_metrics(num_items: int) -> dict[str, Callable[[np.ndarray, np.ndarray], Ratio]]:
    """The metrics of a catalogue: METRICS, and Recall@k with the k of `choose_reported_k`."""
    ks = sorted({choose_reported_k(num_items), *POOLED_K.values()})
    return {**{name_recall(k): functools.partial(recall, k=k) for k in ks}, **METRICS}


def coverage(top_rows: np.ndarray, num_items: int, k: int = 10) -> float:
    """Returns the share of the catalogue that stands among the first k of any ranking.

    In [0, 1]; higher means that more of the catalogue is ever shown. It is no mean over rankings: it grows with
    their number, so compare it on the same rankings only, and it has no bootstrap interval.

    Args:
        top_rows: [num_rankings, >= k] int rows, -1 for no item.
    """
    listed = np.unique(top_rows[:, :k])
    return float(np.count_nonzero(listed >= 0) / num_items)


def recall_curve(ranks: np.ndarray, ks: np.ndarray) -> np.ndarray:
    """Returns Recall@k for several k: [len(ks)] float64 in [0, 1], never falling with k."""
    return np.searchsorted(np.sort(ranks), ks, side="right") / len(ranks)


def sum_by_cluster(task: RankingTask, values: np.ndarray) -> np.ndarray:
    """Sums per-ranking values [num_rankings] over the rankings of each query: [num_clusters] float64."""
    return np.bincount(task.cluster, values, minlength=task.num_clusters)


def _sum_per_ranking(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    # bincount, unlike reduceat, gives 0 for a ranking without pairs (which a slice of the pairs may have).
    return np.bincount(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), values, minlength=len(offsets) - 1)


def _ordered(ranks: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranking, rank and place 1, 2, ... of each held-out item within its ranking, best first: each [num_pairs]."""
    ranking = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    ordered = ranks[np.lexsort((ranks, ranking))]
    place = np.arange(len(ranks)) - offsets[ranking] + 1
    return ranking, ordered, place
