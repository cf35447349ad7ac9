import itertools
import math

import numpy as np
import pytest
from sklearn import metrics as oracle

from recsys_ssl.evaluation import cluster_scores
from recsys_ssl.evaluation.cluster_scores import NO_CLASS, Counts, assign, count, measure_accuracy
from recsys_ssl.evaluation.kmeans import add_up
from recsys_ssl.evaluation.labels import encode


def counts_of(members, rows=None):
    members = np.array(members)
    return Counts(members, members.sum(axis=1) if rows is None else np.array(rows), members)


# --- Counts ------------------------------------------------------------------------------------------


def test_counts_by_hand():
    """A film of two genres is one row of its cluster, counts for both, and is in no partition."""
    found = count(np.array([0, 0, 1, 2]), encode(["a", ["a", "b"], "b", ["a", "c"]]), num_clusters=4)
    assert found.members.tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1], [0, 0, 0]]
    assert found.rows.tolist() == [2, 1, 1, 0]
    assert found.single.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_counts_add_up():
    labels, clusters = encode(["a", ["a", "b"], "b", "a", ["b"]]), np.array([0, 1, 1, 0, 2])
    parts = [count(clusters[rows], labels.take(np.array(rows)), 3) for rows in ([4, 0], [1], [3, 2])]
    for found, expected in zip(add_up(parts), count(clusters, labels, 3)):
        assert found.tolist() == expected.tolist()


# --- Assignment ----------------------------------------------------------------------------------------


def test_each_class_gets_one_cluster_though_two_are_mostly_of_it():
    """Both clusters are mostly a; b to the second makes 6 + 4 right, b to the first 1 + 5."""
    assigned = assign(counts_of([[6, 1], [5, 4]]))
    assert assigned.hungarian.tolist() == assigned.strict.tolist() == [0, 1]
    assert assigned.majority.tolist() == [0, 0]


def test_clusters_beyond_the_classes_get_their_majority_in_the_papers_accuracy_and_are_wrong_in_the_strict_one():
    train, test = counts_of([[9, 0], [0, 8], [3, 2]]), counts_of([[4, 1], [1, 5], [2, 3]])
    assigned = assign(train)
    assert assigned.strict.tolist() == [0, 1, NO_CLASS]
    assert assigned.hungarian.tolist() == [0, 1, 0]
    assert measure_accuracy(assigned.strict, test) == (4 + 5 + 0) / 16
    assert measure_accuracy(assigned.hungarian, test) == (4 + 5 + 2) / 16
    assert measure_accuracy(assigned.majority, test) == (4 + 5 + 2) / 16


def test_more_classes_than_clusters_leave_classes_without():
    assert assign(counts_of([[1, 5, 2]])).hungarian.tolist() == [1]


def test_a_cluster_that_train_does_not_reach_has_no_class():
    train, test = counts_of([[3, 0], [0, 0], [0, 2]]), counts_of([[1, 0], [4, 0], [0, 1]])
    assert assign(train).majority.tolist() == [0, NO_CLASS, 1]
    assert cluster_scores.score(train, test)["accuracy"] == (1 + 0 + 1) / 6


@pytest.mark.parametrize("seed", range(5))
def test_no_assignment_makes_more_rows_right(seed):
    """All one-to-one assignments of 4 clusters and 4 classes, where rows have up to three labels."""
    rng = np.random.default_rng(seed)
    labels = encode([rng.choice(list("abcd"), rng.integers(1, 4), replace=False).tolist() for _ in range(60)])
    clusters = rng.integers(4, size=60)
    found = count(clusters, labels, 4)

    def right(classes):
        return sum("abcd"[classes[cluster]] in labels.names(row) for row, cluster in enumerate(clusters))

    best = max(right(classes) for classes in itertools.permutations(range(4)))
    assert measure_accuracy(assign(found).hungarian, found) == best / 60


def test_a_row_of_several_labels_is_right_if_it_has_that_of_its_cluster():
    labels = encode([["drama", "war"], ["war"], ["comedy"], ["comedy", "drama"]])
    # Cluster 0: war 2, drama 1; cluster 1: comedy 2, drama 1.
    train = count(np.array([0, 0, 1, 1]), labels, 2)
    test = count(np.array([0, 1, 0, 1]), labels, 2)
    # Right of test: row 0 (has war) in 0, not row 2 (comedy) in 0, not row 1 (war) in 1, row 3 (has comedy) in 1.
    assert cluster_scores.score(train, test)["accuracy"] == 2 / 4
    # Single labels: rows 1 (war, cluster 1) and 2 (comedy, cluster 0): both partitions leave each alone.
    assert cluster_scores.score(train, test)["ari"] == 1.0


# --- Indices -------------------------------------------------------------------------------------------


def partitions(seed, num_rows=80):
    rng = np.random.default_rng(seed)
    classes = rng.integers(rng.integers(2, 6), size=num_rows)
    clusters = np.where(rng.random(num_rows) < 0.6, classes, rng.integers(7, size=num_rows))
    return classes, clusters


def table_of(classes, clusters):
    table = np.zeros([clusters.max() + 1, classes.max() + 1], int)
    np.add.at(table, (clusters, classes), 1)
    return table


