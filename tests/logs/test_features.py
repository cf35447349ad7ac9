"""Features of columns: what is a value, what is missing and what is neither."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from recsys_ssl.logs.features import read_feature
from recsys_ssl.spec import Feature


def column(values, kind=None):
    return pa.chunked_array([pa.array(values, kind or pa.large_string())])


def feature(**fields):
    return TypeAdapter(Feature).validate_python({"name": "f", **fields})


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
    lists, faults = read_feature(column(values, kind), feature(**fields))
    assert lists.to_pylist() == expected
    assert np.flatnonzero(faults).tolist() == bad


def test_read_feature_of_parquet_numbers():
    lists, faults = read_feature(pa.chunked_array([pa.array([1, None])]), feature(kind="numeric"))
    assert (lists.to_pylist(), faults.tolist()) == ([[1.0], []], [False, False])
    vectors = pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    lists, faults = read_feature(pa.chunked_array([vectors]), feature(kind="dense", dim=2))
    assert (lists.to_pylist(), faults.tolist()) == ([[1.0, 2.0], []], [False, False])


@pytest.mark.parametrize("kind", ["numeric", "dense"])
def test_a_list_is_no_number_and_a_number_no_vector(kind):
    fields = {"kind": kind, **({"dim": 3} if kind == "dense" else {})}
    column = pa.chunked_array([pa.array([[1.0], [1.0, 2.0], [], None, [1.0, None, 2.0, 3.0]])])
    lists, bad = read_feature(column, feature(**fields))
    assert (lists.to_pylist(), bad.tolist()) == ([[]] * 5, [True, True, False, False, True])


def test_nan_is_no_category_and_a_whole_float_is_written_as_an_integer():
    column = pa.chunked_array([pa.array([float("nan"), 3.0, 1e16, 2.5])])
    lists, bad = read_feature(column, feature(kind="categorical"))
    assert (lists.to_pylist(), bad.any()) == ([[], ["3"], ["10000000000000000"], ["2.5"]], False)
