"""Which files belong together."""

import pytest

from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.guessing.tables import find_files, partitions_of, read_tables, stem_of
from tests.guessing.small_logs import log


@pytest.mark.parametrize(
    ("path", "stem"),
    [("data/ratings.dat.gz", "ratings"), ("ml-1m.item", "ml-1m item"), ("out/", "out"), ("a.b.csv", "a b")],
)
def test_the_stem_of_a_file(path, stem):
    assert stem_of(path) == stem


def write(directory, *names, text=None):
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(log() if text is None else text)


def patterns(directory):
    data_dir, sets = find_files([str(directory)])
    return [one.patterns for one in sets], data_dir


def test_numbers_in_names_make_one_set_of_files(tmp_path):
    write(tmp_path, "log-1.csv", "log-2.csv", "items.csv", "spec.yaml", ".hidden.csv", "_tmp/x.csv")
    assert patterns(tmp_path) == ([["items.csv"], ["log-*.csv"]], str(tmp_path))


def test_a_directory_of_spark_is_one_set(tmp_path):
    write(tmp_path, "out/_SUCCESS", text="")
    write(tmp_path, "out/day=1/part-0.csv", "out/day=2/part-0.csv")
    assert patterns(tmp_path / "out") == ([["out"]], str(tmp_path))
    assert partitions_of(str(tmp_path / "out/day=a%2Fb/x.csv"), str(tmp_path)) == {"day": "a/b"}


@pytest.mark.parametrize(
    ("names", "united", "file_column"),
    [
        (["clicks.csv", "carts.csv", "orders.csv"], ["carts.csv", "clicks.csv", "orders.csv"], "event_type"),
        (["un-like.csv", "like.csv"], ["like.csv", "un-like.csv"], "event_type"),
        (["train.csv", "test.csv"], ["test.csv", "train.csv"], None),
    ],
)
def test_files_with_the_same_header_are_united(tmp_path, names, united, file_column):
    write(tmp_path, *names)
    data_dir, sets = find_files([str(tmp_path)])
    tables, unused = read_tables(sets, data_dir)
    assert [(table.patterns, table.file_column) for table in tables] == [(united, file_column)]
    assert unused == {}


def test_other_files_stay_apart(tmp_path):
    write(tmp_path, "clicks.csv", "shops.csv")
    data_dir, sets = find_files([str(tmp_path)])
    assert [table.patterns for table in read_tables(sets, data_dir)[0]] == [["clicks.csv"], ["shops.csv"]]


def test_a_file_that_is_no_table_is_told(tmp_path):
    write(tmp_path, "a.csv")
    write(tmp_path, "b.csv", text="")
    data_dir, sets = find_files([str(tmp_path)])
    assert read_tables(sets, data_dir)[1] == {"b.csv": "the file is empty."}
    with pytest.raises(GuessError, match="no file matches"):
        find_files([str(tmp_path / "c*.csv")])
