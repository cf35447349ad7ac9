"""Every kind of broken input: sound records are kept, each other one is counted once, with its line."""

import gzip
import io
import json
import zlib

import numpy as np
import pytest

from recsys_ssl.logs import csv_files, text_blocks
from recsys_ssl.logs.json_documents import WRITE_OBJECTS
from recsys_ssl.logs.readers import LogError, read_batches, read_name
from recsys_ssl.spec import Files
from tests.logs.read_batches import COLUMNS, parquet, read


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

    def test_escaped_quotes_as_spark_writes_them(self, rows_per_batch):
        data = 'q,x,i\nu1,"a \\"b\\" c",A\nu2,plain,B\nu3,"say ""hi""",C\n"u\\\\4","x\n\\"",D\n'
        rows, rejects = read(data, rows_per_batch=rows_per_batch, escape="\\")
        assert (rows, rejects) == ([(2, "u1", "A"), (3, "u2", "B"), (4, "u3", "C"), (5, "u\\4", "D")], [])
        _, rejects = read(data[: data.index("u3")], rows_per_batch=rows_per_batch)
        assert rejects == [
            (r'quotation marks are broken; if \" is one within a cell, set escape: "\\"', 2, 'u1,"a \\"b\\" c",A')
        ]

    def test_an_escape_stands_for_what_follows_without_quotes_too(self, rows_per_batch):
        rows, rejects = read("q,i\na\\,b,A\nb\\\nb,B\nc,C\n", rows_per_batch=rows_per_batch, escape="\\")
        assert (rows, rejects) == ([(2, "a,b", "A"), (3, "b\nb", "B"), (5, "c", "C")], [])

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

    @pytest.mark.parametrize("quoting", ["none", "minimal"])
    def test_a_header_that_comes_again_in_another_spelling_or_order_is_rejected(self, rows_per_batch, quoting):
        data = "q,i,time\na,A,1\nQ,I,TIME\nb,B,2\n q , i,Time\nc,C,3\ni,time,q\nq,q,q\nd,D,time\n"
        rows, rejects = read(data, rows_per_batch=rows_per_batch, quoting=quoting)
        assert [row[1:] for row in rows] == [("a", "A"), ("b", "B"), ("c", "C"), ("q", "q"), ("d", "D")]
        again = "the header again"
        assert [reject[:2] for reject in rejects] == [(again, 3), (again, 5), (f"{again}, in another order", 7)]

    def test_names_of_a_letter_may_be_ids_in_another_case_or_order(self, rows_per_batch):
        rows, rejects = read("q,i\nQ,I\ni,q\n", rows_per_batch=rows_per_batch)
        assert ([row[1:] for row in rows], rejects) == ([("Q", "I"), ("i", "q")], [])

    def test_a_header_in_a_file_that_should_have_none_is_rejected(self, rows_per_batch):
        files = {"header": False, "columns": ["q", "i"]}
        rows, rejects = read('"q",i\na,A\n', rows_per_batch=rows_per_batch, **files)
        assert (rows, rejects) == ([(2, "a", "A")], [("the header again", 1, '"q",i')])

    def test_a_quoted_name_may_hold_newlines(self, rows_per_batch):
        files = {"delimiter": "::"}
        rows, rejects = read('# no\nq::"x\n::\n"::i\r\na::1::A\n', rows_per_batch=rows_per_batch, comment="#", **files)
        assert (rows, rejects) == ([(5, "a", "A")], [])

    def test_blanks_around_names_and_the_hint_of_excel(self, rows_per_batch):
        rows, rejects = read("sep=;\n q; i\n a;A\n", rows_per_batch=rows_per_batch, delimiter=";")
        assert (rows, rejects) == ([(3, " a", "A")], [])

    def test_delimiters_of_several_characters_within_quotes_are_text(self, rows_per_batch):
        data = 'q::i::x\n"a::b"::A::\n"c\n:::"::C::1\nd:::D::2\ne::"E\n'
        rows, rejects = read(data, rows_per_batch=rows_per_batch, delimiter="::")
        assert rows == [(2, "a::b", "A"), (3, "c\n:::", "C"), (5, "d", ":D")]
        assert rejects == [("quotation marks are broken", 6, 'e::"E')]

    def test_a_carriage_return_in_a_cell_is_named(self, rows_per_batch):
        rows, rejects = read('q,i\na,A\nb\rc,B\n"d\re",D\n', rows_per_batch=rows_per_batch)
        assert rows == [(2, "a", "A"), (4, "d\re", "D")]
        assert rejects == [("a carriage return stands in a cell without quotation marks", 3, "b\rc,B")]

    @pytest.mark.parametrize("quoting", ["none", "minimal"])
    def test_carriage_returns_only(self, rows_per_batch, quoting):
        rows, rejects = read("q,i\ra,A\rb,B", rows_per_batch=rows_per_batch, quoting=quoting)
        assert (rows, rejects) == ([(2, "a", "A"), (3, "b", "B")], [])

    def test_carriage_returns_as_line_ends_and_newlines_in_cells(self, rows_per_batch):
        rows, rejects = read('q,i\r"a\nb",A\rc,C\r', rows_per_batch=rows_per_batch)
        assert (rows, rejects) == ([(2, "a\nb", "A"), (4, "c", "C")], [])

    def test_utf_16(self, rows_per_batch):
        assert read("q,i\né,A\n".encode("utf-16"), rows_per_batch=rows_per_batch) == ([(2, "é", "A")], [])

    def test_what_an_encoding_does_not_have_is_rejected(self, rows_per_batch):
        rows, rejects = read(b"q,i\n\x81,A\n\x80,B\n", rows_per_batch=rows_per_batch, encoding="cp1252")
        assert rows == [(3, "€", "B")]
        assert rejects == [("not valid cp1252", 2, "\\xff,A")]

    @pytest.mark.parametrize("quoting", ["none", "minimal"])
    def test_a_header_with_a_carriage_return_in_a_name(self, rows_per_batch, quoting):
        rows, _ = read('q,x"\ry,i\na,1,A\n', rows_per_batch=rows_per_batch, quoting=quoting)
        assert rows == [(2, "a", "A")]

    def test_only_a_header_is_no_record(self, rows_per_batch):
        assert read("q,i\n", rows_per_batch=rows_per_batch) == ([], [])


