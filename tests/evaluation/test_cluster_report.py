import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys_ssl.evaluation import cluster_examples, cluster_map, cluster_report, labels, vector_reports, vectors
from recsys_ssl.evaluation.cluster_report import judge_vectors, render_cluster_report, write_cluster_report
from recsys_ssl.evaluation.cluster_scores import SCORES, Counts
from recsys_ssl.evaluation.clustering import ClusterConfig, Run, run_clustering
from recsys_ssl.evaluation.labels import LEFT_OUT, TEST, TRAIN
from recsys_ssl.evaluation.vector_reports import FEATURES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def balls():
    """Four balls far apart, hidden among noise in the raw features; the vectors show them."""
    rng = np.random.default_rng(0)
    of = np.arange(240) % 4
    shown = 10.0 * np.eye(4)[of] + 0.3 * rng.normal(size=(240, 4))
    raw = np.concatenate([0.2 * shown, 3.0 * rng.normal(size=(240, 6))], axis=1)
    return shown, raw, [f"<ball> {ball}" for ball in of]


@pytest.fixture(scope="module")
def report(balls):
    shown, raw, names = balls
    ids = [f"row {row}" for row in range(240)]
    untrained = np.random.default_rng(1).normal(size=(240, 3))
    return judge_vectors(shown, names, ids, raw=raw, untrained=untrained, config=ClusterConfig(seeds=3))


def test_every_score_stands_beside_every_floor(report):
    assert [row["features"] for row in report["scores"]] == list(FEATURES)
    for row in report["scores"]:
        assert list(row["metrics"]) == list(SCORES)
    of = {row["features"]: row["metrics"] for row in report["scores"]}
    assert of["vectors"]["ari"] == {"mean": 1.0, "interval": [1.0, 1.0], "values": [1.0] * 3}
    assert of["raw"]["ari"]["mean"] < 0.9
    assert abs(of["untrained"]["ari"]["mean"]) < 0.1
    assert of["one_cluster"]["accuracy"]["interval"] is None


def test_the_sentences_name_the_best_floor(report):
    metrics = {row["features"]: row["metrics"]["ari"]["mean"] for row in report["scores"]}
    best = max(list(FEATURES)[1:], key=metrics.get)
    expected = f"ARI: above the best floor, {FEATURES[best].lower()} (1.000 against {metrics[best]:.3f})."
    assert expected in report["reading"]


@pytest.mark.parametrize(
    ("own", "floor", "word"),
    [((0.5, [0.4, 0.6]), (0.3, [0.2, 0.39]), "above"), ((0.5, [0.4, 0.6]), (0.7, [0.61, 0.8]), "below"),
     ((0.5, [0.4, 0.6]), (0.45, [0.3, 0.55]), "not told apart from"), ((0.5, None), (0.4, None), "above")],
    ids=["above", "below", "overlap", "one run"],
)  # fmt: skip
def test_vectors_are_told_from_a_floor_where_intervals_do_not_meet(own, floor, word):
    rows = [
        {"label": label, "metrics": {name: {"mean": mean, "interval": interval} for name in SCORES}}
        for label, (mean, interval) in (("Vectors", own), ("Floor", floor))
    ]
    sentences = cluster_report._read_scores(rows)
    assert len(sentences) == 3
    assert all(f": {word} the best floor, floor (0.500 against" in sentence for sentence in sentences)


def test_counts(balls):
    shown, _, names = balls
    some = [None if row < 10 else ["both", name] if row < 30 else name for row, name in enumerate(names)]
    part = np.where(np.arange(240) < 10, LEFT_OUT, np.where(np.arange(240) % 3 == 0, TEST, TRAIN))
    counts = judge_vectors(shown, some, part=part, config=ClusterConfig(seeds=1, overcluster=2))["counts"]
    tested = [row for row in range(10, 240) if row % 3 == 0]
    assert counts == {
        "rows": 240,
        "train": 230 - len(tested),
        "test": len(tested),
        "left_out": 10,
        "classes": 5,
        "clusters": 2 * 5,
        "dim": 4,
        "several_labels": 20,
        "test_of_one_label": len([row for row in tested if row >= 30]),
    }


# --- Clusters to look at -----------------------------------------------------------------------------------


def test_the_rows_nearest_to_each_centre_are_seen_whatever_the_batches(balls):
    shown, _, names = balls
    of, table = labels.encode(names), vectors.from_array(shown)
    part = labels.split_rows(of)
    for batch_rows in (7, 1000):
        config = ClusterConfig(seeds=1, batch_rows=batch_rows)
        model, _ = run_clustering(table, of, part, ClusterConfig(seeds=1))
        seen = cluster_examples.look_at_rows(table, part, model, 0, config)
        tested = np.flatnonzero(part == TEST)
        squares = np.square(model.prepare(shown[tested].astype(np.float32))[:, None] - model.centroids[0]).sum(axis=2)
        for cluster in range(4):
            own = tested[squares.argmin(axis=1) == cluster]
            nearest = own[np.argsort(squares[squares.argmin(axis=1) == cluster][:, cluster])]
            assert seen.nearest[cluster] == nearest[:5].tolist()
        assert sorted(seen.mapped_rows) == tested.tolist()


