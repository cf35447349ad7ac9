"""The sample with a record for each item of a cell."""

import pytest

from recsys_ssl.guessing.exploding import explode_log
from recsys_ssl.guessing.roles import Choice, find_items
from tests.guessing.small_logs import table_of


@pytest.mark.parametrize("separator", [", ", ",", " | "])
def test_items_have_no_blanks_around_them(separator):
    log = table_of(user=["a", "b", "c"], items=[separator.join(cell) for cell in (["p1", "p2"], ["p2", "p3"], ["p1"])])
    exploded = explode_log(log, Choice("user", ""), Choice("items", ""), find_items(log.columns["items"]))
    table = exploded.log.sample.table
    assert table["items"].to_pylist() == ["p1", "p2", "p2", "p3", "p1"]
    assert table["user"].to_pylist() == ["a", "a", "b", "b", "c"]


@pytest.mark.parametrize("separator", [",", ";", " "])
def test_a_value_for_each_item_is_left_out(separator):
    log = table_of(
        user=["a", "b", "c"],
        items=["p1,p2", "p2,p3,p4", "p1"],
        times=[separator.join(cell) for cell in ("12", "345", "6")],
        note=["x", "x,y", "x,y,z"],
        at=["2020-01-01 10:00", "2020-01-02 10:00", "2020-01-03 10:00"],
    )
    exploded = explode_log(log, Choice("user", ""), Choice("items", ""), find_items(log.columns["items"]))
    assert exploded.beside == ["times"]
    assert list(exploded.log.columns) == ["user", "note", "at", "items"]


def test_words_are_no_values_for_each_of_two_items():
    log = table_of(user=["a", "b"], items=["p1 p2", "p2 p3"], at=["2020-01-01 10:00", "2020-01-02 10:00"])
    exploded = explode_log(log, Choice("user", ""), Choice("items", ""), find_items(log.columns["items"]))
    assert exploded.beside == []
