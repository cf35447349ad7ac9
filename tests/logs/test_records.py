"""Checks of records: what is kept, what is ignored and what is rejected."""

import io
import json
import math

import numpy as np
import pyarrow as pa
import pytest

from recsys_ssl.logs import records, values
from recsys_ssl.logs.readers import Batch, read_batches
from recsys_ssl.spec import FeatureSpec, NumericFeature


def spec(**events):
    return FeatureSpec.model_validate(
        {
            "name": "test",
            "events": {"paths": ["x"], "query_id": "q", "item_id": "i", **events},
            "items": {"id": "i", "features": [{"name": "item", "column": "i", "kind": "id"}]},
            "queries": {"id": "q", "features": [{"name": "query", "column": "q", "kind": "id"}]},
            "split": {"kind": "time" if "timestamp" in events else "random"},
        }
    )


def check(spec, **columns):
    table = pa.table({name: pa.array(values, pa.large_string()) for name, values in columns.items()})
    batch = Batch(table, np.arange(2, 2 + table.num_rows), [])
    assert set(records.event_columns(spec)) == set(columns)
    return records.check_events(batch, "log.csv", 0, spec)


def test_threshold():
    result = check(
        spec(label={"column": "r", "threshold": 4.0}),
        q=["a", "b", "c", "d", "", "f"],
        i=["A", "B", "C", "D", "E", None],
        r=["4", "3.9", "", "4x", "5", "5"],
    )
    assert result.table["query_id"].to_pylist() == ["a"]
    assert result.ignored == 1
    assert [(reject.reason, reject.line) for reject in result.rejects] == [
        ("label is not a number", 4),
        ("label is not a number", 5),
        ("query id is empty", 6),
        ("item id is empty", 7),
    ]
    assert result.rejects[1].record == {"q": "d", "i": "D", "r": "4x"}


@pytest.mark.parametrize(
    ("word", "positive"),
    [("t", "t"), ("F", "t"), (" yes ", "yes"), ("No", "yes"), ("n", "y"), ("off", "on"), ("liked", "WORD")]
    + [(word, None) for word in ("", "NULL", "n/a", "-", "inf", "31,59", "5 stars")],
)
def test_a_label_that_is_a_word_is_told_what_reads_words(word, positive):
    result = check(spec(label={"column": "r", "threshold": 1.0}), q=["a", "b"], i=["A", "B"], r=["true", word])
    assert result.table["query_id"].to_pylist() == ["a"]
    told = f'label is not a number but a word; write label.event_type: r with positive: {{"{positive}": 1.0}}'
    assert [reject.reason.startswith("label is not a number") for reject in result.rejects] == [True]
    assert [reject.reason == told for reject in result.rejects] == [positive is not None]
    assert [" word" in reject.reason for reject in result.rejects] == [positive is not None]


def check_typed(spec, **columns):
    """`check` of columns that have types; query and item ids are added."""
    num_records = len(next(iter(columns.values())))
    ids = pa.array([f"n{row}" for row in range(num_records)])
    return records.check_events(
        Batch(pa.table({"q": ids, "i": ids, **columns}), np.arange(num_records), []), "", 0, spec
    )


