"""Cells of several records: each is one, and lines stay those of the file."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.logs.readers import read_batches
from recsys_ssl.spec import Files

PARTS = {"column": "shown", "separator": " ", "into": ["item", "clicked"], "part_separator": "-"}


def read(data, columns, rows_per_batch=1000, **files):
    """[(line, place, values of the columns)], [(reason, line)]"""
    rows, rejects = [], []
    asked = dict.fromkeys(columns, "events.item_id")
    stream = io.BytesIO(data if isinstance(data, bytes) else data.encode())
    for batch in read_batches(stream, "log", Files(paths=["x"], **files), asked, rows_per_batch):
        assert batch.columns.column_names == columns
        rows += zip(batch.lines.tolist(), batch.places.tolist(), *(column.to_pylist() for column in batch.columns))
        rejects += [(reject.reason, reject.line) for reject in batch.rejects]
    return rows, rejects


@pytest.mark.parametrize("rows_per_batch", [1, 2, 1000])
def test_impressions_in_a_cell(rows_per_batch):
    data = "user,shown\nu1,n1-0  n2-1\nu2,\n\nu3,a-b-1 n3 n4-0\nu4\n"
    rows, rejects = read(data, ["user", "item", "clicked"], rows_per_batch, explode=PARTS)
    assert rows == [
        (2, 0, "u1", "n1", "0"),
        (2, 1, "u1", "n2", "1"),
        (5, 0, "u3", "a-b", "1"),
        (5, 2, "u3", "n4", "0"),
    ]
    assert sorted(rejects) == [
        ("an element of shown does not have 2 parts", 5),
        ("shown has no element", 3),
        ("wrong number of columns", 6),
    ]


def test_an_element_takes_the_place_of_its_column():
    rows, rejects = read("user,items\nu1,a|b\nu2,c\n", ["user", "items"], explode={"column": "items", "separator": "|"})
    assert rows == [(2, 0, "u1", "a"), (2, 1, "u1", "b"), (3, 0, "u2", "c")]
    assert rejects == []
    rows, _ = read('user;items\nu1;["a", "b, c"]\n', ["user", "items"], delimiter=";", explode={"column": "items"})
    assert [row[3] for row in rows] == ["a", "b, c"]


ORDERS = [
    {"user": {"id": "u1"}, "lines": [{"sku": "a", "n": 2}, {"sku": "b"}]},
    {"user": {"id": "u2"}, "lines": []},
    {"user": {"id": "u3"}, "lines": [{"n": 1}]},
    {"user": {"id": "u4"}, "lines": None},
]
ROWS = [(1, 0, "u1", "a", "2"), (1, 1, "u1", "b", None), (3, 0, "u3", None, "1")]


def test_lists_of_objects():
    columns, explode = ["user.id", "lines.sku", "lines.n"], {"column": "lines"}
    data = "".join(json.dumps(order) + "\n" for order in ORDERS)
    rows, rejects = read(data, columns, format="jsonl", explode=explode)
    assert (sorted(rows), sorted(rejects)) == (ROWS, [("lines has no element", 2), ("lines has no element", 4)])
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ORDERS), stream)
    rows, rejects = read(stream.getvalue(), columns, format="parquet", explode=explode)
    assert [(*row[:-1], row[-1] and str(row[-1])) for row in rows] == ROWS
    assert rejects == [("lines has no element", 2), ("lines has no element", 4)]


def test_one_object_in_place_of_a_list_is_one_record():
    data = '{"user": "u1", "lines": {"sku": "a"}}\n{"user": "u2", "lines": [{"sku": "b"}]}\n'
    rows, rejects = read(data, ["user", "lines.sku"], format="jsonl", explode={"column": "lines"})
    assert (sorted(rows), rejects) == ([(1, 0, "u1", "a"), (2, 0, "u2", "b")], [])
