"""CSV: a block of plain lines is parsed at once, any other one line by line; both give the same records.

A line that is the header again, as files have that were put together from several, is a reject.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple, Optional

import numpy as np
import pyarrow as pa

from recsys_ssl.logs.batches import Batch, LogError, Reject, find_columns
from recsys_ssl.logs.csv_blocks import parse_block
from recsys_ssl.logs.headers import find_repeats, may_repeat
from recsys_ssl.logs.text_blocks import Block, as_raw, decode, is_text, is_too_long, split_lines, why_unreadable
from recsys_ssl.spec import Files

_MAX_HEADER_LINES = 100
_ESCAPED = r'quotation marks are broken; if \" is one within a cell, set escape: "\\"'
_SINGLE = "a run of blanks is not one delimiter, write a single blank"
_UNDECODED = re.compile(r"\\udc([89a-f][0-9a-f])")  # of a byte, as `repr` shows it
_MARKS = range(0xE000, 0xF900)  # characters without a meaning of their own


def read_csv(
    blocks: Iterator[Block],
    file: str,
    files: Files,
    columns: Mapping[str, str],
    constants: Mapping[str, Optional[str]] = MappingProxyType({}),
    parse_plain: Callable[[bytes, Files, int, Sequence[int]], Optional[pa.Table]] = parse_block,
) -> Iterator[Batch]:
    """Yields the records of each block of lines; the other arguments are those of `readers.read_batches`.

    Args:
        constants: columns that the file need not have; those that it lacks are left out.
        parse_plain: see `parse_block`; with one that always returns None, every block is read line by line.
    """
    names = files.columns
    rest: list[str] = []
    held: Optional[Block] = None
    held_rejects: list[Reject] = []
    rest_length = 0
    for block in blocks:
        if names is None:
            names, block = _read_header(_append(held, block), files)
            if names is None:  # comments and blank lines so far, or a header that goes on
                held = block
                if block.final:
                    yield Batch(_to_text(columns, [[]] * len(columns)), np.zeros(0, np.int64), block.rejects)
                continue
        found = _find_columns(file, columns, names, constants, files)
        wanted = [names.index(name) for name in found.values()]
        table = None if rest else parse_plain(block.data, files, len(names), wanted)
        if table is not None and not may_repeat(table, names):
            numbers = block.first + np.arange(table.num_rows)
            yield Batch(table.rename_columns(list(found)), numbers, block.rejects)
            continue
        lines = split_lines(block.data)
        goes_on = rest and b'"' not in block.data and not _ends_escaped(rest[-1], files)
        if goes_on and not block.final and rest_length <= csv.field_size_limit():
            rest += lines  # an open cell goes on; what it held before is not parsed again for each block
            rest_length += len(block.data)
            held_rejects += block.rejects
            continue
        first, lines = block.first - len(rest), rest + lines
        if files.quoting == "none":
            parsed = _split_rows(lines, files)
        else:
            parsed = _parse_quoted_rows(lines, files, len(names), block.final)
        rest = lines[parsed.num_used :]
        rest_length = sum(map(len, rest))
        rejects = [*held_rejects, *block.rejects] + [
            Reject(why, file, first + i, as_raw(lines[i])) for why, i in parsed.rejected
        ]
        rows, starts = _check_rows(parsed, lines, first, file, names, files, rejects)
        picked = [list(map(itemgetter(place), rows)) for place in wanted]
        yield Batch(_to_text(found, picked), first + starts, rejects)
        held_rejects = []


# --- Header ------------------------------------------------------------------------------------------


def _append(held: Optional[Block], block: Block) -> Block:
    return block if held is None else block._replace(first=held.first, data=held.data + block.data)


def _read_header(block: Block, files: Files) -> tuple[Optional[list[str]], Block]:
    """The names and the lines after them; None where the block has not all of them, and the lines to read again."""
    begin = 0
    for i, raw in enumerate(io.BytesIO(block.data)):
        line = decode(raw.removesuffix(b"\n")).rstrip("\r")
        is_comment = files.comment and line.startswith(files.comment)
        if line and not is_comment and line.lower() != f"sep={files.delimiter}":  # a hint that Excel takes
            names, num_lines = _split_header(block.data[begin:], files, block.final)
            for _ in range(num_lines):
                begin = block.data.find(b"\n", begin) + 1 or len(block.data)
            return names, block._replace(first=block.first + i + num_lines, data=block.data[begin:])
        begin += len(raw)
    return None, block._replace(first=block.first + block.data.count(b"\n"), data=b"")


def _find_columns(
    file: str, columns: Mapping[str, str], names: Sequence[str], constants: Mapping[str, Optional[str]], files: Files
) -> dict[str, str]:
    """See `batches.find_columns`; the error says so where the header is no text or was split by single blanks."""
    try:
        return find_columns(file, columns, names, constants)
    except LogError as error:
        if why := why_unreadable("".join(names), files.encoding):
            side = next(iter(columns.values())).partition(".")[0]
            key = "events.encoding" if side == "events" else f"{side}.table.encoding"
            shown = _UNDECODED.sub(r"\\x\1", str(error))
            raise type(error)(f"{shown} The header is {why}: set {key}, e.g. to cp1252.") from None
        if files.delimiter == " " and "" in names:
            raise type(error)(f"{error} Between names stand several blanks: {_SINGLE}.") from None
        raise


def _split_header(data: bytes, files: Files, final: bool) -> tuple[Optional[list[str]], int]:
    """The names and their lines; None and 0 where a quoted name goes on beyond the data."""
    raws = [raw for raw, _ in zip(io.BytesIO(data), range(_MAX_HEADER_LINES))]
    lines = [decode(raw.removesuffix(b"\n")).rstrip("\r") for raw in raws]
    if files.quoting == "none":
        return lines[0].split(files.delimiter), 1
    marked, mark = _mark_delimiters(lines, files.delimiter)
    reader = csv.reader((line + "\n" for line in marked), delimiter=mark, escapechar=files.escape, strict=True)
    try:
        return _unmark([next(reader)], mark, files.delimiter)[0], reader.line_num
    except csv.Error:  # a quotation mark is not closed, or is part of a name
        if reader.line_num == len(lines) < _MAX_HEADER_LINES and not final:
            return None, 0
    try:
        names = next(csv.reader(marked[:1], delimiter=mark, escapechar=files.escape))
    except csv.Error:  # a carriage return within; the names are shown with it
        names = marked[0].split(mark)
    return _unmark([names], mark, files.delimiter)[0], 1


# --- Rows --------------------------------------------------------------------------------------------


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


def _ends_escaped(line: str, files: Files) -> bool:
    """Whether the record may go on in the next line without an open quotation mark."""
    return files.escape is not None and line.rstrip("\r").endswith(files.escape)


def _mark_delimiters(lines: list[str], delimiter: str) -> tuple[list[str], str]:
    """The lines with one character for the delimiter, as csv wants it, and that character."""
    if len(delimiter) == 1:
        return lines, delimiter
    text = "".join(lines)
    mark = next(mark for mark in map(chr, _MARKS) if mark not in text)
    return [line.replace(delimiter, mark) for line in lines], mark


def _unmark(rows: list[list[str]], mark: str, delimiter: str) -> list[list[str]]:
    """Rows whose quoted cells hold the delimiter again."""
    if mark == delimiter:
        return rows
    return [[cell.replace(mark, delimiter) for cell in row] for row in rows]


def _parse_quoted_rows(lines: list[str], files: Files, width: int, final: bool) -> _Rows:
    marked, mark = _mark_delimiters(lines, files.delimiter)
    parsed = _parse_marked_rows(marked, mark, files, width, final)
    return parsed._replace(rows=_unmark(parsed.rows, mark, files.delimiter))


def _parse_marked_rows(lines: list[str], delimiter: str, files: Files, width: int, final: bool) -> _Rows:
    def read(lines: Iterable[str]):
        return csv.reader(lines, delimiter=delimiter, escapechar=files.escape, strict=True)

    try:
        rows = list(read(lines))
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
        reader = read(terminated[i] for i in range(begin, len(lines)))
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
            rejected.append((_why_broken(error, lines[at], begin + reader.line_num == at + 1, files), at))
            at += 1
    return _Rows(rows, np.array(starts, np.int64), rejected, at)


def _why_broken(error: csv.Error, line: str, is_one_line: bool, files: Files) -> str:
    """What is wrong with a record that begins with the line."""
    if is_too_long(line):
        return "line is too long"
    if is_one_line and str(error).startswith("field larger"):
        return "cell is too long"
    if is_one_line and "\r" in line.rstrip("\r") and "new-line character" in str(error):
        return "a carriage return stands in a cell without quotation marks"
    if files.escape is None and '\\"' in line:
        return _ESCAPED
    return "quotation marks are broken"


def _check_rows(
    parsed: _Rows, lines: list[str], first: int, file: str, names: list[str], files: Files, rejects: list[Reject]
) -> tuple[list[list[str]], np.ndarray]:
    """Moves rows of the wrong width, with what is no text, or that are the header again, to `rejects`."""
    rows, starts, width = parsed.rows, parsed.starts, len(names)
    repeats = find_repeats(rows, names)
    if set(map(len, rows)) <= {width} and not any(repeats) and is_text(lines):
        return rows, starts
    reasons = [
        why_unreadable("".join(row), files.encoding)
        or (_why_width(row, files) if len(row) != width else None)
        or repeat
        for row, repeat in zip(rows, repeats)
    ]
    ends = np.append(starts[1:], parsed.num_used) if len(starts) else starts
    for reason, start, end, row in zip(reasons, starts.tolist(), ends.tolist(), rows):
        if reason:
            raw = lines[start] if len(row) != width else "\n".join(lines[start:end])
            rejects.append(Reject(reason, file, first + start, as_raw(raw)))
    kept = [i for i, reason in enumerate(reasons) if not reason]
    return [rows[i] for i in kept], starts[kept]


def _why_width(row: Sequence[str], files: Files) -> str:
    has_runs = files.delimiter == " " and "" in row
    return f"wrong number of columns; {_SINGLE}" if has_runs else "wrong number of columns"


def _to_text(names: Mapping[str, str], columns: Sequence[Sequence[str]]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.large_string()) for name, values in zip(names, columns)})
