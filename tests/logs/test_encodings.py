"""Text of any encoding is UTF-8 with newlines afterwards; what is no text is named."""

import codecs
import pickle

import pytest

from recsys_ssl.logs.batches import LogError
from recsys_ssl.logs.compression import DamageError
from recsys_ssl.logs.encodings import read_utf8

TEXT = "käufer,товар,€5\nu1,i1,品\r\n"


def read(data, encoding="utf-8", size=1 << 20):
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(read_utf8(iter(pieces), "log", encoding))


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", TEXT),
        ("utf-8-sig", TEXT),
        ("utf-16", TEXT),
        ("utf-16-le", TEXT),
        ("utf-16-be", TEXT),
        ("utf-32", TEXT),
        ("utf-32-be", TEXT),
        ("gb18030", TEXT),
        ("cp1252", "käufer “€”\n"),
        ("latin-1", "käufer\n"),
        ("shift_jis", "品,ソ\\~\n"),
        ("iso2022_jp", "品,1\n品\n"),
        ("cp037", "user,1\n"),
    ],
)
def test_an_encoding_that_is_asked_for(encoding, text, size):
    assert read(text.encode(encoding), encoding, size) == text.encode()


@pytest.mark.parametrize("asked", ["utf-8", "latin-1", "cp1252"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_goes_first(mark, encoding, asked):
    assert read(mark + TEXT.encode(encoding), asked) == TEXT.encode()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
@pytest.mark.parametrize("order", ["le", "be"])
def test_without_a_mark_the_zeros_tell_the_order_of_bytes(encoding, order):
    assert read("user,товар\n".encode(f"{encoding}-{order}"), encoding) == "user,товар\n".encode()


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"a\x81b\n", "cp1252"),
        (b"a\xc3\xa9\x81\xc3b\n", "shift_jis"),
        ("a\n".encode("utf-16-le") + b"\0\xd8b\0", "utf-16-le"),
        ("a\n".encode("utf-16-le") + b"b", "utf-16-le"),
    ],
)
def test_bytes_that_an_encoding_does_not_have_are_no_utf8(data, encoding):
    with pytest.raises(UnicodeDecodeError):
        read(data, encoding).decode()


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_marks_within_files_that_were_put_together_are_no_text(encoding, size):
    mark = codecs.BOM_UTF8 if encoding == "cp1252" else codecs.BOM_UTF8 * 2
    data = b"q,i\n" * 20_000 + mark + b"u1,i1\r\n" + codecs.BOM_UTF8 + b"u2,i2\n" + codecs.BOM_UTF8
    assert read(data, encoding, size) == b"q,i\n" * 20_000 + b"u1,i1\r\nu2,i2\n"
    assert read(codecs.BOM_UTF8 * 2 + b"q\r" + codecs.BOM_UTF8 + b"i\r", size=size) == b"q\ni\n"
    assert read("a\ufeff\nb\n".encode(), size=size) == "a\ufeff\nb\n".encode()  # within a line it is a character
    assert read(b"a\n\xef\xbb", size=size) == b"a\n\xef\xbb"


def test_lines_that_end_with_carriage_returns_only():
    assert read(b"q,i\ra,A\r") == b"q,i\na,A\n"
    assert read("q,i\ra,A\r".encode("utf-16")) == b"q,i\na,A\n"
    assert read(b"q,i\r\na\rb,A\r\n") == b"q,i\r\na\rb,A\r\n"
    long = b"a,A\r" * 100_000
    assert read(long, size=1000) == long.replace(b"\r", b"\n")


def test_newlines_between_quotation_marks_are_no_line_ends_of_a_file_with_carriage_returns():
    assert read(b'q,i\r"a\nb",A\r') == b'q,i\n"a\nb",A\n'
    assert read(b'q,i\r"a ""x""\n b",A\rc,"\n') == b'q,i\n"a ""x""\n b",A\nc,"\n'
    assert read(b'q,i\n"a\rb",A\n') == b'q,i\n"a\rb",A\n'
    assert read(b'q,"i\r"\na,A\n') == b'q,"i\r"\na,A\n'
    assert read(b'q,i\r\n"a\nb",A\r\n') == b'q,i\r\n"a\nb",A\r\n'
    assert read(b'q,i"\r\na,A\r\n') == b'q,i"\r\na,A\r\n'  # a mark that is text


def test_damage_comes_after_the_bytes_before_it():
    def reads():
        yield "q,é\n".encode("utf-16")
        raise DamageError("cut")

    texts = read_utf8(reads(), "log", "utf-8")
    with pytest.raises(DamageError, match="cut"):
        list(texts)
    assert next(read_utf8(reads(), "log", "utf-8")) == "q,é\n".encode()


@pytest.mark.parametrize(
    ("head", "match"),
    [
        (b"\n<!DOCTYPE html>\n<html>", "an HTML or XML page"),
        (b'<?xml version="1.0"?>', "an HTML or XML page"),
        (b"PAR1\x15\x04", "a Parquet file. Set format: parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"\x1f\x8b\x08", "packed twice"),
        (b"x" * 257 + b"ustar", "a tar archive"),
        (pickle.dumps(["a"] * 9), "a Python pickle"),
        (bytes(range(32)) * 2, "a binary file"),
    ],
)
def test_what_is_no_text_is_named(head, match):
    with pytest.raises(LogError, match=f"^log: .*Received: {match}") as error:
        read(head)
    assert "\n" not in str(error.value)


def test_utf16_without_a_mark_is_told():
    with pytest.raises(LogError, match="this is UTF-16 without a byte order mark, not utf-8. Set encoding: utf-16-be"):
        read("user,item\nu1,i1\n".encode("utf-16-be"))
