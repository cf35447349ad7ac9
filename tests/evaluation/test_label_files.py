import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl import lists
from recsys_ssl.evaluation.label_files import LabelSource, read_labels
from recsys_ssl.evaluation.labels import LEFT_OUT, TEST, TRAIN
from recsys_ssl.evaluation.vectors import open_vectors

ROWS = np.arange(8.0, dtype=np.float32).reshape(4, 2)


@pytest.fixture
def parquet(tmp_path):
    path = tmp_path / "v.parquet"
    columns = {
        "text": ["C", "CC", "O", "N"],
        "vector": lists.from_vectors(ROWS),
        "kind": ["a", "b", None, "a"],
        "tags": [["x", "y"], [], None, ["y"]],
        "number": [3, 1, 3, 2],
        "raw": pa.array([b"p", b"q", b"p", None], pa.binary()),
        "part": ["train", "test", "train", "validation"],
    }
    pq.write_table(pa.table(columns), path, row_group_size=3)
    return path


def read(path, name, **source):
    found = read_labels(open_vectors(path), path, LabelSource(str(name), **source))
    return [found.labels.names(row) for row in range(found.labels.num_rows)], found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kind", [["a"], ["b"], [], ["a"]]),
        ("tags", [["x", "y"], [], [], ["y"]]),
        ("number", [["3"], ["1"], ["3"], ["2"]]),
        ("raw", [["p"], ["q"], ["p"], []]),
    ],
)
def test_a_column_beside_the_vectors(parquet, name, expected):
    assert read(parquet, name)[0] == expected


def test_a_column_of_the_files_of_a_directory(tmp_path):
    for number, (start, stop) in enumerate(((0, 1), (1, 4))):
        columns = {"vector": lists.from_vectors(ROWS[start:stop]), "kind": list("abca")[start:stop]}
        (tmp_path / "items").mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), tmp_path / "items" / f"rows-{number}.parquet")
    assert read(tmp_path / "items", "kind")[0] == [["a"], ["b"], ["c"], ["a"]]


def test_a_column_says_what_is_train_and_what_is_test(parquet):
    _, found = read(parquet, "kind", split="part")
    assert found.part.tolist() == [TRAIN, TEST, LEFT_OUT, LEFT_OUT]  # the third has no label, the fourth another word


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", "text,genre\nO,war| drama \nC,comedy\nX,lost\nN,\n"),
        ("l.tsv", "genre\ttext\nwar| drama \tO\ncomedy\tC\nlost\tX\n\tN\n"),
        ("l.csv", '\ufefftext;genre\r\n"O";"war| drama "\r\n"C";"comedy"\r\nX;lost\r\nN;\r\n'),
        ("l.csv.gz", "text,genre\nO,war| drama \nC,comedy\nX,lost\nN,\n"),
    ],
    ids=["csv", "tsv", "semicolons", "gzip"],
)
def test_a_file_is_matched_by_its_ids(parquet, tmp_path, name, text):
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    labels, found = read(parquet, tmp_path / name, separator="|")
    assert labels == [["comedy"], [], ["war", "drama"], []]
    assert found.strangers == 1


def test_a_parquet_file_by_other_ids_with_a_split(parquet, tmp_path):
    columns = {
        "smiles": ["N", "O", "CC"],
        "a": [["x"], ["y", "x"], None],
        "b": [1, 2, 3],
        "set": ["test", "train", "test"],
    }
    pq.write_table(pa.table(columns), tmp_path / "l.parquet")
    labels, found = read(parquet, tmp_path / "l.parquet", id_column="smiles", column="a", split="set")
    assert labels == [[], [], ["y", "x"], ["x"]]
    assert found.part.tolist() == [LEFT_OUT, LEFT_OUT, TRAIN, TEST]


def test_rows_that_share_an_id_share_its_labels(tmp_path):
    pq.write_table(
        pa.table({"query_id": ["u", "v", "u", "w"], "vector": lists.from_vectors(ROWS)}), tmp_path / "q.parquet"
    )
    (tmp_path / "l.csv").write_text("query_id,sex\nu,F\nw,M\n")
    labels, found = read(tmp_path / "q.parquet", tmp_path / "l.csv")
    assert labels == [["F"], [], ["F"], ["M"]]
    assert found.strangers == 0


def test_arrays(tmp_path):
    np.save(tmp_path / "v.npy", ROWS)
    np.savez(tmp_path / "v.npz", vectors=ROWS, kind=np.array(list("abca")))
    np.save(tmp_path / "l.npy", np.array([2, 1, 2, 2]))
    assert read(tmp_path / "v.npy", tmp_path / "l.npy")[0] == [["2"], ["1"], ["2"], ["2"]]
    assert read(tmp_path / "v.npz", "kind")[0] == [["a"], ["b"], ["c"], ["a"]]