def test_empty_file_is_one_reject():
    assert read(b"") == ([], [("file is empty", 1, "")])
    assert read(gzip.compress(b""), "log.csv.gz") == ([], [("file is empty", 1, "")])


def test_a_cell_beyond_the_limit_of_csv_is_rejected_and_reading_goes_on():
    rows, rejects = read("q,i\n" + "x" * 200_000 + ",A\nb,B\n")
    assert rows == [(3, "b", "B")]
    assert [(why, line) for why, line, _ in rejects] == [("cell is too long", 2)]


def test_a_cell_of_many_lines_is_not_read_again_for_each_block(monkeypatch):
    """Otherwise its cost would be quadratic."""
    num_parsed, parse = [], csv_files._parse_quoted_rows

    def parse_and_count(lines, *rest):
        num_parsed.append(len(lines))
        return parse(lines, *rest)

    monkeypatch.setattr(csv_files, "_parse_quoted_rows", parse_and_count)
    cell = "\n".join(["ab"] * 5000)
    assert read(f'q,i\n1,"{cell}"\n2,3\n', rows_per_batch=10) == ([(2, "1", cell), (5002, "2", "3")], [])
    assert sum(num_parsed) < 2 * 5000


def test_a_line_beyond_the_limit_is_one_reject_and_its_rest_is_not_held(monkeypatch):
    monkeypatch.setattr(text_blocks, "MAX_LINE_BYTES", 3 << 20)
    long = "x" * (8 << 20)
    for quoting in ("none", "minimal"):
        rows, rejects = read(f"q,i\na,A\n{long},B\nc,C\n{long}\n", quoting=quoting)
        assert rows == [(2, "a", "A"), (4, "c", "C")]
        assert [reject[:2] for reject in rejects] == [("line is too long", 3), ("line is too long", 5)]
        assert max(len(reject[2]) for reject in rejects) < 200_000
    rows, rejects = read(f'{{"q": "{long}"}}\n{{"q": 1, "i": 2}}', format="jsonl")
    assert rows == [(2, "1", "2")]
    assert [reject[:2] for reject in rejects] == [("line is too long", 1)]


