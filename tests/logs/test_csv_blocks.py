"""Blocks that are parsed at once give what the reader of lines gives, on any input: it is the slow, obvious oracle."""

import csv
import gzip
import io
import threading

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_ssl.logs.csv_blocks import parse_block
from recsys_ssl.logs.csv_files import read_csv
from recsys_ssl.logs.readers import LogError, read_batches
from recsys_ssl.logs.text_blocks import read_blocks
from recsys_ssl.spec import Files


def parse(data, width=2, wanted=(0, 1), **files):
    """The columns as lists, or None where the block is left to the reader of lines."""
    table = parse_block(data, Files(paths=["x"], **files), width, wanted)
    return None if table is None else [column.to_pylist() for column in table.columns]


def read_by_line(stream, name, files, columns, rows_per_batch):
    blocks = read_blocks(stream, name, files.encoding, rows_per_batch)
    return read_csv(blocks, name, files, columns, parse_plain=lambda *block: None)


# --- What is parsed at once --------------------------------------------------------------------------


PLAIN = {
    "newline": (b"a,A\nb,B\n", [["a", "b"], ["A", "B"]], {}),
    "no newline at the end": (b"a,A\nb,B", [["a", "b"], ["A", "B"]], {}),
    "carriage returns": (b"a,A\r\nb,B\r\n", [["a", "b"], ["A", "B"]], {}),
    "some carriage returns": (b"a,A\r\nb,B\n", [["a", "b"], ["A", "B"]], {}),
    "empty cells": (b",\na,\n,A", [["", "a", ""], ["", "", "A"]], {}),
    "what elsewhere is null or a number": (b"NULL,NaN\n007,1.50\n", [["NULL", "007"], ["NaN", "1.50"]], {}),
    "blanks": (b" a , A\n", [[" a "], [" A"]], {}),
    "unicode": ("🎬,é\u2028\x85\x0b\n".encode(), [["🎬"], ["é\u2028\x85\x0b"]], {}),
    "delimiter of several characters": (b"a::A:\n:::\n", [["a", ""], ["A:", ":"]], {"delimiter": "::"}),
    "delimiter of several bytes": ("a¦A\n".encode(), [["a"], ["A"]], {"delimiter": "¦"}),
    "tab": (b"a\tA,\n", [["a"], ["A,"]], {"delimiter": "\t"}),
    "backslash": (b"a\\A\n", [["a"], ["A"]], {"delimiter": "\\"}),
    "quotes that are text": (b'"a,A"\n', [['"a'], ['A"']], {"quoting": "none"}),
    "comment character within a line": (b"a#,#A\n", [["a#"], ["#A"]], {"comment": "#"}),
}
NOT_PLAIN = {
    "nothing": (b"", {}),
    "quote": (b'a,"A"\n', {}),
    "escape": (b"a,A\\B\n", {"escape": "\\"}),
    "comment": (b"a,A\n#,B\n", {"comment": "#"}),
    "comment first": (b"#,A\n", {"comment": "#"}),
    "NUL": (b"a,A\0\n", {}),
    "bad byte in a column that is not wanted": (b"a,\xff\n", {}),
    "half a character encoded": (b"a,\xed\xa0\x80\n", {}),
    "cut character before a newline": (b"a,A\xe2\x82\n", {}),
    "blank line": (b"a,A\n\nb,B\n", {}),
    "blank line first": (b"\na,A\n", {}),
    "blank line last": (b"a,A\n\n", {}),
    "blank line with a carriage return": (b"a,A\r\n\r\nb,B\r\n", {}),
    "carriage return within a line": (b"a,A\rb,B\n", {}),
    "carriage return at the end": (b"a,A\r", {}),
    "two carriage returns": (b"a,A\r\r\n", {}),
    "too few cells": (b"a,A\nb\n", {}),
    "too many cells": (b"a,A\nb,B,\n", {}),
    "too many cells in each line": (b"a,A,\nb,B,\n", {}),
    "byte order mark after the file's own": (b"\xef\xbb\xbfa,A\n", {}),
    "delimiter of several characters whose marks are taken": (b"a::\x1c\x1d\x1e\x1f\n", {"delimiter": "::"}),
    "comment of several bytes": ("a,A\n¦,B\n".encode(), {"comment": "¦"}),
}


@pytest.mark.parametrize(("data", "columns", "files"), PLAIN.values(), ids=PLAIN)
def test_plain_lines_are_parsed_at_once(data, columns, files):
    assert parse(data, **files) == columns