def test_numbers_that_are_none_are_no_label(tmp_path):
    np.save(tmp_path / "v.npy", ROWS)
    np.save(tmp_path / "l.npy", np.array([1.0, np.nan, 0.0, np.nan]))
    assert read(tmp_path / "v.npy", tmp_path / "l.npy")[0] == [["1"], [], ["0"], []]


def test_rows_without_an_id_match_nothing(tmp_path):
    columns = {"id": ["a", None, "c", None], "vector": lists.from_vectors(ROWS)}
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    (tmp_path / "l.csv").write_text("id,kind\na,1\n,stray\nc,2\n")
    assert read(tmp_path / "v.parquet", tmp_path / "l.csv")[0] == [["1"], [], ["2"], []]


def test_ids_as_bytes_are_text(tmp_path):
    np.savez(tmp_path / "v.npz", vectors=ROWS, ids=np.array([b"a", b"b", b"c", b"d"]))
    (tmp_path / "l.csv").write_text("id,kind\na,1\nd,2\n")
    assert read(tmp_path / "v.npz", tmp_path / "l.csv")[0] == [["1"], [], [], ["2"]]


def test_other_words_for_train_and_test_are_an_error(tmp_path):
    columns = {"kind": list("abab"), "part": ["Train", "Train", "Test", "Test"], "vector": lists.from_vectors(ROWS)}
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    with pytest.raises(ValueError, match="of 'train' or 'test', in these words. Received: 'Test', 'Train'"):
        read(tmp_path / "v.parquet", "kind", split="part")


# --- Errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "source", "message"),
    [
        ("text,a\nQ,1\nR,2\n", {}, "none of 2 in .*l.csv, e.g. 'Q', is one of the vectors', e.g. 'C'"),
        ("text,a\nC,1\nC,2\n", {}, "each id must have one row of labels. Received: 'C' in several"),
        ("text,a,b\nC,1,2\n", {}, "must be named where there are several. Received: a, b in"),
        ("text,a,b\nC,1,2\n", {"column": "c"}, "must have a column 'c'. Received: text, a, b"),
        ("smiles,a\nC,1\n", {}, "must have a column of ids. Received: smiles, a. Name it by --id-column"),
        ("smiles,a\nC,1\n", {"id_column": "SMILES"}, "must have a column 'SMILES'. Received: smiles, a"),
        ("text,a\nC,1\n", {"split": "part"}, "must have a column 'part'"),
        ("", {}, "is damaged, or not whole. Received: Empty CSV file"),
        ("text,a\nC,1,2\n", {}, "is damaged, or not whole. Received: CSV parse error"),
    ],
    ids=["strangers", "twice", "several", "no label", "no ids", "no such ids", "no split", "empty", "ragged"],
)
def test_a_file_that_does_not_fit_is_an_error(parquet, tmp_path, text, source, message):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(parquet, tmp_path / "l.csv", **source)


def test_a_name_that_is_neither_column_nor_file_is_an_error(parquet):
    with pytest.raises(
        FileNotFoundError, match=r"\(text, kind, tags, number, raw, part\) or a file. Received: 'genre'"
    ):
        read(parquet, "genre")


def test_a_split_that_is_not_there_is_an_error(parquet, tmp_path):
    with pytest.raises(ValueError, match="must have a column 'set'"):
        read(parquet, "kind", split="set")
    np.save(tmp_path / "l.npy", np.arange(4))
    with pytest.raises(ValueError, match="a .npy of labels has no column 'part'"):
        read(parquet, tmp_path / "l.npy", split="part")


def test_arrays_that_do_not_fit_are_an_error(tmp_path):
    np.save(tmp_path / "v.npy", ROWS)
    np.save(tmp_path / "l.npy", np.arange(3))
    with pytest.raises(ValueError, match="3 labels of .* for 4 vectors. Give them in the same order"):
        read(tmp_path / "v.npy", tmp_path / "l.npy")
    np.save(tmp_path / "l.npy", np.eye(4))
    with pytest.raises(ValueError, match="labels must be one a row. Received: an array of shape"):
        read(tmp_path / "v.npy", tmp_path / "l.npy")
    (tmp_path / "l.csv").write_text("id,a\n0,1\n")
    with pytest.raises(ValueError, match="need vectors with ids. Received: .*v.npy without"):
        read(tmp_path / "v.npy", tmp_path / "l.csv")
