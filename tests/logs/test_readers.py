"""Every kind of broken input: sound records are kept, each other one is counted once, with its line."""

import gzip
import io
import json
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.logs.readers import LogError, read_batches
from recsys_ssl.spec import Files

COLUMNS = {"q": "events.query_id", "i": "events.item_id"}


def read(data, name="log.csv", rows_per_batch=1000, **files):
    """[(line, q, i)], [(reason, line, record)]"""
    data = data.encode() if isinstance(data, str) else data
    rows, rejects = [], []
    for batch in read_batches(io.BytesIO(data), name, Files(paths=["x"], **files), COLUMNS, rows_per_batch):
        rows += zip(batch.lines.tolist(), *(batch.columns[column].to_pylist() for column in COLUMNS))
        rejects += [(reject.reason, reject.line, reject.record) for reject in batch.rejects]
        assert {reject.file for reject in batch.rejects} <= {name}
    return rows, rejects


@pytest.mark.parametrize("rows_per_batch", [1, 2, 3, 1000])
class TestCsv:
    def test_reads_columns_by_name_and_numbers_the_lines(self, rows_per_batch):
        rows, rejects = read("q,x,i\na,1,A\n\nb,2,B\r\nc,3,C", rows_per_batch=rows_per_batch)
        assert rows == [(2, "a", "A"), (4, "b", "B"), (5, "c", "C")]
        assert rejects == []

    def test_without_header_with_comments_and_byte_order_mark(self, rows_per_batch):
        data = b'\xef\xbb\xbf# "made\n# by\nA;a\nB;b\n'
        files = {"header": False, "columns": ["i", "q"], "delimiter": ";", "comment": "#"}
        rows, rejects = read(data, rows_per_batch=rows_per_batch, **files)
        assert rows == [(3, "a", "A"), (4, "b", "B")]
        assert rejects == []

    def test_byte_order_mark_before_a_header(self, rows_per_batch):
        assert read(b"\xef\xbb\xbfq,i\na,A\n", rows_per_batch=rows_per_batch)[0] == [(2, "a", "A")]

    def test_quoted_ids_keep_tabs_emoji_newlines_and_quotes(self, rows_per_batch):
        ids = ["tab\there", "two\nlines", "crlf\r\nline", 'say "hi"', "🎬 film", "# no comment", " spaced ", "a,b"]
        lines = [f'"{value.replace(chr(34), chr(34) * 2)}",I{n}' for n, value in enumerate(ids)]
        rows, rejects = read("q,i\n" + "\n".join(lines) + "\n", rows_per_batch=rows_per_batch, comment="%")
        assert [row[1] for row in rows] == ids
        assert [row[0] for row in rows] == [2, 3, 5, 7, 8, 9, 10, 11]
        assert rejects == []

    def test_newline_then_comment_character_inside_quotes_is_text(self, rows_per_batch):
        rows, rejects = read('q,i\n"x\n# y",A\n# z,Z\nb,B\n', rows_per_batch=rows_per_batch, comment="#")
        assert rows == [(2, "x\n# y", "A"), (5, "b", "B")]
        assert rejects == []

    def test_unclosed_quote_costs_its_own_line(self, rows_per_batch):
        data = 'q,i\na,A\n"b,B\nc,C\n"d",D\ne,"E\nf,F\n'
        rows, rejects = read(data, rows_per_batch=rows_per_batch)
        assert rows == [(2, "a", "A"), (4, "c", "C"), (5, "d", "D"), (7, "f", "F")]
        assert rejects == [("quotation marks are broken", 3, '"b,B'), ("quotation marks are broken", 6, 'e,"E')]

    def test_quoting_none_takes_quotes_as_text(self, rows_per_batch):
        rows, rejects = read('q\ti\n"a\tA"\n', rows_per_batch=rows_per_batch, quoting="none", delimiter="\t")
        assert rows == [(2, '"a', 'A"')]
        assert rejects == []

    @pytest.mark.parametrize("quoting", ["none", "minimal"])
    def test_wrong_number_of_columns_nul_and_invalid_utf8(self, rows_per_batch, quoting):
        data = b"q,i\na,A\nb\nc,C,9\nd\0,D\ne\xff,E\nf,F\n"
        rows, rejects = read(data, rows_per_batch=rows_per_batch, quoting=quoting)
        assert rows == [(2, "a", "A"), (7, "f", "F")]
        assert rejects == [
            ("wrong number of columns", 3, "b"),
            ("wrong number of columns", 4, "c,C,9"),
            ("NUL byte", 5, "d\0,D"),
            ("not valid UTF-8", 6, "e\\xff,E"),
        ]

    def test_latin_1(self, rows_per_batch):
        rows, _ = read("q,i\ncafé,A\n".encode("latin-1"), rows_per_batch=rows_per_batch, encoding="latin-1")
        assert rows == [(2, "café", "A")]

    @pytest.mark.parametrize("quoting", ["none", "minimal"])
    def test_a_header_that_comes_again_is_rejected(self, rows_per_batch, quoting):
        data = b"q,i\na,A\nq,i\r\nb,B\nq,B\n\xef\xbb\xbfq,i\nc,C\nq,i"
        rows, rejects = read(data, rows_per_batch=rows_per_batch, quoting=quoting)
        assert [row[1:] for row in rows] == [("a", "A"), ("b", "B"), ("q", "B"), ("c", "C")]
        assert [reject[:2] for reject in rejects] == [("the header again", line) for line in (3, 6, 8)]

    def test_a_header_in_a_file_that_should_have_none_is_rejected(self, rows_per_batch):
        files = {"header": False, "columns": ["q", "i"]}
        rows, rejects = read('"q",i\na,A\n', rows_per_batch=rows_per_batch, **files)
        assert (rows, rejects) == ([(2, "a", "A")], [("the header again", 1, '"q",i')])

    def test_only_a_header_is_no_record(self, rows_per_batch):
        assert read("q,i\n", rows_per_batch=rows_per_batch) == ([], [])