def test_blocks_of_long_lines_have_fewer_of_them(monkeypatch):
    monkeypatch.setattr(text_blocks, "MAX_BLOCK_BYTES", 1 << 20)
    lines = [f"{n}{'x' * 30_000},A" for n in range(200)]
    blocks = list(text_blocks.read_blocks(io.BytesIO("\n".join(lines).encode()), "log", "utf-8", 150))
    assert b"".join(block.data for block in blocks).decode() == "\n".join(lines)
    firsts = np.cumsum([1, *(block.data.count(b"\n") for block in blocks[:-1])])
    assert [block.first for block in blocks] == firsts.tolist()
    assert max(len(block.data) for block in blocks) < 3 << 20


def test_several_blanks_between_columns_are_told():
    told = "a run of blanks is not one delimiter, write a single blank"
    rows, rejects = read("q i\na A\nb   B\nc\n", delimiter=" ")
    assert rows == [(2, "a", "A")]
    assert [reject[:2] for reject in rejects] == [
        (f"wrong number of columns; {told}", 3),
        ("wrong number of columns", 4),
    ]
    with pytest.raises(LogError, match=f"needs column 'q'.* Between names stand several blanks: {told}"):
        read("user  i\na  A\n", delimiter=" ")


def test_a_header_of_another_encoding_is_told():
    with pytest.raises(LogError) as error:
        read("usér,i\na,A\n".encode("latin-1"))
    assert "The file has: 'i', 'us\\xe9r'." in str(error.value)
    assert str(error.value).endswith(" The header is not valid UTF-8: set events.encoding, e.g. to cp1252.")


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
        (f"not a JSON object but an array. {WRITE_OBJECTS}", 6),
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


# --- Columns of the file's name --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("click.csv", {"event": "click"}),
        ("log/page.view.csv.GZ", {"event": "page.view"}),
        ("user=caf%E9/x", {"user": "caf%E9", "event": "x"}),  # Latin-1; replaced, all such names would be one
        ("caf%E8=%C3%A9/x", {"caf%E8": "é", "event": "x"}),
        ("log/day=2020-09-13/a=x%2Fy%20z/buy", {"day": "2020-09-13", "a": "x/y z", "event": "buy"}),
        ("day=1/day=2/k=__HIVE_DEFAULT_PARTITION__/e=/=x/.csv", {"day": "2", "k": None, "e": "", "event": ".csv"}),
        ("part-0.snappy.parquet", {"event": "part-0"}),
    ],
)
def test_names_hold_columns(name, columns):
    assert read_name(name, "event") == columns
    assert read_name(name, None) == {key: value for key, value in columns.items() if key != "event"}


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "parquet"])
def test_columns_of_the_name_stand_in_for_those_that_a_file_lacks(form):
    data = {
        "csv": b"i,x\nA,1\nB,2\n",
        "jsonl": b'{"i": "A"}\n{"i": "B"}\n',
        "json": b'[{"i": "A"}, {"i": "B"}]',
        "parquet": parquet(i=["A", "B"]),
    }[form]
    files = Files(paths=["x"], format=form)

    def collect(constants):
        (batch,) = read_batches(io.BytesIO(data), "log", files, COLUMNS, constants=constants)
        return batch.columns.to_pydict()

    assert collect({"q": "u", "i": "X", "z": "1"}) == {"q": ["u", "u"], "i": ["A", "B"]}
    assert collect({"q": None}) == {"q": [None, None], "i": ["A", "B"]}
    with pytest.raises(LogError, match="needs column 'q'"):
        collect({"z": "1"})
