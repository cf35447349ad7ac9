import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from recsys_ssl import lists
from recsys_ssl.evaluation import cluster_floors, cluster_scores, labels, vectors
from recsys_ssl.evaluation.clustering import ClusterConfig, fit_in_batches, fit_in_memory, run_clustering
from recsys_ssl.evaluation.labels import TEST, TRAIN

FITS = pytest.mark.parametrize("fit", [fit_in_memory, fit_in_batches], ids=["memory", "batches"])
ONE = ClusterConfig(seeds=1, batch_rows=50)


def draw_balls(num_rows=300, num_balls=4, dim=6, seed=0, width=0.1):
    """Rows of balls far apart, and the ball of each as its label: one right answer."""
    rng = np.random.default_rng(seed)
    balls = np.arange(num_rows) % num_balls
    centres = 10.0 * rng.normal(size=(num_balls, dim))
    return centres[balls] + width * rng.normal(size=(num_rows, dim)), [f"ball {ball}" for ball in balls]


def run(rows, names, config=ONE, fit=fit_in_memory, part=None):
    of = labels.encode(names)
    return run_clustering(vectors.from_array(rows), of, labels.split_rows(of) if part is None else part, config, fit)


@FITS
@pytest.mark.parametrize("l2", [False, True])
def test_balls_far_apart_are_found(fit, l2):
    _, runs = run(*draw_balls(), dataclasses.replace(ONE, l2=l2, seed=3), fit)
    assert runs[0].scores == pytest.approx(dict.fromkeys(cluster_scores.SCORES, 1.0))


@FITS
def test_the_inertia_and_the_counts_are_those_of_the_rows(fit):
    rows, names = draw_balls(width=3.0)
    of = labels.encode(names)
    part = labels.split_rows(of)
    model, (found,) = run(rows, names, dataclasses.replace(ONE, batch_rows=37), fit, part)
    prepared = model.prepare(rows.astype(np.float32))
    squares = np.square(prepared[:, None] - model.centroids[0]).sum(axis=2)
    assert found.inertia == pytest.approx(squares.min(axis=1)[part == TRAIN].sum(), rel=1e-4)
    for number, counts in ((TRAIN, found.train), (TEST, found.test)):
        expected = np.zeros([4, 4], int)
        np.add.at(expected, (squares.argmin(axis=1)[part == number], of.codes[part == number]), 1)
        assert counts.members.tolist() == expected.tolist()


def test_nothing_of_test_is_fitted():
    """Other test rows change neither components nor centroids nor the classes of clusters."""
    rows, names = draw_balls(width=3.0)
    of = labels.encode(names)
    part = labels.split_rows(of)
    moved = np.where((part == TEST)[:, None], 1000.0 - 7.0 * rows, rows)
    for fit in (fit_in_memory, fit_in_batches):
        model, (found,) = run(rows, names, ONE, fit, part)
        other, (changed,) = run(moved, names, ONE, fit, part)
        for left, right in ((model.projection, other.projection), (model.centroids, other.centroids)):
            assert all(np.array_equal(a, b) for a, b in zip(left, right))
        assert found.train.members.tolist() == changed.train.members.tolist()
        assert found.test.members.tolist() != changed.test.members.tolist()


@FITS
def test_the_same_seed_gives_the_same_and_another_another(fit):
    rows, names = draw_balls(width=8.0)
    models = [run(rows, names, dataclasses.replace(ONE, seed=seed), fit)[0] for seed in (1, 1, 2)]
    assert np.array_equal(models[0].centroids[0], models[1].centroids[0])
    assert not np.array_equal(models[0].centroids[0], models[2].centroids[0])


def test_rows_that_are_read_in_parts_give_the_model_of_an_array(tmp_path):
    """Of a file and of an array whose groups are the same, in memory and in batches."""
    rows, names = draw_balls(width=2.0)
    pq.write_table(
        pa.table({"vector": lists.from_vectors(rows.astype(np.float32))}), tmp_path / "v.parquet", row_group_size=100
    )
    of = labels.encode(names)
    part, file = labels.split_rows(of), vectors.open_vectors(tmp_path / "v.parquet")
    array = dataclasses.replace(
        vectors.from_array(rows), groups=tuple(vectors.Group("", i, 100) for i in range(0, 300, 100))
    )
    for fit in (fit_in_memory, fit_in_batches):
        left, right = (run_clustering(table, of, part, ONE, fit) for table in (file, array))
        assert np.array_equal(left[0].centroids[0], right[0].centroids[0])
        assert left[1][0].scores == right[1][0].scores


