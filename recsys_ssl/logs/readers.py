"""Reads CSV, JSON and Parquet into columns; what cannot be read comes out as a reject, never lost.

A record is rejected, not the file: a broken line, a damaged gzip tail or a wrong number of cells costs the
records that it touches. Only a file that cannot be understood at all (a column is missing) is an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import BinaryIO, Optional
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_ssl.file_kinds import find_kind
from recsys_ssl.logs.batches import Batch, LogError, Reject
from recsys_ssl.logs.compression import find_compression, read_plain
from recsys_ssl.logs.csv_files import read_csv
from recsys_ssl.logs.elements import explode_cells, source_columns
from recsys_ssl.logs.encodings import name_kind, read_utf8
from recsys_ssl.logs.json_files import read_json_document, read_json_lines
from recsys_ssl.logs.parquet_files import read_parquet
from recsys_ssl.logs.text_blocks import read_blocks
from recsys_ssl.logs.values import without_words
from recsys_ssl.spec import Files

__all__ = ["Batch", "LogError", "Reject", "read_batches", "read_name"]

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_SUFFIX = re.compile(
    r"(?i)\.(csv|tsv|tab|txt|dat|data|log|jsonl?|ndjson|parquet|parq|pq|gz|gzip|bz2|xz|zstd?|zip|snappy)$"
)


def read_batches(
    stream: BinaryIO,
    file: str,
    files: Files,
    columns: Mapping[str, str],
    rows_per_batch: int = 50_000,
    constants: Mapping[str, Optional[str]] = MappingProxyType({}),
    contents: Collection[str] = (),
) -> Iterator[Batch]:
    """Yields the records of one file.

    A compressed file that is cut off or damaged gives all records before the damage and one reject for the line
    where it ends. A quotation mark that is never closed costs its own line: reading resumes with the next.

    Args:
        stream: the file's bytes, maybe compressed; it can be read again from its start.
        file: name for messages and rejects.
        columns: the columns to read -> the key of the spec that names them, for messages.
        rows_per_batch: lines (or Parquet rows) of a batch, the only ones that are held; with `explode` their elements.
        constants: column -> its value in every record of a file that has no such column; see `read_name`.
        contents: columns whose bytes, in Parquet, are content as it is; those of others are text.

    Raises:
        LogError: a column is missing, or the file is not of its format.
    """
    wanted = columns if files.explode is None else source_columns(columns, files.explode)
    for batch in _read_format(stream, file, files, wanted, rows_per_batch, constants, contents):
        if batch.columns.num_columns < len(wanted):
            batch = batch._replace(columns=_add_constants(batch.columns, wanted, constants))
        parts: Iterable[Batch] = [batch]
        if files.explode is not None:
            parts = explode_cells(batch, file, files.explode, list(columns), rows_per_batch)
        for part in parts:
            if files.missing:
                part = part._replace(columns=without_words(part.columns, files.missing, contents))
            yield part


def _read_format(
    stream: BinaryIO,
    file: str,
    files: Files,
    columns: Mapping[str, str],
    rows_per_batch: int,
    constants: Mapping[str, Optional[str]],
    contents: Collection[str],
) -> Iterator[Batch]:
    if files.format == "parquet":
        return _read_parquet(stream, file, columns, rows_per_batch, constants, contents)
    if files.format == "json":
        text = read_utf8(read_plain(stream, file), file, files.encoding)
        return read_json_document(text, file, files, columns, constants, rows_per_batch)
    blocks = read_blocks(stream, file, files.encoding, rows_per_batch)
    if files.format == "jsonl":
        return read_json_lines(blocks, file, files, columns, constants)
    return read_csv(blocks, file, files, columns, constants)


def _read_parquet(
    stream: BinaryIO,
    file: str,
    columns: Mapping[str, str],
    rows_per_batch: int,
    constants: Mapping[str, Optional[str]],
    contents: Collection[str],
) -> Iterator[Batch]:
    head = stream.read(1024)
    stream.seek(0)
    if not head:
        nothing = pa.table({column: pa.array([], pa.large_string()) for column in columns})
        return iter([Batch(nothing, np.zeros(0, np.int64), [Reject("file is empty", file, 1, "")])])
    compression = find_compression(stream)
    if find_kind(head, ["parquet"]) is None:
        kind, advice = name_kind(head) or ("another format", "Set the format that it has, or write the file again")
        if compression:
            kind, advice = f"a {compression} file", "Unpack it: Parquet is compressed inside"
        raise LogError(f"{file}: this is no Parquet. Received: {kind}, which begins with {head[:8]!r}. {advice}.")
    if any(column in constants for column in columns):
        present = _list_columns(stream)
        columns = {column: key for column, key in columns.items() if column not in constants or column in present}
        stream.seek(0)
    return read_parquet(stream, file, columns, rows_per_batch, contents)


def _list_columns(stream: BinaryIO) -> list[str]:
    """No name when the footer cannot be read, which the reader tells."""
    try:
        return pq.read_schema(stream).names
    except (pa.ArrowException, OSError):
        return []


def _add_constants(table: pa.Table, columns: Mapping[str, str], constants: Mapping[str, Optional[str]]) -> pa.Table:
    arrays = {name: table[name] for name in table.column_names}
    for column in columns:
        if column not in arrays:
            arrays[column] = pa.repeat(pa.scalar(constants[column], pa.large_string()), table.num_rows)
    return pa.table({column: arrays[column] for column in columns})


# --- What a file's name tells ------------------------------------------------------------------------


def read_name(name: str, file_column: Optional[str]) -> dict[str, Optional[str]]:
    """Columns that the name of a file holds: those of `key=value` directories, and the file's own name.

    Args:
        name: relative to the data directory.
        file_column: column that gets the name without directories and suffixes; None: there is none.

    Examples:
        >>> read_name("log/day=2020-09-13/click.csv.gz", "event")
        {'day': '2020-09-13', 'event': 'click'}
    """
    *folders, own = name.split("/")
    pairs = [folder.partition("=") for folder in folders if "=" in folder]
    columns = {_unescape(key): None if value == _NO_VALUE else _unescape(value) for key, _, value in pairs if key}
    if file_column is not None:
        while (shorter := _SUFFIX.sub("", own)) not in (own, ""):
            own = shorter
        columns[file_column] = own
    return columns


def _unescape(text: str) -> str:
    """The text of a directory's name; one whose escapes are no UTF-8 stays as it is, so that none become alike."""
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