def test_empty_file_is_one_reject():
    assert read(b"") == ([], [("file is empty", 1, "")])
    assert read(gzip.compress(b""), "log.csv.gz") == ([], [("file is empty", 1, "")])


def test_a_cell_beyond_the_limit_of_csv_is_rejected_and_reading_goes_on():
    rows, rejects = read("q,i\n" + "x" * 200_000 + ",A\nb,B\n")
    assert rows == [(3, "b", "B")]
    assert [(why, line) for why, line, _ in rejects] == [("cell is too long", 2)]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_missing_column_names_file_key_and_columns(form):
    data = "user,i\na,A\n" if form == "csv" else '{"user": "a", "i": "A"}\n'
    with pytest.raises(LogError, match=r"part/log.*events.query_id needs column 'q'. The file has: 'i', 'user'"):
        read(data, "part/log", format=form)


def test_column_that_occurs_twice_is_an_error():
    with pytest.raises(LogError, match="column 'q' .* occurs twice"):
        read("q,q,i\n")


# --- gzip ----------------------------------------------------------------------------------------


def log_text(num_rows):
    rng = np.random.default_rng(0)
    return "q,i\n" + "".join(f"user{n},item{n}\n" for n in rng.integers(10**9, size=num_rows))


def test_gzip_members_and_padding_are_one_file():
    data = gzip.compress(b"q,i\na,A\nb") + gzip.compress(b",B\n") + b"\0" * 100
    assert read(data, "log.csv.gz") == ([(2, "a", "A"), (3, "b", "B")], [])


@pytest.mark.parametrize("kept_share", [0.0001, 0.3, 0.9, 0.9999])
def test_truncated_gzip_keeps_the_rows_before_and_tells_the_line(kept_share):
    text = log_text(30_000)
    data = gzip.compress(text.encode())
    data = data[: int(len(data) * kept_share)]
    readable = zlib.decompressobj(31).decompress(data).decode()
    whole = readable.split("\n")
    rows, rejects = read(data, "log.csv.gz")
    assert [f"{q},{i}" for _, q, i in rows] == whole[1:-1]
    assert rejects == [("gzip file is cut off here", len(whole), whole[-1])]


def test_damaged_gzip_keeps_the_rows_before_the_damage():
    text = log_text(30_000)
    data = bytearray(gzip.compress(text.encode()))
    middle = len(data) // 2
    data[middle : middle + 64] = b"\xff" * 64
    rows, rejects = read(bytes(data), "log.csv.gz")
    lines = text.split("\n")
    before = zlib.decompressobj(31).decompress(bytes(data[:middle])).decode().count("\n") - 1
    assert before > 10_000
    assert [f"{q},{i}" for _, q, i in rows[:before]] == lines[1 : before + 1]
    assert sum(why == "gzip data is damaged here or shortly before" for why, _, _ in rejects) == 1
    assert min(line for _, line, _ in rejects) > before


