"""Parquet as it is found: types, fields by their path, what is no text, what is no Parquet."""

import gzip
import io
import json
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.logs import parquet_files
from recsys_ssl.logs.readers import LogError, read_batches
from recsys_ssl.spec import Files
from tests.logs.read_batches import COLUMNS, parquet, read


def test_parquet_keeps_types_and_counts_rows():
    data = parquet(q=[1, 2, 3], i=pa.array(["A", "B", None]), x=[0, 0, 0])
    assert read(data, "log.parquet", 2, format="parquet") == ([(1, 1, "A"), (2, 2, "B"), (3, 3, None)], [])


def test_parquet_with_invalid_utf8_rejects_the_row():
    data = parquet(q=pa.array([b"a", b"\xff"]), i=["A", "B"])
    assert read(data, "log.parquet", format="parquet") == ([(1, b"a", "A")], [("not valid UTF-8", 2, None)])


def test_bytes_that_are_content_need_not_be_utf8_and_are_no_missing_words():
    data = parquet(q=pa.array([b"a", b"-", b"\xff"]), i=pa.array([b"\xff", b"-", None]))
    files = Files(paths=["x"], format="parquet", missing=["-"])
    (batch,) = read_batches(io.BytesIO(data), "log.parquet", files, COLUMNS, 10, contents=["i"])
    assert batch.columns.to_pydict() == {"q": [b"a", None], "i": [b"\xff", b"-"]}
    assert [(reject.reason, reject.line) for reject in batch.rejects] == [("not valid UTF-8", 3)]


def test_a_batch_of_content_is_bounded_by_its_bytes(monkeypatch):
    data = parquet(q=list(range(40)), i=[bytes([number]) * 1000 for number in range(40)])
    monkeypatch.setattr(parquet_files, "_CONTENT_BYTES", 10_900)  # a value has some bytes besides
    for contents, sizes in (([], [40]), (["i"], [10] * 4)):
        batches = read_batches(
            io.BytesIO(data), "log.parquet", Files(paths=["x"], format="parquet"), COLUMNS, 100, contents=contents
        )
        assert [len(batch.lines) for batch in batches] == sizes


@pytest.mark.parametrize("data", [b"q,i\n", parquet(q=[1], i=[1])[:-20]], ids=["csv", "cut off"])
def test_what_is_no_parquet_is_one_line(data):
    with pytest.raises(LogError, match="log.parquet: this is no Parquet") as error:
        read(data, "log.parquet", format="parquet")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "kind",
    [
        pa.struct([("a", pa.int64())]),
        pa.list_(pa.struct([("a", pa.int64())])),
        pa.map_(pa.string(), pa.int64()),
        pa.list_(pa.list_(pa.int64())),
    ],
    ids=str,
)
def test_parquet_of_types_that_are_no_values_is_one_line(kind):
    with pytest.raises(LogError, match=r"log.parquet: column 'i' \(events.item_id\) must hold text.*Received: "):
        read(parquet(q=[1], i=pa.array([None], kind)), "log.parquet", format="parquet")


def read_columns(data, *columns, **files):
    """Columns of the one batch, and the lines that were rejected."""
    asked = dict.fromkeys(columns, "events.item_id")
    (batch,) = read_batches(io.BytesIO(data), "log", Files(paths=["x"], **files), asked)
    return batch.columns.to_pydict(), [reject.line for reject in batch.rejects]


def test_fields_of_structs_and_of_objects_by_their_path():
    rows = [
        {"user": {"id": "1", "x": {"y": "a"}}, "tags": [{"name": "t"}, {"name": None}], "user.own": "o"},
        {"user": None, "tags": [], "user.own": None},
        {"user": {"id": None, "x": None}, "tags": None, "user.own": "p"},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), stream)
    for data, files in ((lines, {"format": "jsonl"}), (stream.getvalue(), {"format": "parquet"})):
        found, rejected = read_columns(data, "user.id", "user.x.y", "user.own", **files)
        assert found == {"user.id": ["1", None, None], "user.x.y": ["a", None, None], "user.own": ["o", None, "p"]}
        (names,) = read_columns(data, "tags.name", **files)[0].values()
        assert [value or [] for value in names] == [["t", None], [], []]
        assert rejected == []
        with pytest.raises(LogError, match=r"needs column 'user.z'. The file has: .*'user.own'"):
            read_columns(data, "user.z", **files)
    with pytest.raises(LogError, match="Name the field that you need: user.id, user.x."):
        read_columns(stream.getvalue(), "user", format="parquet")


