import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from recsys_ssl.evaluation import kmeans


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32) + 100.0


def expect_by_loop(centroids, rows):
    """One row and one centroid at a time."""
    totals, counts, inertia = np.zeros(centroids.shape), np.zeros(len(centroids), int), 0.0
    for row in rows.astype(np.float64):
        distances = [sum((a - b) ** 2 for a, b in zip(row, centroid)) for centroid in centroids]
        nearest = distances.index(min(distances))
        totals[nearest] += row
        counts[nearest] += 1
        inertia += distances[nearest]
    return totals, counts, inertia


def test_the_sums_agree_with_the_loop(rows):
    centroids = rows[:7].astype(np.float64)
    sums = kmeans.expect_clusters(centroids, rows)
    totals, counts, inertia = expect_by_loop(centroids, rows)
    np.testing.assert_allclose(sums.totals, totals, rtol=1e-12)
    assert sums.counts.tolist() == counts.tolist()
    assert sums.inertia == pytest.approx(inertia, rel=1e-9)


def test_the_sums_of_the_parts_are_those_of_all_rows_whatever_the_parts(rows):
    centroids = rows[:7].astype(np.float64)
    whole = kmeans.expect_clusters(centroids, rows)
    parts = [rows[150:], rows[:1], rows[1:150], rows[:0]]
    for found, expected in zip(kmeans.add_up(kmeans.expect_clusters(centroids, part) for part in parts), whole):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_round_by_hand():
    """Rows 0 and 2 go to the centroid 1, row 9 to 10, and nobody to 100, which stays."""
    centroids, rows = np.array([[1.0], [10.0], [100.0]]), np.array([[0.0], [2.0], [9.0]])
    sums = kmeans.expect_clusters(centroids, rows)
    assert sums.totals.tolist() == [[0 + 2], [9], [0]]
    assert sums.counts.tolist() == [2, 1, 0]
    assert sums.inertia == (0 - 1) ** 2 + (2 - 1) ** 2 + (9 - 10) ** 2
    assert kmeans.maximize_clusters(centroids, sums).tolist() == [[(0 + 2) / 2], [9 / 1], [100]]


def test_of_equal_centroids_the_first_is_taken():
    centroids = np.array([[4.0], [0.0], [0.0], [4.0]])
    assert kmeans.find_nearest(centroids, np.array([[1.0], [3.0]]))[0].tolist() == [1, 0]


def test_rows_far_from_zero_keep_their_distances():
    """|x|^2 is 1e12 there, of which float64 keeps four digits after the point at most."""
    centroids = np.array([[1e6], [1e6 + 1e-3]])
    nearest, distances = kmeans.find_nearest(centroids, np.array([[1e6 + 0.4e-3], [1e6 + 0.6e-3]]))
    assert nearest.tolist() == [0, 1]
    np.testing.assert_allclose(distances, [0.16e-6, 0.16e-6], rtol=1e-3)


def test_blocks_of_rows_change_nothing(rows, monkeypatch):
    centroids = rows[:7].astype(np.float64)
    expected = kmeans.find_nearest(centroids, rows)
    monkeypatch.setattr(kmeans, "_BLOCK_BYTES", 8 * 7 * 11)
    for found, of_all in zip(kmeans.find_nearest(centroids, rows), expected):
        np.testing.assert_allclose(found, of_all, rtol=1e-9)


def test_lloyds_iteration_is_that_of_scikit_learn(rows):
    start = rows[:5].astype(np.float64)
    found = kmeans.iterate(
        kmeans.expect_clusters, kmeans.maximize_clusters, start, lambda: (rows[:80], rows[80:]), iterations=6
    )
    oracle = KMeans(5, init=start, n_init=1, max_iter=6, tol=0.0, algorithm="lloyd").fit(rows.astype(np.float64))
    np.testing.assert_allclose(found, oracle.cluster_centers_, rtol=1e-9)


def test_no_round_raises_the_inertia(rows):
    centroids, inertia = rows[:8].astype(np.float64), []
    for _ in range(10):
        sums = kmeans.expect_clusters(centroids, rows)
        inertia.append(float(sums.inertia))
        centroids = kmeans.maximize_clusters(centroids, sums)
    assert inertia == sorted(inertia, reverse=True)
    assert inertia[-1] < inertia[0]


@pytest.mark.parametrize("num_components", [None, 2], ids=["all", "two"])
def test_components_are_those_of_scikit_learn(num_components):
    rows = np.random.default_rng(1).normal(size=(300, 4)) * [5.0, 1.0, 3.0, 0.2] + 7.0
    sums = kmeans.add_up(kmeans.expect_moments(part) for part in np.array_split(rows, 3))
    projection = kmeans.find_components(sums, num_components)
    expected = PCA(num_components).fit_transform(rows)
    # An eigenvector has no sign of its own.
    np.testing.assert_allclose(np.abs(projection.apply(rows)), np.abs(expected), rtol=1e-6, atol=1e-9)


def test_all_components_keep_distances(rows):
    projection = kmeans.find_components(kmeans.expect_moments(rows))
    turned = projection.apply(rows.astype(np.float64))
    assert np.linalg.norm(turned[3] - turned[9]) == pytest.approx(np.linalg.norm(rows[3] - rows[9]), rel=1e-5)
