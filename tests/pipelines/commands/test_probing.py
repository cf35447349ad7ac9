"""`recsys-ssl probe` from files to a report, and its errors as one line each."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl import artifacts, lists
from tests.pipelines.commands.vector_checks import check_error, read_scores

NUM_ROWS = 200


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # nothing wraps
    monkeypatch.setenv("TERM", "dumb")  # nor has colours


def draw():
    """Balls far apart."""
    balls = np.arange(NUM_ROWS) % 4
    return 10.0 * np.eye(4)[balls] + 0.2 * np.random.default_rng(0).normal(size=(NUM_ROWS, 4)), balls


@pytest.fixture
def probe(cli, tmp_path):
    def run(embeddings, labels, *options):
        to = tmp_path / "out"
        return cli("probe", "--embeddings", embeddings, "--labels", labels, "--to", to, *options), to / "report"

    return run


def test_vectors_and_labels_become_a_report(probe, tmp_path):
    rows, balls = draw()
    np.savez(tmp_path / "v.npz", vectors=rows, ids=[f"C{row}" for row in range(NUM_ROWS)])
    classes = tmp_path / "classes.csv"
    classes.write_text("id,kind\n" + "".join(f"C{row},ball {ball}\n" for row, ball in enumerate(balls)) + "x,y\n")
    noise = tmp_path / "raw.npy"
    np.save(noise, np.random.default_rng(1).normal(size=(NUM_ROWS, 9)))
    options = ("--raw", noise, "--untrained", noise, "--seeds", "2", "--neighbours", "5", "--shots", "2")
    result, directory = probe(tmp_path / "v.npz", classes, *options)
    assert result.status == 0, result.output
    for part in ("✓ probe", "4 classes, ", "raw, components", "2 labels a class", "Linear probe: above the best floor",
                 "report.html"):  # fmt: skip
        assert part in result.output
    means = read_scores(directory)
    assert list(means) == ["vectors", "raw", "raw_components", "untrained", "one_cluster"]
    assert means["vectors"] == {"linear": 1.0, "nearest": 1.0, "few_shot_2": 1.0}
    assert means["raw"]["linear"] < 0.6
    report = json.loads((directory / "report.json").read_text())
    assert "1 ids of no vector are ignored" in report["protocol"][0]["statement"]


def write_items(directory, vectors, prior):
    """As a run writes its items, the last number of each vector being of a popularity prior."""
    directory.mkdir()
    (directory / artifacts.TRAIN_SETTINGS_FILE).write_text(json.dumps({"popularity_prior": prior}))
    table = {
        "item_row": np.arange(len(vectors)),
        "item_id": pa.array([f"i{row}".encode() for row in range(len(vectors))], pa.binary()),
        "vector": lists.from_vectors(vectors.astype(np.float32)),
        "train_count": np.arange(len(vectors)),
    }
    pq.write_table(pa.table(table), directory / "rows-000000-000000.parquet")


def test_the_coordinate_of_the_popularity_prior_is_left_out(probe, tmp_path):
    """It alone tells the classes here: with it a probe tells all, without it none."""
    balls = np.arange(NUM_ROWS) % 2
    noise = np.random.default_rng(0).normal(size=(NUM_ROWS, 3))
    vectors = np.concatenate([noise, 9.0 * balls[:, None]], axis=1)
    (tmp_path / "kinds.csv").write_text(
        "item_id,kind\n" + "".join(f"i{row},{ball}\n" for row, ball in enumerate(balls))
    )
    found = {}
    for prior in (0.0, 0.5):
        write_items(tmp_path / f"items-{prior}", vectors, prior)
        result, directory = probe(tmp_path / f"items-{prior}", tmp_path / "kinds.csv", "--seeds", "1")
        assert result.status == 0, result.output
        found[prior] = read_scores(directory)["vectors"]["linear"]
    assert found[0.0] == 1.0
    assert found[0.5] < 0.75


@pytest.mark.parametrize(
    ("rows", "kind", "options", "parts"),
    [
        (None, [""] * 200, ("--max-unlabelled-share", "1"), ["rows must have labels. Received: none for 200 rows"]),
        (None, [""] * 200, (), ["at most 50% of the vectors may have no label. Received: 200 of 200 without"]),
        (None, ["a"] * 200, (), ["labels must be of two classes or more. Received: 'a' alone. Name another"]),
        (np.full([200, 3], np.nan), ["a", "b"] * 100, (), ["NaN or infinity in row", "Leave the row out"]),
        (np.ones([200, 3]), ["a", "b"] * 100, (), ["vectors must differ. Received: the same in all"]),
        (None, ["a", "b"] * 100, ("--neighbours", "900"), ["k must be in 1-1", "Lower it"]),
        (None, ["a", "b"] * 100, ("--test-share", "1"), ["the share of test must lie in (0, 1)"]),
        (None, ["a", "b"] * 100, ("--shots", "0"), ["shots must be 1 or more"]),
        (None, ["a"] * 3, (), ["there must be a label for each vector. Received: 3 labels"]),
    ],
    ids=["no labels", "few labels", "one class", "NaN", "constant", "neighbours", "share", "shots", "lengths"],
)
def test_bad_input_is_one_line_and_leaves_no_report(probe, tmp_path, rows, kind, options, parts):
    np.save(tmp_path / "v.npy", draw()[0] if rows is None else rows)
    np.save(tmp_path / "kind.npy", np.array(kind))
    result, directory = probe(tmp_path / "v.npy", tmp_path / "kind.npy", *options)
    check_error(result, *parts)
    assert not directory.exists()
