"""How well clusters agree with labels: accuracies after clusters were given classes, and indices of agreement.

All are functions of counts that add up over batches. A row may have several labels (a film has three genres):

- accuracies: a row is right if it has the class of its cluster. So a row counts for each class that it has, and the
  assignment that makes most rows right is that of the largest counts, as with one label a row;
- indices (ARI, AMI, NMI, Fowlkes-Mallows): on the rows of exactly one label. They compare two partitions, and a row of
  several labels is in no part of one. Weights of 1 / labels would make tables of fractions, for which the corrections
  for chance of ARI and AMI, that count permutations of whole rows, do not hold, and where perfect clusters have no 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import expected_mutual_information

from recsys_ssl.evaluation.labels import Labels

NO_CLASS = -1
"""The class of a cluster whose rows are all wrong."""
SCORES: Mapping[str, str] = {
    "accuracy": "Accuracy, Hungarian",
    "accuracy_strict": "Accuracy, strict",
    "accuracy_majority": "Accuracy, majority",
    "ari": "ARI",
    "ami": "AMI",
    "nmi": "NMI",
    "fowlkes_mallows": "Fowlkes-Mallows",
}
"""Name of each score -> what people read."""


class Counts(NamedTuple):
    """What rows say of k clusters and their classes; additive."""

    members: np.ndarray
    """[k, num_classes] int64 rows of the cluster that have the class."""
    rows: np.ndarray
    """[k] int64 rows of the cluster."""
    single: np.ndarray
    """[k, num_classes] int64, `members` of the rows of one label only."""


class Assignment(NamedTuple):
    """The class of each cluster, each [k] int64 with NO_CLASS for none."""

    hungarian: np.ndarray
    """One cluster a class, so that most rows are right; every other cluster its most frequent class."""
    strict: np.ndarray
    """The same, and no class for every other cluster."""
    majority: np.ndarray
    """Each cluster its most frequent class."""


def count(clusters: np.ndarray, labels: Labels, num_clusters: int) -> Counts:
    """The counts of rows, each with a label or more.

    Args:
        clusters: [num_rows] int64 in 0..num_clusters - 1.
    """
    num_classes = len(labels.classes)
    cells = np.repeat(clusters, labels.counts) * num_classes + labels.codes
    is_single = np.repeat(labels.counts == 1, labels.counts)
    members, single = (
        np.bincount(chosen, minlength=num_clusters * num_classes).reshape(num_clusters, num_classes)
        for chosen in (cells, cells[is_single])
    )
    return Counts(members, np.bincount(clusters, minlength=num_clusters), single)


def assign(train: Counts) -> Assignment:
    """Gives each cluster a class by the rows of train; of equally frequent classes the first.

    The Hungarian one matches min(k, num_classes) pairs so that the rows that are right are most, and then, as the
    paper does, gives clusters that are left their majority. A cluster may be matched to a class that none of its rows
    has, so that another has its own: its rows are wrong. A cluster without rows of train has no class.

    References:
        Zheltonozhskii et al. 2020, arXiv:2008.10312, section 3; Kuhn 1955 (assignment).
    """
    matched, classes = linear_sum_assignment(train.members, maximize=True)
    strict = np.full(len(train.rows), NO_CLASS)
    strict[matched] = classes
    majority = train.members.argmax(axis=1)
    for of_cluster in (strict, majority):
        of_cluster[train.rows == 0] = NO_CLASS
    return Assignment(np.where(strict == NO_CLASS, majority, strict), strict, majority)


def measure_accuracy(class_of_cluster: np.ndarray, counts: Counts) -> float:
    """The share of rows that have the class of their cluster. In [0, 1], higher is better; NaN without rows.

    Args:
        class_of_cluster: [k] int64, NO_CLASS for none.
    """
    total = counts.rows.sum()
    return float(right_rows(class_of_cluster, counts).sum() / total) if total else np.nan


def right_rows(class_of_cluster: np.ndarray, counts: Counts) -> np.ndarray:
    """[k] int64 rows of each cluster that have its class."""
    found = counts.members[np.arange(len(class_of_cluster)), class_of_cluster]
    return np.where(class_of_cluster == NO_CLASS, 0, found)


def score(train: Counts, test: Counts) -> dict[str, float]:
    """All of SCORES of test rows, the classes of the clusters being those of train; NaN where undefined."""
    assigned = assign(train)
    return {
        "accuracy": measure_accuracy(assigned.hungarian, test),
        "accuracy_strict": measure_accuracy(assigned.strict, test),
        "accuracy_majority": measure_accuracy(assigned.majority, test),
        **measure_agreement(test.single),
    }


# --- Indices of agreement -----------------------------------------------------------------------------


def measure_agreement(table: np.ndarray) -> dict[str, float]:
    """ARI, AMI, NMI and Fowlkes-Mallows of two partitions.

    All are 1 for the same partition, and higher is better. ARI and AMI have expectation 0 for clusters by chance and
    may be below it; NMI and Fowlkes-Mallows are in [0, 1] and grow with the number of clusters by chance alone.

    Args:
        table: [k, num_classes] int rows of each cluster and class.

    Returns:
        NaN with fewer than two rows.
    """
    if table.sum() < 2:
        return dict.fromkeys(("ari", "ami", "nmi", "fowlkes_mallows"), np.nan)
    table = table[table.any(axis=1)][:, table.any(axis=0)]
    ari, fowlkes_mallows = _compare_pairs(table)
    ami, nmi = _compare_information(table)
    return {"ari": ari, "ami": ami, "nmi": nmi, "fowlkes_mallows": fowlkes_mallows}


def _compare_pairs(table: np.ndarray) -> tuple[float, float]:
    """The adjusted Rand and the Fowlkes-Mallows index: of pairs of rows, P(.) = sum n (n - 1) / 2.

    ARI = (P(table) - E) / ((P(clusters) + P(classes)) / 2 - E), E = P(clusters) P(classes) / P(all);
    FMI = P(table) / sqrt(P(clusters) P(classes)).

    References:
        Hubert and Arabie 1985, Journal of Classification 2, 193-218; Fowlkes and Mallows 1983, JASA 78, 553-569.
    """

    def pairs(numbers: np.ndarray) -> float:
        exact = numbers.astype(np.float64)
        return float((exact * (exact - 1.0)).sum() / 2.0)

    both, of_clusters, of_classes = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = of_clusters * of_classes / pairs(table.sum(keepdims=True))
    most = (of_clusters + of_classes) / 2.0
    # Where all rows are together, or all apart, in both there is no other partition like them.
    ari = 1.0 if most == expected else (both - expected) / (most - expected)
    return ari, both / np.sqrt(of_clusters * of_classes) if both else 0.0


def _compare_information(table: np.ndarray) -> tuple[float, float]:
    """The adjusted and the normalised mutual information, both over the arithmetic mean of the entropies.

    References:
        Vinh, Epps and Bailey 2010, JMLR 11, 2837-2854.
    """
    if table.shape == (1, 1):
        return 1.0, 1.0
    information = mutual_info_score(None, None, contingency=table)
    mean_entropy = (_entropy(table.sum(axis=1)) + _entropy(table.sum(axis=0))) / 2.0
    expected = expected_mutual_information(table, int(table.sum()))
    # Equal but for rounding where both partitions leave each row alone: the same, so 1.
    gap = mean_entropy - expected
    ami = 1.0 if abs(gap) < 1e-12 else (information - expected) / gap
    return float(ami), float(information / mean_entropy)


def _entropy(numbers: np.ndarray) -> float:
    shares = numbers / numbers.sum()
    return float(-(shares * np.log(shares)).sum())
