"""The sample with a record for each item of a cell."""

import pytest

from recsys_ssl.guessing.exploding import explode_log
from recsys_ssl.guessing.roles import Choice, find_items
from tests.guessing.small_logs import table_of


@pytest.mark.parametrize("separator", [", ", ",", " | "])
def test_items_have_no_blanks_around_them(separator):
    log = table_of(user=["a", "b", "c"], items=[separator.join(cell) for cell in (["p1", "p2"], ["p2", "p3"], ["p1"])])
    exploded = explode_log(log, Choice("items", ""), find_items(log.columns["items"]))
    table = exploded.log.sample.table
    assert table["items"].to_pylist() == ["p1", "p2", "p2", "p3", "p1"]
    assert table["user"].to_pylist() == ["a", "a", "b", "b", "c"]
