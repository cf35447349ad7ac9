"""CSV: a block of lines to columns at once, where each line provably is one record and nothing needs care.

What is provable is cheap to see in the bytes. Whatever else a log may hold (quotation marks, comments, blank lines,
what is no text, a wrong number of cells) is left to the reader of lines, which says what is wrong and where.
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
    text = _as_utf_8(data, files.encoding)
    if text is None or len(text) > _MAX_BYTES or text.startswith(codecs.BOM_UTF8):  # pyarrow would take a mark off
        return None
    try:
        return _parse(text, files.delimiter, width, wanted)
    except pa.ArrowInvalid:  # a line has another number of cells
        return None


def _has_plain_marks(files: Files) -> bool:
    """Whether delimiter and comment are single bytes that mean nothing else."""
    return files.delimiter.isascii() and files.delimiter not in "\n\r\0" and (files.comment or "#").isascii()


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


def _as_utf_8(data: bytes, encoding: str) -> Optional[bytes]:
    """None when it is no text."""
    if data.isascii():
        return data
    if encoding == "latin-1":
        return data.decode("latin-1").encode("utf-8")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return data


def _parse(text: bytes, delimiter: str, width: int, wanted: Sequence[int]) -> pa.Table:
    names = [str(place) for place in range(width)]  # a header may hold what is no text, or a name twice
    asked = [names[place] for place in wanted]
    # Not `read_csv`, which searches every object of the process for references to its frame: 0.1 s a call once
    # TensorFlow is loaded. One block, since a line that two blocks share is an error; one thread, since Beam's workers
    # already share the cores.
    with pa.csv.open_csv(
        pa.BufferReader(text),
        pa.csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=names),
        pa.csv.ParseOptions(delimiter=delimiter, quote_char=False),
        pa.csv.ConvertOptions(
            check_utf8=False, include_columns=asked, column_types=dict.fromkeys(asked, pa.large_string())
        ),
    ) as reader:
        return reader.read_all()
