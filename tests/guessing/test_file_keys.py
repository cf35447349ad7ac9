"""The keys of files: marks of numbers that all columns of a file share."""

import pytest

from recsys_ssl.guessing.features import guess_feature
from recsys_ssl.guessing.file_keys import file_keys, keep_read
from tests.guessing.small_logs import table_of


def keys_of(**values):
    """The keys that columns of numbers give."""
    files = table_of(**values)
    columns = files.columns
    return {entry.key: (entry.value, entry.why) for entry in file_keys(files, [(c, True) for c in columns.values()])}


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ({"a": ["1", "2.5"]}, {}),
        ({"a": ["1,5", "2"], "b": ["3", "4"]}, {"decimal": (",", "in a")}),
        (
            {"a": ["1,5", "2,5"], "b": ["1.234", "1.234.567"]},
            {"decimal": (",", "in a, b"), "thousands": (".", "in a, b")},
        ),
        ({"a": ["1\u2019234", "20"]}, {"thousands": ("'", "in a")}),
    ],
)
def test_marks_of_numbers(values, marks):
    assert {key: value for key, value in keys_of(**values).items() if key != "paths"} == marks


def test_the_first_column_wins_where_two_are_written_differently():
    assert "decimal" not in keys_of(rating=["1.5", "2.5"], price=["1,25", "3,5"])
    assert keys_of(a=["1,250.5", "2"], b=["1.250,5", "2"]).keys() == {"paths", "thousands"}
    assert keys_of(price=["1,25", "3,5"], views=["1,234", "2,345"])["decimal"] == (
        ",",
        "in price, views; check views, which may have other marks",
    )


def test_numbers_that_the_marks_of_others_do_not_read_are_comments():
    files = table_of(price=["1.234,50", "999,90"], weight=["1.5", "2.5"], size=["1", "2"])
    features = [guess_feature(column) for column in files.columns.values()]
    assert [feature.used for feature in keep_read(features, files)] == [True, False, True]
    label = table_of(rating=["1.5", "2.5"]).columns["rating"]
    assert [feature.used for feature in keep_read(features, files, [label])] == [False, True, True]


def test_words_for_nothing():
    assert keys_of(price=["1", "2", "3", "4", "5", "free"], size=["1", "NULL"] * 3)["missing"][0] == ["free", "NULL"]
