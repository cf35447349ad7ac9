"""Numbers as programs and people write them, and columns of types that are neither text nor number."""

import io
import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys_ssl.logs.features import read_feature
from recsys_ssl.logs.readers import read_batches
from recsys_ssl.logs.values import PLAIN, TEXT, Marks, as_float, as_text, find_marks, marks_of, without_words
from recsys_ssl.spec import DenseFeature, Files

COMMA, GROUPED, GERMAN, SWISS = Marks(","), Marks(".", ","), Marks(",", "."), Marks(".", "'")


def read(texts, marks=PLAIN):
    """Numbers, None where a text is missing, "bad" where it is something else."""
    values, missing, bad = as_float(pa.chunked_array([pa.array(texts, TEXT)]), marks)
    return ["bad" if wrong else None if none else value for value, none, wrong in zip(values.tolist(), missing, bad)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("1e3", 1e3), ("+5", 5.0), (".5", 0.5), ("5.", 5.0), ("\u22124", -4.0), ("12.5%", 12.5), ("12.5 %", 12.5)],
        *[("$5", 5.0), ("-$5", -5.0), ("$-5", -5.0), ("\u20ac\u00a05.20", 5.2), ("5 \u20ac", 5.0), ("US$5", 5.0)],
        *[("USD 12", 12.0), ("12 eur", 12.0), ("Rs. 500", 500.0), ("500 kr", 500.0), ("True", 1.0), ("false", 0.0)],
        *[("", None), (" ", None), ("NaN", None)],
        *[(text, "bad") for text in ("-", ".", "e5", "$", "1,5", "1 2", "12 kg", "0x1F", "1_0", "inf", "1e400", "1-")],
    ],
)
def test_a_number_whatever_stands_around_it(text, number):
    assert read([text]) == [number]
    assert read(["7", text, "x", "7"]) == [7.0, number, "bad", 7.0]  # whatever the other texts are


@pytest.mark.parametrize(
    ("marks", "text", "number"),
    [
        (COMMA, "31,59", 31.59),
        (COMMA, "31.59", "bad"),
        (COMMA, "1.299,00", "bad"),
        (GERMAN, "1.299,00 EUR", 1299.0),
        (GERMAN, "1299,5", 1299.5),
        (GERMAN, "12.99", "bad"),
        (GROUPED, "$1,299.00", 1299.0),
        (GROUPED, "12,34,567", 1234567.0),  # as in India
        (GROUPED, "31,59", "bad"),
        (GROUPED, "1,299,00", "bad"),
        (SWISS, "1'299.50", 1299.5),
        (Marks(",", " "), "1\u202f299,50", 1299.5),
    ],
)
def test_marks_of_the_spec(marks, text, number):
    assert read([text], marks) == [number]


@pytest.mark.parametrize(
    ("texts", "marks", "is_read"),
    [
        (["31,59", "3,5", "x"], COMMA, [True, True, False]),
        (["1,299.00", "1,299"], GROUPED, [True, True]),
        (["1.299,00", "31,59"], GERMAN, [True, True]),
        (["1'299.50"], SWISS, [True]),
        (["x", "-"], None, [False, False]),
        (["-1"], None, [False]),  # which is one already
    ],
)
def test_the_marks_that_would_read_a_text(texts, marks, is_read):
    found, mask = find_marks(pa.array(texts, TEXT), PLAIN)
    assert (found, mask.tolist()) == (marks, is_read)


