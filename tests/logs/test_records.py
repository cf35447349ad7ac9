"""Checks of columns: what is a value, what is missing and what is rejected."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from recsys_ssl.logs import records
from recsys_ssl.logs.readers import Batch
from recsys_ssl.spec import Feature, FeatureSpec


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind or pa.large_string())])


def feature(**fields):
    return TypeAdapter(Feature).validate_python({"name": "f", **fields})


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("s", "881250949", 881250949 * 10**6),
        ("s", " 881250949.5 ", 881250949 * 10**6 + 500_000),
        ("s", "8.8e8", 880_000_000 * 10**6),
        ("ms", "881250949123", 881250949123 * 10**3),
        ("us", "881250949123456", 881250949123456),
        ("ns", "881250949123456789", 881250949123456),
        ("s", "0", 0),
        ("iso8601", "1970-01-02", 86_400 * 10**6),
        ("iso8601", "1970-01-01T00:00:01.5", 1_500_000),
        ("iso8601", "1970-01-01 02:00:00+02:00", 0),
        ("iso8601", "1970-01-01T00:00Z", 0),
        ("s", "", None),
        ("s", "NaN", None),
        ("s", "-1", None),
        ("s", "inf", None),
        ("s", "yesterday", None),
        ("s", "881250949123", None),  # milliseconds taken for seconds
        ("ns", "99999999999999999999999", None),
        ("iso8601", "", None),
        ("iso8601", "12", None),
        ("iso8601", "2020-13-01", None),
        ("iso8601", "2020-02-30", None),
        ("iso8601", "1969-12-31", None),
        ("iso8601", "9999-01-01", None),
    ],
)
def test_microseconds_of_text(unit, text, expected):
    times, bad = records.as_microseconds(column([text, None]), unit)
    assert bad.tolist() == [expected is None, True]
    assert times[0] == (expected or 0)


@pytest.mark.parametrize(
    ("array", "unit"),
    [
        (pa.array([86_400]), "s"),
        (pa.array([86_400.0]), "s"),
        (pa.array([86_400 * 10**9], pa.timestamp("ns")), "s"),
        (pa.array([86_400], pa.timestamp("s", "Europe/Berlin")), "s"),
        (pa.array([1], pa.date32()), "iso8601"),
    ],
    ids=["int", "float", "timestamp", "zoned", "date"],
)
def test_microseconds_of_parquet_types(array, unit):
    times, bad = records.as_microseconds(pa.chunked_array([array]), unit)
    assert (times.tolist(), bad.tolist()) == ([86_400 * 10**6], [False])


@pytest.mark.parametrize(
    ("fields", "values", "expected", "bad"),
    [
        ({"kind": "id"}, ["a\tb", "", None], [["a\tb"], [], []], []),
        ({"kind": "categorical"}, ["a|b"], [["a|b"]], []),
        (
            {"kind": "categorical", "multi_valued": True, "separator": "|"},
            ["a|b", "|a||", "", None],
            [["a", "b"], ["a"], [], []],
            [],
        ),
        ({"kind": "categorical", "multi_valued": True}, [["a", "b"], [], None, [""]], [["a", "b"], [], [], []], []),
        ({"kind": "text"}, ["A b", "", None], [["A b"], [], []], []),
        ({"kind": "text"}, [["A", "b"], None], [["A b"], []], []),
        ({"kind": "id"}, [["a"], ["a", "b"], []], [["a"], [], []], [1]),
        ({"kind": "numeric"}, ["1.5", "", "nan", "x", "inf", " 2 "], [[1.5], [], [], [], [], [2.0]], [3, 4]),
        (
            {"kind": "dense", "dim": 2},
            ["1 2", "", "1", "1 x", "1 2 3", "nan nan", "1 nan", " 1  2 "],
            [[1, 2], [], [], [], [], [], [], [1, 2]],
            [2, 3, 4, 6],
        ),
        ({"kind": "dense", "dim": 2}, [["1", "2"], None], [[1, 2], []], []),
    ],
)
def test_read_feature(fields, values, expected, bad):
    kind = pa.large_list(pa.large_string()) if any(isinstance(value, list) for value in values) else None
    lists, faults = records.read_feature(column(values, kind), feature(**fields))
    assert lists.to_pylist() == expected
    assert np.flatnonzero(faults).tolist() == bad


def test_read_feature_of_parquet_numbers():
    lists, faults = records.read_feature(pa.chunked_array([pa.array([1, None])]), feature(kind="numeric"))
    assert (lists.to_pylist(), faults.tolist()) == ([[1.0], []], [False, False])
    vectors = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    lists, faults = records.read_feature(pa.chunked_array([vectors]), feature(kind="dense", dim=2))
    assert (lists.to_pylist(), faults.tolist()) == ([[1.0, 2.0], []], [False, False])


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
        r=["4", "3.9", "", "x", "5", "5"],
    )
    assert result.table["query_id"].to_pylist() == ["a"]
    assert result.ignored == 1
    assert [(reject.reason, reject.line) for reject in result.rejects] == [
        ("label is not a number", 4),
        ("label is not a number", 5),
        ("query id is empty", 6),
        ("item id is empty", 7),
    ]
    assert result.rejects[1].record == {"q": "d", "i": "D", "r": "x"}


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
        "timestamp is no time between 1970 and 2100",
        "hour is not a number",
    ]


def test_duplicate_ids_keep_the_first_in_order_of_file_and_line():
    table = pa.table({"_id": ["b", "a", "b", "b"], "_file": [1, 0, 0, 0], "_line": [1, 9, 8, 7]})
    first, later = records.deduplicate_ids(table)
    assert first.to_pylist() == [{"_id": "a", "_file": 0, "_line": 9}, {"_id": "b", "_file": 0, "_line": 7}]
    assert later["_line"].to_pylist() == [8, 1]


def test_hashes_are_the_same_in_every_process_and_spread():
    ids = pa.array(["a", "b", "🎬", "a"], pa.large_string())
    here = records.hash_ids(ids)
    assert here[0] == here[3]
    program = (
        "import pyarrow as pa; from recsys_ssl.logs.records import hash_ids;"
        "print(hash_ids(pa.array(['a', 'b', '\\U0001f3ac', 'a'], pa.large_string())).tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(here.tolist())
    many = records.hash_ids(pa.array([f"user-{n}" for n in range(8_000)], pa.large_string())) % np.uint64(8)
    sizes = np.bincount(many.astype(int), minlength=8)
    assert abs(sizes - 1_000).max() < 5 * np.sqrt(1_000)


def test_split_by_returns_every_record_once_in_order():
    table = pa.table({"x": list(range(6))})
    parts = dict(records.split_by(table, np.array([2, 0, 2, 2, 0, 3]), 4))
    assert {key: part["x"].to_pylist() for key, part in parts.items()} == {0: [1, 4], 2: [0, 2, 3], 3: [5]}