@pytest.mark.parametrize("seed", range(4))
def test_indices_agree_with_scikit_learn(seed):
    classes, clusters = partitions(seed)
    found = cluster_scores.measure_agreement(table_of(classes, clusters))
    assert found == {
        "ari": pytest.approx(oracle.adjusted_rand_score(classes, clusters)),
        "ami": pytest.approx(oracle.adjusted_mutual_info_score(classes, clusters)),
        "nmi": pytest.approx(oracle.normalized_mutual_info_score(classes, clusters)),
        "fowlkes_mallows": pytest.approx(oracle.fowlkes_mallows_score(classes, clusters)),
    }


@pytest.mark.parametrize("seed", range(3))
def test_indices_of_pairs_agree_with_the_loop_over_pairs(seed):
    classes, clusters = partitions(seed, 40)
    both = of_classes = of_clusters = pairs = 0
    for i, j in itertools.combinations(range(40), 2):
        same_class, same_cluster = classes[i] == classes[j], clusters[i] == clusters[j]
        both += same_class and same_cluster
        of_classes += same_class
        of_clusters += same_cluster
        pairs += 1
    expected = of_classes * of_clusters / pairs
    found = cluster_scores.measure_agreement(table_of(classes, clusters))
    assert found["ari"] == pytest.approx((both - expected) / ((of_classes + of_clusters) / 2 - expected))
    assert found["fowlkes_mallows"] == pytest.approx(both / math.sqrt(of_classes * of_clusters))


def test_indices_by_hand():
    """Clusters {a a b} and {b b}: of 10 pairs 1 + 1 are together in both, 3 + 1 in clusters, 1 + 3 in classes."""
    found = cluster_scores.measure_agreement(np.array([[2, 1], [0, 2]]))
    expected = 4 * 4 / 10
    assert found["ari"] == pytest.approx((2 - expected) / (4 - expected))
    assert found["fowlkes_mallows"] == pytest.approx(2 / math.sqrt(4 * 4))
    entropy = -(2 / 5 * math.log(2 / 5) + 3 / 5 * math.log(3 / 5))  # of classes and of clusters
    shared = 2 / 5 * math.log(2 * 5 / (3 * 2)) + 1 / 5 * math.log(1 * 5 / (3 * 3)) + 2 / 5 * math.log(2 * 5 / (2 * 3))
    assert found["nmi"] == pytest.approx(shared / entropy)


def test_the_expected_information_of_ami_is_the_mean_over_all_permutations():
    classes, clusters = np.array([0, 0, 1, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 1])

    def information(other):
        table = table_of(classes, np.array(other)) / 6
        outer = table.sum(1, keepdims=True) @ table.sum(0, keepdims=True)
        return (table[table > 0] * np.log(table[table > 0] / outer[table > 0])).sum()

    def entropy(values):
        shares = np.bincount(values) / 6
        return -(shares * np.log(shares)).sum()

    expected = np.mean([information(other) for other in itertools.permutations(clusters)])
    mean_entropy = (entropy(classes) + entropy(clusters)) / 2
    found = cluster_scores.measure_agreement(table_of(classes, clusters))["ami"]
    assert found == pytest.approx((information(clusters) - expected) / (mean_entropy - expected))


@pytest.mark.parametrize("table", [np.eye(3, dtype=int), [[0, 4], [5, 0]], [[7]]], ids=["alone", "renamed", "one"])
def test_the_same_partition_has_all_indices_1(table):
    found = cluster_scores.measure_agreement(np.array(table))
    expected = {"ari": 1.0, "ami": 1.0, "nmi": 1.0, "fowlkes_mallows": 1.0}
    if np.array(table).max() == 1:
        expected["fowlkes_mallows"] = 0.0  # no pair is together in either
    assert found == pytest.approx(expected)


def test_one_cluster_for_all_agrees_with_nothing():
    found = cluster_scores.measure_agreement(np.array([[5, 5]]))
    assert (found["ari"], found["ami"], found["nmi"]) == (0.0, 0.0, 0.0)


def test_empty_clusters_and_other_names_change_nothing():
    classes, clusters = partitions(9)
    table = table_of(classes, clusters)
    wider = np.zeros([table.shape[0] + 2, table.shape[1] + 1], int)
    wider[2:, 1:] = table[::-1, ::-1]
    assert cluster_scores.measure_agreement(wider) == pytest.approx(cluster_scores.measure_agreement(table))


def test_clusters_by_chance_have_no_adjusted_index_but_others():
    rng = np.random.default_rng(0)
    found = [
        cluster_scores.measure_agreement(table_of(rng.integers(4, size=60), rng.integers(12, size=60)))
        for _ in range(200)
    ]
    mean = {name: np.mean([of[name] for of in found]) for name in found[0]}
    assert mean["ari"] == pytest.approx(0.0, abs=0.01)
    assert mean["ami"] == pytest.approx(0.0, abs=0.01)
    assert mean["nmi"] > 0.1


@pytest.mark.parametrize("table", [[[0, 0]], [[1, 0]]], ids=["no row", "one row"])
def test_indices_of_fewer_than_two_rows_are_undefined(table):
    assert all(np.isnan(value) for value in cluster_scores.measure_agreement(np.array(table)).values())


def test_accuracy_without_rows_is_undefined():
    assert np.isnan(measure_accuracy(np.array([0]), counts_of([[0, 0]])))
