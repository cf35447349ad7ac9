"""Which first records of a file without header look like one."""

import numpy as np
import pyarrow as pa
import pytest

from recsys_ssl.logs.batches import Batch
from recsys_ssl.logs.headers import find_header


def look(names, *rows):
    columns = [pa.array(cells, pa.large_string()) for cells in zip(*rows)]
    return find_header(
        Batch(pa.table(columns, [f"c{n}" for n in range(len(columns))]), np.arange(len(rows)), []), names
    )


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["user", "item", "r"], [("userId", "movieId"), ("1", "7"), ("2", "7")]),
        (["user_id", "item"], [("USER", "Item Name"), ("u1", "x"), ("u2", "y")]),
        (["q", "user", "event"], [("who", "what", "event"), ("1", "a", "buy"), ("2", "b", "view")]),
    ],
)
def test_words_about_the_columns_are_a_header(names, rows):
    assert look(names, *rows) == ", ".join(rows[0])


@pytest.mark.parametrize(
    "rows",
    [
        [("u1", "i1"), ("u2", "i2")],  # about no column
        [("userId", "7"), ("u1", "8")],  # a number
        [("user", "i1"), ("user", "i2")],  # comes again
        [("user", ""), ("u1", "i2")],
        [("user", None), ("u1", "i2")],
        [("userId", "movieId")],  # nothing to compare with
    ],
    ids=["other words", "number", "again", "empty", "missing", "alone"],
)
def test_everything_else_is_a_record(rows):
    assert look(["user", "item"], *rows) is None