@pytest.mark.parametrize(("data", "files"), NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_everything_else_is_left_to_the_reader_of_lines(data, files):
    assert parse(data, wanted=[0], **files) is None


def test_wanted_columns_are_text_in_their_order_and_of_one_chunk():
    table = parse_block(b"1,2,3\n4,5,6\n", Files(paths=["x"]), 3, [2, 0])
    assert table.schema.types == [pa.large_string()] * 2
    assert [column.to_pylist() for column in table.columns] == [["3", "6"], ["1", "4"]]
    assert [column.num_chunks for column in table.columns] == [1, 1]


def test_one_column_has_no_delimiter():
    assert parse(b"a\nb", width=1, wanted=[0]) == [["a", "b"]]
    assert parse(b"a\n\nb", width=1, wanted=[0]) is None  # no record, but a line


def test_a_cell_that_csv_refuses_is_left_to_the_reader_of_lines():
    limit = csv.field_size_limit()
    fits = b"x" * (limit - len(b",A\n")) + b",A\n"
    assert parse(fits) == [["x" * (limit - 3)], ["A"]]
    assert parse(b"x" + fits) is None
    assert parse(b"x" * limit + fits, quoting="none") == [["x" * (2 * limit - 3)], ["A"]]


def test_a_block_of_many_lines_and_bytes_is_one_chunk():
    # More than pyarrow's usual block of 1 MiB and its usual 100,000 lines of one.
    table = parse_block(b"user,item\n" * 300_000, Files(paths=["x"]), 2, [1])
    assert table.num_rows == 300_000
    assert table.column(0).num_chunks == 1


# --- The same as line by line ------------------------------------------------------------------------


class Trickle(io.BytesIO):
    """Gives few bytes a read, as a network does, so that lines and marks are cut anywhere."""

    def __init__(self, data, most):
        super().__init__(data)
        self._most = most

    def read(self, size=-1):
        return super().read(min(size, self._most))


def collect(read, data, most, name, files, columns, rows_per_batch):
    """Every batch as plain values, then the error, if it ends with one."""
    found = []
    try:
        for batch in read(Trickle(data, most), name, files, columns, rows_per_batch):
            table = batch.columns
            values = {name: table[name].to_pylist() for name in table.column_names}
            lines = (batch.lines.dtype, batch.lines.tolist())
            found.append((values, table.schema.types, lines, batch.rejects))
    except (LogError, csv.Error) as error:
        found.append((type(error), str(error)))
    return found


PLAIN_CELLS = st.text(st.sampled_from("ab1é🎬 .#%\\'"), max_size=3) | st.sampled_from(["NULL", "nan", "x" * 60])
ODD_CELLS = PLAIN_CELLS | st.text(st.sampled_from('ab,\t;"\0\r\n#\ufeff\u2028\x85'), max_size=4) | st.just('"a\nb"')
ODD_BYTES = st.sampled_from(
    [b"", b"\n", b"\r", b"\0", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b'"', b"\xef\xbb\xbf", b"#"]
)


@st.composite
def logs(draw):
    """The bytes of a file, and the settings to read it."""
    width, is_odd = draw(st.integers(1, 4)), draw(st.booleans())
    names = draw(st.sampled_from([list("qixy"), ["user", "Item", "x", "y"]]))[:width]
    delimiter = draw(st.sampled_from([*",,,\t;| #\\¦", "::", "ab", "||"]))
    encoding, header = draw(st.sampled_from(["utf-8", "latin-1", "utf-16", "shift_jis"])), draw(st.booleans())
    cells = st.lists(PLAIN_CELLS, min_size=width, max_size=width) | st.just(names)
    cells |= st.permutations([name.upper() for name in names])  # the header again, maybe in another order
    if is_odd:
        cells |= st.lists(ODD_CELLS, max_size=4)
    rows = [names] * header + draw(st.lists(cells, max_size=12))
    newline, end = draw(st.sampled_from(["\n", "\r\n"])), draw(st.sampled_from(["\n", "", "\r\n", "\r", "\n\n"]))
    data = (newline.join(delimiter.join(row) for row in rows) + end).encode(encoding, "replace")
    if is_odd:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(ODD_BYTES) + data[at:]
    named = {} if header else {"header": False, "columns": names}
    quoting = draw(st.sampled_from(["minimal", "none"]))
    files = Files(
        paths=["x"],
        delimiter=delimiter,
        quoting=quoting,
        escape=draw(st.sampled_from([None, "\\"])) if quoting == "minimal" and delimiter != "\\" else None,
        comment=draw(st.sampled_from([None, None, *(mark for mark in "#aé" if mark not in delimiter)])),
        encoding=encoding,
        **named,
    )
    asked = draw(st.permutations(names))[: draw(st.integers(1, width))]
    return data, files, {column: f"events.{column}" for column in asked}


@settings(max_examples=400, deadline=None)
@given(
    log=logs(),
    kept_share=st.none() | st.just(1.0) | st.floats(0, 1),
    most=st.sampled_from([1, 2, 5, 1 << 20]),
    rows_per_batch=st.sampled_from([1, 2, 3, 5, 1000]),
    limit=st.sampled_from([5, 131_072]),
)
def test_any_log_gives_the_batches_of_the_reader_of_lines(log, kept_share, most, rows_per_batch, limit):
    data, files, columns = log
    name = "log"
    if kept_share is not None:
        data = gzip.compress(data)
        data = data[: round(len(data) * kept_share)]
    before = csv.field_size_limit(limit)
    try:
        expected, found = (
            collect(read, data, most, name, files, columns, rows_per_batch) for read in (read_by_line, read_batches)
        )
    finally:
        csv.field_size_limit(before)
    assert found == expected


@pytest.mark.parametrize("odd", [b'"b",B', b"#,B", b"b,B\xff", b"", b"b", b"b,B\0"])
def test_one_odd_line_among_many_keeps_batches_lines_and_rejects(odd):
    lines = [b"q,i", *(b"q%d,i%d" % (i, i) for i in range(2, 1001)), odd, *(b"q%d,i" % i for i in range(1002, 2500))]
    files, columns = Files(paths=["x"], comment="#"), {"q": "events.query_id"}
    expected, found = (
        collect(read, b"\n".join(lines), 7000, "log.csv", files, columns, 300) for read in (read_by_line, read_batches)
    )
    assert found == expected
    assert [len(batch[2][1]) + len(batch[3]) for batch in found[:3]] == [299, 300, 300]


def test_workers_that_are_threads_parse_at_once_too():
    found = []
    thread = threading.Thread(target=lambda: found.append(parse(b"a,A\n")))
    thread.start()
    thread.join()
    assert found == [[["a"], ["A"]]]
