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


@pytest.mark.parametrize(
    "items", [[["a", 1], ["b", 2]], [{"id": "a"}], {"id": "a"}], ids=["pairs", "objects", "object"]
)
def test_a_list_of_pairs_or_objects_is_told_what_explode_takes(items):
    data = json.dumps({"user": "u1", "items": items}) + "\n"
    rows, rejects = read(data, ["user", "items"], format="jsonl", explode={"column": "items"})
    told = (
        "'items' is an object or a list of lists; explode makes records of values, or of objects whose fields the spec "
        "names, as items.id: write pairs as such objects"
    )
    assert (rows, rejects) == ([], [(told, 1)])


def to_parquet(records):
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), stream)
    return stream.getvalue()


DIFFER = "items.id and items.qty have different numbers of elements"
BASKETS = [
    {"user": "u1", "items": {"id": ["a", "b"], "qty": ["1"]}},
    {"user": "u2", "items": {"id": ["c"], "qty": ["2"]}},
    {"user": "u3", "items": {"id": ["d"], "qty": ["3", "4"]}},
]


@pytest.mark.parametrize("records", [BASKETS, BASKETS[:2], BASKETS[:1]], ids=["same total", "other total", "alone"])
def test_lists_of_different_lengths_are_not_paired(records):
    columns, explode = ["user", "items.id", "items.qty"], {"column": "items"}
    expected = [(2, 0, "u2", "c", "2")] if len(records) > 1 else []
    rejects = [(DIFFER, line) for line in (1, 3) if line <= len(records)]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    assert read(lines, columns, format="jsonl", explode=explode) == (expected, rejects)
    assert read(to_parquet(records), columns, format="parquet", explode=explode) == (expected, rejects)


def test_parts_of_texts_beside_each_other_are_one_record_even_when_one_is_empty():
    columns, explode = ["user", "items.id", "items.qty"], {"column": "items", "separator": "|"}
    data = "user,items.id,items.qty\nu1,a|b,1|\nu2,c,\nu3,|d|,|4|\nu4,e,5|6\nu5,,\n"
    rows, rejects = read(data, columns, explode=explode)
    assert rows == [(2, 0, "u1", "a", "1"), (2, 1, "u1", "b", ""), (3, 0, "u2", "c", ""), (4, 0, "u3", "d", "4")]
    assert rejects == [(DIFFER, 5), ("items has no element", 6)]


def test_a_list_that_was_shortened_is_a_reject_of_its_line():
    rows, rejects = read(
        "user;items\nu1;[1, 2, ...]\nu2;['a' 'b']\n", ["user", "items"], delimiter=";", explode={"column": "items"}
    )
    assert rows == [(3, 0, "u2", "a"), (3, 1, "u2", "b")]
    assert [(line, reason.partition(":")[0]) for reason, line in rejects] == [(2, "items is not complete")]


def test_objects_in_text_are_a_reject_of_their_line():
    data = "user;items\nu1;[{'id': 1, 'name': 'x'}]\nu2;('a', 'b')\n"
    rows, rejects = read(data, ["user", "items"], delimiter=";", explode={"column": "items", "separator": ","})
    assert rows == [(3, 0, "u2", "a"), (3, 1, "u2", "b")]
    told = "items is not a list of values but of objects or lists"
    assert [(line, reason.partition(";")[0]) for reason, line in rejects] == [(2, told)]


def test_a_part_may_have_the_name_of_the_exploded_column():
    explode = {"column": "item", "separator": "|", "into": ["item", "n"], "part_separator": ":"}
    rows, rejects = read("user,item\nu1,a:1|b:2\nu2,c\n", ["user", "item", "n"], explode=explode)
    assert rows == [(2, 0, "u1", "a", "1"), (2, 1, "u1", "b", "2")]
    assert rejects == [("an element of item does not have 2 parts", 3)]


def test_long_cells_take_no_more_memory_than_their_elements():
    num_lines, num_items, rows_per_batch = 20, 2_000, 500
    cell = " ".join(f"{item}-0" for item in range(num_items))
    data = "user,shown\n" + "".join(f"u{line},{cell}\n" for line in range(num_lines))
    pool, before = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        asked, files = dict.fromkeys(["user", "item"], "key"), Files(paths=["x"], explode=PARTS)
        batches = read_batches(io.BytesIO(data.encode()), "log", files, asked, rows_per_batch)
        sizes = [batch.columns.num_rows for batch in batches]
    finally:
        pa.set_memory_pool(before)
    assert (sum(sizes), max(sizes)) == (num_lines * num_items, rows_per_batch)
    assert pool.max_memory() < 40 * len(data)  # a copy of the cell for each element would be 2,000 times
