"""A JSON document gives the records of one of its arrays, with the lines where they begin."""

import io
import json

import pytest

from recsys_ssl.logs import json_documents
from recsys_ssl.logs.batches import LogError
from recsys_ssl.logs.readers import read_batches
from recsys_ssl.spec import Files

COLUMNS = {"q": "events.query_id", "i": "events.item_id"}
RECORDS = [{"q": "a", "i": 1}, {"i": 2.50, "q": "b\n", "x": [{}]}, {"q": None, "i": "C"}]
ROWS = [("a", "1"), ("b\n", "2.5"), (None, "C")]


def read(text, rows_per_batch=1000, **files):
    """[(line, q, i)], [(reason, line)]"""
    rows, rejects = [], []
    files = Files(paths=["x"], **{"format": "json", **files})
    stream = io.BytesIO(text.encode("utf-8", "surrogateescape"))
    for batch in read_batches(stream, "log.json", files, COLUMNS, rows_per_batch):
        rows += zip(batch.lines.tolist(), *(batch.columns[column].to_pylist() for column in COLUMNS))
        rejects += [(reject.reason, reject.line) for reject in batch.rejects]
    return rows, rejects


@pytest.mark.parametrize("rows_per_batch", [1, 2, 1000])
@pytest.mark.parametrize(("indent", "lines"), [(None, [1, 1, 1]), (2, [2, 6, 13])])
def test_the_array_is_the_document(rows_per_batch, indent, lines):
    rows, rejects = read(json.dumps(RECORDS, indent=indent), rows_per_batch)
    assert rows == [(line, *row) for line, row in zip(lines, ROWS)]
    assert rejects == []


def test_the_array_is_within_objects():
    text = json.dumps({"n": 1, "users": [{"q": "z"}], "data": {"of": "x", "events": RECORDS, "more": []}, "end": None})
    rows, rejects = read(text, records="data.events")
    assert [row[1:] for row in rows] == ROWS
    assert rejects == []


def test_one_odd_record_is_one_reject():
    text = '[{"q": "a", "i": 1}, 5, "{", [1],\n'
    text += '{"q": "b\t", "i": 2}, {"q": "\udcff", "i": 2}, {"q": {}, "i": 2}, {"q": "c", "i": 3}]'
    rows, rejects = read(text)
    assert rows == [(1, "a", "1"), (2, "c", "3")]
    assert rejects == [
        ("not a JSON object", 1),
        ("not a JSON object", 1),
        (f"not a JSON object but an array. {json_documents.WRITE_OBJECTS}", 1),
        ("not valid JSON", 2),
        ("not valid UTF-8", 2),
        ("'q' is an object or a list of lists", 2),
    ]


@pytest.mark.parametrize(("num_chars", "line"), [(1, 1), (20, 2), (30, 2), (45, 6), (60, 6)])
def test_a_document_that_is_cut_off_gives_the_records_before(num_chars, line):
    text = json.dumps(RECORDS, indent=2)[:num_chars]
    rows, rejects = read(text)
    assert [row[1:] for row in rows] == ROWS[: text.count("}")]
    assert rejects == [("JSON document is cut off here", line)]


CUTS = [
    "tr",
    "-",
    "1.",
    "2e",
    "2E+",
    "nul",
    "Na",
    "-Inf",
    "fals",
    '"a',
    '"\\',
    '"\\u',
    '"\\u00e',
    "1",
    "{",
    "[",
    '{"a"',
    "",
]


@pytest.mark.parametrize("cut", [*CUTS, "tr \n"])
def test_a_document_may_be_cut_off_anywhere(cut):
    text = '[{"q": "a", "i": 1},\n{"q": "b", "i": ' + cut
    assert read(text) == ([(1, "a", "1")], [("JSON document is cut off here", 2)])


def test_a_document_may_be_cut_off_behind_the_array():
    text = '{"a": {"b": [{"q": "a", "i": 1}], "c": 5},\n"d": tr'
    assert read(text, records="a.b") == ([(1, "a", "1")], [("JSON document is cut off here", 1)])
    assert read(text + "ue}", records="a.b") == ([(1, "a", "1")], [])


PRETTY = '{\n  "q": "a"\n}\n{\n  "q": "b"\n}\n'


@pytest.mark.parametrize(
    ("text", "files", "match"),
    [
        ('[{"q": "a", "i": 1}\n{"q": "b"}]', {}, "log.json:2: this is not valid JSON: Expecting ',' delimiter"),
        ('{"q": "a"}\n{"q": "b"}\n', {}, "format json wants one document.*Set format: jsonl"),
        (PRETTY, {}, "objects one after another, over several lines. Write each on a line.*jq -c"),
        (PRETTY, {"format": "jsonl"}, "objects one after another, over several lines. Write each on a line.*jq -c"),
        (PRETTY, {"records": "q"}, "objects one after another, over several lines. Write each on a line.*jq -c"),
        ('{"a": [{"q": 1, "i": 1}]}\n5', {"records": "a"}, "log.json:2: after the document something follows, '5'"),
        ('[{"q": "a", "i": truX}]', {}, "log.json:1: this is not valid JSON: Expecting value"),
        ('[{"q": "a", "i": tr}]', {}, "log.json:1: this is not valid JSON: Expecting value"),
        ('{"a": {"b": [{"q": 1}]}, "c": []}', {}, "the document is no array of records. Set records to one of: a.b"),
        ('{"a": {"b": 1}}', {"records": "a.c"}, "there is no 'c'. There is: 'b'. Correct records"),
        ('{"a": {"b": 1}}', {"records": "a.b"}, "records names 'a.b', which is no array of records"),
        ('[{"q": "a", "i": 1}]\n[{"q": "a", "i": 1}]', {}, "log.json:2: after the document something follows"),
        ('[{"q": "a"}]', {}, "log.json: events.item_id needs column 'i'. The file has: 'q'"),
        (
            '{"columns": ["q", "i"], "data": [["a", 1]]}',
            {},
            'Its rows are arrays. Write.*pandas does with orient="records"',
        ),
        ("[" * 100_000, {}, "nested too deep"),
        ('[{"q": "a"}]', {"format": "jsonl"}, "Received: one JSON document.*Set format: json"),
        ('[\n{"q": "a"}\n]', {"format": "jsonl"}, "Received: one JSON document.*Set format: json"),
        ('{\n"q": "a"}', {"format": "jsonl"}, "Received: one JSON document.*Set format: json"),
    ],
)
def test_what_is_no_such_document_is_told(text, files, match):
    with pytest.raises(LogError, match=match) as error:
        read(text, **files)
    assert "\n" not in str(error.value)


def test_records_that_are_arrays_are_told_to_be_objects():
    told = 'not a JSON object but an array. Write each record as an object, as pandas does with orient="records"'
    for text, files in (
        ('[["a", 1]]', {}),
        ('{"columns": ["q", "i"], "data": [["a", 1]]}', {"records": "data"}),
        ('["a", 1]', {"format": "jsonl"}),
    ):
        assert read(text, **files) == ([], [(told, 1)])


def test_an_empty_document_has_no_record():
    assert read("[]") == ([], [])
    assert read("\n") == ([], [("file is empty", 1)])


def test_a_document_that_is_too_long_is_told(monkeypatch):
    monkeypatch.setattr(json_documents, "MAX_BYTES", 8)
    with pytest.raises(LogError, match="jq -c '.\\[\\]'"):
        read(json.dumps(RECORDS))
