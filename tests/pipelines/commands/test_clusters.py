"""`recsys-ssl cluster` from files to a report, and its errors as one line each."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl import lists
from tests.pipelines.commands.vector_checks import check_error, read_scores

NUM_ROWS = 200


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # nothing wraps
    monkeypatch.setenv("TERM", "dumb")  # nor has colours


def draw(num_rows=NUM_ROWS):
    """Balls far apart."""
    balls = np.arange(num_rows) % 4
    return 10.0 * np.eye(4)[balls] + 0.2 * np.random.default_rng(0).normal(size=(num_rows, 4)), balls


def write_embedded(path, rows, **columns):
    """As `recsys-ssl embed` writes it."""
    base = {"row": np.arange(len(rows)), "text": [f"C{i}" for i in range(len(rows))]}
    vectors = lists.from_vectors(np.asarray(rows, np.float32))
    pq.write_table(pa.table({**base, "vector": vectors, **columns}), path, row_group_size=64)
    return path


@pytest.fixture
def embedded(tmp_path):
    return write_embedded(tmp_path / "v.parquet", draw()[0])


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("text,kind\n" + "".join(f"C{i},ball {ball}\n" for i, ball in enumerate(draw()[1])))
    return path


@pytest.fixture
def cluster(cli, tmp_path):
    def run(embeddings, labels, *options):
        to = tmp_path / "out"
        result = cli("cluster", "--embeddings", embeddings, "--labels", labels, "--to", to, "--no-map", *options)
        return result, to / "report"

    return run


@pytest.mark.parametrize("method", ["memory", "batches"])
def test_vectors_and_labels_become_a_report(cluster, embedded, classes, tmp_path, method):
    noise = tmp_path / "raw.npy"
    np.save(noise, np.random.default_rng(1).normal(size=(NUM_ROWS, 9)))
    options = ("--method", method, "--batch-rows", 64, "--raw", noise, "--untrained", noise)
    result, directory = cluster(embedded, classes, "--overcluster", "1.5", "--seeds", "4", *options)
    assert result.status == 0, result.output
    for part in (
        "✓ cluster",
        "6 clusters, 4 classes",
        "raw, components",
        "Hungarian: above the best floor",
        "report.html",
    ):
        assert part in result.output
    scores = read_scores(directory)
    assert list(scores) == ["vectors", "raw", "raw_components", "untrained", "chance", "one_cluster"]
    assert scores["vectors"]["accuracy"] == 1.0
    assert scores["vectors"]["accuracy_strict"] < 1.0
    assert abs(scores["raw"]["ari"]) < 0.1
    report = json.loads((directory / "report.json").read_text())
    assert report["config"]["overcluster"] == 1.5
    assert report["clusters"]["best"][0]["examples"][0]["id"].startswith("C")
    assert str(classes) in report["protocol"][0]["statement"]
    assert (directory / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_the_job_of_many_machines_finds_the_same(cluster, embedded, classes, tmp_path):
    result, directory = cluster(
        embedded, classes, "--method", "beam", "--seeds", "1", "--beam=--runner=DirectRunner", "--batch-rows", "50"
    )
    assert result.status == 0, result.output
    assert read_scores(directory)["vectors"]["ari"] == 1.0
    assert list((tmp_path / "out" / "iterations").glob("*/iteration-*.npz"))


def test_the_items_of_a_run_by_several_labels_a_row(cluster, tmp_path):
    rows, balls = draw()
    (tmp_path / "items").mkdir()
    for number, part in enumerate(np.array_split(np.arange(NUM_ROWS), 2)):
        table = {
            "item_row": part,
            "item_id": pa.array([f"film {row}".encode() for row in part], pa.binary()),
            "vector": lists.from_vectors(rows[part].astype(np.float32)),
            "train_count": part,
        }
        pq.write_table(pa.table(table), tmp_path / "items" / f"rows-{number:06d}-000000.parquet")
    genres = {0: "war|drama", 1: "comedy", 2: "", 3: ""}
    lines = [f"film {row},{genres[ball]}" for row, ball in enumerate(balls)]
    (tmp_path / "genres.csv").write_text("item_id,genres\n" + "\n".join([*lines, "lost,war"]) + "\n")
    result, directory = cluster(tmp_path / "items", tmp_path / "genres.csv", "--separator", "|", "--seeds", 2)
    assert result.status == 0, result.output
    report = json.loads((directory / "report.json").read_text())
    assert report["counts"]["left_out"] == 100
    assert report["counts"]["several_labels"] == 50
    assert "100 vectors without are left out; 1 ids of no vector are ignored" in report["protocol"][0]["statement"]
    # Three classes, so three clusters: the films of one ball are in two of them, one of which is given the third class.
    assert read_scores(directory)["vectors"]["accuracy_majority"] == 1.0
    assert read_scores(directory)["vectors"]["accuracy"] < 1.0


def test_a_split_beside_the_labels(cluster, tmp_path):
    rows, balls = draw()
    sets = ["test" if row >= 150 else "train" for row in range(NUM_ROWS)]
    path = write_embedded(tmp_path / "v.parquet", rows, kind=[f"{ball}" for ball in balls], set=sets)
    result, directory = cluster(path, "kind", "--split", "set")
    assert result.status == 0, result.output
    counts = json.loads((directory / "report.json").read_text())["counts"]
    assert (counts["train"], counts["test"]) == (150, 50)


def test_the_same_command_writes_the_same_figures(cluster, embedded, classes):
    reports = [cluster(embedded, classes, "--seed", "3")[1].joinpath("report.json").read_text() for _ in range(2)]
    assert reports[0] == reports[1]


# --- Bad input -----------------------------------------------------------------------------------------


def with_nan(rows):
    rows[7, 2] = np.nan
    return rows


@pytest.mark.parametrize(
    ("rows", "kind", "options", "parts"),
    [
        (None, [None] * 200, ("--max-unlabelled-share", "1"), ["rows must have labels. Received: none for 200 rows"]),
        (None, [None] * 200, (), ["at most 50% of the vectors may have no label. Received: 200 of 200 without"]),
        (None, ["a"] * 200, (), ["labels must be of two classes or more. Received: 'a' alone. Name another"]),
        (None, [f"{i % 100}" for i in range(200)], ("--overcluster", "5"), ["500 clusters", "Lower overcluster"]),
        (with_nan(draw()[0]), ["a", "b"] * 100, (), ["NaN or infinity in row 7 of", "Leave the row out"]),
        (np.ones([200, 3]), ["a", "b"] * 100, (), ["vectors must differ. Received: the same in all"]),
        (None, ["a", "b"] * 100, ("--components", "9"), ["components must be at most 4, the rank of"]),
        (None, ["a", "b"] * 100, ("--overcluster", "7"), ["overcluster must lie in [1, 5]. Received: 7.0"]),
        (None, ["a", "b"] * 100, ("--test-share", "1"), ["the share of test must lie in (0, 1)"]),
        (None, ["a", "b"] * 100, ("--beam=--x=1",), ["--beam goes with --method beam. Received: --method memory"]),
        (None, ["a", "b"] * 100, ("--split", "set"), ["must have a column 'set'"]),
    ],
    ids=["no labels", "few labels", "one class", "clusters", "NaN", "constant", "components", "overcluster", "share",
         "beam", "split"],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_no_report(cluster, tmp_path, rows, kind, options, parts):
    path = write_embedded(tmp_path / "v.parquet", draw()[0] if rows is None else rows, kind=pa.array(kind, pa.string()))
    result, directory = cluster(path, "kind", *options)
    check_error(result, *parts)
    assert not directory.exists()


def test_a_class_of_test_that_train_lacks_is_one_line(cluster, tmp_path):
    kind, sets = ["a", "b"] * 99 + ["a", "new"], ["train"] * 199 + ["test"]
    result, _ = cluster(
        write_embedded(tmp_path / "v.parquet", draw()[0], kind=kind, set=sets), "kind", "--split", "set"
    )
    check_error(result, "each class of test must have a row in train. Received: 1 without, the first 'new'. Move a row")


def test_ids_that_do_not_match_are_one_line(cluster, embedded, tmp_path):
    (tmp_path / "l.csv").write_text("text,kind\nx,a\ny,b\n")
    result, _ = cluster(embedded, tmp_path / "l.csv")
    check_error(result, "ids of the labels must be those of the vectors. Received: none of 2", "by --id-column")


def test_a_floor_of_other_rows_is_one_line(cluster, embedded, classes, tmp_path):
    np.save(tmp_path / "raw.npy", np.eye(7))
    result, _ = cluster(embedded, classes, "--raw", tmp_path / "raw.npy")
    check_error(result, "a floor must have the rows of the vectors, in their order. Received: 7 rows of")


def test_a_report_that_fails_leaves_the_one_before(cluster, embedded, classes, tmp_path):
    _, directory = cluster(embedded, classes)
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    write_embedded(embedded, np.ones([NUM_ROWS, 4]))
    result, _ = cluster(embedded, classes)
    check_error(result, "vectors must differ")
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_a_file_in_the_place_of_the_report_is_told_before_any_work(cluster, embedded, classes, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report").write_text("mine")
    result, _ = cluster(embedded, classes)
    check_error(result, "report must be a directory. Received: a file. Move it away.")
    assert "Read vectors" not in result.output
