"""Features of columns: what is a value, what is missing and what is neither."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from recsys_ssl import kinds
from recsys_ssl.logs.features import read_content, read_feature
from recsys_ssl.spec import ContentFeature, Feature

BYTES = pa.large_list(pa.large_binary())


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


@pytest.mark.parametrize("reads_bytes", [False, True])
@pytest.mark.parametrize("kind", [pa.large_string(), pa.binary(), pa.binary(1), pa.dictionary(pa.int8(), pa.binary())])
def test_content_is_read_once_with_the_settings_of_its_feature(monkeypatch, reads_bytes, kind):
    config, calls = SimpleNamespace(reads_bytes=reads_bytes), []

    def read(cells, config, data_dir):
        calls.append((cells.to_pylist(), config, data_dir))
        bad = np.array([cell in (["y"], [b"y"]) for cell in cells.to_pylist()])
        packed = [
            [] if fault else [b"packed " + cell[0][-1:]] for fault, cell in zip(bad, cells.cast(BYTES).to_pylist())
        ]
        return pa.array(packed, BYTES), {"bad": bad}

    monkeypatch.setattr(ContentFeature, "column_config", config)
    monkeypatch.setattr(kinds, "load", lambda *_: SimpleNamespace(read=read))
    values = ["x", None, "y", "x", "z"] if pa.types.is_large_string(kind) else [b"x", None, b"y", b"x", b"z"]
    found, faults = read_content(column(values, kind), feature(kind="molecule"), "data/")
    assert found.to_pylist() == [[b"packed x"], [], [], [b"packed x"], [b"packed z"]]
    assert [(np.flatnonzero(mask).tolist(), why) for mask, why in faults if mask.any()] == [
        ([2], "f is no molecule: bad")
    ]
    cells = ["x", "y", "z"] if kind == pa.large_string() or not reads_bytes else [b"x", b"y", b"z"]
    assert calls == [([[cell] for cell in cells], config, "data/")]


def test_no_bytes_are_a_missing_value(monkeypatch):
    monkeypatch.setattr(ContentFeature, "column_config", SimpleNamespace(reads_bytes=True))
    empty = pa.array([], BYTES), {}
    monkeypatch.setattr(kinds, "load", lambda *_: SimpleNamespace(read=lambda *_: empty))
    found, faults = read_content(column([b"", None], pa.binary()), feature(kind="molecule"), "data/")
    assert (found.to_pylist(), [mask.any() for mask, _ in faults]) == ([[], []], [False])
