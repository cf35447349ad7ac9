"""Reads CSV, JSON lines and Parquet into columns; what cannot be read comes out as a reject, never lost.

A record is rejected, not the file: a broken line, a damaged gzip tail or a wrong number of cells costs the
records that it touches. Only a file that cannot be understood at all (a column is missing) is an error.
"""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import BinaryIO, NamedTuple, Optional

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_ssl.spec import Files

_BLOCK_BYTES = 1 << 20
_GZIP = 16 + zlib.MAX_WBITS
# What no sound text holds marks what cannot be text: bytes that are no UTF-8 (U+DC80-DCFF, as in PEP 383) and NUL.
_NUL_MARK = "\udc00"
_UNREADABLE = re.compile("[\ud800-\udfff]")


class LogError(ValueError):
    """Input that cannot be used; the message is for the owner of the data: where, what came, what to do."""


class Reject(NamedTuple):
    """A record that was left out, and why."""

    reason: str
    file: str
    line: int
    """1 for the first line of a text file or the first row of a Parquet file."""
    record: object
    """Raw text, or the columns that were read."""


class Batch(NamedTuple):
    """Records of one file."""

    columns: pa.Table
    """[num_records] the asked columns as text, or lists of text; Parquet keeps its own types."""
    lines: np.ndarray
    """[num_records] int64, the line where each record begins."""
    rejects: list[Reject]


def read_batches(
    stream: BinaryIO, file: str, files: Files, columns: Mapping[str, str], rows_per_batch: int = 50_000
) -> Iterator[Batch]:
    """Yields the records of one file.

    A gzip file that is cut off or damaged gives all records before the damage and one reject for the line
    where it ends. A quotation mark that is never closed costs its own line: reading resumes with the next.

    Args:
        stream: the file's bytes, compressed when `file` ends in `.gz`.
        file: name for messages and rejects.
        columns: the columns to read -> the key of the spec that names them, for messages.
        rows_per_batch: lines (or Parquet rows) of a batch, the only records that are held.

    Raises:
        LogError: a column is missing, or a Parquet file is no Parquet file.
    """
    if files.format == "parquet":
        yield from _read_parquet(stream, file, columns, rows_per_batch)
        return
    lines = _read_lines(stream, file, files.encoding, rows_per_batch)
    if files.format == "jsonl":
        yield from _read_json(lines, file, columns)
    else:
        yield from _read_csv(lines, file, files, columns)


def _check_columns(file: str, columns: Mapping[str, str], present: Sequence[str]) -> None:
    for column, key in columns.items():
        if column not in present:
            raise LogError(
                f"{file}: {key} needs column {column!r}. The file has: {', '.join(map(repr, sorted(present)))}. "
                f"Correct {key} in the spec or the file's header, delimiter or format."
            )
        if list(present).count(column) > 1:
            raise LogError(f"{file}: column {column!r} ({key}) occurs twice. Rename one of them.")


def _as_raw(text: str) -> str:
    return text.replace(_NUL_MARK, "\0").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# --- Bytes to lines --------------------------------------------------------------------------------


class _DamageError(Exception):
    """The rest of a gzip file cannot be read. The format notices damage late, so the last records may be wrong."""


class _Lines(NamedTuple):
    first: int
    lines: list[str]
    """Without the newline; a carriage return stays."""
    rejects: list[Reject]
    final: bool


def _inflate(stream: BinaryIO) -> Iterator[bytes]:
    """Yields every byte that can be had, then raises `_DamageError` if that is not all of them."""
    inflater, begun = zlib.decompressobj(_GZIP), False
    while block := stream.read(_BLOCK_BYTES):
        while block:
            if not begun:
                block = block.lstrip(b"\0")  # padding between members
                if not block:
                    break
            begun, before = True, inflater.copy()
            try:
                yield inflater.decompress(block)
            except zlib.error as error:
                yield _inflate_until_damage(before, block)
                raise _DamageError("gzip data is damaged here or shortly before") from error
            block = inflater.unused_data
            if inflater.eof:
                inflater, begun = zlib.decompressobj(_GZIP), False
    if begun:
        yield inflater.flush()
        raise _DamageError("gzip file is cut off here")


def _inflate_until_damage(inflater, block: bytes) -> bytes:
    pieces = []
    try:
        for i in range(len(block)):  # a byte at a time: zlib gives nothing of a call that fails
            pieces.append(inflater.decompress(block[i : i + 1]))
    except zlib.error:
        pass
    return b"".join(pieces)


