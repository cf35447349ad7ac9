"""CSV: a block of lines to columns at once, where each line provably is one record and nothing needs care.

What is provable is cheap to see in the bytes. Whatever else a log may hold (quotation marks, escapes, comments, blank
lines, what is no text, a wrong number of cells) is left to the reader of lines, which says what is wrong and where.
"""

from __future__ import annotations

import codecs
import csv
from collections.abc import Sequence
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.csv

from recsys_ssl.logs.text_blocks import NEWLINE, find_newlines
from recsys_ssl.spec import Files

_RETURN = ord("\r")
_MARKS = [b"\x1f", b"\x1e", b"\x1d", b"\x1c"]
_MAX_BYTES = 1 << 30  # pyarrow counts the bytes of a block in 31 bits


def parse_block(data: bytes, files: Files, width: int, wanted: Sequence[int]) -> Optional[pa.Table]:
    """The wanted columns of whole lines, a record for each line; None when they must be read line by line.

    Args:
        data: lines after the header, each with its newline; the last one may have none.
        width: cells of a line.
        wanted: the columns' places in a line.

    Returns:
        [num_lines] large_string, a column per wanted place; an empty cell is "".
    """
    if not data or not _has_plain_marks(files):
        return None
    if b"\0" in data or (files.quoting == "minimal" and b'"' in data) or not _has_plain_lines(data, files):
        return None
    if files.escape is not None and files.escape.encode() in data:
        return None
    if not _is_utf8(data) or len(data) > _MAX_BYTES or data.startswith(codecs.BOM_UTF8):  # pyarrow would take it off
        return None
    data, delimiter = _mark_delimiters(data, files.delimiter)
    if delimiter is None:
        return None
    try:
        return _parse(data, delimiter, width, wanted)
    except pa.ArrowInvalid:  # a line has another number of cells
        return None


def _has_plain_marks(files: Files) -> bool:
    """Whether a comment is marked by a single byte."""
    return (files.comment or "#").isascii()


def _mark_delimiters(data: bytes, delimiter: str) -> tuple[bytes, Optional[str]]:
    """The data with one byte for the delimiter, as pyarrow wants it, and that byte; None when each is taken."""
    if len(delimiter.encode()) == 1:
        return data, delimiter
    mark = next((mark for mark in _MARKS if mark not in data), None)
    return (data, None) if mark is None else (data.replace(delimiter.encode(), mark), mark.decode())


def _has_plain_lines(data: bytes, files: Files) -> bool:
    """Whether no line is blank, a comment or too long, and carriage returns only end lines."""
    codes, ends = np.frombuffer(data, np.uint8), find_newlines(data)
    starts = np.concatenate([[0], ends + 1])
    if starts[-1] == len(data):
        starts = starts[:-1]
    begins = codes[starts]
    special = [NEWLINE, _RETURN, *([ord(files.comment)] if files.comment else [])]
    if any((begins == code).any() for code in special):
        return False
    # The csv module refuses a cell beyond its limit; without quoting, lines are split without it.
    if files.quoting == "minimal" and np.diff(starts, append=len(data)).max() > csv.field_size_limit():
        return False
    return b"\r" not in data or data.count(b"\r") == np.count_nonzero(codes[ends - 1] == _RETURN)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _parse(data: bytes, delimiter: str, width: int, wanted: Sequence[int]) -> pa.Table:
    names = [str(place) for place in range(width)]  # a header may hold what is no text, or a name twice
    asked = [names[place] for place in wanted]
    # Not `read_csv`, which searches every object of the process for references to its frame: 0.1 s a call once
    # TensorFlow is loaded. One block, since a line that two blocks share is an error; one thread, since Beam's workers
    # already share the cores.
    with pa.csv.open_csv(
        pa.BufferReader(data),
        pa.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
        pa.csv.ParseOptions(delimiter=delimiter, quote_char=False),
        pa.csv.ConvertOptions(
            check_utf8=False, include_columns=asked, column_types=dict.fromkeys(asked, pa.large_string())
        ),
    ) as reader:
        return reader.read_all()