@pytest.mark.parametrize(
    ("array", "numbers", "texts"),
    [
        (
            pa.array([Decimal("3.00"), Decimal("2.50"), None], pa.decimal128(10, 2)),
            [3.0, 2.5, None],
            ["3", "2.5", None],
        ),
        (pa.array([10**20, None], pa.decimal128(38, 0)), [1e20, None], [str(10**20), None]),
        (pa.array([True, False, None]), [1.0, 0.0, None], ["true", "false", None]),
        (pa.array([timedelta(seconds=90.5), None]), [90.5, None], ["90.5", None]),
        (pa.array([time(0, 1, 30), None]), [90.0, None], ["00:01:30", None]),
        (pa.array([None, None]), [None, None], [None, None]),
        (pa.array([b"1.5", None], pa.binary(3)), [1.5, None], ["1.5", None]),
        (pa.array([date(2020, 1, 2), None]), ["bad", None], ["2020-01-02", None]),
        (pa.array(["1.5", None]).dictionary_encode(), [1.5, None], ["1.5", None]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_types_of_parquet(array, numbers, texts):
    values, missing, bad = as_float(array)
    found = ["bad" if wrong else None if none else value for value, none, wrong in zip(values.tolist(), missing, bad)]
    assert (found, as_text(array).to_pylist()) == (numbers, texts)
    assert np.isnan(values[missing | bad]).all()


@pytest.mark.parametrize("zone", [None, "UTC", "+05:30"])
def test_a_moment_has_one_text_in_any_unit(zone):
    end = "" if zone is None else "Z"
    for seconds, fraction in ((0, ""), (10, ""), (0.25, ".25"), (0.007, ".007")):
        units = ["ms", "us", "ns"] + ["s"] * (fraction == "")
        moments = [
            pa.array([datetime(2020, 1, 2, 3, 4) + timedelta(seconds=seconds), None]).cast(pa.timestamp(unit))
            for unit in units
        ]
        found = {as_text(array.cast(pa.timestamp(array.type.unit, zone)))[0].as_py() for array in moments}
        assert found == {f"2020-01-02 03:04:{int(seconds):02}{fraction}{end}"}
        clocks = [
            pa.array([time(3, 4, int(seconds), round(seconds % 1 * 10**6))], pa.time64(unit)) for unit in ("us", "ns")
        ]
        assert {as_text(array)[0].as_py() for array in clocks} == {f"03:04:{int(seconds):02}{fraction}"}


def test_words_for_nothing_are_null_in_any_column():
    table = pa.table({"t": ["-", " - ", "a-", None], "n": [1, -1, 0, None], "l": [["-", "a"], [], None, ["N/A"]]})
    assert without_words(table, ["-", "N/A", "-1"]).to_pydict() == {
        "t": [None, None, "a-", None],
        "n": [1, None, 0, None],
        "l": [[None, "a"], [], [], [None]],
    }


@pytest.mark.parametrize(
    "zero_and_one",
    [
        pa.array([0, 1], pa.duration("s")),
        pa.array(np.array([0, 1], np.float16)),
        pa.array([0, 1], pa.uint8()),
        pa.array([Decimal(0), Decimal(1)], pa.decimal256(50, 2)),
        pa.array([b"0", b"1"], pa.binary(1)),
        pa.array(["0", "1"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_words_for_nothing_are_null_whatever_the_type(zero_and_one):
    table = pa.table({"n": zero_and_one, "l": pa.ListArray.from_arrays([0, 2, 2], zero_and_one)})
    found = without_words(table, ["0"])
    assert as_text(found["n"]).to_pylist() == [None, "1"]
    assert as_text(pc.list_flatten(found["l"])).to_pylist() == [None, "1"]


@pytest.mark.parametrize("width", [np.float16, np.float32, np.float64])
def test_words_for_nothing_are_those_of_the_width_of_a_float(width):
    values = pa.array(np.array([0.1, -1, 0.7, 2.5, np.nan, np.inf], width))
    table = pa.table({"n": values, "l": pa.ListArray.from_arrays([0, 2, 2, 2, 2, 2, 6], values)})
    found = without_words(table, ["0.1", "-1.0", " 7e-1 ", "unknown", "nan", "1e999"])
    assert as_text(found["n"]).to_pylist() == [None, None, None, "2.5", None, "inf"]
    assert as_text(pc.list_flatten(found["l"])).to_pylist() == [None, None, None, "2.5", None, "inf"]


@pytest.mark.parametrize("cells", [["3.4e38", "-3.4e38", "3.5e38", "-1e300"], [3.4e38, -3.4e38, 3.5e38, -1e300]])
def test_a_number_that_32_bits_cannot_hold_is_none(cells):
    """It would be infinite in the examples."""
    values, missing, bad = as_float(pa.chunked_array([pa.array(cells)]))
    assert bad.tolist() == [False, False, True, True]
    assert not missing.any()
    assert np.isnan(values).tolist() == bad.tolist()


# --- Numbers that are no text ------------------------------------------------------------------------

PRICES = [
    {"item": 1.5, "price": 1.5, "vector": [1.5, -2e-1], "one": 1.5},
    {"item": "1,5", "price": "1,5", "vector": ["1,5", 1.299], "one": "1,5"},
    {"item": "a", "price": "1.299", "vector": ["1.299", 3], "one": [1.299]},
    {"item": "b", "price": 1299, "vector": None, "one": None},
    {"item": "c", "price": 1.299},
]
VECTORS = [[1.5, -0.2], [1.5, 1.299], [1299.0, 3.0], [], []]


@pytest.mark.parametrize("rows_per_batch", [1, 2, 1000])
@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_a_number_of_json_is_what_it_is_whatever_marks_texts_have(form, rows_per_batch):
    lines = [json.dumps(record) for record in PRICES]
    text = "[{}]".format(",\n".join(lines)) if form == "json" else "\n".join(lines)
    read = read_features(text.encode(), rows_per_batch, format=form, missing=["b"])
    assert [id for id, *_ in read] == ["1.5", "1,5", "a", None, "c"]
    assert [price for _, price, *_ in read] == [1.5, 1.5, 1299.0, 1299.0, 1.299]
    assert [vector for _, _, vector, _ in read] == [pytest.approx(vector) for vector in VECTORS]
    assert [one for *_, one in read] == [pytest.approx(one) for one in ([1.5], [1.5], [1.299], [], [])]


def test_a_number_of_parquet_is_what_it_is_whatever_marks_texts_have():
    stream = io.BytesIO()
    columns = {name: [record.get(name) for record in PRICES[:1]] for name in PRICES[0]}
    pq.write_table(pa.table({**columns, "price": pa.array([1.299], pa.float32())}), stream)
    ((_, price, vector, one),) = read_features(stream.getvalue(), 10, format="parquet")
    assert (price, vector, one) == (np.float32(1.299), pytest.approx([1.5, -0.2]), [1.5])


@pytest.mark.parametrize("cell", [[1.299, "1.299"], 1.299, "1.299 1,5"])
def test_elements_of_a_cell_are_numbers_or_text(cell):
    files = Files(
        paths=["x"], format="jsonl", decimal=",", thousands=".", explode={"column": "price", "separator": " "}
    )
    (batch,) = read_batches(io.BytesIO(json.dumps({"price": cell}).encode()), "x", files, {"price": "key"})
    expected = {str: [1299.0, 1.5], float: [1.299], list: [1.299, 1299.0]}[type(cell)]
    assert as_float(batch.columns["price"], marks_of(files))[0].tolist() == expected


def test_a_reject_shows_numbers_as_they_stand_in_the_file():
    files = Files(paths=["x"], format="jsonl", decimal=",", explode={"column": "price"})
    line = b'{"price": [], "item": 1.50, "vector": [2.50]}'
    (batch,) = read_batches(io.BytesIO(line), "x", files, dict.fromkeys(["price", "item", "vector"], "key"))
    assert [reject.record for reject in batch.rejects] == [{"price": [], "item": "1.50", "vector": ["2.50"]}]


def read_features(data, rows_per_batch, **options):
    """(item, price, vector, one) of each record in order, read with the marks of German."""
    files, found = Files(paths=["x"], decimal=",", thousands=".", **options), []
    for batch in read_batches(io.BytesIO(data), "x", files, dict.fromkeys(PRICES[0], "key"), rows_per_batch):
        prices, _, bad = as_float(batch.columns["price"], GERMAN)
        vector, wrong = read_feature(batch.columns["vector"], DenseFeature(name="v", kind="dense", dim=2), GERMAN)
        one, odd = read_feature(batch.columns["one"], DenseFeature(name="v", kind="dense", dim=1), GERMAN)
        assert not (bad | wrong | odd).any()
        ids = as_text(batch.columns["item"]).to_pylist()
        found += zip(batch.lines.tolist(), zip(ids, prices.tolist(), vector.to_pylist(), one.to_pylist()))
    return [values for _, values in sorted(found, key=lambda pair: pair[0])]