def _read_lines(stream: BinaryIO, file: str, encoding: str, rows_per_batch: int) -> Iterator[_Lines]:
    blocks = _inflate(stream) if file.endswith(".gz") else iter(lambda: stream.read(_BLOCK_BYTES), b"")
    buffer, rest, number, rejects, damage = [], [], 1, [], None
    is_first, is_empty = True, True
    while True:
        try:
            block = next(blocks, None)
        except _DamageError as error:
            block, damage = None, str(error)
        if block is None:
            break
        if is_first and block:
            block, is_first = block.removeprefix(b"\xef\xbb\xbf"), False
        is_empty = is_empty and not block
        head, newline, tail = block.rpartition(b"\n")
        if not newline:
            rest.append(tail)
            continue
        buffer += _decode(b"".join([*rest, head]), encoding).split("\n")
        rest = [tail]
        while len(buffer) >= rows_per_batch:
            yield _Lines(number, buffer[:rows_per_batch], [], final=False)
            number += rows_per_batch
            del buffer[:rows_per_batch]
    last = _decode(b"".join(rest), encoding)
    if damage:
        rejects.append(Reject(damage, file, number + len(buffer), _as_raw(last)))
    elif is_empty:
        rejects.append(Reject("file is empty", file, 1, ""))
    elif last:
        buffer.append(last)
    yield _Lines(number, buffer, rejects, final=True)


def _decode(data: bytes, encoding: str) -> str:
    return data.decode(encoding, "surrogateescape").replace("\0", _NUL_MARK)


def _is_text(lines: Sequence[str]) -> bool:
    try:
        "\n".join(lines).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _why_unreadable(text: str) -> Optional[str]:
    match = _UNREADABLE.search(text)
    if not match:
        return None
    return "NUL byte" if match[0] == _NUL_MARK else "not valid UTF-8"


# --- CSV -------------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    rows: list[list[str]]
    starts: np.ndarray
    """[num_rows] index of the line where each row begins."""
    rejected: list[tuple[str, int]]
    """(reason, index of the line)"""
    num_used: int
    """Lines that need not be read again; the others begin a record that the next batch ends."""


def _read_csv(batches: Iterator[_Lines], file: str, files: Files, columns: Mapping[str, str]) -> Iterator[Batch]:
    names, rest = files.columns, []
    if names is not None:
        _check_columns(file, columns, names)
    for first, lines, rejects, final in batches:
        first, lines = first - len(rest), rest + lines
        skipped = 0
        if names is None:
            names, skipped = _read_header(lines, files)
            if names is None:  # comments and blank lines so far
                rest = []
                if final:
                    yield Batch(_to_text(columns, [[]] * len(columns)), np.zeros(0, np.int64), rejects)
                continue
            _check_columns(file, columns, names)
        if files.quoting == "none":
            parsed = _split_rows(lines[skipped:], files)
        else:
            parsed = _parse_quoted_rows(lines[skipped:], files, len(names), final)
        first, lines = first + skipped, lines[skipped:]
        rest = lines[parsed.num_used :]
        rejects = rejects + [Reject(why, file, first + i, _as_raw(lines[i])) for why, i in parsed.rejected]
        rows, starts = _check_rows(parsed, lines, first, file, len(names), rejects)
        picked = [list(map(itemgetter(names.index(column)), rows)) for column in columns]
        yield Batch(_to_text(columns, picked), first + starts, rejects)


def _read_header(lines: list[str], files: Files) -> tuple[Optional[list[str]], int]:
    for i, line in enumerate(lines):
        line = line.rstrip("\r")
        if line and not (files.comment and line.startswith(files.comment)):
            quoting = csv.QUOTE_NONE if files.quoting == "none" else csv.QUOTE_MINIMAL
            return next(csv.reader([line], delimiter=files.delimiter, quoting=quoting)), i + 1
    return None, len(lines)


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
    parsed: _Rows, lines: list[str], first: int, file: str, width: int, rejects: list[Reject]
) -> tuple[list[list[str]], np.ndarray]:
    """Moves rows of the wrong width, or with what is no text, to `rejects`."""
    rows, starts = parsed.rows, parsed.starts
    if set(map(len, rows)) <= {width} and _is_text(lines):
        return rows, starts
    reasons = [
        _why_unreadable("".join(row)) or (None if len(row) == width else "wrong number of columns") for row in rows
    ]
    ends = np.append(starts[1:], parsed.num_used) if len(starts) else starts
    for reason, start, end, row in zip(reasons, starts.tolist(), ends.tolist(), rows):
        if reason:
            raw = lines[start] if len(row) != width else "\n".join(lines[start:end])
            rejects.append(Reject(reason, file, first + start, _as_raw(raw)))
    kept = [i for i, reason in enumerate(reasons) if not reason]
    return [rows[i] for i in kept], starts[kept]