def test_parquet_text_of_any_type_is_utf8_or_a_reject():
    bad = b"\xff"
    for kind in (pa.string(), pa.large_string(), pa.binary(), pa.binary(1), pa.list_(pa.string())):
        cells = [[value] for value in (b"a", bad)] if pa.types.is_list(kind) else [b"a", bad]
        binary = pa.list_(pa.binary()) if pa.types.is_list(kind) else pa.binary()
        values = pa.array(cells, kind if kind == pa.binary(1) else binary)
        if kind not in (pa.binary(), pa.binary(1)):  # as a careless writer makes them
            values = pa.Array.from_buffers(kind, 2, *_text_buffers(cells, kind))
        found, rejected = read_columns(parquet(i=values), "i", format="parquet")
        assert (len(found["i"]), rejected) == (1, [2]), kind


def _text_buffers(cells, kind):
    flat = [cell[0] for cell in cells] if pa.types.is_list(kind) else cells
    width = np.int64 if kind == pa.large_string() else np.int32
    offsets = pa.py_buffer(np.arange(len(flat) + 1, dtype=width))
    if not pa.types.is_list(kind):
        return ([None, offsets, pa.py_buffer(b"".join(flat))],)
    text = pa.StringArray.from_buffers(len(flat), offsets, pa.py_buffer(b"".join(flat)))
    return [None, pa.py_buffer(np.arange(len(cells) + 1, dtype=np.int32))], 0, 0, [text]


def test_parquet_uuids_are_text():
    written = ["123e4567-e89b-12d3-a456-426614174000", None, "ffffffff-ffff-ffff-ffff-ffffffffffff"]
    values = pa.array([None if text is None else uuid.UUID(text).bytes for text in written], pa.binary(16))
    assert parquet_files.write_uuids(values).to_pylist() == written


def test_json_that_is_nested_too_deep_is_a_reject():
    lines = [{"i": "A"}, {"i": [[1]]}, {"i": {"a": 1}}, {"i": [{}]}, {"j": 1}]
    deep = '{"i": ' + "[" * 900 + "]" * 900 + "}\n"
    data = "".join(json.dumps(line) + "\n" for line in lines) + deep
    found, rejected = read_columns(data.encode(), "i", format="jsonl")
    assert (found, sorted(rejected)) == ({"i": ["A", None]}, [2, 3, 4, 6])


def test_parquet_int96_keeps_the_true_year():
    stream = io.BytesIO()
    years = pa.array([253402214400, 0, -62135596800], pa.timestamp("s"))  # 9999, 1970 and 1
    pq.write_table(pa.table({"q": years, "i": [1, 2, 3]}), stream, use_deprecated_int96_timestamps=True)
    rows, _ = read(stream.getvalue(), "log.parquet", format="parquet")
    assert [row[1].year for row in rows] == [9999, 1970, 1]


def test_parquet_missing_column():
    with pytest.raises(LogError, match="events.item_id needs column 'i'"):
        read(parquet(q=[1]), "log.parquet", format="parquet")


def test_an_empty_file_is_one_reject_in_any_format():
    for form in ("csv", "jsonl", "json", "parquet"):
        assert read(b"", "log", format=form) == ([], [("file is empty", 1, "")])


def test_what_is_no_parquet_says_what_it_is():
    for data, kind in ((gzip.compress(parquet(q=[1])), "a gzip file.*Unpack it"), (b"<html>", "an HTML or XML page")):
        with pytest.raises(LogError, match=f"log: this is no Parquet. Received: {kind}"):
            read(data, "log", format="parquet")