@pytest.mark.parametrize("width", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("threshold", [0.1, 0.7, 1.1, 3.3, 4.0])
def test_feedback_that_equals_the_threshold_is_positive_in_any_width(width, threshold):
    equal = width(threshold)
    feedback = pa.array(np.array([equal, np.nextafter(equal, width(9)), np.nextafter(equal, width(0))]))
    for column in (feedback, feedback if width == np.float16 else feedback.dictionary_encode()):
        result = check_typed(spec(label={"column": "s", "threshold": threshold}), s=column)
        assert (result.table["query_id"].to_pylist(), result.ignored) == (["n0", "n1"], 1)


@pytest.mark.parametrize("width", [np.float16, np.float32, np.float64])
def test_event_types_that_are_floats(width):
    label = {"event_type": "e", "positive": {"1.0": 2.0, "0.70": 3.0}, "impressions": ["buy"]}
    result = check_typed(spec(label=label), e=pa.array(np.array([1, 0.7, 3], width)))
    assert result.table["example_weight"].to_pylist() == [2.0, 3.0]
    assert [note for note in result.notes if "query" not in note and "item" not in note] == ["ignored: 3"]


def test_event_types_with_weights_and_impressions():
    label = {"event_type": "e", "positive": {"buy": 3.0, "click": 1.0}, "impressions": ["view"]}
    result = check(
        spec(label=label, weight="w"),
        q=["a"] * 7,
        i=["A", "B", "C", "D", "E", "F", "G"],
        e=["buy", "click", "view", "scroll", "", "buy", "buy"],
        w=["2", "0.5", "1", "1", "1", "-1", "many"],
    )
    assert result.table["item_id"].to_pylist() == ["A", "B", "C"]
    assert result.table["example_weight"].to_pylist() == [6.0, 0.5, 1.0]
    assert result.table["_kind"].to_pylist() == [records.POSITIVE, records.POSITIVE, records.IMPRESSION]
    assert result.ignored == 1
    assert [reject.reason for reject in result.rejects] == [
        "event type is empty",
        "weight is not a number >= 0",
        "weight is not a number >= 0",
    ]


def test_a_product_of_weights_whose_sums_would_be_infinite_is_rejected():
    label = {"event_type": "e", "positive": {"buy": 1000.0}}
    result = check(spec(label=label, weight="w"), q=["a", "b"], i=["A", "B"], e=["buy", "buy"], w=["1e35", "2"])
    assert result.table["example_weight"].to_pylist() == [2000.0]
    assert [reject.reason for reject in result.rejects] == ["weight times that of its type is above 1e+30"]


def test_event_types_are_the_same_in_any_case_unless_the_spec_tells_them_apart():
    label = {"event_type": "e", "positive": {"buy": 3.0, "Click": 1.0, "click": 2.0}, "impressions": ["view"]}
    types = ["Buy", " BUY ", "buy", "Click", "click", "CLICK", "View", "scroll", "scroll"]
    result = check(spec(label=label), q=["a"] * 9, i=list("ABCDEFGHI"), e=types)
    assert result.table["item_id"].to_pylist() == ["A", "B", "C", "D", "E", "G"]
    assert result.table["example_weight"].to_pylist() == [3.0, 3.0, 3.0, 1.0, 2.0, 1.0]
    assert result.ignored == 3
    notes = {"read:  BUY ": 1, "read: Buy": 1, "read: View": 1, "ignored: CLICK": 1, "ignored: scroll": 2}
    forms = {"unpadded query id": 9, "unpadded item id": 9}
    assert result.notes == {**notes, **forms}


def test_a_number_of_a_table_that_cannot_be_read_is_a_missing_value():
    table = pa.table(
        {"item": ["A", "B", ""], "price": ["1", "ten", "ten"]},
        pa.schema([("item", values.TEXT), ("price", values.TEXT)]),
    )
    result = records.check_table(
        Batch(table, np.arange(2, 5), []),
        "items.csv",
        0,
        [NumericFeature(name="f", kind="numeric", column="price")],
        "item",
        "item",
        values.PLAIN,
        data_dir=".",
    )
    assert result.table["_id"].to_pylist() == ["A", "B"]
    assert result.table["f"].to_pylist() == [[1.0], []]
    why = "f is not a number but a word; name it in items.table.missing if it means unknown"
    assert [(reject.reason, reject.line) for reject in result.unreadable] == [(why, 3)]
    assert [(reject.reason, reject.line) for reject in result.rejects] == [("item id is empty", 4)]


@pytest.mark.parametrize(
    "fields", [{"kind": "categorical", "multi_valued": True}, {"kind": "dense", "dim": 2}], ids=["categorical", "dense"]
)
def test_a_list_that_was_shortened_or_holds_lists_is_no_value(fields):
    features = [{"name": "f", "separator": ",", **fields}]
    result = check(spec(features=features), q=list("abc"), i=list("ABC"), f=["[1 2]", "[1 2 ... 8 9]", "[[1, 2]]"])
    assert [[float(value) for value in values] for values in result.table["f"].to_pylist()] == [[1.0, 2.0]]
    assert [(reject.reason[:13], reject.line) for reject in result.rejects] == [
        ("f is not comp", 3),
        ("f is not a li", 4),
    ]


@pytest.mark.parametrize("rows_per_batch", [1, 1000])
def test_lists_beside_the_exploded_one_are_told(rows_per_batch):
    log = spec(
        explode={"column": "i", "separator": "|"},
        timestamp={"column": "t", "unit": "s"},
        weight="w",
        features=[{"name": "f", "kind": "categorical", "multi_valued": True, "separator": "|"}],
    )
    data = "q,i,t,w,f\nu1,a|b,1|2,1,x|y\nu2,a|b,1|2|3,1,x|y\nu3,a|b,1,1|2,x\nu4,a|b,1,1,x|y\nu5,a,x,1,x\n"
    batches = read_batches(
        io.BytesIO(data.encode()), "log.csv", log.events, records.event_columns(log), rows_per_batch=rows_per_batch
    )
    results = [records.check_events(batch, "log.csv", 0, log) for batch in batches]
    told = "holds as many values as i has elements; put both under one object, or write one record a line"
    found = [(reject.reason, reject.line) for result in results for reject in result.rejects]
    time = "timestamp is not a number (s since 1970); set timestamp.unit or timestamp.format"
    assert found == [(f"t {told}", 2)] * 2 + [(time, 3)] * 2 + [(f"w {told}", 4)] * 2 + [(time, 6)]
    assert [line for result in results for line in result.table["_line"].to_pylist()] == [5, 5]


def test_a_rejected_time_beyond_those_of_python_can_be_written():
    times = pa.array([2**60, 0], pa.timestamp("us"))
    table = pa.table({"q": ["a", "b"], "i": ["A", "B"], "t": times})
    result = records.check_events(Batch(table, np.arange(1, 3), []), "log.parquet", 0, spec(timestamp={"column": "t"}))
    assert [reject.reason for reject in result.rejects] == ["timestamp is no time between 1970 and 2100"]
    assert str(2**60) in records.rejects_to_table(result.rejects)["record"][0].as_py()


def test_a_rejected_record_is_strict_json():
    numbers = [math.nan, math.inf, -math.inf, 1.5]
    table = pa.table({"q": [None] * 4, "i": ["A"] * 4, "x": numbers, "l": [[number] for number in numbers]})
    result = records.check_events(Batch(table, np.arange(4), []), "log.parquet", 0, spec())
    texts = records.rejects_to_table(result.rejects)["record"].to_pylist()

    def refuse(name):
        raise ValueError(name)

    read = [json.loads(text, parse_constant=refuse) for text in texts]
    names = ["NaN", "Infinity", "-Infinity", 1.5]
    assert [(record["x"], record["l"]) for record in read] == [(name, [name]) for name in names]


def test_times_and_context_features():
    features = [{"name": "hour", "kind": "numeric"}, {"name": "place", "kind": "categorical"}]
    result = check(
        spec(timestamp={"column": "t"}, features=features),
        q=["a", "b", "c"],
        i=["A", "B", "C"],
        t=["7", "NaN", "9"],
        hour=["1", "2", "noon"],
        place=["", "x", "y"],
    )
    assert result.table["timestamp_us"].to_pylist() == [7_000_000]
    assert (result.table["hour"].to_pylist(), result.table["place"].to_pylist()) == ([[1.0]], [[]])
    assert [reject.reason for reject in result.rejects] == [
        "timestamp is empty",
        "hour is not a number but a word; name it in events.missing if it means unknown",
    ]


def test_duplicate_ids_keep_the_first_in_order_of_file_and_line():
    table = pa.table({"_id": ["b", "a", "b", "b"], "_file": [1, 0, 0, 0], "_line": [1, 9, 8, 7]})
    first, later = records.deduplicate_ids(table)
    assert first.to_pylist() == [{"_id": "a", "_file": 0, "_line": 9}, {"_id": "b", "_file": 0, "_line": 7}]
    assert later["_line"].to_pylist() == [8, 1]