def test_batches_come_near_memory_though_the_rows_are_sorted(tmp_path):
    """Digits sorted by class, in row groups of a fifth of a batch: the first groups are all zeros."""
    pixels, digits = load_digits(return_X_y=True)
    order = np.argsort(digits, kind="stable")
    rows = lists.from_vectors(pixels[order].astype(np.float32))
    pq.write_table(pa.table({"vector": rows}), tmp_path / "v.parquet", row_group_size=50)
    of = labels.encode([str(digit) for digit in digits[order]])
    table, part = vectors.open_vectors(tmp_path / "v.parquet"), labels.split_rows(of)
    config = ClusterConfig(seeds=3, batch_rows=250)
    exact, parts = (run_clustering(table, of, part, config, fit)[1] for fit in (fit_in_memory, fit_in_batches))
    best = [min(found.inertia for found in runs) for runs in (exact, parts)]
    assert best[0] <= best[1] < 1.04 * best[0]
    assert min(found.scores["accuracy"] for found in exact + parts) > 0.6


@FITS
def test_fewer_components_are_the_first(fit):
    """One direction tells the balls apart; the others are noise of less variance."""
    rng = np.random.default_rng(0)
    balls = np.arange(400) % 2
    rows = np.concatenate([20.0 * balls[:, None], rng.normal(size=(400, 5))], axis=1)
    config = dataclasses.replace(ONE, components=1, batch_rows=100)
    model, (found,) = run(rows, [f"{ball}" for ball in balls], config, fit)
    assert model.projection.components.shape == (1, 6)
    assert abs(model.projection.components[0, 0]) > 0.99
    assert found.scores["ari"] == 1.0


def test_overclustering_makes_more_clusters_and_more_of_the_papers_accuracy():
    pixels, digits = load_digits(return_X_y=True)
    names = [str(digit) for digit in digits]
    runs = [run(pixels, names, ClusterConfig(overcluster=over, seeds=3))[1] for over in (1.0, 2.0, 5.0)]
    assert [len(found[0].train.rows) for found in runs] == [10, 20, 50]
    mean = [{name: np.mean([r.scores[name] for r in found]) for name in runs[0][0].scores} for found in runs]
    assert mean[0]["accuracy"] < mean[1]["accuracy"] < mean[2]["accuracy"]
    assert mean[2]["accuracy_strict"] < mean[1]["accuracy_strict"]
    assert mean[2]["ari"] < mean[1]["ari"]  # which accuracy does not see


# --- Bad input -----------------------------------------------------------------------------------------


@FITS
@pytest.mark.parametrize(
    ("rows", "names", "config", "message"),
    [
        (np.ones([9, 2]), list("abcabcabc"), ONE, "vectors must differ. Received: the same in all"),
        (np.eye(9)[:, :2], list("abcabcabc"), dataclasses.replace(ONE, l2=True), "a vector of zeros has no direction"),
        (np.eye(4), list("abcd"), dataclasses.replace(ONE, overcluster=5), "4 rows and 20 clusters, 5 of each of 4"),
        (np.eye(9), list("abcabcabc"), dataclasses.replace(ONE, components=10), "components must be at most"),
        (np.full([9, 2], np.nan), list("abcabcabc"), ONE, "vectors must be finite"),
        (np.eye(8), list("abcabcabc"), ONE, "8 rows of the vectors and labels of 9"),
    ],
    ids=["constant", "zeros", "clusters", "components", "NaN", "lengths"],
)
def test_what_cannot_be_clustered_is_an_error(fit, rows, names, config, message):
    part = np.array([TRAIN] * (len(names) - 1) + [TEST])
    part[: len(names) // 2] = TRAIN
    if len(names) == 4:
        names = ["a", "b", "c", "d", "d"]
        rows, part = np.eye(5), np.array([TRAIN] * 4 + [TEST])
    with pytest.raises(ValueError, match=message):
        run(rows, names, config, fit, part)


def test_a_batch_with_fewer_rows_than_clusters_is_an_error():
    rows, names = draw_balls()
    with pytest.raises(ValueError, match="Received: 3 rows and 4 clusters. Raise batch_rows"):
        run(rows, names, dataclasses.replace(ONE, batch_rows=3), fit_in_batches)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"overcluster": 0.9}, "overcluster must lie in"),
        ({"overcluster": 5.1}, "overcluster must lie in"),
        ({"seeds": 0}, "seeds must be positive"),
        ({"seed": -1}, "seed must not be negative"),
        ({"components": 0}, "components must be positive"),
        ({"batch_rows": 0}, "batch_rows must be positive"),
        ({"epochs": 0}, "epochs must be positive"),
    ],
)
def test_settings_that_cannot_be_are_an_error(setting, message):
    with pytest.raises(ValueError, match=message):
        ClusterConfig(**setting)