def test_wrong_checksum_keeps_every_row_and_is_told():
    text = log_text(100)
    data = bytearray(gzip.compress(text.encode()))
    data[-8] ^= 1
    rows, rejects = read(bytes(data), "log.csv.gz")
    assert len(rows) == 100
    assert rejects == [("gzip data is damaged here or shortly before", 102, "")]


# --- JSON lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_per_batch", [1, 2, 1000])
def test_json_lines(rows_per_batch):
    big = 2**63 + 1
    sound = [
        {"q": "a\n\t🎬", "i": big},
        {"i": 0.10, "q": True},
        {"q": ["x", 1, None], "i": None},
    ]
    lines = [json.dumps(row).encode() for row in sound]
    bad = [b'{"q": "a"', b"[1]", b'{"q": "\\ud83d", "i": 1}', b'{"q": "\xff", "i": 1}', b'{"q": "\0", "i": 1}']
    rows, rejects = read(b"\n".join([*lines, b"", *bad]), "log.jsonl", rows_per_batch, format="jsonl")
    texts = [(line, q if isinstance(q, list) else [q], i) for line, q, i in rows]
    assert texts == [(1, ["a\n\t🎬"], str(big)), (2, ["true"], "0.1"), (3, ["x", "1", None], None)]
    assert [reject[:2] for reject in rejects] == [
        ("not valid JSON", 5),
        ("not a JSON object", 6),
        ("not valid UTF-8", 7),
        ("not valid UTF-8", 8),
        ("NUL byte", 9),
    ]


@pytest.mark.parametrize("rows_per_batch", [1, 2, 3, 1000])
def test_one_odd_line_of_json_changes_no_other(rows_per_batch):
    lines = [
        '{"q": "a|b", "i": 1}',
        '{"q": ["a|b"], "i": 2}',
        '{"q": null, "i": 3}',
        '{"i": 4}',
        '{"q": "c", "i": [5]}',
    ]
    lines += ['{"q": {"id": 1}, "i": 6}', '{"q": [["a"]], "i": 7}', '{"q": NaN, "i": 8}', '{"q": "d", "i": 9, "x": {}}']
    rows, rejects = read("\n".join(lines), "log.jsonl", rows_per_batch, format="jsonl")
    assert sorted(rows, key=lambda row: row[0]) == [
        (1, "a|b", "1"),
        (2, ["a|b"], "2"),
        (3, None, "3"),
        (4, None, "4"),
        (5, "c", ["5"]),
        (8, None, "8"),
        (9, "d", "9"),
    ]
    nested = "'q' is an object or a list of lists"
    assert [reject[:2] for reject in rejects] == [(nested, 6), (nested, 7)]


def test_half_a_character_in_one_line_of_lists_is_one_reject():
    lines = ['{"q": "a", "i": 1}', '{"q": ["\\ud83d"], "i": 2}', '{"q": ["b"], "i": 3}']
    rows, rejects = read("\n".join(lines), "log.jsonl", format="jsonl")
    assert rows == [(1, "a", "1"), (3, ["b"], "3")]
    assert [reject[:2] for reject in rejects] == [("not valid UTF-8", 2)]


# --- Parquet -------------------------------------------------------------------------------------


def parquet(**columns):
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def test_parquet_keeps_types_and_counts_rows():
    data = parquet(q=[1, 2, 3], i=pa.array(["A", "B", None]), x=[0, 0, 0])
    assert read(data, "log.parquet", 2, format="parquet") == ([(1, 1, "A"), (2, 2, "B"), (3, 3, None)], [])


def test_parquet_with_invalid_utf8_rejects_the_row():
    data = parquet(q=pa.array([b"a", b"\xff"]), i=["A", "B"])
    assert read(data, "log.parquet", format="parquet") == ([(1, b"a", "A")], [("not valid UTF-8", 2, None)])


@pytest.mark.parametrize("data", [b"", b"q,i\n", parquet(q=[1], i=[1])[:-20]], ids=["empty", "csv", "cut off"])
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


def test_parquet_int96_keeps_the_true_year():
    stream = io.BytesIO()
    years = pa.array([253402214400, 0, -62135596800], pa.timestamp("s"))  # 9999, 1970 and 1
    pq.write_table(pa.table({"q": years, "i": [1, 2, 3]}), stream, use_deprecated_int96_timestamps=True)
    rows, _ = read(stream.getvalue(), "log.parquet", format="parquet")
    assert [row[1].year for row in rows] == [9999, 1970, 1]


def test_parquet_missing_column():
    with pytest.raises(LogError, match="events.item_id needs column 'i'"):
        read(parquet(q=[1]), "log.parquet", format="parquet")
