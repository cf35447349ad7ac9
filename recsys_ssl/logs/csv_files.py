"""CSV: a block of plain lines is parsed at once, any other one line by line; both give the same records.

A line that is the header again, as files have that were put together from several, is a reject.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Literal, NamedTuple, Optional

import numpy as np
import pyarrow as pa

from recsys_ssl.logs.batches import Batch, Reject, check_columns
from recsys_ssl.logs.csv_blocks import parse_block
from recsys_ssl.logs.text_blocks import Block, as_raw, decode, is_text, split_lines, why_unreadable
from recsys_ssl.spec import Files


def read_csv(
    blocks: Iterator[Block],
    file: str,
    files: Files,
    columns: Mapping[str, str],
    parse_plain: Callable[[bytes, Files, int, Sequence[int]], Optional[pa.Table]] = parse_block,
) -> Iterator[Batch]:
    """Yields the records of each block of lines; the other arguments are those of `readers.read_batches`.

    Args:
        parse_plain: see `parse_block`; with one that always returns None, every block is read line by line.
    """
    names = files.columns
    rest: list[str] = []
    if names is not None:
        check_columns(file, columns, names)
    for block in blocks:
        if names is None:
            names, block = _read_header(block, files)
            if names is None:  # comments and blank lines so far
                if block.final:
                    yield Batch(_to_text(columns, [[]] * len(columns)), np.zeros(0, np.int64), block.rejects)
                continue
            check_columns(file, columns, names)
        wanted = [names.index(column) for column in columns]
        plain = not rest and not _may_hold_line(_as_line(names, files), block.data)
        table = parse_plain(block.data, files, len(names), wanted) if plain else None
        if table is not None:
            numbers = block.first + np.arange(table.num_rows)
            yield Batch(table.rename_columns(list(columns)), numbers, block.rejects)
            continue
        first, lines = block.first - len(rest), rest + split_lines(block.data, files.encoding)
        if files.quoting == "none":
            parsed = _split_rows(lines, files)
        else:
            parsed = _parse_quoted_rows(lines, files, len(names), block.final)
        rest = lines[parsed.num_used :]
        rejects = block.rejects + [Reject(why, file, first + i, as_raw(lines[i])) for why, i in parsed.rejected]
        rows, starts = _check_rows(parsed, lines, first, file, names, files.encoding, rejects)
        picked = [list(map(itemgetter(place), rows)) for place in wanted]
        yield Batch(_to_text(columns, picked), first + starts, rejects)


def _read_header(block: Block, files: Files) -> tuple[Optional[list[str]], Block]:
    """The names, None where the block has none, and the lines after them."""
    begin = 0
    for i, raw in enumerate(io.BytesIO(block.data)):
        begin += len(raw)
        line = decode(raw.removesuffix(b"\n"), files.encoding).rstrip("\r")
        if line and not (files.comment and line.startswith(files.comment)):
            quoting: Literal[0, 3] = csv.QUOTE_NONE if files.quoting == "none" else csv.QUOTE_MINIMAL
            names = next(csv.reader([line], delimiter=files.delimiter, quoting=quoting))
            return names, block._replace(first=block.first + i + 1, data=block.data[begin:])
    return None, block


def _as_line(names: Sequence[str], files: Files) -> bytes:
    """The header as bytes, where it holds plain text only; no other block is parsed at once."""
    return files.delimiter.join(names).encode(files.encoding, "replace")


def _may_hold_line(line: bytes, data: bytes) -> bool:
    """Whether a line ends so; with its newline it is found faster, since that is rare."""
    return line + b"\n" in data or data.endswith(line) or (b"\r" in data and line + b"\r\n" in data)


class _Rows(NamedTuple):
    rows: list[list[str]]
    starts: np.ndarray
    """[num_rows] index of the line where each row begins."""
    rejected: list[tuple[str, int]]
    """(reason, index of the line)"""
    num_used: int
    """Lines that need not be read again; the others begin a record that the next batch ends."""


def _is_record(lines: list[str], comment: Optional[str]) -> list[bool]:
    """Neither blank nor a comment."""
    if comment:
        return [line not in ("", "\r") and not line.startswith(comment) for line in lines]
    return [line not in ("", "\r") for line in lines]


def _split_rows(lines: list[str], files: Files) -> _Rows:
    kept = np.flatnonzero(_is_record(lines, files.comment))
    delimiter = files.delimiter
    rows = [lines[i].removesuffix("\r").split(delimiter) for i in kept.tolist()]
    return _Rows(rows, kept, [], len(lines))


def _parse_quoted_rows(lines: list[str], files: Files, width: int, final: bool) -> _Rows:
    try:
        rows = list(csv.reader(lines, delimiter=files.delimiter, strict=True))
    except csv.Error:
        rows = []
    if len(rows) == len(lines):  # every record is one line
        kept = np.flatnonzero(_is_record(lines, files.comment))
        return _Rows(rows if len(kept) == len(rows) else [rows[i] for i in kept.tolist()], kept, [], len(lines))

    # A cell holds a newline, or a quotation mark is not closed. The record that begins at `at` is believed when it
    # is one line, or when its quotes and its number of cells are right; otherwise its first line alone is rejected.
    rows, starts, rejected, at = [], [], [], 0
    terminated = [line + "\n" for line in lines]
    is_record = _is_record(lines, files.comment)
    while at < len(lines):
        if not is_record[at]:
            at += 1
            continue
        begin = at
        reader = csv.reader((terminated[i] for i in range(begin, len(lines))), delimiter=files.delimiter, strict=True)
        try:
            for row in reader:
                end = begin + reader.line_num
                if not is_record[at]:
                    if end > at + 1:  # a quotation mark in a comment
                        at += 1
                        break
                elif end > at + 1 and len(row) != width:
                    raise csv.Error("quote")
                else:
                    rows.append(row)
                    starts.append(at)
                at = end
        except csv.Error as error:
            if begin + reader.line_num == len(lines) and not final:
                break
            too_long = str(error).startswith("field larger") and begin + reader.line_num == at + 1
            rejected.append(("cell is too long" if too_long else "quotation marks are broken", at))
            at += 1
    return _Rows(rows, np.array(starts, np.int64), rejected, at)


def _check_rows(
    parsed: _Rows, lines: list[str], first: int, file: str, names: list[str], encoding: str, rejects: list[Reject]
) -> tuple[list[list[str]], np.ndarray]:
    """Moves rows of the wrong width, with what is no text, or that are the header again, to `rejects`."""
    rows, starts, width = parsed.rows, parsed.starts, len(names)
    marked = [
        decode(codecs.BOM_UTF8, encoding) + names[0],
        *names[1:],
    ]  # by the byte order mark of a file that was appended
    if set(map(len, rows)) <= {width} and names not in rows and marked not in rows and is_text(lines):
        return rows, starts
    reasons = [
        why_unreadable("".join(row))
        or ("wrong number of columns" if len(row) != width else None)
        or ("the header again" if row in (names, marked) else None)
        for row in rows
    ]
    ends = np.append(starts[1:], parsed.num_used) if len(starts) else starts
    for reason, start, end, row in zip(reasons, starts.tolist(), ends.tolist(), rows):
        if reason:
            raw = lines[start] if len(row) != width else "\n".join(lines[start:end])
            rejects.append(Reject(reason, file, first + start, as_raw(raw)))
    kept = [i for i, reason in enumerate(reasons) if not reason]
    return [rows[i] for i in kept], starts[kept]


def _to_text(names: Mapping[str, str], columns: Sequence[Sequence[str]]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.large_string()) for name, values in zip(names, columns)})