# --- Floors --------------------------------------------------------------------------------------------


def test_the_largest_class_by_hand():
    of = labels.encode(["a", "a", "b", "a", ["b", "a"], "b"])
    part = np.array([TRAIN, TRAIN, TRAIN, TEST, TEST, TEST])
    found = cluster_floors.score_one_cluster(of, part)
    assert found["accuracy"] == found["accuracy_strict"] == found["accuracy_majority"] == 2 / 3  # a and [b, a]
    assert (found["ari"], found["ami"], found["nmi"]) == (0.0, 0.0, 0.0)


def test_clusters_by_chance_are_as_good_as_guessing():
    of = labels.encode([str(row % 5) for row in range(4000)])
    scores = cluster_floors.score_chance(of, labels.split_rows(of, 0.5), ClusterConfig(seeds=8))
    assert len(scores) == 8
    assert np.mean([found["accuracy"] for found in scores]) == pytest.approx(1 / 5, abs=0.02)
    assert np.mean([found["ari"] for found in scores]) == pytest.approx(0.0, abs=0.002)


def test_raw_features_are_also_reduced_to_the_size_of_the_vectors():
    table, raw, small = (vectors.from_array(np.ones([20, dim])) for dim in (4, 9, 3))
    floors = cluster_floors.list_floors(table, raw, small)
    assert {name: (floor.dim, components) for name, (floor, components) in floors.items()} == {
        "raw": (9, None),
        "untrained": (3, None),
        "raw_components": (9, 4),
    }
    assert cluster_floors.list_floors(table, raw, None, 2)["raw_components"][1] == 2
    assert "raw_components" not in cluster_floors.list_floors(table, small, None)
    assert cluster_floors.list_floors(table, None, None) == {}


def test_a_floor_of_other_rows_is_an_error():
    table = vectors.from_array(np.ones([2, 3]), ["a", "b"])
    for floor, message in (
        (vectors.from_array(np.ones([3, 3])), "3 rows of the vectors for 2 of the vectors. Embed"),
        (vectors.from_array(np.ones([2, 3]), ["b", "a"]), "with other ids"),
    ):
        with pytest.raises(ValueError, match=message):
            cluster_floors.list_floors(table, floor, None)
    cluster_floors.list_floors(table, vectors.from_array(np.ones([2, 3])), None)


def test_a_summary_has_the_t_interval_of_the_seeds():
    found = cluster_floors.summarise([{"ari": 0.1}, {"ari": 0.3}])["ari"]
    half = 12.706204736432095 * np.std([0.1, 0.3], ddof=1) / np.sqrt(2)  # t of 0.975 and 1 degree of freedom
    assert found["mean"] == pytest.approx(0.2)
    assert found["interval"] == pytest.approx([0.2 - half, 0.2 + half])
    assert cluster_floors.summarise([{"ari": 0.1}])["ari"]["interval"] is None
    assert cluster_floors.summarise([{"ari": np.nan}])["ari"] == {"mean": None, "interval": None, "values": [None]}