def test_the_run_of_least_inertia_is_shown_whatever_its_scores():
    counts = Counts(*[np.zeros(1)] * 3)
    runs = [Run({"ari": ari}, inertia, counts, counts) for ari, inertia in ((0.9, 2.0), (0.1, 1.0), (0.5, 3.0))]
    assert cluster_examples.choose_run(runs) == 1


def test_best_and_worst_clusters_by_hand():
    """Cluster 2 has too few test rows to be judged, cluster 3 none."""
    of = labels.encode(["a", "b"])
    train = np.array([[8, 2], [1, 9], [5, 0], [0, 4]])
    test = np.array([[5, 1], [5, 5], [2, 0], [0, 0]])
    run = Run({}, 0.0, Counts(train, train.sum(1), train), Counts(test, test.sum(1), test))
    seen = cluster_examples.Seen({0: [1, 0], 1: [1]}, *[np.empty(0)] * 3)
    assert cluster_examples.list_shown(seen) == [0, 1, 1]
    seen = cluster_examples.Seen({0: [0], 1: [1]}, *[np.empty(0)] * 3)
    found = cluster_examples.describe_clusters(run, seen, of, ["first", "second"])
    assert (found["in_use"], found["listed_from"]) == (4, 2)
    assert found["best"] == [
        {
            "cluster": 0,
            "class": "a",
            "train_rows": 10,
            "test_rows": 6,
            "right": 5 / 6,
            "common": [["a", 8 / 10], ["b", 2 / 10]],
            "examples": [{"id": "first", "labels": ["a"]}],
        }
    ]
    assert [(row["cluster"], row["right"], row["test_rows"]) for row in found["worst"]] == [(1, 5 / 10, 10)]


def test_ids_are_those_of_the_rows(report):
    shown = [(row["class"], example) for row in report["clusters"]["best"] for example in row["examples"]]
    assert len(shown) == 2 * 5
    for name, example in shown:
        row = int(example["id"].removeprefix("row "))
        assert example["labels"] == [f"<ball> {row % 4}"] == [name]


# --- Map and page --------------------------------------------------------------------------------------


def test_the_map_is_of_the_seed_and_keeps_balls_together(balls):
    shown, _, names = balls
    places = cluster_map.map_rows(shown[:60].astype(np.float32), seed=1)
    assert np.array_equal(places, cluster_map.map_rows(shown[:60].astype(np.float32), seed=1))
    own = np.array(names[:60])
    distances = np.linalg.norm(places[:, None] - places, axis=2) + np.diag(np.full(60, np.inf))
    assert (own[distances.argmin(axis=1)] == own).all()


def points(num_points=12):
    return [
        {"x": float(i), "y": 0.0, "cluster": i % 2, "cluster_class": None if i == 0 else "a", "class": "ab"[i % 2]}
        for i in range(num_points)
    ]


def test_the_drawing_is_the_same_for_the_same_points():
    svg = cluster_map.draw_map(points())
    assert svg == cluster_map.draw_map(points())
    assert svg.startswith("<svg")
    assert svg != cluster_map.draw_map(points(13))


def test_few_rows_have_no_map():
    seen = cluster_examples.Seen({}, np.arange(9), np.zeros(9, int), np.zeros([9, 2]))
    assert cluster_examples.map_points(None, seen, None, ClusterConfig()) == []


def test_the_page_and_the_json_are_of_one_report_and_there_together(report, tmp_path, monkeypatch):
    write_cluster_report(report | {"map": points()}, tmp_path / "report")
    page, stored = ((tmp_path / "report" / name).read_text() for name in ("report.html", "report.json"))
    assert json.loads(stored) == report | {"map": points()}
    assert page.count("data:image/svg+xml") == 1
    for text in (
        *(SCORES[name] for name in SCORES),
        *FEATURES.values(),
        *report["caveats"],
        "&lt;ball&gt; 3",
        "240 vectors",
    ):
        assert text in page
    assert "<ball>" not in page

    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr(vector_reports.artifacts, "write_text", fail)
    with pytest.raises(OSError, match="no room"):
        write_cluster_report(report | {"title": "other"}, tmp_path / "report")
    assert (tmp_path / "report" / "report.html").read_text() == page
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_undefined_numbers_are_dashes(balls):
    """Each test row has two labels, so that no index is defined."""
    shown, _, names = balls
    of = [[name, "and"] for name in names]
    found = judge_vectors(shown, of, config=ClusterConfig(seeds=1))
    assert found["scores"][0]["metrics"]["ari"]["mean"] is None
    assert "240 rows have several" in json.dumps(found["protocol"])
    assert "<td>ARI</td><td>–</td>" in render_cluster_report(found)


def test_neither_judging_nor_mapping_loads_tensorflow():
    code = (
        "import sys\nfrom recsys_ssl.evaluation import cluster_map, cluster_report\n"
        "cluster_map.load_umap()\n"
        "print([name for name in ('tensorflow', 'keras', 'torch') if name in sys.modules])"
    )
    child = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"