def _to_text(names: Mapping[str, str], columns: Sequence[Sequence[str]]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.large_string()) for name, values in zip(names, columns)})


# --- JSON lines ------------------------------------------------------------------------------------

# Numbers stay the text that they are in the file: no id or timestamp is rounded.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def _read_json(batches: Iterator[_Lines], file: str, columns: Mapping[str, str]) -> Iterator[Batch]:
    checked = False
    for first, lines, rejects, _ in batches:
        kept = np.flatnonzero([bool(line.strip()) for line in lines])
        try:
            records = [_DECODER.decode(lines[i]) for i in kept.tolist()]
            reasons = [None if isinstance(record, dict) else "not a JSON object" for record in records]
            if not _is_text(lines):
                raise ValueError
        except (ValueError, RecursionError):
            records, reasons = zip(*(_decode_json(lines[i]) for i in kept.tolist()))
        picked = [
            [_json_text(record.get(column)) if not why else None for record, why in zip(records, reasons)]
            for column in columns
        ]
        reasons = _find_lone_surrogates(picked, reasons)
        rejects = rejects + [
            Reject(why, file, first + i, _as_raw(lines[i])) for i, why in zip(kept.tolist(), reasons) if why
        ]
        sound = [i for i, why in enumerate(reasons) if not why]
        if sound and not checked:
            _check_columns(file, columns, list(dict.fromkeys(chain.from_iterable(records[i] for i in sound))))
            checked = True
        picked = [[values[i] for i in sound] for values in picked] if len(sound) < len(kept) else picked
        table = pa.table({column: _to_column(values) for column, values in zip(columns, picked)})
        yield Batch(table, first + kept[sound], rejects)


def _decode_json(line: str) -> tuple[object, Optional[str]]:
    if why := _why_unreadable(line):
        return None, why
    try:
        record = _DECODER.decode(line)
    except (ValueError, RecursionError):
        return None, "not valid JSON"
    return record, None if isinstance(record, dict) else "not a JSON object"


def _to_column(values: Sequence) -> pa.Array:
    if any(isinstance(value, list) for value in values):
        lists = [value if value is None or isinstance(value, list) else [value] for value in values]
        return pa.array(lists, pa.large_list(pa.large_string()))
    return pa.array(values, pa.large_string())


def _find_lone_surrogates(columns: list[list], reasons: Sequence[Optional[str]]) -> list[Optional[str]]:
    """JSON can spell half a character ("\\ud83d"), which is no text."""
    try:
        for values in columns:
            _to_column(values)
        return list(reasons)
    except UnicodeEncodeError:
        texts = (json.dumps(row, ensure_ascii=False) for row in zip(*columns))
        return [why or ("not valid UTF-8" if _UNREADABLE.search(text) else None) for text, why in zip(texts, reasons)]


def _json_text(value: object) -> object:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_json_text(element) for element in value if element is not None]
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False)


# --- Parquet ---------------------------------------------------------------------------------------


def _read_parquet(stream: BinaryIO, file: str, columns: Mapping[str, str], rows_per_batch: int) -> Iterator[Batch]:
    row = 1
    try:
        parquet = pq.ParquetFile(stream)
        _check_columns(file, columns, parquet.schema_arrow.names)
        for batch in parquet.iter_batches(batch_size=rows_per_batch, columns=list(columns)):
            table = pa.Table.from_batches([batch]).select(list(columns))
            lines = np.arange(row, row + batch.num_rows)
            row += batch.num_rows
            sound = np.logical_and.reduce([np.ones(len(lines), bool), *map(_find_text, table.columns)])
            rejects = [Reject("not valid UTF-8", file, line, None) for line in lines[~sound].tolist()]
            yield Batch(table.filter(pa.array(sound)), lines[sound], rejects)
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise LogError(f"{file}: this is no Parquet from row {row} on: {why}. Write the file again.") from error


def _find_text(column: pa.ChunkedArray) -> np.ndarray:
    """[num_records] bool, False where bytes are no UTF-8."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        return np.ones(len(column), bool)
    column = column.cast(kind).cast(pa.large_binary())
    try:
        column.cast(pa.large_string())
        return np.ones(len(column), bool)
    except pa.ArrowInvalid:
        return np.array([_decodes(value) for value in column.to_pylist()], bool)


def _decodes(value: Optional[bytes]) -> bool:
    try:
        return value is None or value.decode("utf-8") is not None
    except UnicodeDecodeError:
        return False
